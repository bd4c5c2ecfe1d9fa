"""Progress a person can read: a bar on a terminal, one line per epoch everywhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar


class EpochLines(L.Callback):
    """Print ``epoch 3/10  train loss 0.021 accuracy 0.91  val ...  4.2 s`` after each epoch."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not any("/" in key for key in trainer.callback_metrics):  # a resume ends the epoch it took up
            return
        words = []
        for split in ("train", "val"):
            values = [
                f"{key.split('/', 1)[1]} {float(value):.4g}"
                for key, value in sorted(trainer.callback_metrics.items())
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


def make_progress(enable_bar: bool | None) -> list[L.Callback]:
    """The bar only where a person watches (or where ``trainer.enable_progress_bar`` asks for it)."""
    lines: list[L.Callback] = [EpochLines()]
    if enable_bar or (enable_bar is None and sys.stderr.isatty()):
        lines.append(TQDMProgressBar(leave=False))
    return lines
