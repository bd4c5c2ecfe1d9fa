"""Leave every weight as its layer made it."""

from __future__ import annotations

from torch import Tensor

from snnlab.initializers.initializer import Initializer
from snnlab.layers.network import Network


class Default(Initializer):
    """The initialiser that changes nothing (PyTorch: uniform within 1/sqrt(fan_in))."""

    def __call__(self, network: Network, frames: Tensor) -> None:
        """Sees the network and a sample of its input [T, B, ...]; sets nothing."""
