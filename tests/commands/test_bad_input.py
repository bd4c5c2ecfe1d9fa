"""Bad input gets one clear line and exit code 2; nothing is half-written. A failed run exits with 1."""

import errno
import json
from pathlib import Path

import pytest
import torch

BASE = ["method=stbp", "data=digits", "logger=none", "trainer.max_epochs=1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=stpb"], "method=stpb: there is no such method; nearest: stbp"),
        (["metod=stbp"], "metod: there is no such key; nearest: method"),
        (["max_epochs=3"], "max_epochs: there is no such key; nearest: trainer.max_epochs, trainer.min_epochs\n"),
        (["hardware.cores=3"], "hardware.cores: hardware=none has nothing to set; choose first: hardware=loihi2"),
        (["method.batch_size=3"], "method.batch_size: there is no such key; nearest: data.batch_size\n"),
        (["output_dir=here"], "output_dir: there is no such key; nearest: paths.output=here\n"),
        (["data=mnsit"], "data=mnsit: there is no such data; nearest: mnist"),
        (["model=lennet"], "model=lennet: there is no such model; nearest: lenet"),
        (["method.surogate=atan"], "method.surogate: there is no such key; nearest: method.surrogate"),
        (["method.surrogate=rectangel"], "method.surrogate = rectangel: choose one of rectangle"),
        (["method.threshold=-1"], "method: LIF: threshold = -1 must be positive"),
        (["method.decay=1.5"], "method: LIF: decay = 1.5 must lie in [0, 1]"),
        (["method.width=0"], "method: Rectangle: width = 0 must be positive"),
        (["method.optimizer.lr=-1"], "method.optimizer: Invalid learning rate: -1"),
        (["method.optimizer.lr=fast"], "method.optimizer.lr = 'fast' must be a number"),
        (["model.hidden=abc"], "model.hidden = 'abc' must be a list of whole numbers"),
        (
            ["method=multispike_fast_deep", "method.targets=[3]"],
            "method.targets = [3] must be a list of 2 numbers",
        ),
        (["model.hidden=[0]"], "model: MLP: hidden = [0] needs at least 1 unit"),
        (["model.dropout=1.0"], "MLP: dropout = 1.0 must lie in [0, 1)"),
        (["encoder=none"], "data=digits is still images: choose encoder=direct, rate"),
        (["encoder.time_steps=0"], "time_steps = 0"),
        (["data.batch_size=0"], "data.batch_size = 0 must be at least 1"),
        (["data.num_workers=-2"], "data.num_workers = -2 must be 0"),
        (["trainer.max_epoch=3"], "trainer.max_epoch: there is no such key; nearest: trainer.max_epochs"),
        (["trainer.precision=foo"], "trainer.precision = foo: choose one of"),
        (["trainer.accelerator=tpuu"], "trainer: "),
        (["trainer.max_epochs=0"], "trainer.max_epochs = 0 must be at least 1"),
        (["trainer.max_epochs=-1"], "trainer.max_epochs = -1 must be at least 1"),
        (["trainer.limit_val_batches=0"], "trainer.limit_val_batches = 0 leaves nothing to work on"),
        (["trainer.val_check_interval=0.5"], "trainer.val_check_interval = 0.5 is not for a recorded run"),
        (["trainer.fast_dev_run=true"], "trainer.fast_dev_run = True is not for a recorded run: use dry_run=true"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches = 0 must be at least 1"),
        (["trainer.overfit_batches=2"], "trainer.overfit_batches = 2 is not for a recorded run"),
        (["trainer.devices=3"], "trainer.devices = 3: the other processes are started by repeating"),
        (
            ["method=ssnn_bp", "data=digits", "trainer.gradient_clip_val=1.0"],
            "trainer.gradient_clip_val = 1.0: this rule moves weights without a gradient",
        ),
        (["method=null"], "method=null: method needs a choice; choose one of ann, "),
        (["encoder=null"], "encoder=null: encoder needs a choice; choose one of direct, integrate_and_fire, latency"),
        (["method.optimizer=null"], "method.optimizer = None must be a config with a _target_"),
        (["method.threshold=inf"], "method.threshold = inf must be a finite number"),
        (["seed=-1"], "seed = -1 must lie in 0 to 4294967295"),
        (["seed=one"], "seed = 'one' must be a whole number"),
        (["debug=perhaps"], "debug = 'perhaps' must be true or false"),
        (["resume=nowhere"], "nowhere is no run folder: it holds no run.json"),
        (["method=1"], "method=1: method needs a choice; choose one of ann, "),
        (["data=[mnist,digits]"], "data=[mnist,digits]: data needs a choice; choose one of "),
        (["=3"], "'=3' cannot be read as key=value: it names no key"),
        (["'"], "cannot be read as key=value"),
        (["+epochs=3"], "epochs: there is no such key; nearest: "),
        (
            ["~trainer.precision"],
            "~trainer.precision: a key cannot be taken away; give trainer.precision another value",
        ),
        (["hydra.run.dir=here"], "hydra.run.dir=here: Hydra's own settings are fixed; paths.output says"),
        (["seed"], "'seed' cannot be read as key=value"),
        (["--confg-dir", "x"], "--confg-dir: there is no such flag; nearest: --config-dir"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["logger.mode=sometimes"], "logger.mode = sometimes: choose one of"),
        (["init=kaming"], "init=kaming: there is no such init; nearest: kaiming"),
        (["init=kaiming", "init.gain=0"], "init: Kaiming: gain = 0 must be positive"),
        (["method._target_=snnlab.methods.stbp.STPB"], "method._target_ = snnlab.methods.stbp.STPB cannot be imported"),
    ],
)
def test_one_line_exit_2_and_nothing_written(run_command, arguments, words):
    given = [a for a in BASE if a.split("=")[0] not in {b.split("=")[0] for b in arguments}]
    code, _, error = run_command(*given, *arguments)
    lines = [line for line in error.splitlines() if line.startswith("snnlab: ")]
    assert code == 2
    assert words in error
    assert len(lines) == 1 and "Traceback" not in error
    assert not Path("outputs").exists()


