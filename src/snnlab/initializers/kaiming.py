"""Uniform weights of variance gain^2 * 2 / fan_in, zero bias (He et al. 2015, arXiv:1502.01852, eq. 10)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnlab.initializers.initializer import Initializer
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network


class Kaiming(Initializer):
    """Set every weight of the chain but those that are all zero: they start silent on purpose.

    Args:
        gain: factor on the standard deviation, > 0.

    Raises:
        ValueError: when gain is not positive.
    """

    def __init__(self, gain: float = 1.0) -> None:
        if not gain > 0:
            raise ValueError(f"Kaiming: gain = {gain} must be positive; 1.0 is He's value for ReLU")
        self.gain = gain

    @torch.no_grad()
    def __call__(self, network: Network, frames: Tensor) -> None:
        for weight in Chain(network).weights().values():
            stored = weight.stored
            if stored.any():
                bound = math.sqrt(3.0) * (math.sqrt(2.0) / math.sqrt(weight.fan_in))
                stored.uniform_(-bound, bound).mul_(self.gain)
                if (bias := weight.bias_values) is not None:
                    nn.init.zeros_(bias.stored)
