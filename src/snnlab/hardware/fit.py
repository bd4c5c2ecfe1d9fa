"""Whether a network fits a target: layer by layer what it needs, what there is, the verdict, and what would fit.

A layer here is a weight with the neurons that it drives, as a core of a chip holds them. Cores of a layer are those
that its neurons or its weights' memory ask for, whichever are more; where the target names the memory of each core,
layers are laid on cores one by one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.hardware.constrain import neurons as neurons_of
from snnlab.hardware.constrain import reached, unit_of
from snnlab.hardware.target import OF_CORES, Target, word
from snnlab.layers.chain import Chain
from snnlab.layers.edges import Edge
from snnlab.layers.network import Network
from snnlab.weights.conv import ConvWeight
from snnlab.weights.fan_in import Largest


@dataclass(frozen=True)
class Need:
    """One limit of one layer ("chip" for the whole): what is needed, what there is, and what would fit."""

    layer: str
    what: str
    need: float
    limit: float | list[int]
    fits: bool
    assumed: bool = False
    instead: str = ""

    @property
    def share(self) -> float | None:
        """Of the limit that is needed, where it is a number."""
        return None if isinstance(self.limit, list) else self.need / self.limit if self.limit else math.inf


@dataclass
class Fit:
    """The report: needs, cores by layer, and whether all fits; ``assumed``: what else of the target has no source."""

    target: str
    needs: list[Need] = field(default_factory=list)
    cores: dict[str, int] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return all(need.fits for need in self.needs)

    def as_dict(self) -> dict[str, Any]:
        """For run.json."""
        needs = [asdict(need) | {"need": number(need.need)} for need in self.needs]
        return {"target": self.target, "fits": self.fits, "needs": needs, "cores": self.cores, "assumed": self.assumed}

    def lines(self) -> list[str]:
        """A table for people: what does not fit first, then what comes nearest to its limit."""
        assumed = [f"  assumed, without a source: {', '.join(self.assumed)}"] if self.assumed else []
        if not self.needs:
            return [f"fit          {self.target}: fits, as it limits no size", *assumed]
        order = sorted(self.needs, key=lambda n: (n.fits, -(n.share or 0)))
        shown = [n for n in order if not n.fits] + [n for n in order if n.fits][:NEAREST]
        wide = max(len(n.layer) for n in shown), max(len(n.what) for n in shown)
        verdict = "fits" if self.fits else "does NOT fit"
        count = sum(self.cores.values())
        used = f", {count:,} core{'s' * (count != 1)}" if self.cores else ""
        lines = [f"fit          {self.target}: {verdict}{used}"]
        for n in shown:
            there = str(n.limit) if isinstance(n.limit, list) else f"{n.limit:,}"
            mark = " (assumed)" if n.assumed else ""
            end = "fits" if n.fits else f"too much{': ' + n.instead if n.instead else ''}"
            lines.append(f"  {n.layer:{wide[0]}}  {n.what:{wide[1]}}  {number(n.need):>12,} of {there}{mark}  {end}")
        if more := len(order) - len(shown):
            lines.append(f"  and {more} more that fit, in run.json")
        return lines + assumed


FREE = 32  # bits of a weight that nothing limits
NEAREST = 8  # of what fits, the needs that come nearest to their limits are shown


def number(value: float) -> float:
    """A whole number as one."""
    return int(value) if float(value).is_integer() else value


@dataclass
class Part:
    """A layer as it lies on a chip."""

    edge: Edge
    places: int  # averaged in front of it
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    layer: Any

    @property
    def outputs(self) -> int:
        return math.prod(self.shape_out)

    @property
    def inputs(self) -> int:
        return math.prod(self.shape_in)


def fit(network: Network, target: Target, input_shape: tuple[int, ...], classes: int) -> Fit:
    """Return what ``network`` needs of ``target``.

    Args:
        input_shape: of one sample at one step.
        classes: of the readout.
    """
    made, parts = Fit(target.name), parts_of(network, input_shape)
    add = _Adder(made, target)
    for part in parts:
        _layer(add, part, parts)
    _neurons(add, network, target)
    _cores(add, parts)
    _whole(add, network, parts, input_shape, classes)
    made.assumed += [f"{key}={word(getattr(target, key))}" for key in target.assumptions if key not in add.held]
    return made


class _Adder:
    """Enters needs into a report."""

    def __init__(self, made: Fit, target: Target) -> None:
        self.made, self.target = made, target
        self.held = set[str]()  # the limits that something was held against

    def __call__(self, layer: str, key: str, what: str, need: float, instead: str = "") -> None:
        """Hold ``need`` against the limit ``key``, if there is one."""
        limit = getattr(self.target, key)
        if limit is None:
            return
        self.held.add(key)
        fits = need in limit if isinstance(limit, list) else need <= limit
        if not instead and not fits and not isinstance(limit, list):
            instead = f"{limit:,} {what} fit"
        if not instead and not fits:
            instead = f"one of {', '.join(map(str, limit))}"
        self.made.needs.append(Need(layer, what, need, limit, fits, self.target.marked(key), "" if fits else instead))

    def needs(self, layer: str, what: str, need: float, limit: float, instead: str) -> None:
        """Hold ``need`` against a limit that follows from others."""
        self.made.needs.append(Need(layer, what, need, limit, need <= limit, False, "" if need <= limit else instead))


def parts_of(network: Network, input_shape: tuple[int, ...]) -> list[Part]:
    """The weights with the shapes of what they read and drive, at one step of one sample."""
    shapes: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        shapes[id(layer)] = (tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))

    weights = reached(network)
    hooks = [weight.layer.register_forward_hook(hook) for _, weight, _ in weights]
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.unroll(torch.zeros(2, 1, *input_shape))  # at the second step what returns to a layer does so
    finally:
        for handle in hooks:
            handle.remove()
    edges = {edge.name: edge for edge in Chain(network).edges()}
    return [
        Part(edges[name], places, *shapes[id(weight.layer)], weight.layer)
        for name, weight, places in weights
        if id(weight.layer) in shapes
    ]


def _layer(add: _Adder, part: Part, parts: list[Part]) -> None:
    """What one layer of weights asks for."""
    name, weight, layer = part.edge.name, part.edge.weight, part.layer
    into = [p for p in parts if p is part or set(p.edge.targets) & set(part.edge.targets)]
    out = [p for p in parts if p is part or set(p.edge.sources) & set(part.edge.sources)]
    add(name, "fan_in", "synapses of a neuron", sum(map(most_in, into)))
    add(name, "fan_out", "synapses of an input", sum(map(most_out, out)))
    if part.edge.recurrent:
        add(name, "recurrent_synapses", "recurrent synapses", synapses(part))
    if isinstance(weight, ConvWeight):
        add(name, "channels", "channels", layer.out_channels)
        add(name, "kernel", "pixels of a kernel's side", max(layer.kernel_size))
        for side in set(layer.stride):
            add(name, "strides", "stride", side)
        for side in set(layer.padding) if isinstance(layer.padding, tuple) else ():
            add(name, "paddings", "padding", int(side))
    if len(part.shape_in) == 3:
        add(name, "input_side", "pixels of an input's side", max(part.shape_in[1:]))
    if len(part.shape_out) == 3:
        add(name, "output_side", "pixels of an output's side", max(part.shape_out[1:]))
    if part.places > 1:
        add(name, "pools", "pool in front", math.isqrt(part.places))


def most_in(part: Part) -> int:
    """Synapses of the neuron that has most."""
    weight = part.edge.weight
    pruned = [part.most for part in weight.values.parts if isinstance(part, Largest)]
    exists = weight.exists
    if exists is None or not weight.dense:
        return min([weight.fan_in, *pruned])
    return min([int(exists.flatten(1).sum(1).max()), *pruned])


def most_out(part: Part) -> float:
    """Synapses that the input which has most reaches."""
    return float(part.edge.weight.fan_out(torch.zeros(1, *part.shape_in)).max())


def synapses(part: Part) -> int:
    """Synapses of a layer, those of a convolution at every place."""
    fan_out = part.edge.weight.fan_out(torch.zeros(1, *part.shape_in))
    return int(fan_out.expand(1, *part.shape_in).sum())


def _neurons(add: _Adder, network: Network, target: Target) -> None:
    """What the neurons of each layer ask for."""
    for name, neuron in neurons_of(network).items():
        if target.whole_numbers:
            whole = round(float(neuron.threshold) / unit_of(neuron, target))  # type: ignore[arg-type]
            add(name, "threshold_high", "levels of the threshold", whole)
        add(name, "refractory", "silent steps after a spike", int(getattr(neuron, "refractory", 0) or 0))


def _cores(add: _Adder, parts: list[Part]) -> None:
    """On how many cores each layer lies, and whether they do."""
    target = add.target
    if target.kernel_words is not None and target.neuron_words is not None:
        _lay(add, parts)
        return
    if not any(getattr(target, key) for key in ("neurons_per_core", "cores", *OF_CORES)):
        return
    bits = target.weight_bits or FREE
    held: dict[str, int | None] = {}  # units of a layer that one core holds; None where that follows from their number
    for part in parts:
        name = part.edge.name
        if part.edge.recurrent:
            continue
        into = [part, *(other for other in parts if other.edge.recurrent and other.edge.targets == part.edge.targets)]
        count = math.ceil(part.outputs / (target.neurons_per_core or part.outputs))
        held[name] = target.neurons_per_core
        if target.synapse_bits is not None:
            row = sum(synapses(other) for other in into) * bits / part.outputs
            add(name, "synapse_bits", "bits of one neuron's weights", row)
            rows = max(int(target.synapse_bits / max(row, 1e-9)), 1)
            count = max(count, math.ceil(part.outputs / rows))
            held[name] = min(rows, target.neurons_per_core or rows) if into == [part] else None
        if part.edge.weight.dense:
            add(name, "axons_in", "axons into a core", sum(other.inputs for other in into))
        add.made.cores[name] = count
    for part in parts:
        after = [other for other in parts if set(part.edge.targets) & set(other.edge.sources)]
        next_ones = [other for other in after if not other.edge.recurrent]
        behind = [other.edge.name for other in next_ones]
        reach = sum(least_reached(other, add.made.cores[other.edge.name]) for other in next_ones)
        own = add.made.cores.get(part.edge.name, 0)
        if target.one_target_core and after and not part.edge.recurrent:
            units = held[behind[0]] if len(behind) == 1 else None
            one = f"{units:,} units in the next layer fit" if units else "one next layer, of one core, fits"
            add.needs(part.edge.name, "cores that its neurons reach", reach, 1, one)
        if own:
            on_core = math.ceil(part.outputs / own)
            units = (target.axons_out or 0) // on_core * ((held[behind[0]] or 0) if len(behind) == 1 else 0)
            next_fits = f"{units:,} units in the next layer fit" if units and next_ones[0].edge.weight.dense else ""
            add(part.edge.name, "axons_out", "axons out of a core", on_core * max(reach, 1), next_fits)


def least_reached(part: Part, cores: int) -> int:
    """Of a dense layer all ``cores``; of a convolution the fewest that hold what one neuron in front of it reaches."""
    return cores if part.edge.weight.dense else math.ceil(most_out(part) / math.ceil(part.outputs / cores))


def _lay(add: _Adder, parts: list[Part]) -> None:
    """Lay each layer on a core of its own whose memories hold its weights and its neurons."""
    from scipy.optimize import linear_sum_assignment

    sizes = list(zip(add.target.kernel_words or [], add.target.neuron_words or [], strict=True))
    wants = [(part.layer.weight.numel(), rounded_up(part.shape_out)) for part in parts]
    suits = [[words <= k and states <= n for k, n in sizes] for words, states in wants]
    for part, (words, states) in zip(parts, wants, strict=True):
        most_words = max([k for k, n in sizes if states <= n] or [k for k, _ in sizes])
        most_states = max([n for k, n in sizes if words <= k] or [n for _, n in sizes])
        fewer = max(min(k * part.shape_out[0] // words, n * part.shape_out[0] // states) for k, n in sizes)  # on a core
        for what, need, limit in (("words of weights", words, most_words), ("words of states", states, most_states)):
            instead = f"{fewer:,} outputs fit" if fewer else "smaller kernels or maps"
            add.needs(part.edge.name, what, need, limit, instead)
    rows, columns = linear_sum_assignment([[not suited for suited in row] for row in suits])
    laid = [int(row) for row, column in zip(rows, columns, strict=True) if suits[row][column]]
    add.made.cores.update((parts[row].edge.name, 1) for row in laid)
    if all(map(any, suits)):
        add.needs("chip", "layers that find a core", len(parts), len(laid), f"{len(laid)} of them find one")


def rounded_up(shape: tuple[int, ...]) -> int:
    """Words that the states of a map take: its sides are rounded up to powers of two."""
    channels, *sides = shape
    return channels * math.prod(1 << (side - 1).bit_length() for side in sides)


def _whole(add: _Adder, network: Network, parts: list[Part], input_shape: tuple[int, ...], classes: int) -> None:
    """What the whole network asks for."""
    forward = [part for part in parts if not part.edge.recurrent]
    last = forward[-1].outputs if forward else 0
    hidden = sum(part.outputs for part in forward[:-1])
    samplers: list[Any] = [neuron for neuron in neurons_of(network).values() if getattr(neuron, "samples", False)]
    units = sum(sampler.units for sampler in samplers)  # they hold their weight themselves, and it works both ways
    joined = sum(sampler.synapses for sampler in samplers) if samplers else sum(map(synapses, parts))
    add("chip", "inputs", "inputs", math.prod(input_shape))
    add("chip", "hidden", "hidden neurons", hidden)
    add("chip", "outputs", "outputs", last)
    add("chip", "classes", "classes", classes)
    add("chip", "layers", "layers", len(forward))
    add("chip", "neurons_in_all", "neurons", units or hidden + last)
    add("chip", "synapses", "synapses", add.target.synapses_per_weight * joined)
    if add.made.cores:
        add("chip", "cores", "cores", sum(add.made.cores.values()))


def must_fit(made: Fit) -> None:
    """Refuse a network that does not fit.

    Raises:
        InputError: naming the first limit that is passed, and what would fit.
    """
    for need in made.needs:
        if not need.fits:
            raise InputError(
                f"hardware={made.target}: {need.layer} needs {number(need.need):,} {need.what}, and there are "
                f"{need.limit}; {need.instead or 'make it smaller'} (hardware.must_fit=false trains it all the same)"
            )
