"""How large a network is where it runs: synapses of one pass, membranes, and what is kept from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.weights.weight import Weight


@dataclass(frozen=True)
class Sizes:
    """Of one sample.

    macs:     by weight, its synapses counted where they are used: multiply-accumulates of one pass, padding left out.
    neurons:  by layer of what has a membrane, readouts that never fire included.
    spiking:  those of them that fire.
    states:   by the same layers, numbers that are kept from one step to the next, those of past spikes left out.
    state_bytes: the same in bytes, as they are kept here.
    """

    macs: dict[str, float]
    neurons: dict[str, int]
    spiking: dict[str, int]
    states: dict[str, int]
    state_bytes: dict[str, int]


@torch.no_grad()
def sizes(network: Network, frames: Tensor) -> Sizes:
    """Look at one sample of frames [T, B, ...] for two steps at most: what returns to a layer does so at the second.

    Torch's generators are left as they were.
    """
    found: dict[str, Tensor] = {}
    weights = Chain(network).weights()

    def hook_of(name: str, weight: Weight) -> Any:
        def hook(_layer: nn.Module, inputs: Any, _output: Tensor) -> None:
            one = inputs[0][:1]
            found[name] = weight.fan_out(one).expand_as(one).sum(dtype=torch.float64)

        return hook

    hooks = [weight.layer.register_forward_hook(hook_of(name, weight)) for name, weight in weights.items()]
    try:
        with torch.random.fork_rng([frames.device] if frames.is_cuda else []):
            _, record = network.unroll(frames[:2, :1])
    finally:
        for handle in hooks:
            handle.remove()
    unseen = {name: weight for name, weight in weights.items() if name not in found}  # of exact spike times
    found |= {name: weight.fan_out(weight.used[:1]).sum() * weight.inputs for name, weight in unseen.items()}
    read = torch.stack([found[name].double() for name in weights]).tolist() if weights else []  # at once
    membranes = {name: state for name, (_, state) in record.items() if hasattr(state, "v")}
    kept = {name: list(kept_in(state)) for name, state in membranes.items()}
    neurons = {name: state.v[0].numel() for name, state in membranes.items()}
    fires = network.neurons()
    return Sizes(
        dict(zip(weights, read, strict=True)),
        neurons,
        {name: count for name, count in neurons.items() if name in fires},
        {name: sum(tensor[0].numel() for tensor in tensors) for name, tensors in kept.items()},
        {name: sum(tensor[0].numel() * tensor.element_size() for tensor in tensors) for name, tensors in kept.items()},
    )


def kept_in(state: Any) -> Iterator[Tensor]:
    """The tensors [T, B, ...] of a state, less the spikes of the step before; of what wraps neurons, theirs."""
    if hasattr(state, "neuron"):
        yield from kept_in(state.neuron)
        return
    for name, part in zip(state._fields, state, strict=True):
        if isinstance(part, Tensor):
            if name != "spikes":
                yield part
        elif hasattr(part, "_fields"):
            yield from kept_in(part)
