"""A chain of weights and neurons that hands on exact spike times instead of steps, layer by layer (simulators/).

Inside, spike times are [B, N, K], infinite = silent; at the boundary time comes first, as everywhere: [K, B, ...] in,
[K, B, outputs] out, or, where the last layer never fires, its potentials [T, B, outputs]. Whoever observes or unrolls
the network sees rasters [T, B, N]: spikes counted in ``STEPS`` equal parts of the simulated time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network, Record, Seen, States
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.event import ClosedForm, raster
from snnlab.simulators.leaky_output import Shape, largest_potential, mean_potential, potentials
from snnlab.simulators.simulator import Firing, Simulator, Spikes
from snnlab.weights.weight import Weight

STEPS = 100  # of a raster


class ExactNeuron(Neuron):
    """Neurons with a synaptic current and soft reset, simulated without a step; the weights are those in front.

    Args:
        threshold: of the potential, > 0; a spike subtracts it.
        tau_synapse: tau_s, s.
        duration: simulated time, s.
        most: spikes of a neuron in that time, >= 1.
        simulator: of its dynamics; the closed form, whose membrane has 2 tau_s, is the usual.

    Shapes: spike times [B, N, K], weight [M, N] and, where spikes return, recurrent [M, M] -> spike times [B, M, most].
    Raises: ValueError: when an argument leaves its range.
    """

    by_step = False

    def __init__(
        self, threshold: float, tau_synapse: float, duration: float, most: int, simulator: Simulator | None = None
    ) -> None:
        super().__init__()
        self.threshold, self.tau_synapse, self.duration, self.most = threshold, tau_synapse, duration, most
        self.simulator = ClosedForm() if simulator is None else simulator
        self.firing.check()

    @property
    def firing(self) -> Firing:
        return Firing(self.threshold, self.tau_synapse, self.duration, self.most)

    def forward(self, times: Tensor, weight: Tensor, recurrent: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return self.fire(times, weight, recurrent).times

    def fire(self, times: Tensor, weight: Tensor, recurrent: Tensor | None = None) -> Spikes:
        """Spike times [B, M, most], and counts [B, M], whose gradient a simulator may have a way for."""
        return self.simulator.simulate(times, weight, self.firing, recurrent)

    def step(self, current: Tensor, state: Any) -> NoReturn:
        raise RuntimeError("ExactNeuron: exact spike times have no time steps; call forward")

    def initial_state(self, current: Tensor) -> NoReturn:
        self.step(current, None)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, tau_synapse={self.tau_synapse}, duration={self.duration}, most={self.most}"


class ExactOutput(Temporal):
    """Units that never fire, tau_m V' = -V + I and tau_s I' = -I; the weights are those in front.

    Args:
        tau_membrane, tau_synapse: tau_m and tau_s, s.
        duration: simulated time T, s.

    Shapes: spike times [B, N, K] and weight [M, N] -> potentials [T, B, M] at the end of each step of a raster.
    Raises: ValueError: when an argument leaves its range.
    """

    by_step = False

    def __init__(self, tau_membrane: float, tau_synapse: float, duration: float) -> None:
        super().__init__()
        self.tau_membrane, self.tau_synapse, self.duration = tau_membrane, tau_synapse, duration
        CurrentBased(tau_membrane)  # refuses what is out of range
        self.firing = Firing(1.0, tau_synapse, duration, 1).check()  # of which tau_synapse and duration are asked

    def forward(self, times: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        return potentials(times, weight, self.firing, self.tau_membrane, STEPS)[1:]

    def at_points(self, times: Tensor, weight: Tensor) -> Tensor:
        """V [POINTS + 1, B, M] at equal distances from 0 to T."""
        return potentials(times, weight, self.firing, self.tau_membrane)

    def mean(self, times: Tensor, weight: Tensor, shape: Shape, inputs: Tensor | None = None) -> Tensor:
        """1/T int g V dt [B, M]; ``shape`` is g, see simulators/leaky_output.py."""
        return mean_potential(times, weight, self.firing, self.tau_membrane, shape, inputs)

    def largest(self, times: Tensor, weight: Tensor) -> Tensor:
        """max of V over time [B, M], exactly."""
        return largest_potential(times, weight, self.firing, self.tau_membrane)

    def step(self, current: Tensor, state: Any) -> NoReturn:
        raise RuntimeError("ExactOutput: exact spike times have no time steps; call forward")

    def initial_state(self, current: Tensor) -> NoReturn:
        self.step(current, None)

    def extra_repr(self) -> str:
        return f"tau_membrane={self.tau_membrane}, tau_synapse={self.tau_synapse}, duration={self.duration}"


def ends(duration: float, like: Tensor) -> Tensor:
    """The ends [T] of the steps of a raster."""
    return duration * torch.arange(1, STEPS + 1, device=like.device, dtype=like.dtype) / STEPS


class Potential(NamedTuple):
    """v: membrane potential [T, B, N] at the end of each step of the raster, after resets."""

    v: Tensor


class SpikeTimeNetwork(Network):
    """The layers of a model, Linear and ExactNeuron in turn, run on spike times.

    Args:
        layers: by name; Flatten and Identity may stand anywhere, an ExactNeuron in a Recurrent, and an ExactOutput in
            the place of the last.
        duration: simulated time, s.

    Shapes: spike times [K, B, ...] -> [K', B, outputs], infinite = silent, or potentials [T, B, outputs].
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
            else isinstance(link.neuron, ExactNeuron)
            or (isinstance(link.layer, ExactOutput) and position == len(chain) - 1)
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
        returning = {link.name: link.returning for link in chain}
        self.returning: dict[str, Weight] = {  # through which spikes come back to these neurons
            name: link.weight for name, link in returning.items() if link is not None and link.weight is not None
        }
        for name, weight in self.returning.items():
            if weight.bias_values is not None or not self.neuron(name).simulator.recurs:
                why = "its weight has a bias" if weight.bias_values is not None else "its simulator knows none"
                raise InputError(f"{name}: spikes cannot return to their own layer, {why}; use model=mlp")

    def neuron(self, name: str) -> Any:
        """The ExactNeuron or ExactOutput of that name, inside its Recurrent where it is in one."""
        layer = self.layers[name]
        return layer.neuron if isinstance(layer, Recurrent) else layer

    def trains(self, frames: Tensor, counts: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Spike times [B, N, K] of the input (``input``) and of every layer that fires, by name, in order.

        They are simulated on the CPU, so layers hand them on there: a GPU waits once for all, not with every layer.
        The numbers of spikes [B, N] of every layer, see ``Spikes``, are put into ``counts``.
        """
        found = {"input": frames.flatten(2).permute(1, 2, 0)}
        times = found["input"].cpu()
        for name, weight in self.weights.items():
            if isinstance(neuron := self.neuron(name), ExactOutput):
                break
            recurrent = self.returning[name].used if name in self.returning else None
            spikes = neuron.fire(times, weight.used, recurrent)
            times = spikes.times
            found[name] = times.to(frames.device)
            if counts is not None:
                counts[name] = spikes.counts.to(frames.device)
        for seen in self.seeing:
            seen.update({name: self.raster(found[name]) for name in self.weights if name in found})
        return found

    def forward(self, frames: Tensor) -> Tensor:
        trains, last = self.trains(frames), list(self.weights)[-1]
        if last in trains:
            return trains[last].permute(2, 0, 1)
        output: Tensor = self.neuron(last)(list(trains.values())[-1], self.weights[last].used)
        return output

    def raster(self, times: Tensor) -> Tensor:
        """Spike counts [T, B, N] of spike times [B, N, K]."""
        return raster(times.detach(), self.duration, STEPS)

    def step(self, frame: Tensor, states: States | None = None) -> NoReturn:
        raise RuntimeError("SpikeTimeNetwork: exact spike times have no time steps; call forward")

    def unroll(self, frames: Tensor) -> tuple[Tensor, Record]:
        """Return what ``forward`` does and, for each layer, raster (or potentials) and Potential [T, B, N]."""
        trains, record = self.trains(frames), Record()
        names = list(trains)
        grid = ends(self.duration, frames)
        for before, (name, weight) in zip(names, self.weights.items(), strict=False):
            neuron = self.neuron(name)
            if name not in trains:
                v = neuron(trains[before], weight.used)
                record[name] = (v, Potential(v))
                return v, record
            recurrent = self.returning[name].used if name in self.returning else None
            v = neuron.simulator.membrane(grid, trains[before], weight.used, trains[name], neuron.firing, recurrent)
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
