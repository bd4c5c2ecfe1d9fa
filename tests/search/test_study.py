"""A study counts its trials, keeps them through kills, never tests, and hands on the best as a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from snnlab.callbacks.history import History
from snnlab.config.compose import compose
from snnlab.data.contract import DataModule
from snnlab.errors import InputError, RunFailure
from snnlab.runs import wiring
from snnlab.runs.record import RunRecord
from snnlab.search import __main__ as command_line
from snnlab.search import study as room
from snnlab.search.__main__ import main
from snnlab.search.journal import open_journal
from snnlab.search.plan import Plan, plan
from snnlab.search.study import Study

LINE = [
    "method=stbp",
    "data=digits",
    "model.hidden=[4]",
    "encoder.time_steps=2",
    "kernels=step",
    "trainer.max_epochs=1",
]
LINE += [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
SPACE = ["method.optimizer.lr=tag(log, interval(1e-4, 1e-1))", "method.surrogate=triangle,sigmoid"]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run one command line in an empty folder; its exit code, what it printed, and the folder of the study."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, Path]:
        code = main([*LINE, *words])
        found = sorted(tmp_path.glob("outputs/search-*"), key=lambda path: path.stat().st_mtime)
        captured = capsys.readouterr()
        return code, captured.out + captured.err, found[-1] if found else tmp_path

    return run


@pytest.fixture(scope="module")
def planned() -> Plan:
    """One that was checked: two parameters, one objective."""
    return plan([*LINE, *SPACE], None)


@pytest.fixture
def study(planned: Plan, tmp_path: Path) -> Callable[..., Study]:
    """A study of that plan with some of its values changed, always in the same folder."""
    return lambda **changes: Study(replace(planned, **{"folder": tmp_path / "study", **changes}))


def worked(study: Study) -> list[Any]:
    """All trials, after a worker has done what there was to do."""
    study.work(lambda: True)
    return trials(study.plan.folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Trials that run nothing: the accuracy is the learning rate's, 0.01 the best. Returns the lines of all of them."""
    lines: list[list[str]] = []

    def run_trial(overrides: list[str], config_dir: Any, objectives: tuple[str, ...], report: Any) -> Any:
        lines.append([word for word in overrides if not word.startswith("paths.")])
        rate = float(next(word for word in overrides if word.startswith("method.optimizer.lr=")).partition("=")[2])
        return "validated", [1 - abs(rate - 0.01), 1e-9 / rate][: len(objectives)], Path("outputs")

    monkeypatch.setattr(room, "run_trial", run_trial)
    return lines


def trials(folder: Path) -> list[Any]:
    storage = open_journal(folder / "journal.log")
    found: list[Any] = storage.get_all_trials(storage.get_all_studies()[0]._study_id)
    return found


# real runs -----------------------------------------------------------------------------------------------------------
def test_a_search_never_sees_the_test_split_and_its_best_is_a_run(search: Any, monkeypatch: Any) -> None:
    def never(self: Any) -> Any:
        raise AssertionError("a search asked for the test split")

    with monkeypatch.context() as patch:
        patch.setattr(DataModule, "test_dataloader", never)
        code, printed, folder = search(*SPACE, "trials=2", "objective=[accuracy,energy]")
    assert code == 0 and "2 completed" in printed, printed
    for path in (folder / "trials").glob("*/run.json"):
        content = RunRecord.read(path.parent).content
        assert content["status"] == "validated" and content["metrics"]["test"] == {}
        assert content["metrics"]["val"]["energy_joule"] > 0 and "checkpoint" in content
        logged = {key for row in (path.parent / "metrics.csv").read_text().splitlines()[:1] for key in row.split(",")}
        assert not any(key.startswith("test/") for key in logged)
    assert {path.name for path in (folder / "figures").iterdir()} >= {"parameters.png", "front.png"}
    best = printed.strip().splitlines()[-1]
    assert best == f"best     python -m snnlab --config-dir {folder} experiment=best"
    result = wiring.run(compose(["experiment=best", "logger=none", "callbacks.figures=false"], folder))
    record = RunRecord.read(result.folder).content
    assert record["status"] == "completed" and 0 <= record["metrics"]["test"]["accuracy"] <= 1
    values = {float(trial.values[0]) for trial in trials(folder)}
    assert record["metrics"]["val"]["accuracy"] == pytest.approx(max(values))


