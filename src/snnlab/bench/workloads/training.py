"""Runs for workloads that measure a method inside its trainer: built from overrides as on the command line."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.profilers import Profiler

from snnlab import kernels
from snnlab.config.build import Parts, build
from snnlab.config.compose import compose
from snnlab.runs.wiring import prepared, wire


def composed(overrides: Sequence[str]) -> Parts:
    """Build the parts of a run.

    Raises:
        InputError: when an override is wrong or the parts do not fit.
    """
    quiet = ["logger=none", "callbacks.figures=false", "callbacks.progress=false"]
    return build(compose([*overrides, *quiet]).config)


def prepare(parts: Parts) -> None:
    """Read the data and prepare the method.

    Raises:
        InputError: when the data is not there.
    """
    parts.data.setup()
    with prepared(parts):
        pass


def train(parts: Parts, callbacks: list[L.Callback], **arguments: Any) -> None:
    """Train with the Trainer and the callbacks of a recorded run, without validation; its folder does not stay.

    ``arguments`` are the Trainer's, in place of the run's own; ``callbacks`` come after the run's.
    """
    with tempfile.TemporaryDirectory() as folder, kernels.using(parts.method.network.path):
        trainer = wire(parts, Path(folder), more=callbacks, limit_val_batches=0, **arguments).trainer
        trainer.fit(parts.method, datamodule=parts.data)


class StepClock(L.Callback):
    """Seconds of each training step, from the batch to the end of the optimizer's step; the loader is not in them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds.append(time.perf_counter() - self._started)


class PhaseClock(Profiler):
    """Seconds of some of the trainer's actions by the epoch that they fall in."""

    def __init__(self, actions: Sequence[str]) -> None:
        super().__init__()
        self.actions = tuple(actions)
        self.epochs: list[dict[str, float]] = []
        self._started: dict[str, float] = {}

    def next_epoch(self) -> None:
        """Start counting anew."""
        self.epochs.append(dict.fromkeys(self.actions, 0.0))

    def start(self, action_name: str) -> None:
        if action_name in self.actions:
            self._started[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name in self._started and self.epochs:
            self.epochs[-1][action_name] += time.perf_counter() - self._started.pop(action_name)
