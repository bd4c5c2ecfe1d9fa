"""SIGTERM and SIGHUP end a command as Ctrl-C does, wherever it is, with a record that says so; a second one at once."""

import json
import os
import signal
import subprocess
import sys
import time

import lightning as L
import pytest

import snnlab.config.compose
from snnlab import command
from snnlab.callbacks import checkpoints
from snnlab.callbacks.figures import Figures
from snnlab.config.compose import compose
from snnlab.data.images.digits import Digits
from snnlab.evaluate import __main__ as evaluate
from snnlab.kernels import fuse
from snnlab.methods.stbp import STBP
from snnlab.methods.vdib import judge
from snnlab.runs import wiring
from snnlab.runs.record import RunRecord
from snnlab.train import main

LINE = ["method=stbp", "data=digits", "logger=none", "callbacks.progress=false", "model.hidden=[4]"]
LINE += ["encoder.time_steps=2", "data.batch_size=50", "trainer.max_epochs=2", "trainer.num_sanity_val_steps=1"]
LINE += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]


def ended(work):
    """The exit code, or minus the signal, of ``work`` in a forked process; it may end itself by a signal."""
    child = os.fork()
    if not child:
        code = 99
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may ignore them, as nohup does
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def told(number, times=1):
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_interrupts_a_command(number):
    assert ended(lambda: command.run("snnlab", lambda _: told(number), [])) == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_one_ends_it_at_once():
    def deaf(_):
        try:
            told(signal.SIGTERM)
        finally:
            told(signal.SIGTERM)

    assert ended(lambda: command.run("snnlab", deaf, [])) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_comes_while_something_is_destroyed_is_not_lost(number, capfd):
    class Gone:
        def __del__(self):
            told(number)

    def work(_):
        Gone()
        time.sleep(10)

    assert ended(lambda: command.run("snnlab", work, [])) == 130
    assert capfd.readouterr().err == "snnlab: interrupted\n"


