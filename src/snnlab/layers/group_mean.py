"""The mean of neighbouring units: several units stand for one."""

from __future__ import annotations

from torch import Tensor, nn


class GroupMean(nn.Module):
    """Average units in groups of ``size``: y[k] = mean of x[k * size : (k + 1) * size].

    Shapes: x [B, K * size] -> y [B, K].
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.size)).mean(-1)

    def extra_repr(self) -> str:
        return str(self.size)
