"""A learning rate that changes: which scheduler there is, when it takes a step, and what it is told.

Most step after each epoch. Those that torch's own pages step after each batch (``PER_BATCH``) do so here; one that
looks at a figure (ReduceLROnPlateau) gets the one that the checkpoint is chosen by. A OneCycleLR that is not told how
many steps there are takes those of the training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.optim.lr_scheduler import ChainedScheduler, CyclicLR, OneCycleLR, ReduceLROnPlateau, SequentialLR

from snnlab.errors import InputError
from snnlab.questions.question import Monitor

PER_BATCH = (OneCycleLR, CyclicLR)


class Schedule(NamedTuple):
    """A scheduler, and whether it steps after each batch."""

    scheduler: Any
    per_batch: bool

    @property
    def on_plateau(self) -> bool:
        """Whether a step is told the monitored figure."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    def step(self, figure: float) -> None:
        """Take a step; ``figure`` is told to a scheduler that looks at it."""
        if self.on_plateau:
            self.scheduler.step(figure)
        else:
            self.scheduler.step()

    def config(self, monitor: Monitor) -> dict[str, Any]:
        """As Lightning takes it from ``configure_optimizers``.

        Raises:
            InputError: when a scheduler waits for a low figure that is better high, or the other way round.
        """
        metric, mode = monitor
        if self.on_plateau and self.scheduler.mode != mode:
            raise InputError(
                f"method.scheduler.mode = {self.scheduler.mode}: {metric} is the figure it looks at, and {mode} is its "
                f"best; use +method.scheduler.mode={mode}"
            )
        interval = "step" if self.per_batch else "epoch"
        told = {"monitor": metric} if self.on_plateau else {}
        return {"scheduler": self.scheduler, "interval": interval, **told}


def make_schedule(
    make: Callable[[torch.optim.Optimizer], Any], optimizer: torch.optim.Optimizer, steps: Callable[[], int]
) -> Schedule:
    """Make the scheduler of an optimizer; those that follow one another are made with it first.

    Args:
        steps: asked for the optimizer steps of the training where a scheduler has to know.

    Raises:
        InputError: when schedulers that follow one another differ in when they step, or one looks at a figure.
    """
    if isinstance(make, partial) and make.func in (SequentialLR, ChainedScheduler):
        parts = [make_schedule(part, optimizer, steps) for part in make.keywords.get("schedulers", [])]
        if len({part.per_batch for part in parts}) > 1 or any(part.on_plateau for part in parts):
            raise InputError(
                f"method.scheduler: {make.func.__name__} takes schedulers that step together: all after each epoch or "
                "all after each batch, and none that waits for a figure"
            )
        keywords = {**make.keywords, "schedulers": [part.scheduler for part in parts]}
        return schedule_of(make.func(**keywords, optimizer=optimizer))
    if isinstance(make, partial) and make.func is OneCycleLR and not {"total_steps", "epochs"} & {*make.keywords}:
        make = partial(make, total_steps=steps())
    return schedule_of(make(optimizer))


def schedule_of(scheduler: Any) -> Schedule:
    """Say when a scheduler steps; of several that follow one another, the first tells."""
    first = getattr(scheduler, "_schedulers", [scheduler])[0]
    return Schedule(scheduler, isinstance(first, PER_BATCH))
