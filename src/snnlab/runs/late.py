"""A logger beside the record: it starts after the first training step, and nothing of it takes a run down.

An error of it is told in one warning, after which the run goes on without it. Random numbers that are drawn in it were
not drawn.
"""

from __future__ import annotations

import contextlib
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.seed import isolate_rng

from snnlab.errors import one_line

log = logging.getLogger("snnlab")


class Late(Logger):
    """A logger that starts after the first training step, or when there is something to log before it.

    Such a library takes seconds to import and start, which no step has to wait for. ``seconds`` tells how long it took,
    so that the time of the fit can do without.

    Args:
        start: returns the library's own object, or None where it is off.
    """

    title: str  # in warnings

    def __init__(self, start: Callable[[], Any]) -> None:
        super().__init__()
        self._start, self._run, self._started, self.seconds = start, None, False, 0.0

    def run(self) -> Any:
        """The library's own object, started if it has not been, or None where there is none."""
        if not self._started:
            self._started, before = True, time.perf_counter()
            with self.guarded("start"):
                self._run = self._start()
            self.seconds = time.perf_counter() - before
        return self._run

    @contextlib.contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """An error in here ends the logger, not the run; random numbers that are drawn in here were not drawn."""
        raises, logging.raiseExceptions = logging.raiseExceptions, False  # its own log may lie on a full disk
        try:
            with isolate_rng():
                try:
                    yield
                except Exception as error:
                    self.give_up(what, error)
        finally:
            logging.raiseExceptions = raises

    def give_up(self, what: str, error: Exception) -> None:
        """Tell it once, and close what is still open."""
        run, self._run = self._run, None
        reason = one_line(error)[:200] or type(error).__name__
        text = "%s could not %s (%s); the run goes on without it, its own files hold the record"
        log.warning(text, self.title, what, reason)
        with contextlib.suppress(Exception):
            self.let_go(run)

    def let_go(self, run: Any) -> None:
        """Close what is still open of a logger that failed."""

    @property
    def name(self) -> str | None:
        return None

    @property
    def version(self) -> str | None:
        return None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is there from the start."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if (run := self.run()) is not None:
            with self.guarded("log"):
                self.send(run, metrics, step)

    def finish(self, status: str, summary: Mapping[str, Any], pictures: Sequence[Path] = ()) -> None:
        """Send the summary and the pictures, say how the run ended, and close.

        A run that failed before its first step is sent too.
        """
        run = self.run() if status == "failed" else self._run
        if run is None:
            return
        with self.guarded("finish"):
            self.close(run, status, summary, pictures)
        self._run = None

    @abstractmethod
    def send(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        """Figures of one training step, ``epoch`` among them."""

    @abstractmethod
    def close(self, run: Any, status: str, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """As ``finish``."""


class StartAfterFirstStep(L.Callback):
    """Start loggers once a training step has been taken; log the learning rates it was taken with, now and then."""

    def __init__(self, *loggers: Late) -> None:
        self.loggers = loggers
        self.rates: dict[str, float] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % max(trainer.log_every_n_steps, 1) == 0:
            rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
            self.rates = {
                f"learning_rate/{i}" if len(rates) > 1 else "learning_rate": float(rate) for i, rate in enumerate(rates)
            }

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        for logger in self.loggers:
            if logger.run() is not None and self.rates:
                logger.log_metrics({**self.rates, "epoch": trainer.current_epoch}, trainer.global_step)
        self.rates = {}
