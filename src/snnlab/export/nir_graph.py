"""A network as a NIR graph, whose nodes are differential equations without a time step.

    tau dv/dt = (v_leak - v) + R I,     spike where v > v_threshold, then v = v_reset           NIR's LIF
    v[t] = v[t-1] + time_step / tau ((v_leak - v[t-1]) + R I[t])                                as simulators step it

A neuron here has v[t] = decay v[t-1] + gain I[t]. Weights leave as they are, with R = 1 (norse passes over R), and the
membrane is counted in another unit where that is needed:

    tau = time_step / (1 - decay),  R = 1,  v_threshold = unit * threshold,  unit = (1 - decay) / gain          (1)
    R = 1 / time_step, the membrane as it is                                                    decay = 1: NIR's IF

NIR fires above the threshold. Where equality fires here, v_threshold is the largest number of 32 bits below it, so that
NIR's own comparison gives the same spikes; where every sum is a whole number of levels, it lies half a level below the
threshold (half above, where equality stays silent). NIR resets to a value; where the threshold is subtracted here,
metadata say so: importers must be told.

A CubaLIF here is NIR's, stepped by forward Euler: both of its equations take what was there before the step, so that a
spike is felt one step later. Libraries that add it to the current first are one step early.

    tau_mem = time_step / (1 - a),  tau_syn = time_step / (1 - b),  w_in = 1 / (1 - b),  R = 1                  (2)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.layers.chain import Chain
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.group_mean import GroupMean
from snnlab.layers.network import Composite, Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.residual import Residual
from snnlab.layers.scale import Scale
from snnlab.layers.trace import Traced
from snnlab.neurons import whole
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Temporal
from snnlab.neurons.plif import PLIF
from snnlab.weights.find import weight_of
from snnlab.weights.levels import OnLevels, levels_of
from snnlab.weights.weight import Weight

TIME_STEP = 1e-3  # seconds, of data whose steps are no time
SOFT = "neurons subtract their threshold, and NIR's own are reset to a value: metadata reset = soft"
ROUNDED = "states are rounded to levels of {:g} here, which NIR has no word for: metadata state_level"
WHY = {  # of layers that have no exact form, by the name of their class
    "BatchNormThroughTime": "has gains of its own for every step, and a node of NIR is the same at every step",
    "LTC": "has analog gates, worked out of its input at every step",
    "Memristive": "has conductances that its own voltage moves",
    "ALIF": "has a threshold that moves with its own spikes",
    "AHP": "has a current that its own spikes bring; --format numpy writes its integers, hardware=loihi2",
    "StochasticReadout": "draws its spikes at random",
    "MaxPool2d": "takes the largest, and NIR has averages and sums",
    "ReLU": "is no neuron in time, and NIR has none of its kind",
}


@dataclass
class Graph:
    """Nodes and edges on their way into NIR; ``notes`` are what a reader has to be told, one line each."""

    time_step: float
    whole_numbers: bool
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, node: Any, sources: Iterable[str]) -> list[str]:
        """Enter a node fed by ``sources``, which are summed; return what is fed by it alone."""
        self.nodes[name] = node
        for source in sources:
            if (source, name) in self.edges:
                raise refusal(name, "adds a signal to itself, and an edge of NIR is there once")
            self.edges.append((source, name))
        return [name]

    def note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


def library() -> Any:
    """The package nir.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import nir
    except ImportError as error:
        raise InputError("--format nir needs the package nir: pip install nir") from error
    return nir


@torch.no_grad()
def to_nir(
    network: Network,
    input_shape: tuple[int, ...],
    time_step: float = TIME_STEP,
    whole_numbers: bool = False,
    metadata: dict[str, Any] | None = None,
) -> tuple[Any, list[str]]:
    """Return ``network`` as a ``nir.NIRGraph``, and what a reader has to be told.

    Args:
        network: in evaluation mode.
        input_shape: of one sample at one step; flat where the network flattens it first.
        time_step: in seconds.
        whole_numbers: whether weights, thresholds and membranes are whole numbers of a unit.
        metadata: more of it.

    Raises:
        InputError: a layer that NIR has no exact form for, with the reason.
    """
    nir = library()
    layers = list(network.layers)
    flat = bool(layers) and isinstance(network.layers[layers[0]], nn.Flatten)
    shape = (math.prod(input_shape),) if flat else tuple(input_shape)
    graph = Graph(time_step, whole_numbers)
    sources = graph.add("input", nir.Input({"input": np.array(shape)}), [])
    sources, shape = enter(graph, network, "", sources, shape)
    graph.add("output", nir.Output({"output": np.array(shape)}), sources)
    found = {"time_step": float(time_step), **(metadata or {})}
    return nir.NIRGraph(nodes=graph.nodes, edges=graph.edges, metadata=found), graph.notes


