"""The base of the regularizers: a penalty of the spikes, and states, of hidden layers, added to the training loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class Regularizer(ABC):
    """A term of the loss; a stored run may build subclasses of it alone as one."""

    reads_states = False  # whether ``of_states`` is asked, too

    @abstractmethod
    def __call__(self, spikes: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty, a scalar, of the spikes [T, B, ...] of each hidden layer."""

    def of_states(self, states: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty, a scalar, of the states v [T, B, ...] of each hidden layer."""
        raise NotImplementedError(f"{type(self).__name__} reads states, and has no of_states")
