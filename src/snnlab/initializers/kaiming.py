"""Uniform weights of variance gain^2 * 2 / fan_in, zero bias (He et al. 2015, arXiv:1502.01852, eq. 10)."""

from __future__ import annotations

from torch import Tensor, nn

from snnlab.layers.network import Network
from snnlab.weights.standardised import stored_weight


class Kaiming:
    """Set every Linear and Conv2d weight but those that are all zero: they start silent on purpose.

    Args:
        gain: factor on the standard deviation, > 0.

    Raises:
        ValueError: when gain is not positive.
    """

    def __init__(self, gain: float = 1.0) -> None:
        if not gain > 0:
            raise ValueError(f"Kaiming: gain = {gain} must be positive; 1.0 is He's value for ReLU")
        self.gain = gain

    def __call__(self, network: Network, frames: Tensor) -> None:
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d) and (weight := stored_weight(layer)).any():
                nn.init.kaiming_uniform_(weight, nonlinearity="relu")
                weight.data.mul_(self.gain)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
