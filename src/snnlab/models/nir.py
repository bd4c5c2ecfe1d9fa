"""A network read from a NIR graph, by any library that writes one: a chain of weights, neurons and pools.

    v[t] = decay v[t-1] + R time_step / tau I[t]        decay = 1 - time_step / tau; NIR's IF: decay 1, gain R time_step

NIR's CubaLIF is stepped by forward Euler, as neurons/cuba_lif.py: decays 1 - time_step / tau_mem and 1 - time_step /
tau_syn, gain R w_in time_step / tau_syn.

Neurons are counted in the unit of their current: threshold and reset are divided by the gain, weights stay as they are.
A node whose metadata say decay, threshold, reset kind or comparison has these; NIR itself resets to a value, and fires
above its threshold. The method brings what learns: its weights, with the graph's values, and its surrogate gradient.
"""

from __future__ import annotations

import keyword
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.models.model import Model
from snnlab.models.nir_file import File, Node, read
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.weights.find import weights_inside

WEIGHTS, FIRES, READS_OUT = ("Linear", "Affine", "Conv2d"), ("LIF", "IF", "CubaLIF"), ("LI", "I")
KNOWN = (*WEIGHTS, *FIRES, *READS_OUT, "AvgPool2d", "Flatten", "Input", "Output")
CLOSE = 1e-5  # of a number of 32 bits to the one that metadata say
FLOAT = float(np.finfo(np.float32).max)


