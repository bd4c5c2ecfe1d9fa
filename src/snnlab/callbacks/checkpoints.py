"""One checkpoint for every epoch that has ended; the one that is tested is the best on validation, or the last.

A checkpoint is written once an epoch is over, with all that belongs to it (weights, optimizers, schedulers, and the
state of every callback, the figures of the epochs among them). So a resumed run needs nothing but its checkpoint, and
takes no part in an epoch twice: it begins the next epoch afresh, or goes on in the middle of one (midway.py).
"""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from snnlab.atomic import write_bytes
from snnlab.callbacks.history import History
from snnlab.callbacks.midway import FILE as MIDWAY
from snnlab.checkpoint import check_file, check_fit, inside
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
        run: which run it is; every checkpoint says so.
    """

    def __init__(
        self, folder: Path, history: History, network: Network, keep_all: bool = False, run: str | None = None
    ) -> None:
        self.folder, self.history, self.network, self.keep_all = folder / "checkpoints", history, network, keep_all
        self.run = run
        self.taken = False  # whether what a checkpoint holds has been taken up, where there was one
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
            if trainer.is_global_zero:
                with contextlib.suppress(OSError):
                    (self.folder / MIDWAY).unlink(missing_ok=True)
            if not self.keep_all and trainer.is_global_zero:
                self.prune(before | self.needed)

    def prune(self, kept: set[int]) -> None:
        """Remove the checkpoints of the epochs that are not ``kept``."""
        for path in self.folder.glob("epoch*.ckpt"):
            if (number := path.stem.removeprefix("epoch")).isdecimal() and int(number) not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.run

    def state_dict(self) -> dict[str, Any]:
        return {"saved": self.saved, "needed": sorted(self.needed), "kernels": self.network.path.taken()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.saved, self.needed = state_dict["saved"], set(state_dict["needed"])
        self.network.path.fused.update(state_dict["kernels"]["fused"])
        self.network.path.looped.update(state_dict["kernels"]["step"])

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """What was resumed begins a new epoch: Lightning would end the epoch of the checkpoint a second time."""
        self.taken = True
        loops = (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop)
        trainer.fit_loop.restarting = False
        for loop in loops:
            loop.on_iteration_done()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        check_fit(pl_module, checkpoint["state_dict"])
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


def name(epoch: int) -> str:
    return f"epoch{epoch:03d}.ckpt"


def furthest(folder: Path, most: int, run: str | None = None) -> Path | None:
    """The checkpoint to go on from: that of a part of an epoch where there is one, else ``last_whole``."""
    last, path = last_whole(folder, most, run), folder / "checkpoints" / MIDWAY
    if not (path.exists() or path.is_symlink()) or (content := read(path, most, run)) is None:
        return last
    epoch, history = content["midway"]["epoch"], History.of(folder, content)
    if last is not None and number(last) >= epoch:  # a kill came before it was removed
        return last
    best = history.best()
    if best is not None and read(folder / "checkpoints" / name(best), most, run) is None:
        log.warning("%s is left: the best epoch before it, %d, has no whole checkpoint", path, best)
        return last
    return path


def last_whole(folder: Path, most: int, run: str | None = None) -> Path | None:
    """The checkpoint of the last epoch that is whole, as is the best of the epochs before it.

    Those that are not whole, have more than ``most`` bytes or are of another run than ``run`` (None: of any) are told
    in one line each; they are made again.
    """
    found = {number(path): path for path in (folder / "checkpoints").glob("epoch*.ckpt")}
    found = {epoch: path for epoch, path in found.items() if epoch >= 0}
    for epoch in sorted(found, reverse=True):
        if (checkpoint := read(found[epoch], most, run)) is None:
            continue
        best = History.of(folder, checkpoint).best()
        if best in (None, epoch) or (best in found and read(found[best], most, run) is not None):
            return found[epoch]
        log.warning("%s is left: the best epoch before it, %d, has no whole checkpoint", found[epoch], best)
    return None


def number(path: Path) -> int:
    """The epoch of a checkpoint by its name, -1 where it has none."""
    digits = path.stem.removeprefix("epoch")
    return int(digits) if digits.isdecimal() else -1


def read(path: Path, most: int, run: str | None = None) -> dict[str, Any] | None:
    """The content of a checkpoint; None, after a notice, where it is not whole, too large or of another run."""
    try:
        check_file(inside(path.parent.parent, f"{path.parent.name}/{path.name}"), most)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        reason = fault(checkpoint, path, run)
        if not reason:
            return checkpoint
    except Exception as error:
        reason = type(error).__name__
    log.warning("%s is no whole checkpoint (%s); the one before it is taken", path, reason)
    return None


def fault(checkpoint: Any, path: Path, run: str | None) -> str:
    """Why a checkpoint is not that of its name and run; "" where it is."""
    if not {"state_dict", "callbacks", "loops"} <= checkpoint.keys() or "History" not in checkpoint["callbacks"]:
        return "not one of this snnlab"
    if run is not None and checkpoint.get("run") != run:
        return "it is of another run"
    last, midway = History.of(path.parent.parent, checkpoint).last, checkpoint.get("midway")
    epoch = number(path) if midway is None else midway["epoch"] - 1
    if last != epoch or (midway is None) == (path.name == MIDWAY):
        return f"it is of epoch {last}"
    return ""
