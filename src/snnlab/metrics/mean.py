"""Mean of a figure over samples, without a look at its values: a device is not asked whether they are NaN."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Mean(Metric):
    """Mean over samples: ``update(value, size)`` takes the mean value of ``size`` samples.

    torchmetrics' MeanMetric reads the device to find NaN, and forgets the sizes where it is told not to.
    """

    full_state_update = False
    total: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: Tensor, size: int) -> None:
        self.total = self.total + value.to(self.total.dtype) * size
        self.samples = self.samples + size

    def compute(self) -> Tensor:
        return self.total / self.samples