def test_one_that_somebody_swallows_interrupts_what_fails_of_it(capfd):
    def work(_):
        try:
            told(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("half imported") from None

    assert ended(lambda: command.run("snnlab", work, [])) == 130
    assert capfd.readouterr().err == "snnlab: interrupted\n"


def test_one_that_comes_while_numpy_is_imported_waits_for_it():
    """Torch imports it as it starts, and drops what goes wrong there."""

    def work(_):
        spec = sys.modules["numpy"].__spec__
        spec._initializing = True
        told(signal.SIGTERM)
        spec._initializing = False
        try:
            time.sleep(10)
        except KeyboardInterrupt:
            return 7

    assert ended(lambda: command.run("snnlab", work, [])) == 7


def test_the_exit_code_is_ours_wherever_it_came(tmp_path):
    (tmp_path / "stopped.py").write_text(
        "import sys\nfrom snnlab.command import run\n"
        "text = 'import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)'\n"
        "sys.exit(run('snnlab', lambda _: exec(text), []))\n"
    )
    made = subprocess.run([sys.executable, "-m", "stopped"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (130, "snnlab: interrupted\n")


def test_a_signal_that_is_ignored_stays_so():
    def below_nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return command.run("snnlab", lambda _: told(signal.SIGHUP, 2), [])

    assert ended(below_nohup) == 0


def test_a_child_ends_as_it_would_have():
    def parent(_):
        child = os.fork()
        if not child:
            told(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM

    assert ended(lambda: command.run("snnlab", parent, [])) == 0


def before(target, name, when=lambda *_: True, number=signal.SIGTERM):
    """Let a signal come where ``target.name`` is called."""
    real = getattr(target, name)

    def called(*arguments, **options):
        if when(*arguments):
            told(number)
        return real(*arguments, **options)

    setattr(target, name, called)


MOMENTS = {
    "composing": lambda: before(snnlab.config.compose, "compose"),
    "building": lambda: before(wiring, "build"),
    "data": lambda: before(Digits, "load"),
    "the preparation of the method": lambda: before(STBP, "prepare"),
    "the first compilation": lambda: before(fuse, "trace"),
    "the sanity check": lambda: before(
        L.LightningModule, "on_validation_batch_start", lambda module, *_: module.trainer.sanity_checking
    ),
    "a validation": lambda: before(
        L.LightningModule, "on_validation_batch_start", lambda module, *_: module.current_epoch == 1
    ),
    "a training batch": lambda: before(
        L.LightningModule, "on_train_batch_start", lambda module, *_: module.current_epoch == 1
    ),
    "the way from fit to test": lambda: before(wiring, "load_weights"),
    "the writing of a checkpoint": lambda: before(checkpoints, "write_bytes", lambda path, _: path.stem == "epoch001"),
    "the test": lambda: before(L.LightningModule, "on_test_batch_start"),
    "the pictures": lambda: before(Figures, "save"),
    "the last writing of the record": lambda: before(RunRecord, "end"),
}

UNTRAINED = ("the preparation of the method", "the first compilation", "the sanity check")  # there is nothing to keep


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_is_interrupted_wherever_it_is(moment, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def stopped():
        MOMENTS[moment]()
        return main([*LINE, f"callbacks.figures={moment == 'the pictures'}"])

    assert ended(stopped) == 130
    assert capfd.readouterr().err == "snnlab: interrupted; go on with the same command and resume=auto\n"
    assert not list(tmp_path.rglob("*.part"))
    folders = list(tmp_path.glob("outputs/*"))
    assert len(folders) == (moment not in ("composing", "building", "data"))  # before that, nothing has begun
    for folder in folders:
        content = json.loads((folder / "run.json").read_text())
        assert content["status"] == "interrupted" and content["reason"]
        assert bool(list(folder.glob("checkpoints/*.ckpt"))) == (moment not in UNTRAINED)
        assert bool(content["metrics"]["test"]) == (moment in ("the pictures", "the last writing of the record"))


def test_a_judge_in_training_is_interrupted(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))

    def stopped():
        before(judge._Training, "training_step")
        return main(["method=vdib", "data=digits", "logger=none", "callbacks.progress=false"])

    assert ended(stopped) == 130
    assert capfd.readouterr().err == "snnlab: interrupted; go on with the same command and resume=auto\n"
    assert [json.loads(path.read_text())["status"] for path in tmp_path.glob("outputs/*/run.json")] == ["interrupted"]
    assert not list((tmp_path / "cache").rglob("*.pt"))


@pytest.mark.parametrize("asked", [[], ["accuracy_over_time"]])
def test_an_evaluation_is_interrupted(asked, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    folder = wiring.run(compose([*LINE, "callbacks.figures=false"])).folder

    def stopped():
        before(L.LightningModule, "on_test_batch_start")
        before(STBP, "scores_over_time")
        return evaluate.main([str(folder), *asked])

    capfd.readouterr()
    assert ended(stopped) == 130
    assert capfd.readouterr().err == "snnlab.evaluate: interrupted; nothing was written\n"
    assert not list(folder.glob("evaluations/*"))


def test_a_second_interrupt_is_heard_after_lightning(tmp_path, monkeypatch):
    """Lightning ignores Ctrl-C once it was told one; what comes after, such as W&B's end, may take a while."""
    monkeypatch.chdir(tmp_path)

    def twice():
        before(L.LightningModule, "on_train_batch_start", number=signal.SIGINT)
        before(RunRecord, "fail", number=signal.SIGINT)
        try:
            return main(LINE)
        finally:
            assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

    assert ended(twice) == 130
    assert (
        json.loads(next(tmp_path.glob("outputs/*/run.json")).read_text())["status"] == "running"
    )  # at once is at once


def test_a_sweep_stops_as_a_whole_and_goes_on_as_one(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    line = ["-m", *LINE, "callbacks.figures=false", "seed=0,1,2"]

    def stopped():
        before(
            L.LightningModule,
            "on_train_batch_start",
            lambda module, *_: module.current_epoch == 1 and len(list(tmp_path.rglob("run.json"))) == 2,
        )
        return main(line)

    assert ended(stopped) == 130
    records = sorted(tmp_path.glob("outputs/*/*/run.json"))
    assert [json.loads(path.read_text())["status"] for path in records] == ["completed", "interrupted"]
    told = capfd.readouterr().err
    assert told.endswith("snnlab: interrupted; the same command goes on\n") and "Trace" not in told
    assert ended(lambda: main(line)) == 0
    records = sorted(tmp_path.glob("outputs/*/*/run.json"))
    assert [json.loads(path.read_text())["status"] for path in records] == ["completed"] * 3
