"""Batches that processes share: each knows which part it has, and after every epoch all must hold the same weights."""

from __future__ import annotations

import signal
import threading
from typing import Any

import lightning as L
import torch

from snnlab import ranks
from snnlab.errors import RunFailure


class Sharing(L.Callback):
    """Only in a run of several processes, before every callback that looks at a batch.

    Raises:
        RunFailure: where a rule has moved the weights of its process alone, naming the first.
    """

    def __init__(self) -> None:
        self.at_sigterm = signal.getsignal(signal.SIGTERM)

    def keep_handler(self) -> None:
        """Lightning's own would wait for the other processes, which know of no signal."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.at_sigterm)

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.keep_handler()

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.keep_handler()

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.keep_handler()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        ranks.begin(pl_module.data.question.size(batch.labels), pl_module.device)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.look(trainer.val_dataloaders, pl_module, batch)

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.look(trainer.test_dataloaders, pl_module, batch)

    def look(self, loader: Any, pl_module: Any, batch: Any) -> None:
        """A batch is to be looked at; one that is taken whole is nobody else's."""
        if loader.sampler.parts:
            ranks.begin(pl_module.data.question.size(batch.labels), pl_module.device)
        else:
            ranks.end()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        ranks.end()

    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        ranks.end()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        ranks.end()
        for name, value in pl_module.state_dict().items():
            if isinstance(value, torch.Tensor) and not ranks.agree(value):
                raise RunFailure(
                    f"{name} is not the same in all processes after epoch {trainer.current_epoch + 1}: this method "
                    "changes it in a way that is not shared (methods/base/method.py, gather); use trainer.devices=1"
                )
