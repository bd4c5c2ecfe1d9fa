"""Membrane updates: neurons times steps, those of silent neurons too."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class MembraneUpdates(Metric):
    """Mean membrane updates of one inference.

    Every membrane is updated at every step, whether a spike has reached it or not: it leaks. Readouts that integrate
    and never fire are among them. ``update`` takes how many membranes a sample has, its steps and how many samples.
    """

    full_state_update = False
    updates: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("updates", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, membranes: int, steps: int, samples: int) -> None:
        self.updates = self.updates + membranes * steps * samples
        self.samples = self.samples + samples

    def compute(self) -> Tensor:
        return self.updates / self.samples.clamp(min=1)
