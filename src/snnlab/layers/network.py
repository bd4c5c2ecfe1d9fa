"""Layers in order: ``step`` advances one time step, ``forward`` a sequence, ``unroll`` also returns every state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.layers.over_time import over_time
from snnlab.neurons.neuron import Neuron, Temporal

States = dict[str, Any]


class Network(nn.Module):
    """A feed-forward chain of named layers; temporal ones (neurons, readouts, held dropout) carry a state.

    Shapes: frames [T, B, ...] -> outputs [T, B, ...]; ``step`` works on frame [B, ...].

    Raises:
        ValueError: when a name is used twice.
    """

    def __init__(self, layers: list[tuple[str, nn.Module]]) -> None:
        super().__init__()
        names = [name for name, _ in layers]
        if len(set(names)) != len(names):
            raise ValueError(f"Network: a layer name is used twice in {names}")
        self.layers = nn.ModuleDict(dict(layers))

    def step(self, frame: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Advance one step: frame [B, ...] and the states of the step before (None: start) -> output and states."""
        before, after = states or {}, {}
        for name, layer in self.layers.items():
            if isinstance(layer, Temporal):
                state = before[name] if name in before else layer.initial_state(frame)
                frame, after[name] = layer.step(frame, state)
            else:
                frame = layer(frame)
        return frame, after

    def forward(self, frames: Tensor) -> Tensor:
        for layer in self.layers.values():
            frames = layer(frames) if isinstance(layer, Temporal) else over_time(layer, frames)
        return frames

    def unroll(self, frames: Tensor) -> tuple[Tensor, dict[str, tuple[Tensor, Any]]]:
        """Return outputs [T, B, ...] and, for each temporal layer, its outputs and states, all [T, B, ...]."""
        record: dict[str, tuple[Tensor, Any]] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Temporal):
                frames, states = layer.unroll(frames)
                record[name] = (frames, states)
            else:
                frames = over_time(layer, frames)
        return frames, record

    def neurons(self) -> dict[str, Neuron]:
        """The spiking layers by name, in order."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, Neuron)}

    @contextmanager
    def observe(self) -> Iterator[dict[str, Tensor]]:
        """Collect, while the context is open, the spikes [T, B, ...] of every spiking layer of the last ``forward``."""
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                seen[name] = output

            return hook

        hooks = [layer.register_forward_hook(keep(name)) for name, layer in self.neurons().items()]
        try:
            yield seen
        finally:
            for handle in hooks:
                handle.remove()


def output_shape(network: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample's output at one time step, by running zeros through ``network``."""
    with torch.no_grad():
        outputs = network(torch.zeros(1, 1, *input_shape))
    return tuple(outputs.shape[2:])
