"""A run that is stopped, or killed, in the middle of an epoch goes on there and comes to the bits of its twin."""

import logging
import os
import shutil
import signal
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch

from snnlab.callbacks import midway
from snnlab.callbacks.checkpoints import furthest, last_whole
from snnlab.callbacks.history import History
from snnlab.callbacks.midway import Midway
from snnlab.callbacks.reproducible import random_state, reseed, set_random_state
from snnlab.config.compose import compose
from snnlab.errors import TimeOver
from snnlab.runs.wiring import run

pytestmark = pytest.mark.filterwarnings("error:You called `self.log")  # of a run without a logger, resumed

FEW = ["data=digits", "logger=none", "callbacks.figures=false", "callbacks.progress=false", "data.batch_size=50"]
FEW += ["trainer.limit_train_batches=5", "trainer.limit_val_batches=2", "trainer.limit_test_batches=1"]
FEW += ["trainer.max_epochs=2"]
STBP = ["method=stbp", "model.hidden=[4]", "encoder=rate", "encoder.time_steps=2", *FEW]
BURSTCCN = ["method=burstccn", "model.hidden=[8]", *FEW]
MOST = 2**26
IN_TRAINING, IN_VALIDATION = "on_train_batch_start", "on_validation_batch_start"


@pytest.fixture
def here_(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(patch, at=None, act=None, hook=IN_TRAINING):
    """The list of (epoch, batch) that are trained on from now on; ``act`` is called at the one ``at`` of ``hook``."""
    batches = []

    def there(module, batch_idx):
        return module.trainer.state.fn == "fit" and (module.current_epoch, batch_idx) == at

    def trained(module, batch, batch_idx):
        batches.append((module.current_epoch, batch_idx))
        if hook == IN_TRAINING and there(module, batch_idx):
            act()

    def validated(module, batch, batch_idx, dataloader_idx=0):
        if hook == IN_VALIDATION and there(module, batch_idx):
            act()

    patch.setattr(L.LightningModule, IN_TRAINING, trained)
    patch.setattr(L.LightningModule, IN_VALIDATION, validated)
    return batches


def stopped(monkeypatch, options, at, number=signal.SIGINT, hook=IN_TRAINING):
    """Stop a run by a signal at (epoch, batch); return the batches that were trained on."""
    before = signal.signal(number, signal.default_int_handler)  # whoever runs us listens, as a command does
    try:
        with monkeypatch.context() as patch:
            batches = shown(patch, at, lambda: os.kill(os.getpid(), number), hook)
            with pytest.raises(KeyboardInterrupt):
                run(compose(options))
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    return batches


def outcome(folder):
    stored = torch.load(folder / "checkpoints/epoch001.ckpt", weights_only=True)
    return stored["state_dict"], stored["callbacks"]["History"]["rows"], (folder / "metrics.csv").read_text()


def assert_equal(one, other):
    (weights, *rest), (others, *more) = outcome(one.folder), outcome(other.folder)
    assert rest == more and one.metrics == other.metrics
    assert weights.keys() == others.keys() and all(torch.equal(value, others[key]) for key, value in weights.items())


@pytest.mark.parametrize(
    ("options", "at", "hook", "left"),
    [
        (STBP, (0, 1), IN_TRAINING, 2),
        (STBP, (1, 4), IN_TRAINING, 5),
        ([*STBP, "trainer.accumulate_grad_batches=3"], (1, 1), IN_TRAINING, 2),
        (STBP, (0, 0), IN_VALIDATION, 5),
        ([*STBP, "data.num_workers=1", "data.augmentation.flip=0.5"], (1, 2), IN_TRAINING, 3),
        (BURSTCCN, (0, 2), IN_TRAINING, 3),
    ],
)
def test_a_signal_ends_a_run_after_its_batch_and_it_goes_on_with_the_next(options, at, hook, left, here_, monkeypatch):
    with monkeypatch.context() as patch:
        all_ = shown(patch)
        twin = run(compose(options))
    before = stopped(monkeypatch, options, at, hook=hook)
    assert len(list(here_.glob("outputs/*/checkpoints/midway.ckpt"))) == 1
    with monkeypatch.context() as patch:
        after = shown(patch)
        again = run(compose([*options, "resume=auto"]))
    assert before[-1] == (at[0], left - 1) and before + after == all_
    assert not list(here_.glob("outputs/*/checkpoints/midway.ckpt"))
    assert_equal(twin, again)


@pytest.mark.parametrize("options", [STBP, [*STBP, "trainer.accumulate_grad_batches=3"]])
def test_sittings_of_a_batch_each_come_to_the_bits_of_one_sitting(options, here_, monkeypatch):
    with monkeypatch.context() as patch:
        all_ = shown(patch)
        twin = run(compose(options))
    twin.folder.rename("twin")
    twin.folder, batches = here_ / "twin", shown(monkeypatch)
    ends = []
    for _ in all_:
        try:
            again = run(compose([*options, "trainer.max_time=00:00:00:00", "resume=auto"]))
        except TimeOver as over:
            ends.append(str(over))
    assert batches == all_ and len(ends) == len(all_) - 1
    assert ends[1] == (
        "trainer.max_time is over after 0 of 2 epochs and 2 batches; go on with the same command and resume=auto"
    )
    assert_equal(twin, again)


@pytest.fixture
def killed(here_, monkeypatch):
    """A run that ends, as by a kill, in the fourth batch of its second epoch; its folder and its options."""
    options = [*STBP, "callbacks.checkpoint_batches=2"]

    class Gone(BaseException):
        pass

    def kill():
        raise Gone

    with monkeypatch.context() as patch:
        shown(patch, (1, 3), kill)
        with pytest.raises(Gone):
            run(compose(options))
    (folder,) = here_.glob("outputs/*")
    return folder, options


def test_what_came_after_the_last_checkpoint_is_lost_and_no_more(killed, monkeypatch):
    folder, options = killed
    batches = shown(monkeypatch)
    assert run(compose([*options, "resume=auto"])).folder.resolve() == folder
    assert batches == [(1, 2), (1, 3), (1, 4)]


@pytest.mark.parametrize("damage", ["cut", "one byte", "another run", "an epoch's", "stale", "best is gone", "a pipe"])
def test_a_damaged_one_is_left_for_the_epoch_before_it(damage, killed, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    folder, options = killed
    path, epoch = folder / "checkpoints/midway.ckpt", folder / "checkpoints/epoch000.ckpt"
    assert furthest(folder, MOST) == path
    content, stored = path.read_bytes(), torch.load(path, weights_only=True)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "one byte":
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 4]) + content[5001:])
    elif damage == "another run":
        torch.save(stored | {"run": "0123456789abcdef"}, path)
    elif damage == "an epoch's":
        shutil.copyfile(epoch, path)
    elif damage == "stale":
        stored["midway"]["epoch"] = 0
        stored["callbacks"]["History"]["rows"] = []
        torch.save(stored, path)
    elif damage == "a pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        epoch.unlink()
    with caplog.at_level(logging.WARNING, "snnlab"):
        assert furthest(folder, MOST, stored["run"]) == (None if damage == "best is gone" else epoch)
    assert len(caplog.records) == (0 if damage == "stale" else 2 if damage == "best is gone" else 1)
    if damage in ("cut", "another run"):
        shutil.rmtree(folder / "figures")
        batches = shown(monkeypatch)
        run(compose([*options, "resume=auto"]))
        assert batches == [(1, i) for i in range(5)]