def test_tables_take_trials_and_a_trial_may_be_tested_later(search: Any, capsys: Any) -> None:
    from snnlab.tables.__main__ import main as tables

    _, _, folder = search("method.surrogate=triangle,sigmoid", "trials=3", "sampler=random", "seed=4")
    assert [trial.state for trial in trials(folder)] == [TrialState.COMPLETE] * 3  # two of them are the same
    assert tables([str(folder), "--metrics", "val/accuracy"]) == 0
    assert "validated" in capsys.readouterr().out
    run = next((folder / "trials").glob("*/run.json")).parent
    result = wiring.run(compose([*RunRecord.read(run).content["overrides"][:-1], f"resume={run}"]))
    assert result.folder.samefile(run) and RunRecord.read(run).content["status"] == "completed"


def test_pruned_trials_stop_at_an_epoch_and_say_so(search: Any, monkeypatch: Any) -> None:
    import optuna

    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", lambda self, study, trial: trial.last_step == 1)
    code, printed, folder = search(*SPACE, "trials=1", "trainer.max_epochs=4")
    (trial,) = trials(folder)
    assert code == 1 and trial.state == TrialState.PRUNED and list(trial.intermediate_values) == [0, 1]
    (path,) = (folder / "trials").glob("*/run.json")
    assert RunRecord.read(path.parent).content["status"] == "pruned" and "pruned after 2 epochs" in printed


def test_what_goes_wrong_in_a_trial_is_its_own(search: Any, monkeypatch: Any) -> None:
    write = History.write

    def breaks(self: History) -> None:
        if "sigmoid" in (self.folder / "config.yaml").read_text():
            raise RunFailure("val/loss is nan at step 3")
        write(self)

    monkeypatch.setattr(History, "write", breaks)
    code, printed, folder = search("method.surrogate=triangle,sigmoid", "sampler=grid")
    states = {trial.params["method.surrogate"]: trial for trial in trials(folder)}
    assert code == 0 and states["triangle"].state == TrialState.COMPLETE
    assert (
        states["sigmoid"].state == TrialState.FAIL
        and states["sigmoid"].user_attrs["reason"] == "val/loss is nan at step 3"
    )
    assert "failed: val/loss is nan at step 3" in printed and "1 completed, 1 failed" in printed
    code, printed, _ = search("method.surrogate=sigmoid,sigmoid_", "trials=1", "dry_run=true")
    assert code == 0 and "note: method.surrogate=sigmoid_ cannot be built beside the first of all others" in printed
    monkeypatch.setattr(History, "write", lambda self: (_ for _ in ()).throw(RunFailure("val/loss is nan")))
    code, printed, _ = search("method.surrogate=triangle,sigmoid", "sampler=grid", "seed=2")
    assert code == 1 and "no trial was completed: val/loss is nan; " in printed


# counting ------------------------------------------------------------------------------------------------------------
def test_the_same_study_goes_on(study: Any, quick: Any, capsys: Any) -> None:
    assert len(worked(study(trials=3))) == 3 == len(quick)
    assert "trial 2 (3 of 3)  val/accuracy" in capsys.readouterr().out
    assert len(worked(study(trials=3))) == 3
    assert len(worked(study(trials=5))) == 5 == len({str(line) for line in quick})


def test_what_a_study_is_names_its_folder(planned: Plan) -> None:
    def folder(*words: str, space: Any = SPACE) -> Path:
        return plan([*LINE, *space, *words], None).folder

    assert folder("trials=3", "timeout=1h", "workers=4", "logger=csv", space=SPACE) == planned.folder
    others = [folder("seed=1"), folder("sampler=random"), folder("objective=loss"), folder("data.batch_size=20")]
    others += [folder(space=[SPACE[0].replace("1e-1", "1"), SPACE[1]])]
    assert len({planned.folder, *others}) == 6


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii", "cmaes"])
def test_samplers_are_seeded(planned: Plan, study: Any, quick: Any, tmp_path: Path, sampler: str) -> None:
    space = planned.space
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
        rate = space.parameters[0]
        space = replace(space, parameters=[rate, rate._replace(key="method.decay")])
    for name in ("one", "two"):
        worked(study(folder=tmp_path / name, sampler=sampler, trials=6, space=space))
    assert quick[:6] == quick[6:] and len({str(line) for line in quick}) == 6


def test_a_grid_is_gone_over_once(planned: Plan, study: Any, quick: Any) -> None:
    words = ["method.optimizer.lr=choice(0.1,0.01)", "method.decay=range(0.2,0.7,0.2)", "sampler=grid"]
    grid = plan([*LINE, *words], None)
    assert grid.trials == 6
    changes = {"space": grid.space, "sampler": "grid", "trials": 6}
    assert len(worked(study(**changes))) == 6 == len({str(line) for line in quick})
    assert len(worked(study(**changes))) == 6


