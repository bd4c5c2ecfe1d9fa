"""The family that takes its own steps: its rule fills ``.grad`` or moves the weights, and steps the optimizers.

Lightning's manual optimisation neither clips nor accumulates gradients and leaves the schedulers alone. So
``trainer.gradient_clip_val`` is kept here, at each step of an optimizer, where the rule fills ``.grad``, and is refused
elsewhere; ``trainer.accumulate_grad_batches`` is refused, as steps are part of the rule; and the schedulers are stepped
here, after each epoch or batch.
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

    clips = False  # whether every step follows ``.grad``, so that a gradient can be clipped before it

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
        self.clip_value: float | None = None
        self.clip_algorithm: str | None = None

    def check_trainer(self, trainer: Mapping[str, Any]) -> None:
        clip = trainer["gradient_clip_val"]
        if clip is not None and not self.clips:
            raise InputError(
                f"trainer.gradient_clip_val = {clip}: this rule moves weights without a gradient, so there is none to "
                "clip; lower its learning rates instead"
            )
        if (batches := trainer["accumulate_grad_batches"]) != 1:
            raise InputError(
                f"trainer.accumulate_grad_batches = {batches}: this method takes its own steps, of which a batch may "
                "have several; raise data.batch_size instead"
            )
        self.clip_value, self.clip_algorithm = clip, trainer["gradient_clip_algorithm"]
        super().check_trainer(trainer)

    def kept_from_trainer(self) -> dict[str, Any]:
        return {"gradient_clip_val": None, "gradient_clip_algorithm": None}

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        self.clip(optimizer)

    def clip(self, optimizer: Any) -> None:
        """Clip the gradients of an optimizer as the Trainer was asked to."""
        if self.clip_value is not None:
            self.clip_gradients(optimizer, self.clip_value, self.clip_algorithm or "norm")

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
