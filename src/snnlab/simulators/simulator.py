"""What a simulator of exact spike times is: it finds the spikes of a layer of neurons, and carries errors back.

    times [B, N, K], weight [M, N]  ->  Spikes: times [B, M, most], infinite = silent, and counts [B, M]

A gradient of times is dL/dt of every spike. One of counts goes, where the simulator says so, into the jump of the
error at every spike of the neuron; others have none. ``layers/spike_time_network.py`` runs a chain of layers on them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import InputError

GRAZING = 1e-3  # least slope du/dt that an error is divided by, in units of threshold / tau


class Firing(NamedTuple):
    """threshold of the potential, > 0; tau_synapse and duration in one unit of time; most spikes of a neuron, >= 1."""

    threshold: float
    tau_synapse: float
    duration: float
    most: int

    def check(self) -> Firing:
        """Raise ValueError when one of them leaves its range."""
        for name, value in zip(self._fields[:3], self[:3], strict=True):
            if not 0 < value < float("inf"):
                raise ValueError(f"spike_times: {name} = {value} must be positive and finite")
        if self.most < 1:
            raise ValueError(
                f"spike_times: most = {self.most} must be at least 1; 1 is time to first spike, 30 is usual"
            )
        return self


class Spikes(NamedTuple):
    """times [B, M, most] in order, infinite where there is none; counts [B, M] of them."""

    times: Tensor
    counts: Tensor


class Simulator(ABC):
    """Finds the spike times of a layer, its own earlier spikes and, where it ``recurs``, those of its neighbours seen.

    Raises:
        ValueError: shapes that do not fit.
        InputError: weights in 16 bits.
    """

    recurs: ClassVar[bool] = False  # whether spikes may return to their own layer through ``recurrent`` [M, M]

    @abstractmethod
    def simulate(self, times: Tensor, weight: Tensor, firing: Firing, recurrent: Tensor | None = None) -> Spikes:
        """The spikes of M neurons with weight [M, N] behind the spike times [B, N, K]."""

    @abstractmethod
    def membrane(
        self,
        grid: Tensor,
        times: Tensor,
        weight: Tensor,
        own: Tensor,
        firing: Firing,
        recurrent: Tensor | None = None,
    ) -> Tensor:
        """The potential [S, B, M] at the times ``grid`` [S], for input spikes [B, N, K] and own spikes [B, M, K']."""


def check_layer(times: Tensor, weight: Tensor, recurrent: Tensor | None = None) -> None:
    """Raise ValueError for shapes that do not fit, and InputError for weights in 16 bits."""
    if times.dim() != 3 or weight.dim() != 2 or times.shape[1] != weight.shape[1]:
        raise ValueError(
            f"spike_times: times {list(times.shape)} must be [B, N, K] and weight {list(weight.shape)} [M, N]"
        )
    if recurrent is not None and recurrent.shape != (len(weight), len(weight)):
        raise ValueError(f"spike_times: recurrent {list(recurrent.shape)} must be {[len(weight)] * 2}, as many as fire")
    if weight.dtype not in (torch.float32, torch.float64):
        raise InputError(f"spike times need float32 or float64, not {weight.dtype}; use trainer.precision=32-true")