def test_several_objectives_have_a_front(study: Any, quick: Any, monkeypatch: Any) -> None:
    goals = {"objectives": ("val/accuracy", "val/energy_joule"), "directions": ("maximize", "minimize")}
    two = study(**goals, sampler="nsgaii", pruner="none", trials=12)
    values = [trial.values for trial in worked(two)]
    best = [v for v in values if not any(w[0] >= v[0] and w[1] <= v[1] and w != v for w in values)]
    assert [trial.values for trial in two.best(99)] == sorted(best, reverse=True)


# kills ---------------------------------------------------------------------------------------------------------------
def killed_in_a_trial(study: Study) -> None:
    """Let another process ask for a trial, and be killed in it."""
    if not (child := os.fork()):
        try:
            Study(study.plan).ask()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_trial_whose_process_is_killed_is_queued_again(study: Any, quick: Any, caplog: Any) -> None:
    one = study(trials=3)
    killed_in_a_trial(one)
    found = worked(one)
    assert [t.state.name for t in found] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"] and len(quick) == 3
    assert found[0].user_attrs["reason"] == "its process is gone; queued again"
    assert found[1].params == found[0].params and found[1].user_attrs["of"] == 0
    assert "trial 0: its process is gone; it is queued again" in caplog.text


def test_a_trial_that_kills_its_process_is_given_up(study: Any, quick: Any, caplog: Any) -> None:
    one = study(trials=2)
    for _ in range(3):
        killed_in_a_trial(one)
    found = worked(one)
    assert [t.state.name for t in found] == ["FAIL"] * 3 + ["COMPLETE"]
    assert found[2].user_attrs["reason"] == "its process is gone, 3 times" and "given up" in caplog.text


def test_a_trial_of_a_process_that_lives_is_left_to_it(study: Any) -> None:
    one, other = study(trials=2), study(trials=2)
    asked, second = one.ask(), other.ask()
    assert second.trial.number == 1 and other.ask() is None
    assert [t.state.name for t in trials(one.plan.folder)] == ["RUNNING"] * 2
    asked.lock.release()  # as the system does
    with other.alone():
        other.queue_stale()
    assert [t.state.name for t in trials(one.plan.folder)] == ["FAIL", "RUNNING", "WAITING"]


@pytest.mark.parametrize("torn", [b'{"op_code":4,"worker', b"\x00" * 70_000])
def test_a_line_that_a_kill_has_torn_is_taken_away(study: Any, quick: Any, torn: bytes) -> None:
    one = study(trials=2)
    worked(one)
    journal = one.plan.folder / "journal.log"
    journal.write_bytes(journal.read_bytes() + torn)
    assert len(trials(one.plan.folder)) == 2  # whoever reads passes over it
    assert len(worked(study(trials=3))) == 3
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_an_interrupt_queues_the_trial_again(study: Any, quick: Any, monkeypatch: Any) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "run_trial", interrupted)
        for _ in range(4):  # as often as one likes
            with pytest.raises(KeyboardInterrupt):
                study(trials=2).work(lambda: True)
    found = worked(study(trials=2))
    assert [t.state.name for t in found] == ["FAIL"] * 4 + ["COMPLETE"] * 2
    assert all(t.params == found[0].params for t in found[1:5])


def test_an_interrupted_command_says_that_it_goes_on(search: Any, monkeypatch: Any) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "run_trial", interrupted)
    code, printed, _ = search(*SPACE)
    assert code == 130 and printed.splitlines()[-1] == "snnlab.search: interrupted; go on with the same command"


def test_a_killed_worker_is_replaced_and_an_interrupt_reaches_all(
    planned: Plan, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """Processes in the place of workers: the first is killed, the others end, or wait until they are stopped."""
    file, started = tmp_path / "started", subprocess.Popen
    commands: list[list[str]] = []

    def start(command: list[str], **options: Any) -> Any:
        commands.append(command)
        first, waits = "kill -9 $$", f"trap 'echo x >> {file}; exit 130' INT; while :; do sleep 0.05; done"
        script = first if len(commands) == 1 else waits if "forever" in command else "exit 0"
        return started(["bash", "-c", script], **options)

    monkeypatch.setattr(command_line.subprocess, "Popen", start)
    command_line.work_together(replace(planned, workers=2), ["search=lr"])
    assert len(commands) == 3 and commands[0][1:] == ["-m", "snnlab.search", "--worker", "search=lr"]
    assert "was killed (signal 9); another one takes its place" in capsys.readouterr().out

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line.time, "sleep", lambda seconds: (sleep(1), interrupt(seconds)))
    with pytest.raises(KeyboardInterrupt):
        command_line.work_together(replace(planned, workers=2), ["forever"])
    assert file.read_text() == "x\nx\n"


