"""Look into a network while a sequence runs through it: the spikes and states of every layer at every step."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.layers.network import Network, Record


@dataclass(frozen=True)
class Observed:
    """What went on in a network; tensors are [T, B, ...], dictionaries by the name of the layer, in order.

    outputs     of the network, the numbers of a forward
    record      outputs and states of every layer that has a memory
    spiking     names of the spiking ones
    distances   v less the threshold when the two were compared, before the reset; 0 and more fires. Only neurons with
                one spike function a step have it.
    """

    outputs: Tensor
    record: Record
    spiking: tuple[str, ...]
    distances: dict[str, Tensor]

    @property
    def spikes(self) -> dict[str, Tensor]:
        """0 or 1 for each neuron and step; of exact spike times, how many fell into a part of the time."""
        return {name: self.record[name][0] for name in self.spiking}

    @property
    def states(self) -> dict[str, Any]:
        """Every state after each step, a NamedTuple whose fields the docstring of the layer's class explains."""
        return {name: state for name, (_, state) in self.record.items()}

    @property
    def membranes(self) -> dict[str, Tensor]:
        """The membrane potential v after each step, so after a reset, of every layer that has one."""
        return {name: state.v for name, state in self.states.items() if hasattr(state, "v")}


@torch.no_grad()
def observe(network: Network, frames: Tensor) -> Observed:
    """Run frames [T, B, ...] through ``network`` step by step, and keep all that its layers held.

    The outputs are those of ``network(frames)``; it is asked in the mode that it is in, and keeps no gradient.

    Raises:
        InputError: when ``network`` is no network, or ``frames`` no sequence of numbers of the type of its weights.
    """
    if not isinstance(network, Network):
        kind = type(network).__name__
        raise InputError(f"observe: network is a {kind}; give snnlab.load(RUN), or the network of a method")
    if not isinstance(frames, Tensor) or frames.dim() < 2 or len(frames) == 0 or not frames.is_floating_point():
        kind = f"{frames.dtype} {list(frames.shape)}" if isinstance(frames, Tensor) else type(frames).__name__
        raise InputError(f"observe: frames is {kind}; give a tensor [T, B, ...] of floats, one step at least")
    weights = next((each for each in network.parameters() if each.is_floating_point()), frames)
    if weights.dtype != frames.dtype:
        raise InputError(
            f"observe: frames is {frames.dtype}, the weights are {weights.dtype}; give frames.to({weights.dtype})"
        )
    with compared(network) as kept:
        outputs, record = network.unroll(frames)
    distances = {
        name: torch.stack(each)
        for name, each in kept.items()
        if name in record and len(each) == len(frames) and each[0].shape == record[name][0].shape[1:]
    }
    return Observed(outputs, record, tuple(name for name in network.neurons() if name in record), distances)


@contextmanager
def compared(network: Network) -> Iterator[dict[str, list[Tensor]]]:
    """Collect at every step what each neuron's spike function is asked: v less the threshold, before the reset."""
    asked: dict[str, list[Tensor]] = {}
    neurons: dict[str, Any] = dict(network.neurons())
    own = {name: layer for name, layer in neurons.items() if isinstance(getattr(layer, "spike", None), nn.Module)}
    before = {name: layer.spike for name, layer in own.items()}
    try:
        for name, layer in own.items():
            kept = asked.setdefault(name, [])
            layer.spike = copy.deepcopy(layer.spike)  # layers may share one
            layer.spike.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0].detach()))
        yield asked
    finally:
        for name, layer in own.items():
            layer.spike = before[name]
