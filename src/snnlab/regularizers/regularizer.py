"""The base of the regularizers: a penalty of the spikes of hidden layers, added to the training loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class Regularizer(ABC):
    """A term of the loss; a stored run may build subclasses of it alone as one."""

    @abstractmethod
    def __call__(self, spikes: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty, a scalar, of the spikes [T, B, ...] of each hidden layer."""
