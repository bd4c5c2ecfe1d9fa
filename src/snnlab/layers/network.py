"""Layers in order: ``step`` advances one time step, ``forward`` a sequence, ``unroll`` also returns every state.

A layer may itself be made of networks (``Composite``: a residual block, a feedback loop). What counts, draws or reports
layers sees through it: ``leaves`` gives every layer by name, an inner one as <name of the composite>_<its own name>.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections import Counter, UserDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnlab import kernels
from snnlab.layers import active_set
from snnlab.layers.edges import Flow, Signal
from snnlab.layers.over_time import over_time, plain, watched
from snnlab.neurons.neuron import Neuron, Temporal

States = dict[str, Any]
Record = dict[str, tuple[Tensor, Any]]
PASSING = (nn.Linear, nn.Conv2d, nn.BatchNorm2d)  # their output only the next layer needs, not their own backward
Watcher = Callable[[nn.Module, Tensor, Any, bool], None]  # layer, its output, its state, whether the sequence starts


class Network(nn.Module):
    """A feed-forward chain of named layers; temporal ones (neurons, readouts, held dropout) carry a state.

    Shapes: frames [T, B, ...] -> outputs [T, B, ...]; ``step`` works on frame [B, ...]. No layers: the identity.

    Raises:
        ValueError: when a name is used twice.
    """

    def __init__(self, layers: list[tuple[str, nn.Module]]) -> None:
        super().__init__()
        check_names("Network", [name for name, _ in layers])
        self.layers = nn.ModuleDict(dict(layers))
        check_names("Network", [name for name, _ in self._leaves()])
        self.kernels: kernels.Path | None = None  # None: as the network around it, or as a plain call
        self.watchers: list[Watcher] = []  # called after each temporal layer that is stepped

    def step(self, frame: Tensor, states: States | None = None) -> tuple[Tensor, States]:
        """Advance one step: frame [B, ...] and the states of the step before (None: start) -> output and states."""
        with kernels.using(self.kernels):
            before, after, watch = states or {}, {}, kernels.watched_by()
            for name, layer in self.layers.items():
                if isinstance(layer, Temporal):
                    state = before[name] if name in before else layer.initial_state(frame)
                    if watch is not None and name not in before:
                        watch.started(layer, state)
                    frame, after[name] = layer.step(frame, state)
                    if watch is not None:
                        watch.latest[layer] = after[name]
                    for watcher in self.watchers:
                        watcher(layer, frame, after[name], name not in before)
                else:
                    frame = layer(frame)
            return frame, after

    @parametrize.cached()  # a parametrized weight is worked out once a sequence, not once a step
    def forward(self, frames: Tensor) -> Tensor:
        with kernels.using(self.kernels):
            before: nn.Module | None = None
            layers = [layer for layer in self.layers.values() if not plain(layer, (nn.Identity,))]
            for layer, after in itertools.zip_longest(layers, layers[1:]):
                if isinstance(layer, Temporal):
                    alone = type(layer).forward is Temporal.forward and not watched(layer)  # its currents are its own
                    if before is not None and plain(before, PASSING) and alone:
                        kernels.offer(frames)
                    frames = layer(frames)
                elif after is not None and active_set.joins(layer, after, frames):
                    frames = active_set.currents(layer, after, frames)
                else:
                    frames = over_time(layer, frames)
                before = layer
            return frames

    @parametrize.cached()
    def unroll(self, frames: Tensor) -> tuple[Tensor, Record]:
        """Return outputs [T, B, ...] and, for each temporal leaf, its outputs and states, all [T, B, ...]."""
        with kernels.using(self.kernels):
            record: Record = {}
            for name, layer in self.layers.items():
                if isinstance(layer, Composite):
                    frames, inner = layer.unroll(frames)
                    record |= {f"{name}_{key}": value for key, value in inner.items()}
                elif isinstance(layer, Temporal):
                    frames, states = layer.unroll(frames)
                    record[name] = (frames, states)
                    for watcher in self.watchers:
                        for t, output in enumerate(frames):
                            watcher(layer, output, state_at(states, t), t == 0)
                else:
                    frames = over_time(layer, frames)
            return frames, record

    @property
    def path(self) -> kernels.Path:
        """The path that this network takes: its own, else the one it is called on."""
        return self.kernels or kernels.current()

    def leaves(self) -> dict[str, nn.Module]:
        """Every layer that is not a composite, by name, in order."""
        return dict(self._leaves())

    def _leaves(self) -> Iterator[tuple[str, nn.Module]]:
        for name, layer in self.layers.items():
            if isinstance(layer, Composite):
                yield from ((f"{name}_{inner}", leaf) for inner, leaf in layer.leaves())
            else:
                yield name, layer

    def neurons(self) -> dict[str, Neuron]:
        """The spiking layers by name, in order."""
        return {name: layer for name, layer in self._leaves() if isinstance(layer, Neuron)}

    @contextmanager
    def observe(self) -> Iterator[Seen]:
        """Collect, while the context is open, the spikes [T, B, ...] of every spiking layer of the last sequence.

        Of a layer that sends values these are its events, 0 or 1, without a gradient.
        A sequence is one ``forward``, or the steps since the last one that started from no state.
        """
        seen = Seen()
        names: dict[Any, str] = {layer: name for name, layer in self.neurons().items()}

        def keep_sequence(layer: Any, _inputs: Any, output: Tensor) -> None:
            seen[names[layer]] = layer.events(output)

        def keep_step(layer: Any, output: Tensor, _state: Any, first: bool) -> None:
            if layer in names:
                seen.add(names[layer], layer.events(output), first)

        hooks = [layer.register_forward_hook(keep_sequence) for layer in names]
        try:
            with watch([self], keep_step):
                yield seen
        finally:
            for handle in hooks:
                handle.remove()


class Composite(Temporal):
    """A layer made of networks, its attributes; names of their layers must differ. Its state holds theirs."""

    def __init__(self, **networks: Network) -> None:
        super().__init__()
        for name, network in networks.items():
            self.add_module(name, network)
        check_names(type(self).__name__, [name for name, _ in self.leaves()])

    def networks(self) -> list[Network]:
        return [child for child in self.children() if isinstance(child, Network)]

    def leaves(self) -> list[tuple[str, nn.Module]]:
        """The layers of all its networks by their own names."""
        return [leaf for network in self.networks() for leaf in network.leaves().items()]

    @abstractmethod
    def flow(self, signal: Signal, enter: Flow) -> Signal:
        """How a signal runs through its networks: ``enter(network, signal)`` is what leaves one of them."""

    def unroll(self, currents: Tensor, state: Any = None) -> tuple[Tensor, Record]:
        """Loop over ``step``: outputs [T, B, ...] and, for each temporal leaf, its outputs and states [T, B, ...]."""
        state = self.initial_state(currents[0]) if state is None else state
        kept: dict[nn.Module, list[tuple[Tensor, Any]]] = {}

        def keep(layer: nn.Module, output: Tensor, state: Any, _first: bool) -> None:
            kept.setdefault(layer, []).append((output, state))

        outputs = []
        with watch(self.networks(), keep):
            for current in currents:
                output, state = self.step(current, state)
                outputs.append(output)
        record: Record = {}
        for name, layer in self.leaves():
            if layer in kept:
                spikes, states = zip(*kept[layer], strict=True)
                record[name] = (torch.stack(spikes), stack_states(states))
        return torch.stack(outputs), record


class Seen(UserDict[str, Tensor]):
    """Spikes [T, B, ...] by layer; those of single steps are stacked when they are read."""

    def add(self, name: str, spikes: Tensor, first: bool) -> None:
        """Append the spikes [B, ...] of a step; the first one of a sequence drops what was there."""
        data: dict[str, Any] = self.data
        if first or not isinstance(data.get(name), list):
            data[name] = []
        data[name].append(spikes)

    def __getitem__(self, name: str) -> Tensor:
        spikes: Any = self.data[name]
        return torch.stack(spikes) if isinstance(spikes, list) else spikes


@contextmanager
def watch(networks: list[Network], watcher: Watcher) -> Iterator[None]:
    """Call ``watcher`` after every stepped temporal layer of ``networks`` and of those inside them."""
    reached = [part for network in networks for part in network.modules() if isinstance(part, Network)]
    for network in reached:
        network.watchers.append(watcher)
    try:
        yield
    finally:
        for network in reached:
            network.watchers.remove(watcher)


def stack_states(states: tuple[Any, ...]) -> Any:
    """States of T steps -> one state whose tensors are [T, B, ...]; a state may hold states."""
    if isinstance(states[0], Tensor):
        return torch.stack(states)
    return type(states[0])(*map(stack_states, zip(*states, strict=True)))


def state_at(states: Any, t: int) -> Any:
    """The state after step t of ``stack_states``; a field may be None."""
    if states is None or isinstance(states, Tensor):
        return None if states is None else states[t]
    return type(states)(*(state_at(part, t) for part in states))


def check_names(owner: str, names: list[str]) -> None:
    """Raise ValueError when a name comes twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{owner}: a layer name is used twice in {names}: {', '.join(twice)}")


def output_shape(network: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample's output at one time step, by running zeros through ``network``."""
    with torch.no_grad():
        outputs = network(torch.zeros(1, 1, *input_shape))
    return tuple(outputs.shape[2:])