def test_an_epochs_checkpoint_of_another_run_or_epoch_is_left(killed, caplog):
    folder, _ = killed
    path = folder / "checkpoints/epoch000.ckpt"
    mine = torch.load(path, weights_only=True)["run"]
    assert last_whole(folder, MOST, mine) == path and last_whole(folder, MOST, "another") is None
    path.rename(path.with_name("epoch003.ckpt"))
    assert last_whole(folder, MOST, mine) is None


def loop_at(batches, world_size=1):
    """A Trainer of which ``batches`` of an epoch are done."""
    progress = SimpleNamespace(current=SimpleNamespace(completed=batches))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    return SimpleNamespace(fit_loop=loop, world_size=world_size, saved=0)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(midway.time, "monotonic", lambda: now.seconds)
    return now


def test_one_is_written_every_few_minutes_and_takes_one_percent_of_the_time_at_most(tmp_path, clock):
    callback = Midway(tmp_path, History(tmp_path), minutes=5)
    callback.trainer = trainer = loop_at(7)
    trainer.train_dataloader = None

    def save(path):
        trainer.saved += 1
        clock.seconds += 10

    trainer.save_checkpoint = save
    callback.on_train_epoch_start(trainer, None)
    saved_at = []
    for _ in range(400):
        clock.seconds += 10
        before = trainer.saved
        assert callback.between()
        if trainer.saved > before:
            saved_at.append(clock.seconds)
    assert saved_at[0] == 1000 + 300 + 10 and set(np.diff(saved_at)) == {1000 + 10}


def test_a_full_disk_costs_the_file_and_not_the_run(tmp_path, clock, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    callback = Midway(tmp_path, History(tmp_path), minutes=5, batches=7)
    callback.trainer = trainer = loop_at(7)

    def save(path):
        raise OSError(28, "No space left on device", str(path))

    trainer.save_checkpoint = save
    assert callback.between() and not callback.saving
    assert "midway.ckpt cannot be written (No space left on device); the run goes on without it" in caplog.text


def test_a_second_signal_ends_it_at_once_but_a_clusters_warning_is_none(tmp_path):
    callback = Midway(tmp_path, History(tmp_path))
    got, names = [], (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda n, _: got.append(n)) for number in names}
    try:
        callback.on_train_start(loop_at(3), None)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert callback.asked == signal.SIGUSR1 and signal.getsignal(signal.SIGTERM) == callback.note
        os.kill(os.getpid(), signal.SIGTERM)
        assert callback.asked == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not got
        callback.stop()
        assert got == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) == callback.note  # it may go on
        callback.let_go()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_several_processes_end_as_they_did(tmp_path):
    callback = Midway(tmp_path, History(tmp_path))
    callback.on_train_start(loop_at(3, world_size=2), None)
    assert not callback.listened


def test_random_numbers_go_on_from_a_file(tmp_path):
    def drawn():
        import random

        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.standard_normal()

    reseed("a test")
    drawn()
    torch.save(random_state(), tmp_path / "state")
    first = drawn()
    assert drawn() != first
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert drawn() == first
