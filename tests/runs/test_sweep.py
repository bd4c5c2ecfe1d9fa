"""A sweep knows its own jobs: they name its folder, are checked one by one, and texts alone are handed on."""

import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path

import lightning as L
import pytest

from snnlab.errors import RunFailure
from snnlab.runs import plan
from snnlab.runs import sweep as room
from snnlab.runs.lock import started, take
from snnlab.runs.plan import Sweep, checked

QUICK = ["method=stbp", "data=digits", "logger=none", "callbacks.progress=false", "callbacks.figures=false"]
QUICK += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
QUICK += ["trainer.limit_test_batches=1", "encoder.time_steps=2"]
JOBS = [*QUICK, "model.hidden=[4],[8]", "seed=0,1"]


def test_the_folder_is_named_by_what_the_jobs_are():
    plain = checked(JOBS, None)
    assert len(plain.jobs) == 4 and not plain.dry
    again = checked([*reversed(JOBS), "resume=auto", "data.num_workers=0"], None)
    assert again.name == plain.name and set(again.jobs) == set(plain.jobs)
    assert checked([*QUICK, "model.hidden=[8],[4]", "seed=1,0"], None).name == plain.name
    assert checked([*QUICK, "model.hidden=[4],[8]", "seed=0,1,2"], None).name != plain.name


def test_combinations_that_are_the_same_run_are_counted():
    assert checked([*QUICK, "model.hidden=[4]", "seed=0,0", "threads=1,2"], None).alike == 3


def test_two_jobs_that_are_the_same_run_are_one():
    planned = checked([*QUICK, "model.hidden=[4]", "method.optimizer.lr=1e-3,0.001,2e-3"], None)
    assert len(planned.jobs) == 2
    first = next(iter(planned.jobs.values()))
    assert "method.optimizer.lr=1e-3" in first or "method.optimizer.lr=0.001" in first


def test_jobs_are_checked_with_one_network_at_a_time_and_one_of_each_row(monkeypatch):
    real, alive, built = plan.build, [], []

    def build(config):
        assert all(network() is None for network in alive)
        parts = real(config)
        alive.append(weakref.ref(parts.method.network))
        built.append(config.model.hidden[0])
        return parts

    monkeypatch.setattr(plan, "build", build)
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
    planned = Sweep("sweep-x", Path("x"), {"a": ["seed=0"], "b": ["seed=1"]}, False)
    room.launch(planned.jobs, None, planned, [])
    (job,) = crossed
    cells = {name: cell.cell_contents for name, cell in zip(job.__code__.co_freevars, job.__closure__, strict=True)}
    lines = {"names": ["a", "b"], "lines": [["seed=0"], ["seed=1"]]}
    assert cells == {**lines, "config_dir": None, "sweep": "sweep-x", "folder": "x"}
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
        code, _, error = run_command("-m", *QUICK, "model.hidden=[4]", "seed=0,1,2")
        assert code == 130 and error.endswith("snnlab: interrupted; the same command goes on\n")
    code, out, error = run_command("-m", "seed=0,1,2", *QUICK, "model.hidden=[4]")
    assert code == 0, error
    (folder,) = Path("outputs").iterdir()
    assert out.startswith(f"{folder.name}: 2 runs, 1 completed already ->")
    records = [json.loads(path.read_text()) for path in folder.glob("*/run.json")]
    assert sorted(record["seed"] for record in records) == [0, 1, 2]
    assert all(record["status"] == "completed" for record in records)
    code, out, _ = run_command("-m", "resume=auto", "seed=0,1,2", *QUICK, "model.hidden=[4]")
    told = f"{folder.name}: nothing is left to run, 3 runs completed already -> {folder.resolve()}"
    assert code == 0 and out.startswith(f"{told}\n\nrun ")  # and its table
    first, second, _ = sorted(path.parent for path in folder.glob("*/run.json"))
    shutil.rmtree(first)
    second.rename(first)  # as a run of a day when other defaults came to this name
    code, _, error = run_command("-m", "seed=0,1,2", *QUICK, "model.hidden=[4]")
    assert code == 2 and error == f"snnlab: {first.resolve()} holds another run than its name says; move it away\n"


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_in_other_processes_have_the_same_numbers(launcher, run_command):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    line = ("-m", *QUICK, "model.hidden=[4]", "seed=0,1", "threads=1")
    assert run_command(*line, "paths.output=here")[0] == 0
    code, _, error = run_command(*line, f"hydra/launcher={launcher}", "paths.output=elsewhere")
    assert code == 0, error
    here, elsewhere = (
        {path.parent.name: json.loads(path.read_text())["metrics"] for path in Path(place).glob("sweep-*/*/run.json")}
        for place in ("here", "elsewhere")
    )
    assert len(here) == 2 and here == elsewhere


