"""Activation sparsity: the share of the outputs of neurons, over all layers, steps and samples, that are 0."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric


class ActivationSparsity(Metric):
    """``update(seen)`` takes spikes [T, B, ...] by layer; ``compute`` is in [0, 1], 1 where nothing fires."""

    full_state_update = False
    active: Tensor
    outputs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("active", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("outputs", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, seen: Mapping[str, Tensor]) -> None:
        for spikes in seen.values():
            self.active = self.active + torch.count_nonzero(spikes.detach())
            self.outputs = self.outputs + spikes.numel()

    def compute(self) -> Tensor:
        return 1 - self.active / self.outputs
