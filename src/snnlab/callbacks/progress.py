"""Progress a person can read: a bar on a terminal, one line per epoch everywhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from snnlab.callbacks.history import History


class EpochLines(L.Callback):
    """Print ``epoch 3/10  train loss 0.021 accuracy 0.91  val ...  4.2 s`` after each epoch."""

    def __init__(self, history: History) -> None:
        self.history, self._started = history, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.history.last != trainer.current_epoch:  # an epoch cut short is none
            return
        row = self.history.at(trainer.current_epoch)
        words = []
        for split in ("train", "val"):
            values = [
                f"{key.split('/', 1)[1]} {value:.4g}"
                for key, value in sorted(row.items())
                if key.startswith(f"{split}/") and key.count("/") == 1
            ]
            words.append(f"{split} " + " ".join(values))
        seconds = time.perf_counter() - self._started
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        tqdm_print(f"epoch {trainer.current_epoch + 1}/{total}  {'  '.join(words)}  {seconds:.1f} s")


def tqdm_print(text: str) -> None:
    """Print a line above a running bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def make_progress(enable_bar: bool | None, history: History) -> list[L.Callback]:
    """The bar only where a person watches (or where ``trainer.enable_progress_bar`` asks for it)."""
    lines: list[L.Callback] = [EpochLines(history)]
    if enable_bar or (enable_bar is None and sys.stderr.isatty()):
        lines.append(TQDMProgressBar(leave=False))
    return lines