# what is typed -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trials=0"], "trials = 0 must be a whole number from 1 to 100000"),
        (["trials=1.5"], "trials = 1.5 must be a whole number"),
        (["workers=-1"], "workers = -1 must be a whole number"),
        (["timeout=soon"], "timeout = soon must be seconds above 0, or a time such as 90s, 30m, 2h"),
        (["sampler=bayes"], "sampler = bayes: choose one of tpe, random, grid, cmaes, nsgaii"),
        (["pruner=best"], "pruner = best: choose one of median, hyperband, none"),
        (["objective=test/accuracy"], "there is no such figure of a validation; nearest: accuracy"),
        (["objective=acuracy"], "objective = acuracy: there is no such figure of a validation; nearest: accuracy"),
        (["objective=nonsense"], "objective = nonsense: there is no such figure of a validation; nearest: "),
        (["objective=firing_rate/nonsense"], "there is no such figure of a validation; nearest: firing_rate/"),
        (["objective=[accuracy,accuracy]"], "give one figure, or several, each once"),
        (["objective=[]"], "give one figure, or several, each once"),
        (["objective=energy", "pruner=median"], "looks at one figure that every epoch is validated on, val/accuracy"),
        (["sampler=cmaes"], "sampler=cmaes knows numbers alone, and method.surrogate is a choice"),
        (["sampler=grid"], "sampler=grid: method.optimizer.lr=tag"),
        (["search=neurn"], "search=neurn: there is no such search; nearest: neuron"),
        (["search=[lr,lr]"], "search=[lr,lr]: lr is named 2 times; name it once"),
        (["resume=auto"], "a search goes on by itself; give the same command again"),
        (["trainer.max_time=00:00:01:00"], "timeout=2h is a search's"),
        (["method.threshold=-1"], "threshold = -1"),
        (["logger=csv,wandb"], "logger=csv,wandb decides no number of a run"),
        (["method.surrogate=atan"], "method.surrogate is given twice; give it once"),
        (["nonsense"], "'nonsense' cannot be read as key=value"),
        (["--workers=3"], "--workers: there is no such flag"),
    ],
)
def test_what_cannot_work_is_one_line_before_the_first_trial(search: Any, words: list[str], told: str) -> None:
    code, printed, folder = search(*SPACE, *words)
    assert code == 2 and told in printed and len(printed.splitlines()) == 1, printed
    assert not (folder / "outputs").exists()


def test_without_validation_data_there_is_nothing_to_choose_by() -> None:
    with pytest.raises(InputError, match=r"data\.val_size = 0 leaves none"):
        plan(["method=stbp", "data=mnist", "data.val_size=0", *SPACE], None)


def test_without_optuna_it_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr("snnlab.search.plan.find_spec", lambda name: None)
    with pytest.raises(InputError, match="a search needs the package optuna: pip install"):
        plan([*LINE, *SPACE], None)


def test_wandb_gets_the_same_space(search: Any) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    code, printed, folder = search(
        *SPACE, "data.val_size=int(interval(100,200))", "data.batch_size=range(20,61,20)", "--wandb"
    )
    path = folder / "wandb-sweep.yaml"
    assert code == 0 and printed == f"sweep    wandb sweep {path}\n" and not (folder / "journal.log").exists()
    content = yaml.safe_load(path.read_text())
    assert content["metric"] == {"name": "val/accuracy", "goal": "maximize"} and content["method"] == "bayes"
    assert content["parameters"]["method.optimizer.lr"] == {
        "distribution": "log_uniform_values",
        "min": 1e-4,
        "max": 0.1,
    }
    assert content["parameters"]["data.val_size"] == {"distribution": "int_uniform", "min": 100, "max": 200}
    assert content["parameters"]["data.batch_size"] == {"values": [20, 40, 60]}
    assert content["parameters"]["method.surrogate"] == {"values": ["triangle", "sigmoid"]}
    chosen = {key: {"value": value} for key, value in {"method.surrogate": "sigmoid", "data.batch_size": 40}.items()}
    words = create_sweep_command_args({"args": chosen})["args_no_hyphens"]
    assert (
        content["command"][:4] == ["${env}", "python", "-m", "snnlab"]
        and content["command"][-1] == "${args_no_hyphens}"
    )
    config = compose([*content["command"][4:-1], *words]).plain()
    assert config["method"]["surrogate"] == "sigmoid" and config["data"]["batch_size"] == 40


def test_help_names_the_spaces(capsys: Any) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert "conversion energy local lr neuron online rates spike_times surrogate_gradient" in told
    assert main([]) == 2
