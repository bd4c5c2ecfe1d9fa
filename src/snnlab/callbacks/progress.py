"""Progress a person can read: a bar on a terminal, one line per epoch everywhere."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar

from snnlab.callbacks.history import History


class EpochLines(L.Callback):
    """Print ``epoch 3/10  train loss 0.021 accuracy 0.91  val ...  4.2 s, 29 s left`` after each epoch."""

    def __init__(self, history: History) -> None:
        self.history, self._started = history, 0.0
        self.seconds: list[float] = []  # of each epoch that was run here, its validation included

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
        self.seconds.append(time.perf_counter() - self._started)
        done, total = trainer.current_epoch + 1, trainer.max_epochs
        total = total if total and total > 0 else None
        times = f"{self.seconds[-1]:.1f} s"
        if total and done < total:
            times += f", {duration(self.left(total - done))} left"
        tqdm_print(f"epoch {done}/{total or '?'}  {'  '.join(words)}  {times}")

    def left(self, epochs: int) -> float:
        """Seconds that so many epochs will take: as the last five did in the middle; the first one also starts up."""
        return epochs * statistics.median(self.seconds[1:][-5:] or self.seconds)


class EpochBar(L.Callback):
    """One bar in place for the epochs of a run, with the last value of the figure that its checkpoint is chosen by."""

    def __init__(self, history: History) -> None:
        self.history, self.bar = history, None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        from tqdm import tqdm

        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        self.bar = tqdm(total=total, initial=trainer.current_epoch, unit="epoch", file=sys.stdout)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.bar is None or self.history.last != trainer.current_epoch:  # an epoch cut short is none
            return
        value = self.history.at(trainer.current_epoch).get(self.history.metric)
        if value is not None:
            self.bar.set_postfix_str(f"{self.history.metric} {value:.4g}", refresh=False)
        self.bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


class RunBar(TQDMProgressBar):
    """The bar of an epoch, with the time that the whole run will still take."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self.began, self.first = time.perf_counter(), trainer.current_epoch

    def get_metrics(self, trainer: L.Trainer, pl_module: Any) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed / max(trainer.num_training_batches, 1)
        done = trainer.current_epoch - self.first + min(batches, 1.0)
        if trainer.max_epochs and trainer.max_epochs > 0 and done > 0:
            left = (time.perf_counter() - self.began) / done * (trainer.max_epochs - self.first - done)
            metrics["left"] = duration(max(left, 0.0))
        return metrics


def duration(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def tqdm_print(text: str) -> None:
    """Print a line above a running bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def make_bar(_enable_bar: bool | None, history: History) -> list[L.Callback]:
    """What a notebook shows of a run: one line."""
    return [EpochBar(history)]


def make_progress(enable_bar: bool | None, history: History) -> list[L.Callback]:
    """The bar only where a person watches (or where ``trainer.enable_progress_bar`` asks for it)."""
    lines: list[L.Callback] = [EpochLines(history)]
    if enable_bar or (enable_bar is None and sys.stderr.isatty()):
        lines.append(RunBar(leave=False))
    return lines
