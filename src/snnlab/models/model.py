"""The base of the models: a topology, which takes a method's blocks and returns a network."""

from __future__ import annotations

from abc import ABC, abstractmethod

from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network


class Model(ABC):
    """A topology; a stored run may build subclasses of it alone as its model."""

    @abstractmethod
    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        """Return the network for inputs of one step [*input_shape] and so many outputs, made of ``blocks``."""