def test_events_take_no_encoder_and_are_not_read(run_command, empty_data):
    code, _, error = run_command("method=stbp", "data=mnist_dvs", "encoder=rate")
    assert code == 2 and "has a time axis of its own; use encoder=none" in error
    assert not Path("outputs").exists()


def test_debug_shows_the_traceback(run_command):
    with pytest.raises(ValueError, match="threshold"):
        run_command(*BASE, "method.threshold=-1", "debug=true")


def test_output_folder_that_cannot_be_made(run_command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, error = run_command(*BASE, "paths.output=file")
    assert code == 2 and "paths.output = file cannot be written" in error


def test_nan_loss_fails_with_1_and_is_recorded(run_command, monkeypatch):
    from snnlab.methods.stbp import STBP

    monkeypatch.setattr(STBP, "loss", lambda self, scores, labels: scores.sum() * torch.nan)
    code, _, error = run_command(*BASE)
    assert code == 1 and "train/loss is nan at step 0: training diverged; lower method.optimizer.lr" in error
    (path,) = Path("outputs").glob("*/run.json")
    assert json.loads(path.read_text())["status"] == "failed"


def test_full_disk_fails_with_1_and_keeps_the_record_whole(run_command, monkeypatch):
    from snnlab import atomic

    real = atomic.os.replace

    def full(source, target):
        if str(target).endswith("metrics.csv"):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return real(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    code, _, error = run_command(*BASE)
    assert code == 1 and "disk full while writing" in error and "metrics.csv" in error
    (path,) = Path("outputs").glob("*/run.json")
    assert json.loads(path.read_text())["status"] == "failed"
    assert {left.name for left in path.parent.glob(".*")} <= {".lock"}  # no half-written file stays behind


def test_run_folder_that_is_none(capsys):
    from snnlab.evaluate.__main__ import main

    assert main(["nowhere"]) == 2
    assert "nowhere is no run folder: it holds no run.json" in capsys.readouterr().err


def test_corrupt_run_json_and_checkpoint(run_command, tmp_path, capsys):
    from snnlab.evaluate.__main__ import main

    code, _, _ = run_command(*BASE, "callbacks.figures=false")
    assert code == 0
    (path,) = Path("outputs").glob("*/run.json")
    checkpoint = path.parent / json.loads(path.read_text())["checkpoint"]
    checkpoint.write_bytes(b"not a checkpoint")
    assert main([str(path.parent)]) == 2 and "is no readable checkpoint" in capsys.readouterr().err
    path.write_text("{")
    assert main([str(path.parent)]) == 2 and "is not readable as JSON" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["null", "3"])
def test_a_part_that_is_no_config_is_refused(run_command, value):
    code, _, error = run_command("method=stbp", "data=digits", f"data.augmentation={value}")
    assert code == 2 and "data.augmentation = " in error and "must be a config with a _target_" in error
