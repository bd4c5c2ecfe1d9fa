"""Learning-rate schedules of a run that was given more epochs."""

from __future__ import annotations

import warnings
from typing import Any

import lightning as L
from lightning.pytorch.core.optimizer import _init_optimizers_and_lr_schedulers
from torch.optim.lr_scheduler import ReduceLROnPlateau


class LongerSchedules(L.Callback):
    """Go on where a run of the new length would be by now: a cosine that had come to its end rises again.

    The first epochs keep the rates that they had. A schedule that does not know the number of epochs goes on as it was.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        _, fresh = _init_optimizers_and_lr_schedulers(pl_module)
        for config, new in zip(trainer.lr_scheduler_configs, fresh, strict=True):
            scheduler: Any = config.scheduler
            longer: Any = new.scheduler
            if isinstance(scheduler, ReduceLROnPlateau):
                continue
            with warnings.catch_warnings():  # no optimizer has taken a step
                warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                for _ in range(scheduler.last_epoch):
                    longer.step()
            scheduler.load_state_dict(longer.state_dict())
            groups = zip(scheduler.optimizer.param_groups, longer.optimizer.param_groups, strict=True)
            for group, other in groups:
                group.update({key: other[key] for key in ("lr", "momentum", "betas") if key in other})