class NIR(Model):
    """Topology, weights and neurons of a NIR graph.

    Args:
        path: of the file.
        time_step: in seconds; null is that of the graph's metadata.

    Raises:
        InputError: a file that is none, or a graph that is no chain of what is known here.
    """

    def __init__(self, path: str | None = None, time_step: float | None = None) -> None:
        if path is None:
            raise InputError("model.path = null: name the graph, model.path=FILE.nir")
        self.file = read(path)
        time_step = said(self.file) if time_step is None else time_step
        if time_step is None or not 0 < time_step < math.inf:
            raise InputError(
                f"{path}: the graph does not say its time step (metadata time_step); model.time_step=1e-3, in seconds"
            )
        self.time_step = time_step
        try:
            self.chain = chained(self.file)
            self.shape = tuple(int(size) for size in self.chain[0].array("shape").ravel())
            if math.prod(self.shape) < 1:
                raise InputError(f"its input is {list(self.shape)}, which holds nothing")
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        try:
            return self.network(blocks, input_shape, outputs)
        except InputError as error:
            raise InputError(f"{self.file.path}: {error}") from error

    def network(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        """The layers of the chain, one after the other; shapes are followed by running zeros through them."""
        shape = self.shape
        if len(shape) > 1 and shape[0] == 1 and shape != tuple(input_shape):
            shape = shape[1:]  # norse writes a batch of one
        flat = len(shape) == 1 and len(input_shape) > 1
        given = (math.prod(input_shape),) if flat else tuple(input_shape)
        if given != shape:
            raise InputError(f"its input is {list(self.shape)}, and the data's {list(input_shape)}")
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())] if flat else []
        last = max((i for i, node in enumerate(self.chain) if node.type in WEIGHTS), default=0)
        if not last:
            raise InputError("it holds no weights")
        for node in self.chain[:last]:
            made = self.layer(blocks, node, shape)
            if made is not None:
                layers.append((called(node.name, layers), made))
                shape = after(made, node, shape)
        layers += self.readout(blocks, self.chain[last:], shape, outputs)
        return Network(layers)

    def layer(self, blocks: Blocks, node: Node, shape: tuple[int, ...]) -> nn.Module | None:
        """The layer of a node; None for one that passes all on."""
        if node.type in ("Linear", "Affine"):
            weight = matrix(node, shape)
            return filled(blocks.linear(weight.shape[1], weight.shape[0]), node, weight)
        if node.type == "Conv2d":
            return convolution(blocks, node, shape)
        if node.type == "AvgPool2d":
            if len(shape) != 3 or min(node.sizes("kernel_size")) < 1 or min(node.sizes("stride")) < 1:
                raise InputError(f"node {node.name} pools {list(shape)} by {node.values.get('kernel_size')}")
            return nn.AvgPool2d(node.sizes("kernel_size"), node.sizes("stride"), node.sizes("padding"))
        if node.type == "Flatten":
            return nn.Flatten()
        if node.type in FIRES:
            returning = self.returning(node)
            if returning is None:
                return self.conform(blocks.neuron(shape[0]), node)
            layer: Any = blocks.recurrent(shape[0])
            if not isinstance(layer, Recurrent):
                raise InputError(f"spikes of {node.name} return to it, which a {type(layer).__name__} has no form for")
            self.conform(layer.neuron, node)
            filled(layer.weight, returning, matrix(returning, shape))
            return layer
        if node.type in READS_OUT:
            raise InputError(f"node {node.name} ({node.type}) stands before weights, and only a readout may integrate")
        return None

    def readout(
        self, blocks: Blocks, nodes: list[Node], shape: tuple[int, ...], outputs: int
    ) -> list[tuple[str, nn.Module]]:
        """The last weight and what reads it, in the method's own blocks."""
        weight, *behind = [node for node in nodes if node.type != "Output"]
        if weight.type == "Conv2d" or len(behind) > 1:
            raise InputError(f"it ends in {' - '.join(node.type for node in [weight, *behind])}, not in one readout")
        values = matrix(weight, shape)
        if len(values) != outputs:
            raise InputError(f"it has {len(values)} outputs, and the data asks for {outputs}")
        made = blocks.readout(values.shape[1], outputs)
        filled(made[0][1], weight, values)
        end = made[-1][1]
        if behind and behind[0].type in FIRES:
            self.conform(end, behind[0])
        elif not isinstance(end, Integrator):
            what = f"a {behind[0].type}" if behind else "its weights"
            raise InputError(
                f"it ends in {what}, where nothing fires, and the method reads a {type(end).__name__}; "
                "method.readout=leaky, where the method has the key"
            )
        else:
            end.decay = self.kept(behind[0]) if behind else 0.0
        return made

    # neurons ----------------------------------------------------------------------------------------------------------
    def conform(self, neuron: Any, node: Node) -> Any:
        """Give the method's neuron what the graph says of it."""
        kind: Any = type(neuron)
        wanted, name = (CubaLIF, "cuba_lif") if node.type == "CubaLIF" else (LIF, "lif")
        if kind is not wanted:
            raise InputError(
                f"node {node.name} is a {node.type}, and the method's neurons are {kind.__name__}; "
                f"use method.neuron={name}, or a method that has {wanted.__name__}"
            )
        decay, gain = self.synapse(neuron, node) if node.type == "CubaLIF" else self.membrane(node)
        if node.type != "IF" and node.number("v_leak"):
            raise InputError(f"node {node.name} rests at {node.number('v_leak'):g}, and neurons here at 0")
        if not gain:
            raise InputError(f"node {node.name} takes nothing of its input in a step of {self.time_step:g} s")
        threshold, strict = node.number("v_threshold") / gain, node.text("comparison") != ">="
        own = (node.known("threshold") or 0.0) * (node.known("unit") or 0.0) / gain
        if abs(own - threshold) <= half(node) + CLOSE * threshold:
            threshold = own
        if not 0 < threshold <= FLOAT:
            raise InputError(f"node {node.name} fires above {threshold:g}; thresholds here lie above 0, in 32 bits")
        reset = node.text("reset") or "hard"
        if reset not in ("hard", "soft"):
            raise InputError(f"node {node.name}: metadata reset = {reset[:40]!a} must be hard or soft")
        v_reset = node.number("v_reset") / gain if "v_reset" in node.values else 0.0
        neuron.threshold, neuron.reset = threshold, reset
        if kind is LIF:
            neuron.decay, neuron.leak, neuron.v_reset = decay, "first", v_reset
        elif v_reset:
            raise InputError(f"node {node.name} is reset to {v_reset:g}, and neurons with a synapse here to 0")
        neuron.spike.strict = strict
        return neuron

    def membrane(self, node: Node) -> tuple[float, float]:
        """decay and gain of a step."""
        if node.type in ("IF", "I"):
            gain = positive(node, "r") * self.time_step
            return 1.0, 1.0 if abs(gain - 1) <= CLOSE else gain
        share = self.time_step / positive(node, "tau")
        if share > 1 + CLOSE:
            raise InputError(
                f"node {node.name}: tau = {node.number('tau'):g} s is shorter than the time step, {self.time_step:g} s"
            )
        decay = self.forgets(node, "tau", exact(node, max(1 - share, 0.0)))
        return decay, positive(node, "r") * (1 - decay)

    def forgets(self, node: Node, key: str, decay: float) -> float:
        """``decay``, which is refused where a step forgets nothing."""
        if decay >= 1:
            raise InputError(
                f"node {node.name}: {key} = {node.number(key):g} s is so long that nothing is forgotten in a time step "
                f"of {self.time_step:g} s; an IF forgets nothing"
            )
        return decay

    def synapse(self, neuron: CubaLIF, node: Node) -> tuple[float, float]:
        """Give a neuron its time constants of membrane and synapse; return the membrane's decay, and the gain."""
        decays = []
        for key, own in (("tau_mem", "decay"), ("tau_syn", "decay_syn")):
            share = self.time_step / positive(node, key)
            if share >= 1:
                raise InputError(
                    f"node {node.name}: {key} = {node.number(key):g} s must be longer than the time step, "
                    f"{self.time_step:g} s"
                )
            decays.append(self.forgets(node, key, exact(node, 1 - share, own)))
        neuron.a, neuron.b = decays
        neuron.time_step = 1e3 * self.time_step  # ms
        neuron.tau_mem, neuron.tau_syn = (-neuron.time_step / math.log(decay) for decay in decays)
        gain = positive(node, "r") * positive(node, "w_in") * (1 - decays[1])
        return decays[0], 1.0 if abs(gain - 1) <= CLOSE else gain

    def kept(self, node: Node) -> float:
        """What an integrating readout keeps per step; it adds its input as it is."""
        decay, gain = self.membrane(node)
        if abs(gain - 1) > CLOSE:
            raise InputError(f"node {node.name} takes {gain:g} of its input in a step, and readouts here all of it")
        return decay

    def returning(self, node: Node) -> Node | None:
        """The weight through which spikes return to their neurons."""
        names = [name for name in self.file.after(node.name) if node.name in self.file.after(name)]
        return self.file.nodes[names[0]] if names else None


