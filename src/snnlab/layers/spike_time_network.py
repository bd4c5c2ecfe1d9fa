"""A chain of weights and neurons that hands on exact spike times instead of steps: simulators/event.py layer by layer.

Inside, spike times are [B, N, K], infinite = silent; at the boundary time comes first, as everywhere: [K, B, ...] in,
[K, B, outputs] out. Whoever observes or unrolls the network sees rasters [T, B, N]: spikes counted in ``STEPS`` equal
parts of the simulated time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from snnlab.layers.chain import Chain
from snnlab.layers.network import Network, Record, Seen, States
from snnlab.neurons.neuron import Neuron
from snnlab.simulators.event import check_neuron, membrane, raster, spike_times
from snnlab.weights.weight import Weight

STEPS = 100  # of a raster


class ExactNeuron(Neuron):
    """Neurons with a synaptic current and soft reset, simulated without a step; the weights are those in front.

    Args:
        threshold: of the potential, > 0; a spike subtracts it.
        tau_synapse: tau_s, s; the membrane's tau is 2 tau_s.
        duration: simulated time, s.
        most: spikes of a neuron in that time, >= 1.

    Shapes: spike times [B, N, K] and weight [M, N] -> spike times [B, M, most].
    Raises: ValueError: when an argument leaves its range.
    """

    by_step = False

    def __init__(self, threshold: float, tau_synapse: float, duration: float, most: int) -> None:
        super().__init__()
        self.threshold, self.tau_synapse, self.duration, self.most = threshold, tau_synapse, duration, most
        check_neuron(threshold, tau_synapse, duration, most)

    def forward(self, times: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        return spike_times(times, weight, self.threshold, self.tau_synapse, self.duration, self.most)

    def step(self, current: Tensor, state: Any) -> NoReturn:
        raise RuntimeError("ExactNeuron: exact spike times have no time steps; call forward")

    def initial_state(self, current: Tensor) -> NoReturn:
        self.step(current, None)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, tau_synapse={self.tau_synapse}, duration={self.duration}, most={self.most}"


class Potential(NamedTuple):
    """v: membrane potential [T, B, N] at the end of each step of the raster, after resets."""

    v: Tensor


class SpikeTimeNetwork(Network):
    """The layers of a model, Linear and ExactNeuron in turn, run on spike times.

    Args:
        layers: by name; Flatten and Identity may stand anywhere.
        duration: simulated time, s.

    Shapes: spike times [K, B, ...] -> [K', B, outputs], infinite = silent.
    Raises: ValueError: another kind of layer, or weights without neurons behind them.
    """

    def __init__(self, layers: list[tuple[str, nn.Module]], duration: float) -> None:
        super().__init__(layers)
        self.duration = duration
        self.seeing: list[Seen] = []
        chain = Chain(self).without((nn.Flatten, nn.Identity))
        kinds = [
            link.weight is not None and link.weight.dense and link.weight.bias_values is None
            if position % 2 == 0
            else isinstance(link.layer, ExactNeuron)
            for position, link in enumerate(chain)
        ]
        if not chain or len(chain) % 2 or not all(kinds):
            raise ValueError(
                "SpikeTimeNetwork: layers must be Linear without bias and ExactNeuron in turn, and are "
                + ", ".join(f"{link.name} ({type(link.layer).__name__})" for link in chain)
            )
        self.weights: dict[str, Weight] = {  # by the name of the neurons behind them, in order
            neuron.name: weight.weight
            for weight, neuron in zip(chain[::2], chain[1::2], strict=True)
            if weight.weight is not None
        }

    def trains(self, frames: Tensor) -> dict[str, Tensor]:
        """Spike times [B, N, K] of the input (``input``) and of every layer of neurons, by name, in order.

        They are simulated on the CPU, so layers hand them on there: a GPU waits once for all, not with every layer.
        """
        found = {"input": frames.flatten(2).permute(1, 2, 0)}
        times = found["input"].cpu()
        for neuron, weight in self.weights.items():
            times = self.layers[neuron](times, weight.used)
            found[neuron] = times.to(frames.device)
        for seen in self.seeing:
            seen.update({name: self.raster(found[name]) for name in self.weights})
        return found

    def forward(self, frames: Tensor) -> Tensor:
        return self.trains(frames)[list(self.weights)[-1]].permute(2, 0, 1)

    def raster(self, times: Tensor) -> Tensor:
        """Spike counts [T, B, N] of spike times [B, N, K]."""
        return raster(times.detach(), self.duration, STEPS)

    def step(self, frame: Tensor, states: States | None = None) -> NoReturn:
        raise RuntimeError("SpikeTimeNetwork: exact spike times have no time steps; call forward")

    def unroll(self, frames: Tensor) -> tuple[Tensor, Record]:
        """Return spike times [K', B, outputs] and, for each layer of neurons, raster and Potential [T, B, N]."""
        trains, record = self.trains(frames), Record()
        names = list(trains)
        grid = self.duration * torch.arange(1, STEPS + 1, device=frames.device, dtype=frames.dtype) / STEPS
        for before, (name, weight) in zip(names, self.weights.items(), strict=False):
            neuron: Any = self.layers[name]
            v = membrane(grid, trains[before], weight.used, trains[name], neuron.threshold, neuron.tau_synapse)
            record[name] = (self.raster(trains[name]), Potential(v))
        return trains[names[-1]].permute(2, 0, 1), record

    @contextmanager
    def observe(self) -> Iterator[Seen]:
        seen = Seen()
        self.seeing.append(seen)
        try:
            yield seen
        finally:
            self.seeing.remove(seen)
