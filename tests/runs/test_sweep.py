"""A sweep knows its own jobs: they name its folder, are checked one by one, and texts alone are handed on."""

import json
import os
import pickle
import signal
import time
import weakref
from pathlib import Path

import lightning as L
import pytest

from snnlab.runs import sweep as room
from snnlab.runs.lock import started
from snnlab.runs.sweep import checked

QUICK = ["method=stbp", "data=digits", "logger=none", "callbacks.progress=false", "callbacks.figures=false"]
QUICK += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
QUICK += ["trainer.limit_test_batches=1", "encoder.time_steps=2"]
JOBS = [*QUICK, "model.hidden=[4],[8]", "seed=0,1"]


def test_the_folder_is_named_by_what_the_jobs_are():
    plain = checked(JOBS, None)
    assert len(plain.jobs) == 4 and not plain.resumed and not plain.dry
    again = checked([*reversed(JOBS), "resume=auto", "data.num_workers=0"], None)
    assert again.name == plain.name and set(again.jobs) == set(plain.jobs) and again.resumed
    assert checked([*QUICK, "model.hidden=[8],[4]", "seed=1,0"], None).name == plain.name
    assert checked([*QUICK, "model.hidden=[4],[8]", "seed=0,1,2"], None).name != plain.name


def test_two_jobs_that_are_the_same_run_are_one():
    planned = checked([*QUICK, "model.hidden=[4]", "method.optimizer.lr=1e-3,0.001,2e-3", "resume=never,auto"], None)
    assert len(planned.jobs) == 2 and not planned.resumed
    first = next(iter(planned.jobs.values()))
    assert "method.optimizer.lr=1e-3" in first or "method.optimizer.lr=0.001" in first


def test_jobs_are_checked_with_one_network_at_a_time_and_one_of_each_row(monkeypatch):
    real, alive, built = room.build, [], []

    def build(config):
        assert all(network() is None for network in alive)
        parts = real(config)
        alive.append(weakref.ref(parts.method.network))
        built.append(config.model.hidden[0])
        return parts

    monkeypatch.setattr(room, "build", build)
    checked([*QUICK, "model.hidden=[4],[8],[12]", "seed=0,1"], None)
    assert built == [4, 8, 12]


def test_a_wrong_seed_is_refused_although_its_row_was_built(run_command):
    code, _, error = run_command("-m", *QUICK, "method.threshold=0.5,-1")
    assert code == 2 and "threshold = -1 must be positive" in error
    code, _, error = run_command("-m", *QUICK, "seed=0,-1")
    assert code == 2 and "seed = -1 must lie in 0 to" in error and not Path("outputs").exists()


def test_texts_alone_cross_the_boundary_of_a_process(monkeypatch):
    import cloudpickle
    import hydra

    crossed = []

    def main(**_):
        def launch(job):
            crossed.append(job)
            return lambda: None

        return launch

    monkeypatch.setattr(hydra, "main", main)
    room.launch([["seed=0"], ["seed=1"]], None, "sweep-x", Path("x"), [])
    (job,) = crossed
    cells = {name: cell.cell_contents for name, cell in zip(job.__code__.co_freevars, job.__closure__, strict=True)}
    assert cells == {"jobs": [["seed=0"], ["seed=1"]], "config_dir": None, "name": "sweep-x"}
    assert pickle.loads(cloudpickle.dumps(job)) is not None


def test_a_sweep_that_was_interrupted_goes_on_in_its_folder_with_what_is_left(run_command, monkeypatch):
    from snnlab.runs import wiring

    real, started = wiring.run, []

    def run(composition, sweep=None):
        started.append(composition.config.seed)
        if len(started) == 2:
            raise KeyboardInterrupt
        return real(composition, sweep)

    with monkeypatch.context() as patch:
        patch.setattr(wiring, "run", run)
        assert run_command("-m", *QUICK, "model.hidden=[4]", "seed=0,1,2")[0] == 130
    code, out, error = run_command("-m", "resume=auto", "seed=0,1,2", *QUICK, "model.hidden=[4]")
    assert code == 0, error
    (folder,) = Path("outputs").iterdir()
    assert out.startswith(f"{folder.name}: 2 runs, 1 more are completed")
    records = [json.loads(path.read_text()) for path in folder.glob("*/run.json")]
    assert sorted(record["seed"] for record in records) == [0, 1, 2]
    assert all(record["status"] == "completed" for record in records)
    code, out, _ = run_command("-m", "resume=auto", "seed=0,1,2", *QUICK, "model.hidden=[4]")
    assert code == 0 and out.startswith(f"{folder.name}: 0 runs, 3 more are completed\n\nrun ")  # and its table


def test_jobs_in_other_processes(run_command):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    code, _, error = run_command("-m", *QUICK, "model.hidden=[4]", "seed=0,1", *options)
    assert code == 0, error
    records = [json.loads(path.read_text()) for path in Path("outputs").glob("sweep-*/*/run.json")]
    assert sorted(record["seed"] for record in records) == [0, 1]


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path):
    from snnlab.runs.record import make_folder

    assert [make_folder(tmp_path, "run").name for _ in range(3)] == ["run", "run_2", "run_3"]


def test_a_folder_of_any_name_takes_a_sweep(run_command):
    code, _, error = run_command("-m", *QUICK, "seed=0,1", "paths.output='lr=0.1 (a),{b}'")
    assert code == 0, error
    assert len(list(Path("lr=0.1 (a),{b}").glob("sweep-*/*/run.json"))) == 2


def test_a_broken_record_in_a_sweep_is_one_job_to_run_again(run_command):
    run_command("-m", *QUICK, "seed=0,1")
    first = sorted(Path("outputs").glob("sweep-*/*/run.json"))[0]
    first.write_text("{")
    code, out, error = run_command("-m", *QUICK, "seed=0,1", "resume=auto")
    assert code == 0 and "its job is run again" in out, error


def test_runs_whose_processes_a_launcher_has_killed_are_interrupted(run_command, monkeypatch):
    def launch(jobs, config_dir, name, folder, launcher):
        """Two processes in the midst of a run: one is killed, and not yet asked how it ended; one lives."""
        for job, seconds in zip(jobs, (0, 20), strict=False):
            child = os.fork()
            if not child:
                try:
                    L.Trainer.fit = lambda *_, seconds=seconds, **__: time.sleep(seconds) or os._exit(9)
                    room.wiring.run(room.compose(job), name)
                finally:
                    os._exit(9)
            children.append(child)
        deadline = time.monotonic() + 60
        while len(states()) < 2 or started(children[0]) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        raise KeyboardInterrupt

    def states():
        return [json.loads(path.read_text()) for path in Path().glob("outputs/*/*/run.json")]

    children = []
    monkeypatch.setattr(room, "launch", launch)
    try:
        assert run_command("-m", *QUICK, "model.hidden=[4]", "seed=0,1")[0] == 130
        assert {record["seed"]: record["status"] for record in states()} == {0: "interrupted", 1: "running"}
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
