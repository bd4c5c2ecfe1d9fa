"""The contract of everything that has a memory in time: ``initial_state``, ``step``, ``unroll``, ``forward``.

State is explicit and dies with the batch. ``step`` holds the equation; ``unroll`` loops over it and returns every
state; ``forward`` gives the same numbers as ``unroll`` without the states, maybe faster.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.errors import InputError
from snnlab.neurons.response import Response
from snnlab.neurons.time import Unit, units

Sends = Literal["spikes", "values at events", "values"]


class Temporal(nn.Module):
    """A layer with a state: a NamedTuple of tensors [B, ...], or of the states of layers inside it."""

    times: ClassVar[Mapping[str, Unit]] = units()  # the arguments that are times, or go with the step
    by_step: ClassVar[bool] = True  # whether forward goes through ``step``, and a limit of the state there holds there

    filters: ClassVar[bool] = False  # whether it makes analog values of the spikes that it gets

    @abstractmethod
    def initial_state(self, current: Tensor) -> Any:
        """Return the state before the first step, for a current [B, ...] of that step."""

    @abstractmethod
    def step(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Advance one time step: current [B, ...] and state -> output [B, ...] and the next state."""

    def unroll(self, currents: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Loop over ``step``: currents [T, B, ...] -> outputs [T, B, ...] and the states, each field [T, B, ...]."""
        state, watch = self.initial_state(currents[0]) if state is None else state, kernels.watched_by()
        if watch is not None:
            watch.started(self, state)
        outputs, states = [], []
        for current in currents:
            output, state = self.step(current, state)
            outputs.append(output)
            states.append(state)
        if watch is not None:
            watch.ended(self, state)
        return torch.stack(outputs), type(state)(*map(torch.stack, zip(*states, strict=True)))

    def forward(self, currents: Tensor) -> Tensor:
        """Return the outputs [T, B, ...] of currents [T, B, ...], starting from ``initial_state``."""
        fused = kernels.fused(self, currents)
        if fused is not None:
            return fused
        state, watch = self.initial_state(currents[0]), kernels.watched_by()
        if watch is not None:
            watch.started(self, state)
        outputs = []
        for current in currents:
            output, state = self.step(current, state)
            outputs.append(output)
        if watch is not None:
            watch.ended(self, state)
        return torch.stack(outputs)

    def kept(self, values: Tensor, decay: float | Tensor) -> Tensor:
        """What is left of a state after a step with this factor; a chip with whole numbers has a rule of its own."""
        return decay * values

    def response(self) -> Response:
        """What one spike through a weight of 1 does to the free membrane; initialisers ask for it.

        Raises:
            InputError: unless the class says it.
        """
        raise InputError(
            f"{type(self).__name__}: its membrane's response to one spike is not known, which init=fluctuation needs; "
            "give the class a method response, or use init=kaiming"
        )


class Neuron(Temporal):
    """A spiking neuron layer: outputs are 0/1 in the dtype of the currents, unless it says otherwise in ``sends``."""

    sends: Sends = "spikes"  # values at events: 0 or a number that the next weight multiplies; values: no events at all
    # whether its spikes are samples of a distribution, and no answer to an input; then it tells its units and synapses
    samples: ClassVar[bool] = False
    currents_per_unit: ClassVar[int] = 1  # above 1: it has gates, and returns its outputs to itself

    def events(self, outputs: Tensor) -> Tensor:
        """Where ``outputs`` [...] were sent, as 0/1: what counts spikes counts these."""
        return outputs


def check_state(name: str, v: Tensor, current: Tensor) -> None:
    """Raise ValueError when a membrane potential left from another batch meets this current."""
    if v.shape != current.shape:
        raise ValueError(
            f"{name}.step: state v is {list(v.shape)}, current is {list(current.shape)}; "
            "start the batch with initial_state(current)"
        )