def said(file: File) -> float | None:
    """The time step that the metadata say, in seconds."""
    found = file.about.known("time_step")
    return found if found is not None and 0 < found < math.inf else None


def lines(path: str) -> list[str]:
    """What is in a graph, for people, and the line that trains it.

    Raises:
        InputError: a file that is none, or a graph that is no chain of what is known here.
    """
    file = read(path)
    try:
        chain = chained(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    step, wide = said(file), max(len(node.name) for node in chain)
    told = f"time step {step:g} s" if step else "which does not say its time step"
    made = [f"graph        {file.path}, {told}"]
    for node in chain:
        weight = node.values.get("weight", node.values.get("v_threshold", node.values.get("shape", ())))
        size = list(np.shape(weight)) if node.type not in ("Input", "Output") else list(np.ravel(weight).tolist())
        made.append(f"  {node.name:{wide}} {node.type:10} {size if size else ''}")
    more = "" if step else " model.time_step=1e-3"
    return [*made, f"train        python -m snnlab method=... data=... model=nir model.path={file.path}{more}"]


def chained(file: File) -> list[Node]:
    """The nodes from input to output, one after the other; what returns to its own neurons is left out.

    Raises:
        InputError: where the graph is no such chain.
    """
    for node in file.nodes.values():
        if node.type not in KNOWN:
            raise InputError(f"node {node.name} is a {node.type or 'nothing'}; read are {', '.join(KNOWN)}")
    starts = [node for node in file.nodes.values() if node.type == "Input"]
    if len(starts) != 1:
        raise InputError(f"it has {len(starts)} inputs, and a network here has one")
    chain, here = [starts[0]], starts[0].name
    loops = {
        weight.name
        for weight in file.nodes.values()
        if weight.type in ("Linear", "Affine")
        and file.after(weight.name) == file.before(weight.name) != []
        and file.nodes[file.after(weight.name)[0]].type in FIRES
    }
    while True:
        on = [name for name in file.after(here) if name not in loops]
        back = [name for name in file.before(here) if name not in loops]
        if len(back) > 1 or len(on) > 1:
            raise InputError(f"node {here} has {max(len(back), len(on))} neighbours on one side; chains alone are read")
        if len([name for name in file.after(here) if name in loops]) > 1:
            raise InputError(f"spikes of {here} return to it in two ways")
        if not on:
            break
        here = on[0]
        chain.append(file.nodes[here])
        if len(chain) > len(file.nodes):
            raise InputError(f"node {here} is in a loop of more than two nodes")
    if chain[-1].type != "Output" or len(chain) + len(loops) != len(file.nodes):
        raise InputError("not every node lies between the input and one output")
    return chain


def called(name: str, layers: list[tuple[str, nn.Module]]) -> str:
    """A node's name as one of a layer, which no other has."""
    name = "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in name.removesuffix(".lif"))
    if not name.isidentifier() or keyword.iskeyword(name) or hasattr(nn.ModuleDict, name) or name in dict(layers):
        name = f"node{len(layers)}_{name}"
    return name


def matrix(node: Node, shape: tuple[int, ...]) -> np.ndarray:
    """The weight [outputs, inputs] of a Linear or Affine node, for an input of ``shape``."""
    weight = node.array("weight")
    if weight.ndim != 2 or (weight.shape[1],) != shape:
        raise InputError(f"node {node.name} ({node.type}): its weight is {list(weight.shape)}, its input {list(shape)}")
    return weight


def convolution(blocks: Blocks, node: Node, shape: tuple[int, ...]) -> nn.Module:
    """A Conv2d of the method's, square and without groups, as its blocks have them."""
    weight = node.array("weight")
    kernel, stride = weight.shape[-1], node.sizes("stride")
    word = str(np.asarray(node.values.get("padding", 0)).ravel()[0])
    padding = (0, 0) if word == "valid" else (kernel // 2, kernel // 2) if word == "same" else node.sizes("padding")
    plain = node.sizes("dilation") == (1, 1) and node.sizes("groups")[0] == 1
    square = weight.ndim == 4 and weight.shape[2] == kernel and stride[0] == stride[1] and padding[0] == padding[1]
    if not (plain and square) or (word == "same" and kernel % 2 == 0):
        raise InputError(f"node {node.name}: convolutions here are square, without dilation and groups")
    if len(shape) != 3 or weight.shape[1] != shape[0] or min(shape[1:]) + 2 * padding[0] < kernel or stride[0] < 1:
        raise InputError(f"node {node.name}: its weight is {list(weight.shape)}, its input {list(shape)}")
    layer = blocks.conv(weight.shape[1], weight.shape[0], kernel, padding=padding[0], stride=stride[0])
    return filled(layer, node, weight)


@torch.no_grad()
def filled(layer: nn.Module, node: Node, weight: np.ndarray) -> nn.Module:
    """Write a node's values into a layer of the method's.

    Raises:
        InputError: where the method makes other weights of them, or has no bias.
    """
    (_, to), *_ = weights_inside(layer)
    values = torch.from_numpy(weight).to(to.used)
    to.write(values.clone())
    if not torch.equal(to.used, values):
        raise InputError(
            f"node {node.name}: the method makes other weights of the graph's; "
            "method.standardise=false method.scale=1 leave them as they are, where the method has the keys"
        )
    offset = node.array("bias") if "bias" in node.values else np.zeros(len(weight))
    if offset.shape != (len(weight),):
        raise InputError(f"node {node.name}: its bias is {list(offset.shape)}, its weight {list(weight.shape)}")
    if to.bias_values is not None:
        to.bias_values.write(torch.from_numpy(offset).to(to.used))
    elif offset.any():
        raise InputError(f"node {node.name} has a bias, and the method's weights have none; method.bias=true")
    return layer


def after(layer: nn.Module, node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape behind a layer."""
    if node.type in FIRES:
        size = np.shape(node.array("v_threshold"))
        if size not in ((), (1,), shape):
            raise InputError(f"node {node.name} is {list(size)}, its input {list(shape)}")
        return shape
    with torch.no_grad():
        inside = [weight.layer for _, weight in weights_inside(layer)]
        return tuple((inside[0] if inside else layer)(torch.zeros(1, *shape)).shape[1:])


def positive(node: Node, key: str) -> float:
    value = node.number(key)
    if not value > 0:
        raise InputError(f"node {node.name} ({node.type}): {key} = {value:g} must be above 0")
    return value


def exact(node: Node, decay: float, key: str = "decay") -> float:
    """The decay that metadata say, where it is that of tau with more digits."""
    own = node.known(key)
    return own if own is not None and 0 <= own <= 1 and abs(own - decay) <= CLOSE else decay


def half(node: Node) -> float:
    """In whole numbers v_threshold lies half a level from the threshold."""
    return 0.5 * abs(node.known("state_level") or 0.0) * 1.001
