"""The base of the initialisers: they see the network and a sample of its input, and set weights."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from snnlab.layers.network import Network


class Initializer(ABC):
    """Sets the first weights; a stored run may build subclasses of it alone as its initialiser."""

    @abstractmethod
    def __call__(self, network: Network, frames: Tensor) -> None:
        """Set the weights of ``network``; ``frames`` is a sample of its input [T, B, ...]."""
