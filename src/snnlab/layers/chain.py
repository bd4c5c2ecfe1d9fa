"""The one place that walks a network: its layers in order, the stages that they make, the edges that weights are.

    layers      name - layer - the weight that it is or wraps
    stages      layers in front - weight - layers between - end      the end: neurons, a readout, or what one asks for
    edges       weight, from which layers of neurons to which, fed with spikes or not, recurrent or not
    through     run the layers in order, or those in front of one; entering: those in front of the first weight

``network.leaves()`` has every layer by name, those inside composites included. A composite (a residual block, a loop)
is one layer of the chain; edges see through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from snnlab import kernels
from snnlab.layers.edges import Edge, Signal
from snnlab.layers.network import Composite, Network
from snnlab.layers.over_time import over_time
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.weights.find import weights_inside
from snnlab.weights.weight import Values, Weight

Kinds = type[nn.Module] | tuple[type[nn.Module], ...]
Instead = Callable[["Link", Tensor], Tensor | None]  # runs a layer in a way of its own; None: as it is run otherwise


class Link(NamedTuple):
    """A layer of the chain; ``weight`` is the one that it is or wraps, None for neurons and composites."""

    name: str
    layer: nn.Module
    weight: Weight | None

    @property
    def composite(self) -> bool:
        return isinstance(self.layer, Composite)

    @property
    def neuron(self) -> nn.Module:
        """The layer itself, or the neurons that a recurrent layer wraps."""
        return self.layer.neuron if isinstance(self.layer, Recurrent) else self.layer

    @property
    def returning(self) -> Link | None:
        """What a recurrent layer's spikes return through."""
        if not isinstance(self.layer, Recurrent):
            return None
        return Link(f"{self.name}.weight", self.layer.weight, wrapped(self.layer.weight))

    def run(self, frames: Tensor) -> Tensor:
        """What the layer makes of frames [T, B, ...]."""
        return self.layer(frames) if isinstance(self.layer, Temporal) else over_time(self.layer, frames)


@dataclass
class Stage:
    """A weight with what stands around it: layers before it, layers between, and the end that it leads to.

    The last stage of a chain may have no end, or no weight: then all its layers are ``before``.
    """

    before: list[Link]
    weight: Link | None
    between: list[Link]
    end: Link | None

    @property
    def links(self) -> list[Link]:
        """All of it, in order."""
        around = [*self.before, self.weight, *self.between, self.end]
        return [link for link in around if link is not None]


class Chain:
    """The layers of ``network`` as they are now; the words are explained in the docstring of this file."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @property
    def links(self) -> list[Link]:
        """The layers in order."""
        return [Link(name, layer, wrapped(layer)) for name, layer in self.network.layers.items()]

    def of(self, kinds: Kinds) -> list[Link]:
        """Those of the layers that are of these classes."""
        return [link for link in self.links if isinstance(link.layer, kinds)]

    def without(self, kinds: Kinds) -> list[Link]:
        """The layers that are of other classes."""
        return [link for link in self.links if not isinstance(link.layer, kinds)]

    def stages(self, ends: Kinds = Temporal) -> list[Stage]:
        """Cut the chain behind every layer of the classes ``ends`` that a weight leads to.

        A second weight before the end is one of the layers between, as is whatever else stands there: who asks says
        what it can do with them.
        """
        found: list[Stage] = []
        stage = Stage([], None, [], None)
        for link in self.links:
            if stage.weight is None and link.weight is None:
                stage.before.append(link)
            elif stage.weight is None:
                stage.weight = link
            elif link.weight is None and isinstance(link.layer, ends) and not link.composite:
                stage.end = link
                found.append(stage)
                stage = Stage([], None, [], None)
            else:
                stage.between.append(link)
        return [*found, stage] if stage.links else found

    def weights(self) -> dict[str, Weight]:
        """Every weight by name, in order, those inside composites and recurrent layers included."""
        return {
            f"{name}.{inner}" if inner else name: weight
            for name, layer in self.network.leaves().items()
            for inner, weight in weights_inside(layer)
        }

    def values(self) -> dict[str, Values]:
        """Every tensor called weight, that of a neuron or a norm too, by the name of what has it."""
        return {
            f"{name}.{path}" if path else name: Values(part, "weight")
            for name, layer in self.network.leaves().items()
            for path, part in layer.named_modules()
            if is_parametrized(part, "weight") or "weight" in part._parameters
        }

    def edges(self, spikes: bool = True) -> list[Edge]:
        """Every weight with what it connects, in order; ``spikes`` tells whether the network's input is spikes."""
        found: dict[str, Edge] = {}
        flow(found, "", self.network, Signal(spikes=spikes))
        return [found[name] for name in self.weights()]

    def through(self, frames: Tensor, until: str | None = None, instead: Instead | None = None) -> Tensor:
        """Run frames [T, B, ...] through the layers in order, those in front of the layer ``until`` or all."""
        with kernels.using(self.network.kernels):
            for link in self.links:
                if link.name == until:
                    break
                made = None if instead is None else instead(link, frames)
                frames = link.run(frames) if made is None else made
        return frames

    @torch.no_grad()
    def entering(self, frames: Tensor) -> tuple[Link | None, Tensor]:
        """The first layer that is a weight, or has a state, and what reaches it of frames [T, B, ...].

        Frames that are the same at every step go in once: [1, B, ...].
        """
        frames = frames[:1] if frames.stride(0) == 0 else frames
        with kernels.using(self.network.kernels):
            for link in self.links:
                if link.weight is not None or isinstance(link.layer, Temporal):
                    return link, frames
                frames = link.run(frames)
        return None, frames


def through(links: Iterable[Link], frames: Tensor) -> Tensor:
    """Run frames [T, B, ...] through these layers in order."""
    for link in links:
        frames = link.run(frames)
    return frames


def wrapped(layer: nn.Module) -> Weight | None:
    """The weight that a layer is, or the only one that it wraps; None for neurons and composites."""
    if isinstance(layer, Neuron | Composite):
        return None
    found = [weight for _, weight in weights_inside(layer)]
    return found[0] if len(found) == 1 else None


def filters(layer: nn.Module) -> bool:
    """Whether a layer makes analog values of spikes, without a parameter."""
    return isinstance(layer, Temporal) and layer.filters


def flow(found: dict[str, Edge], prefix: str, network: Network, signal: Signal) -> Signal:
    """Enter the edges of ``network`` into ``found``, their names behind ``prefix``; return what leaves it.

    A neuron makes spikes, or values at events; a layer with parameters turns them into currents, a filter into a trace;
    all others pass on what they get.
    """
    for short, layer in network.layers.items():
        name = prefix + short
        if isinstance(layer, Composite):
            signal = layer.flow(signal, partial(flow, found, f"{name}_"))
            continue
        weights = {f"{name}.{path}" if path else name: weight for path, weight in weights_inside(layer)}
        if isinstance(layer, Neuron):
            for targets in signal.drives:
                targets.append(name)
            spikes = layer.sends != "values"
            found |= {
                n: Edge(n, weight, (name,), spikes, recurrent=True, targets=[name]) for n, weight in weights.items()
            }
            signal = Signal((name,), spikes)
        else:
            edges = {
                n: Edge(n, weight, signal.sources, signal.spikes, signal.recurrent) for n, weight in weights.items()
            }
            found |= edges
            drives = tuple(edge.targets for edge in edges.values()) or signal.drives
            spikes = signal.spikes and not any(True for _ in layer.parameters()) and not filters(layer)
            signal = Signal(signal.sources, spikes, drives, signal.recurrent and not edges)
    return signal
