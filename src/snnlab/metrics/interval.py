"""Half of the 95 % interval of a mean over samples, from the spread of the samples."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

Z = 1.959964  # of the normal distribution: 2.5 % lie above


class Interval(Metric):
    """``update(values)`` takes one value per sample [B]; ``compute`` is Z sqrt(variance / samples).

    Only the samples are drawn anew in thought: neither training nor seed. With one sample it is NaN.
    """

    full_state_update = False
    moments: Tensor  # samples, sum, sum of squares

    def __init__(self) -> None:
        super().__init__()
        self.add_state("moments", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        x = values.detach().to(self.moments)
        self.moments = self.moments + torch.stack([x.new_tensor(x.numel()), x.sum(), x.square().sum()])

    def compute(self) -> Tensor:
        samples, total, squares = self.moments
        variance = (squares - total**2 / samples).clamp(min=0) / (samples - 1)
        return Z * (variance / samples).sqrt()