def enter(
    graph: Graph, network: Network, prefix: str, sources: list[str], shape: tuple[int, ...]
) -> tuple[list[str], tuple[int, ...]]:
    """Enter the layers of ``network``; return the nodes whose sum leaves it, and its shape."""
    for link in Chain(network).links:
        name, layer = prefix + link.name, link.layer
        if isinstance(layer, Residual):
            if layer.join != "add":
                raise refusal(name, f"joins its branches by {layer.join}, and NIR's edges add")
            one, made = enter(graph, layer.shortcut, f"{name}_", sources, shape)
            two, shape = enter(graph, layer.body, f"{name}_", sources, shape)
            if made != shape or {*one} & {*two}:
                raise refusal(name, "adds what NIR's edges cannot")
            sources = [*one, *two]
        elif isinstance(layer, Composite):
            raise refusal(name, f"({type(layer).__name__}) is a part that NIR has no node for")
        elif isinstance(layer, Recurrent):
            sources = loop(graph, name, layer, sources, shape)
        elif isinstance(layer, Temporal) and not isinstance(layer, Traced | HeldDropout):
            node = neuron(graph, name, layer, shape)
            sources = sources if node is None else graph.add(name, node, sources)
        elif not isinstance(layer, nn.Identity | HeldDropout):
            inner = layer.layer if isinstance(layer, Traced) else layer
            node = passing(name, inner, shape)
            shape = tuple(inner(torch.zeros(1, *shape)).shape[1:])
            is_first = sources == ["input"] and isinstance(inner, nn.Flatten)
            sources = sources if is_first else graph.add(name, node, sources)
    return sources, shape


def loop(graph: Graph, name: str, layer: Recurrent, sources: list[str], shape: tuple[int, ...]) -> list[str]:
    """Neurons whose spikes return to them: a cycle of two nodes, which is felt one step later.

    A bias of the returning weight is there at the first step, too, when importers see nothing return: it goes to the
    weight in front.
    """
    nir = library()
    made = neuron(graph, name, layer.neuron, shape)
    inner = layer.weight.layer if isinstance(layer.weight, Traced) else layer.weight
    back = passing(f"{name}.w_rec", inner, shape)
    if not isinstance(back, nir.Linear | nir.Affine):
        raise refusal(name, f"returns through a {type(inner).__name__}")
    if isinstance(back, nir.Affine):
        front = graph.nodes[sources[0]]
        if len(sources) > 1 or not isinstance(front, nir.Linear | nir.Affine):
            raise refusal(name, "has a bias where its spikes return, and no weight in front of it to take the bias")
        bias = back.bias + (front.bias if isinstance(front, nir.Affine) else 0)
        graph.nodes[sources[0]] = nir.Affine(front.weight, bias, metadata=front.metadata)
        back = nir.Linear(back.weight, metadata=back.metadata)
    spikes = graph.add(f"{name}.lif", made, sources)
    graph.add(f"{name}.w_rec", back, spikes)
    graph.edges += [(f"{name}.w_rec", f"{name}.lif")]
    return spikes


# layers without a memory ----------------------------------------------------------------------------------------------
def passing(name: str, layer: nn.Module, shape: tuple[int, ...]) -> Any:
    """The node of a layer that has no state, for inputs of ``shape`` [...]."""
    nir = library()
    weight = weight_of(layer)
    if weight is not None:
        return of_weight(name, weight, shape)
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
        return nir.Flatten({"input": np.array(shape)}, start_dim=0, end_dim=-1)
    if type(layer) is nn.AvgPool2d:
        if layer.ceil_mode or layer.divisor_override or not layer.count_include_pad:
            raise refusal(name, "averages in a way of its own (ceil_mode, divisor_override, count_include_pad)")
        sizes = (pair(size) for size in (layer.kernel_size, layer.stride, layer.padding))
        return nir.AvgPool2d(*sizes)
    if isinstance(layer, GroupMean):
        groups = shape[-1] // layer.size
        return nir.Linear(np.kron(np.eye(groups), np.full((1, layer.size), 1 / layer.size)).astype(np.float32))
    if isinstance(layer, Scale):
        factor = layer.factor * (1.0 if layer.gain is None else float(layer.gain))
        return nir.Scale(np.full(shape, factor, np.float32))
    raise refused(name, layer)


