"""The family that takes its own steps: its rule fills ``.grad`` or moves the weights, and steps the optimizers.

Lightning's manual optimisation neither clips nor accumulates gradients and leaves the schedulers alone, so both
arguments are refused, and the schedulers are stepped here, after each epoch or batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from snnlab.data.contract import DataSpec
from snnlab.errors import InputError
from snnlab.methods.base.method import Method, Model, Optimizer, Scheduler
from snnlab.methods.base.schedule import schedule_of


class OwnSteps(Method):
    """Arguments as Method's; one optimizer or several, as ``configure_optimizers`` says."""

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
    ) -> None:
        super().__init__(model, data, encoder, optimizer, scheduler)
        self.automatic_optimization = False

    def check_trainer(self, trainer: Mapping[str, Any]) -> None:
        if trainer["gradient_clip_val"] is not None:
            raise InputError(
                "trainer.gradient_clip_val: this method takes its own steps; lower its learning rates instead"
            )
        if trainer["accumulate_grad_batches"] != 1:
            raise InputError(
                "trainer.accumulate_grad_batches: this method takes its own steps; raise data.batch_size instead"
            )
        super().check_trainer(trainer)

    def check_precision(self, precision: str) -> None:
        if precision in ("16", "16-mixed"):
            raise InputError(
                f"trainer.precision = {precision}: its scaler would divide gradients that this method makes itself and "
                "never scaled; use bf16-mixed or 32-true"
            )
        super().check_precision(precision)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.step_schedulers(after_batch=True)

    def on_train_epoch_end(self) -> None:
        self.step_schedulers(after_batch=False)

    def step_schedulers(self, after_batch: bool) -> None:
        """Step the schedulers whose turn it is; one that looks at a figure is told the monitored one."""
        schedulers: Any = self.lr_schedulers() or []
        schedules = map(schedule_of, schedulers if isinstance(schedulers, list) else [schedulers])
        for schedule in [each for each in schedules if each.per_batch == after_batch]:
            figure = self.trainer.callback_metrics.get(self.monitor[0]) if schedule.on_plateau else 0.0
            if figure is None:  # the training ends inside its first epoch
                continue
            with warnings.catch_warnings():  # an optimizer of something frozen, or still in its warm-up, took no step
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                schedule.step(float(figure))
