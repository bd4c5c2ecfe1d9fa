"""Random numbers that depend on (seed, epoch) alone, so that a resumed run equals one that was never interrupted."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
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


def random_state() -> dict[str, Any]:
    """Where the generators of torch (of every device), numpy and Python are, in what a checkpoint may hold."""
    name, keys, *rest = np.random.get_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": devices,
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators back where ``random_state`` found them."""
    name, keys, *rest = state["numpy"]
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


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