def test_jobs_on_two_nodes_of_ray_have_the_same_numbers(run_command, monkeypatch):
    pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    program = Path(sys.executable).with_name("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a secret of this test, of forty-eight signs or so")
    line = ("-m", *QUICK, "model.hidden=[4]", "seed=range(0,4)", "threads=1")
    assert run_command(*line, "paths.output=here")[0] == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, quiet = f"127.0.0.1:{port}", ["--num-cpus=1", "--disable-usage-stats"]
    try:
        head = ["start", "--head", f"--port={port}", "--include-dashboard=false"]
        subprocess.run([program, *head, *quiet], check=True, capture_output=True)
        subprocess.run([program, "start", f"--address={address}", *quiet], check=True, capture_output=True)
        nodes = [f"hydra.launcher.ray.init.address={address}", "+hydra.launcher.ray.init.object_store_memory=null"]
        command = [sys.executable, "-m", "snnlab", *line, "hydra/launcher=ray", *nodes, "paths.output=elsewhere"]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True
        )  # Ray reads its settings as it starts
    finally:
        subprocess.run([program, "stop"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    here, elsewhere = (
        {path.parent.name: json.loads(path.read_text())["metrics"] for path in Path(place).glob("sweep-*/*/run.json")}
        for place in ("here", "elsewhere")
    )
    assert len(here) == 4 and here == elsewhere


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
    assert code == 0 and "its job begins again" in out, error


def test_runs_whose_processes_a_launcher_has_killed_are_interrupted(run_command, monkeypatch):
    def launch(jobs, config_dir, planned, launcher):
        """Two processes in the midst of a run: one is killed, and not yet asked how it ended; one lives."""
        for job, seconds in zip(jobs.values(), (0, 20), strict=False):
            child = os.fork()
            if not child:
                try:
                    L.Trainer.fit = lambda *_, seconds=seconds, **__: time.sleep(seconds) or os._exit(9)
                    room.wiring.run(room.compose(job), planned.name)
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


def test_one_job_that_fails_is_told_at_the_end_and_is_the_one_that_is_run_again(run_command, monkeypatch):
    real, started = room.wiring.run, []

    def run(composition, sweep=None):
        started.append(composition.config.seed)
        if composition.config.seed == 2 and len(started) <= 8:
            raise RunFailure("the loss is not finite")
        if composition.config.seed == 5 and len(started) <= 8:
            raise ZeroDivisionError("a fault of ours")
        return real(composition, sweep)

    monkeypatch.setattr(room.wiring, "run", run)
    line = ("-m", *QUICK, "model.hidden=[4]", "seed=range(0,8)")
    code, out, error = run_command(*line)
    assert code == 1 and error.splitlines()[-1].startswith("snnlab: 2 of 8 jobs failed; the same command")
    assert "failed       seed=2: the loss is not finite\n" in out and "seed=5: a fault of ours\n" in out
    assert "Traceback" in error and error.count("Traceback") == 1  # of our fault alone
    assert "job seed=2 failed: the loss" in out
    (folder,) = Path("outputs").iterdir()
    assert len(list(folder.glob("*/run.json"))) == 6 and len(list(folder.glob("*.failed"))) == 2
    del started[:]
    started += [None] * 8
    code, out, _ = run_command(*line)
    assert code == 0 and started[8:] == [2, 5] and not list(folder.glob("*.failed"))
    assert "8 of 8 jobs completed" in out
    assert sorted(path.name.rpartition("_")[0] for path in folder.glob("*/")) == [
        f"stbp_digits_seed{seed}" for seed in range(8)
    ]


def test_jobs_that_come_to_no_record_are_told_by_their_table(run_command, monkeypatch):
    real = room.wiring.run

    def run(composition, sweep=None):
        if composition.config.seed == 1:
            raise FileNotFoundError(2, "No such file or directory", "run.json")
        return real(composition, sweep)

    monkeypatch.setattr(room.wiring, "run", run)
    code, out, error = run_command("-m", *QUICK, "model.hidden=[4]", "seed=0,1")
    assert code == 1 and "failed       seed=1: run.json: No such file or directory" in out
    assert "left out: stbp_digits_seed1_" in error and " failed: run.json: No such file or directory\n" in error


def test_a_dry_run_of_a_sweep_shows_each_network_once(run_command):
    line = ("-m", *QUICK, "model.hidden=[4],[8]", "method.optimizer.lr=0.1,0.2", "seed=0,1,2", "dry_run=true")
    code, out, error = run_command(*line)
    assert code == 0, error
    assert out.count("parameters   ") == 2 and out.count("  and 5 more like it\n") == 2


def test_a_job_that_ran_out_of_its_time_gives_way_to_the_next(run_command):
    line = ("-m", *QUICK, "model.hidden=[4]", "seed=0,1", "trainer.max_epochs=2")
    code, out, error = run_command(*line, "trainer.max_time=00:00:00:00")
    assert code == 130 and "2 of 2 jobs are not done; the same command goes on" in error, out + error
    records = [json.loads(path.read_text()) for path in Path("outputs").glob("*/*/run.json")]
    assert [record["status"] for record in records] == ["interrupted"] * 2
    assert run_command(*line)[0] == 0


def test_resume_never_makes_all_of_a_sweep_anew_and_a_run_is_no_sweep(run_command):
    line = ("-m", *QUICK, "model.hidden=[4]", "seed=0")
    assert run_command(*line)[0] == 0 and run_command(*line, "resume=never")[0] == 0
    first, second = sorted(path.name for path in Path("outputs").iterdir())
    assert second == f"{first}_2"
    (other,) = Path("outputs", second).glob("*/")
    code, _, error = run_command(*line, f"resume={other}")
    assert code == 2 and "a sweep goes on with its own runs" in error


def test_a_job_that_another_process_makes_is_left_to_it(run_command):
    assert run_command("-m", *QUICK, "model.hidden=[4]", "seed=0")[0] == 0
    (folder,) = Path("outputs").glob("*/*/")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "running"}))
    lock = take(folder)
    try:
        code, out, _ = run_command("-m", *QUICK, "model.hidden=[4]", "seed=0")
    finally:
        lock.release()
    assert code == 0 and "is being made by another process" in out
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    assert run_command("-m", *QUICK, "model.hidden=[4]", "seed=0")[0] == 0
    assert json.loads((folder / "run.json").read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["init.from_run=nowhere"], "snnlab: init.from_run = nowhere: "),
        (["seed=range(0,0)"], "-m: no combination is left"),
        (["hydra/launcher=nonsense"], "hydra/launcher=nonsense: there is no such launcher; here are basic, "),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: no process would run a job"),
        (["paths.output=file/in_the_way"], "in_the_way cannot be written: Not a directory; choose another folder"),
    ],
)
def test_what_no_job_could_run_with_is_bad_input_in_one_line(words, told, run_command, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "file").write_text("")
    code, _, error = run_command("-m", *QUICK, "model.hidden=[4]", *words)
    assert code == 2 and told in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("launcher", "shared", "words"),
    [
        ([], [], []),
        (["hydra/launcher=joblib"], ["threads=2"], ["hydra.launcher.n_jobs=3"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], ["threads=3"], []),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=9"], ["threads=1"], []),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=4"], ["threads=4"], []),
        (["hydra/launcher=ray", "+hydra.launcher.ray.remote.num_cpus=2"], ["threads=2"], []),
    ],
)
def test_cores_are_shared_out_among_jobs_side_by_side(launcher, shared, words, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    chosen = launcher[0].partition("=")[2] if launcher else "basic"
    assert room.shared_out(3, launcher, chosen) == (shared, words)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert room.shared_out(3, launcher, chosen) == (["threads=5"] if launcher else [], [])


def test_a_run_takes_the_threads_that_it_is_given(run_command):
    import torch

    before = torch.get_num_threads()
    assert run_command(*QUICK, "model.hidden=[4]", f"threads={before + 1}")[0] == 0
    (path,) = Path("outputs").glob("*/run.json")
    assert json.loads(path.read_text())["machine"]["threads"] == before + 1 and torch.get_num_threads() == before
    code, _, error = run_command(*QUICK, "threads=0")
    assert code == 2 and "threads = 0 must lie in 1 to" in error
