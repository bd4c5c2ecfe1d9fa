"""Random numbers that depend on (seed, epoch) alone, so that a resumed run equals one that was never interrupted."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import lightning as L
import numpy as np
import torch


def derived_seed(*words: object) -> int:
    """Return a 63-bit seed from ``words``; neighbours are unrelated."""
    digest = hashlib.sha256(repr(words).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reseed(*words: object) -> None:
    """Seed the generators of torch, numpy and Python from ``words``."""
    seed = derived_seed(*words)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class ReseedEachEpoch(L.Callback):
    """Seed every generator at the start of every training epoch, of each validation, and of the test."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        reseed(self.seed, "train", trainer.current_epoch)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        reseed(self.seed, "val")

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        reseed(self.seed, "test")