def of_weight(name: str, weight: Weight, shape: tuple[int, ...]) -> Any:
    """Linear, Affine or Conv2d; its values are those that the product takes."""
    nir = library()
    used, bias = weight.used, weight.bias_values
    metadata = on_levels(weight)
    offset = None if bias is None else array(bias.used)
    # NIR has a node for exactly these two layers of torch
    if isinstance(weight.layer, nn.Linear):
        if len(shape) != 1:
            raise refusal(name, f"is a linear layer on {list(shape)}, and NIR's is for one dimension")
        if offset is None:
            return nir.Linear(array(used), metadata=metadata)
        return nir.Affine(array(used), offset, metadata=metadata)
    # and none for other windows
    if isinstance(weight.layer, nn.Conv2d) and weight.layer.padding_mode == "zeros":
        layer = weight.layer
        offset = np.zeros(layer.out_channels, np.float32) if offset is None else offset
        padding = layer.padding if isinstance(layer.padding, str) else tuple(layer.padding)
        form = (tuple(layer.stride), padding, tuple(layer.dilation), layer.groups)
        return nir.Conv2d(tuple(shape[1:]), array(used), *form, offset, metadata=metadata)
    raise refused(name, weight.layer)


def on_levels(weight: Weight) -> dict[str, Any]:
    """What one level of a weight is worth, where it lies on levels alone."""
    parts = weight.values.parts
    if not parts or not isinstance(parts[-1], OnLevels):
        return {}
    _, unit = levels_of(weight)
    return {"level": array(unit)}


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy().copy()


def pair(size: Any) -> np.ndarray:
    return np.array(size if isinstance(size, tuple) else (size, size))


# layers with a memory -------------------------------------------------------------------------------------------------
def kind_of(layer: nn.Module) -> type:
    """The class of a layer, that of the neuron where its state lies on levels."""
    return type(layer).__bases__[1] if isinstance(layer, whole.OnLevels) else type(layer)


def neuron(graph: Graph, name: str, layer: nn.Module, shape: tuple[int, ...]) -> Any:
    """The node of neurons, or of a readout that integrates; None where it passes its input on."""
    kind = kind_of(layer)
    if kind in (LIF, PLIF):
        return fires(graph, name, layer, shape)
    if kind is CubaLIF:
        return with_synapse(graph, name, layer, shape)
    if kind is not Integrator:
        raise refused(name, layer)
    assert isinstance(layer, Integrator)
    nir, decay = library(), layer.decay
    if decay == 0:
        return None  # its gain is 1, too
    if layer.gain == 0:
        raise refusal(name, "takes nothing of its input (decay = 1, leak = scaled)")
    if decay == 1:
        return nir.I(full(shape, 1 / graph.time_step), metadata={"decay": 1.0})
    tau, r, rest = (full(shape, v) for v in (graph.time_step / (1 - decay), layer.gain / (1 - decay), 0.0))
    return nir.LI(tau, r, rest, metadata={"decay": float(decay)})


@dataclass(frozen=True)
class Membrane:
    """v[t] = rest + decay (v[t-1] - rest) + gain I[t] of a LIF or PLIF layer, with its threshold."""

    decay: float
    gain: float
    rest: float
    threshold: float

    @classmethod
    def of(cls, layer: Any) -> Membrane:
        if kind_of(layer) is PLIF:
            pull = float(torch.sigmoid(layer.w))
            return cls(1 - pull, pull, float(layer.v_reset), float(layer.limit(layer.w)))
        gain = 1 - layer.decay if layer.leak == "scaled" else 1.0  # leak="last" leaks after the comparison: as "first"
        return cls(float(layer.decay), gain, 0.0, float(layer.threshold))


