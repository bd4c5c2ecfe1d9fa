"""Connection sparsity: the share of the weights that are 0; biases are no connections."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab.layers.chain import Chain
from snnlab.layers.network import Network


class ConnectionSparsity(Metric):
    """``update(network)`` looks at every weight as it is used, through its constraint; ``compute`` is in [0, 1]."""

    full_state_update = False
    zeros: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("zeros", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("weights", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, network: Network) -> None:
        for weight in Chain(network).weights().values():
            used = weight.used.detach()
            self.zeros = self.zeros + (used.numel() - torch.count_nonzero(used))
            self.weights = self.weights + used.numel()

    def compute(self) -> Tensor:
        return self.zeros / self.weights
