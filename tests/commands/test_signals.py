"""SIGTERM and SIGHUP end a command as Ctrl-C does, wherever it is, with a record that says so; a second one at once."""

import json
import os
import signal
import time

import lightning as L
import pytest

from snnlab import command
from snnlab.callbacks.figures import Figures
from snnlab.data.images.digits import Digits
from snnlab.kernels import fuse
from snnlab.methods.stbp import STBP
from snnlab.runs import wiring
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


def before(target, name, when=lambda *_: True):
    """Let a SIGTERM come where ``target.name`` is called."""
    real = getattr(target, name)

    def called(*arguments, **options):
        if when(*arguments):
            told(signal.SIGTERM)
        return real(*arguments, **options)

    setattr(target, name, called)


MOMENTS = {
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
    "the pictures": lambda: before(Figures, "save"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_is_interrupted_wherever_it_is(moment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def stopped():
        MOMENTS[moment]()
        return main(LINE)

    assert ended(stopped) == 130
    folders = list(tmp_path.glob("outputs/*"))
    assert len(folders) == (moment != "data")  # before the data is there, nothing has begun
    for folder in folders:
        content = json.loads((folder / "run.json").read_text())
        assert content["status"] == "interrupted" and content["reason"]
        assert bool(list(folder.glob("checkpoints/*.ckpt"))) == (moment != "the preparation of the method")
        assert bool(content["metrics"]["test"]) == (moment == "the pictures")