def fires(graph: Graph, name: str, layer: Any, shape: tuple[int, ...]) -> Any:
    """NIR's LIF or IF."""
    nir, made, strict = library(), Membrane.of(layer), bool(getattr(layer.spike, "strict", False))
    if layer.reset == "none":
        raise refusal(name, "is not reset by its spikes, and every neuron of NIR is")
    if made.gain == 0:
        raise refusal(name, "takes nothing of its input (decay = 1, leak = scaled)")
    metadata: dict[str, Any] = {
        "reset": layer.reset,
        "comparison": ">" if strict else ">=",
        "threshold": made.threshold,
        "decay": made.decay,
        "gain": made.gain,
    }
    level = None
    if isinstance(layer, whole.OnLevels):
        level = layer.levels
        if level.decay in ("4096ths", "shifts") and made.decay not in (0, 1):
            raise refusal(name, "decays in whole numbers, which NIR's equations do not cut; --format numpy writes them")
        metadata |= {"state_level": level.unit, "state_low": level.low, "state_high": level.high}
        if not graph.whole_numbers or made.decay not in (0, 1):  # sums of whole numbers need no rounding
            graph.note(ROUNDED.format(level.unit))
    if layer.reset == "soft":
        graph.note(SOFT)
    unit = 1.0 if made.decay == 1 else (1 - made.decay) / made.gain  # (1)
    whole_sums = level is not None and graph.whole_numbers and made.decay in (0, 1)
    threshold = lowered(made.threshold, strict, level.unit if level is not None and whole_sums else None)
    between = strict or threshold != made.threshold
    above = np.float32(unit * threshold) if between else below(unit * threshold)
    values = {"v_threshold": full(shape, float(above)), "v_reset": full(shape, unit * float(layer.v_reset))}
    metadata["unit"] = unit
    if made.decay == 1:
        return nir.IF(r=full(shape, 1 / graph.time_step), metadata=metadata, **values)
    values |= {"tau": full(shape, graph.time_step / (1 - made.decay)), "r": full(shape, 1.0)}
    return nir.LIF(v_leak=full(shape, unit * made.rest), metadata=metadata, **values)


def with_synapse(graph: Graph, name: str, layer: Any, shape: tuple[int, ...]) -> Any:
    """NIR's CubaLIF, by (2)."""
    if layer.reset == "none":
        raise refusal(name, "is not reset by its spikes, and every neuron of NIR is")
    strict, step = bool(getattr(layer.spike, "strict", False)), graph.time_step
    metadata: dict[str, Any] = {
        "reset": layer.reset,
        "comparison": ">" if strict else ">=",
        "threshold": float(layer.threshold),
        "decay": float(layer.a),
        "decay_syn": float(layer.b),
        "gain": 1.0,
        "unit": 1.0,
    }
    if isinstance(layer, whole.OnLevels):
        level = layer.levels
        metadata |= {"state_level": level.unit, "state_low": level.low, "state_high": level.high}
        graph.note(ROUNDED.format(level.unit))
    if layer.reset == "soft":
        graph.note(SOFT)
    graph.note("CubaLIF is stepped by forward Euler here: a spike moves the membrane one step later")
    above = np.float32(layer.threshold) if strict else below(layer.threshold)
    values = {"v_threshold": float(above), "v_reset": 0.0, "v_leak": 0.0, "r": 1.0, "w_in": 1 / (1 - layer.b)}
    values |= {"tau_mem": step / (1 - layer.a), "tau_syn": step / (1 - layer.b)}
    return library().CubaLIF(metadata=metadata, **{key: full(shape, value) for key, value in values.items()})


def lowered(threshold: float, strict: bool, level: float | None) -> float:
    """The threshold in whole numbers of ``level``, between what is silent and what fires."""
    return threshold if level is None else threshold + (0.5 if strict else -0.5) * level


def below(value: float) -> np.float32:
    """The largest number of 32 bits below ``value``, as such a number."""
    return np.nextafter(np.float32(value), np.float32(-np.inf))


def full(shape: tuple[int, ...], value: float) -> np.ndarray:
    return np.full(shape, value, np.float32)


def refused(name: str, layer: nn.Module) -> InputError:
    """The error for a layer that has no form."""
    kind = kind_of(layer).__name__
    return refusal(name, f"({kind}) {WHY[kind]}" if kind in WHY else f"({kind}) is a layer that NIR has no node for")


def refusal(name: str, what: str) -> InputError:
    return InputError(f"{name} {what}: it has no exact form in NIR")
