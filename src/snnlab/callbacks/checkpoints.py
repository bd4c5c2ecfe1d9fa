"""One checkpoint for every epoch that has ended; the one that is tested is the best on validation, or the last.

A checkpoint is written once an epoch is over, with all that belongs to it (weights, optimizers, schedulers, and the
state of every callback, the figures of the epochs among them), and what is resumed begins the next epoch afresh. So a
resumed run needs nothing but its checkpoint, and takes no part in an epoch twice.
"""

from __future__ import annotations

import contextlib
import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from snnlab.atomic import write_bytes
from snnlab.callbacks.history import History
from snnlab.checkpoint import check_file, inside
from snnlab.errors import RunFailure
from snnlab.layers.network import Network

log = logging.getLogger("snnlab")


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint whole or not at all, beside its target and never through TMPDIR."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(Path(path), buffer.getbuffer())


class EpochCheckpoints(L.Callback):
    """Save ``checkpoints/epoch000.ckpt``, ... of the epochs that ``history`` holds, and know which is the best.

    It stands before every callback that does something when an epoch starts. A new one makes older ones superfluous:
    what stays is the last and the best, and those that were so one epoch before, should the last be damaged.

    Args:
        folder: of the run.
        history: of its epochs.
        network: the one that is trained: which neurons ran fused is kept with it.
        keep_all: keep every epoch's.
    """

    def __init__(self, folder: Path, history: History, network: Network, keep_all: bool = False) -> None:
        self.folder, self.history, self.network, self.keep_all = folder / "checkpoints", history, network, keep_all
        self.saved = -1  # the last epoch that has a checkpoint
        self.needed: set[int] = set()  # the last epoch and the best so far

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The schedulers were stepped after the last hook of an epoch, so it is saved before the next one."""
        self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        if self.history.last > self.saved:
            self.saved = self.history.last
            best = self.history.best()
            before, self.needed = self.needed, {self.saved} if best is None else {self.saved, best}
            trainer.save_checkpoint(self.folder / name(self.saved))
            if not self.keep_all and trainer.is_global_zero:
                self.prune(before | self.needed)

    def prune(self, kept: set[int]) -> None:
        """Remove the checkpoints of the epochs that are not ``kept``."""
        for path in self.folder.glob("epoch*.ckpt"):
            if (number := path.stem.removeprefix("epoch")).isdecimal() and int(number) not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()

    def state_dict(self) -> dict[str, Any]:
        return {"saved": self.saved, "needed": sorted(self.needed), "kernels": self.network.path.taken()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.saved, self.needed = state_dict["saved"], set(state_dict["needed"])
        self.network.path.fused.update(state_dict["kernels"]["fused"])
        self.network.path.looped.update(state_dict["kernels"]["step"])

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """What was resumed begins a new epoch: Lightning would end the epoch of the checkpoint a second time."""
        loops = (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop)
        trainer.fit_loop.restarting = False
        for loop in loops:
            loop.on_iteration_done()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["callbacks"].pop("Timer", None)  # trainer.max_time is for one sitting

    def best(self) -> int:
        """The epoch chosen on validation data.

        Raises:
            RunFailure: where no epoch was validated.
        """
        epoch = self.history.best()
        if epoch is None:
            raise RunFailure(
                f"no epoch was completed and validated on {self.history.metric}, so there is nothing to test; "
                "check trainer.max_epochs and trainer.limit_val_batches"
            )
        return epoch

    def path(self, epoch: int) -> Path:
        return self.folder / name(epoch)

    def only(self, trainer: L.Trainer) -> int:
        """Save the weights of a run that does not train, as those of its epoch 0, and return that."""
        trainer.save_checkpoint(self.path(0))
        return 0


class CheckpointOnInterrupt(L.Callback):
    """Write ``checkpoints/interrupted.ckpt`` when training is stopped by hand.

    ``resume`` goes on from the last whole epoch, which repeats the run to the bit; this file is for a look inside.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "checkpoints" / "interrupted.ckpt"

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.state.fn == "fit":
            with contextlib.suppress(OSError):  # a disk that is full does not make a failure of an interrupt
                trainer.save_checkpoint(self.path)


def name(epoch: int) -> str:
    return f"epoch{epoch:03d}.ckpt"


def last_whole(folder: Path, most: int) -> Path | None:
    """The checkpoint to go on from: the last one that is whole, as is the best of the epochs before it.

    Those that are not whole, or have more than ``most`` bytes, are told in one line each; they are made again.
    """
    found = {int(path.stem.removeprefix("epoch")): path for path in (folder / "checkpoints").glob("epoch*.ckpt")}
    for epoch in sorted(found, reverse=True):
        if (checkpoint := read(found[epoch], most)) is None:
            continue
        history = History.of(folder, checkpoint)
        best = history.best()
        if best in (None, epoch) or (best in found and read(found[best], most) is not None):
            return found[epoch]
        log.warning("%s is left: the best epoch before it, %d, has no whole checkpoint", found[epoch], best)
    return None


def read(path: Path, most: int) -> dict[str, Any] | None:
    """The content of an epoch's checkpoint; None, after a notice, where it is not whole or above ``most`` bytes."""
    try:
        check_file(inside(path.parent.parent, f"{path.parent.name}/{path.name}"), most)
        with zipfile.ZipFile(path) as file:
            if file.testzip() is None:  # torch itself does not look at the checksums
                checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                if {"state_dict", "callbacks", "loops"} <= checkpoint.keys() and "History" in checkpoint["callbacks"]:
                    return checkpoint
        reason = "not one of this snnlab"
    except Exception as error:
        reason = type(error).__name__
    log.warning("%s is no whole checkpoint (%s); the one before it is taken", path, reason)
    return None
