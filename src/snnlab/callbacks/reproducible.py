"""Random numbers that depend on (seed, epoch) alone, so that a resumed run equals one that was never interrupted."""

from __future__ import annotations

import hashlib
from typing import Any

import lightning as L
import torch


def derived_seed(*words: object) -> int:
    """Return a 63-bit seed from ``words``; neighbours are unrelated."""
    digest = hashlib.sha256(repr(words).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class ReseedEachEpoch(L.Callback):
    """Seed torch's generators at the start of every training epoch, of each validation, and of the test."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        torch.manual_seed(derived_seed(self.seed, "train", trainer.current_epoch))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        torch.manual_seed(derived_seed(self.seed, "val"))

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        torch.manual_seed(derived_seed(self.seed, "test"))
