"""A NIR graph run by other libraries, one sample and step at a time, without a batch, as its nodes are written.

What a library takes to be otherwise than the graph has it is allowed for, and said in ``allowed``:

    norse       passes over r, v_reset and the reset kind, starts at v_leak: set here; an AvgPool2d is a convolution
    snntorch    has a time step of 1e-4 s: tau is put in it; resets to 0, always
    both        know no levels of a membrane: it is rounded to them after each step, as metadata say

What cannot be allowed for is refused with the reason.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.errors import InputError

INSTALL = "pip install --no-deps -r benchmarks/peers.txt"
SNNTORCH_STEP = 1e-4  # seconds; fixed in its import_nir.py
READS_OUT = ("I", "LI")  # nodes that never fire


@dataclass
class Simulator:
    """A library with the graph in it: ``run`` takes frames [T, ...] of one sample -> spikes [T, ...] by node."""

    name: str
    run: Callable[[Tensor], dict[str, Tensor]]
    allowed: list[str] = field(default_factory=list)


def firing(graph: Any) -> dict[str, Any]:
    """The nodes that spike, by name."""
    return {name: node for name, node in graph.nodes.items() if kind(node) in ("LIF", "IF")}


def kind(node: Any) -> str:
    return type(node).__name__


def metadata(node: Any, key: str, otherwise: Any) -> Any:
    """A value of a node's metadata as a number or a text."""
    found = node.metadata.get(key, otherwise)
    return found.decode() if isinstance(found, bytes) else found.item() if hasattr(found, "item") else found


def without_readout(graph: Any) -> Any:
    """The graph without what integrates at its end, which never fires and which not every library has."""
    import nir

    gone = {name for name, node in graph.nodes.items() if kind(node) in READS_OUT}
    before = {b: a for a, b in graph.edges if b in gone}
    edges = [(before.get(a, a), b) for a, b in graph.edges if b not in gone]
    nodes = {name: copy.deepcopy(node) for name, node in graph.nodes.items() if name not in gone}
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=dict(graph.metadata))


def without_synapses(graph: Any) -> None:
    """Refuse what libraries step otherwise than forward Euler does."""
    for name, node in graph.nodes.items():
        if kind(node) == "CubaLIF":
            raise InputError(
                f"{name} is a CubaLIF, whose spikes are felt one step later; LIF and IF alone are compared"
            )


# norse ----------------------------------------------------------------------------------------------------------------
def norse(graph: Any) -> Simulator:
    """The graph in norse."""
    found = imported("norse.torch")
    without_synapses(graph)
    graph, allowed = without_readout(graph), list[str]()
    for name, node in graph.nodes.items():
        if kind(node) == "AvgPool2d":
            graph.nodes[name] = averaging(node)
            allowed.append("AvgPool2d is a convolution")
        elif kind(node) == "Scale":
            raise InputError(f"norse has no Scale, and {name} is one")
        elif kind(node) == "IF" and (metadata(node, "reset", "hard") == "soft" or np.any(node.v_reset != 0)):
            raise InputError(f"norse resets an IF to 0, and {name} is one that is not")
        elif kind(node) == "LIF" and not np.allclose(node.r, 1):
            raise InputError(f"norse passes over r, and that of {name} is {node.r.flat[0]:g}")
    with quietly():
        step = float(metadata(graph, "time_step", 0))
        made = found.from_nir(graph, ignore_warnings=True, dt=step)
    modules = {name: made.get_submodule(name.replace(".", "_")) for name in firing(graph)}
    for name, node in firing(graph).items():
        module: Any = modules[name]
        if kind(node) == "LIF" and metadata(node, "reset", "hard") == "soft":
            from norse.torch.functional.reset import reset_subtract

            threshold = torch.from_numpy(np.asarray(subtracted(node)))
            module.p = module.p._replace(
                reset_method=lambda z, v, _reset, _above, amount=threshold: reset_subtract(z, v, _reset, amount)
            )
            allowed.append("reset_method subtracts")
        elif kind(node) == "LIF" and np.any(node.v_reset != 0):
            module.p = module.p._replace(v_reset=torch.from_numpy(node.v_reset))
            allowed.append("v_reset set")
        if kind(node) == "LIF" and np.any(node.v_leak != 0):
            from norse.torch.functional.lif_box import LIFBoxFeedForwardState

            module.state_fallback = lambda current: LIFBoxFeedForwardState(v=torch.zeros_like(current))
            allowed.append("v starts at 0")
        if levels := of_state(node, float(metadata(node, "unit", 1.0))):
            module.register_forward_hook(
                lambda _m, _i, out, to=levels: (out[0], type(out[1])(**{**out[1]._asdict(), "v": to(out[1].v)}))
            )
            allowed.append("states rounded to their levels")

    def run(frames: Tensor) -> dict[str, Tensor]:
        state: Any = None
        with seen(modules, lambda out: out[0]) as spikes, torch.no_grad():
            for frame in frames:
                _, state = made(frame, state)
        return {name: torch.stack(parts) for name, parts in spikes.items()}

    return Simulator("norse", run, list(dict.fromkeys(allowed)))


def subtracted(node: Any) -> Any:
    """What a soft reset takes away: the threshold itself, where v_threshold lies just below it."""
    own, unit = metadata(node, "threshold", None), metadata(node, "unit", 1.0)
    return node.v_threshold if own is None else np.full_like(node.v_threshold, own * unit)


def averaging(node: Any) -> Any:
    """A convolution that averages as an AvgPool2d does."""
    import nir

    channels = int(node.input_type["input"][0])
    high, wide = (int(size) for size in node.kernel_size)
    weight = np.zeros((channels, channels, high, wide), np.float32)
    weight[range(channels), range(channels)] = 1 / (high * wide)
    form = (tuple(map(int, node.stride)), tuple(map(int, node.padding)), (1, 1), 1, np.zeros(channels, np.float32))
    size = tuple(int(s) for s in node.input_type["input"][1:])
    return nir.Conv2d(size, weight, *form)


# snntorch -------------------------------------------------------------------------------------------------------------
def snntorch(graph: Any) -> Simulator:
    """The graph in snntorch."""
    found = imported("snntorch.import_nir")
    without_synapses(graph)
    graph, allowed = without_readout(graph), ["dt = 1e-4: tau put in it"]
    step, units = float(metadata(graph, "time_step", 0)), dict[str, float]()
    for name, node in graph.nodes.items():
        if kind(node) == "IF":
            raise InputError(f"snntorch gives an IF a leak (beta = 0.9), and {name} has none")
        if kind(node) == "Scale":
            raise InputError(f"snntorch has no Scale, and {name} is one")
        if kind(node) != "LIF":
            continue
        if any((b, a) in graph.edges for a, b in graph.edges if a == name):
            raise InputError(f"snntorch leads the input of {name} through its returning weight, not into its neurons")
        if metadata(node, "reset", "hard") == "soft" or np.any(node.v_reset != 0):
            raise InputError(f"snntorch resets to 0, and {name} is one that does not")
        if np.any(node.v_leak != 0):
            raise InputError(f"snntorch rests at 0, and {name} does not")
        gain = node.r * step / node.tau  # of the current; the membrane is counted in it, as snntorch wants r = tau / dt
        units[name] = float(metadata(node, "unit", 1.0)) / float(gain.flat[0])
        node.tau = (node.tau * (SNNTORCH_STEP / step)).astype(np.float32)
        node.r, node.v_threshold = node.tau / np.float32(SNNTORCH_STEP), (node.v_threshold / gain).astype(np.float32)
    nodes = firing(graph)  # before the importer takes the graph apart
    with quietly():
        made = found.import_from_nir(graph)
    modules = {name: firing_module(made, name) for name in nodes}
    for name, node in nodes.items():
        if levels := of_state(node, units[name]):
            modules[name].register_forward_hook(lambda m, _i, _o, to=levels: setattr(m, "mem", to(m.mem)))
            allowed.append("states rounded to their levels")

    def run(frames: Tensor) -> dict[str, Tensor]:
        for module in modules.values():
            module.mem = torch.zeros(0)
        state: Any = None
        with seen(modules, lambda out: out) as spikes, torch.no_grad():
            for frame in frames:
                _, state = made(frame, state)
        return {name: torch.stack(parts) for name, parts in spikes.items()}

    return Simulator("snntorch", run, list(dict.fromkeys(allowed)))


def firing_module(made: nn.Module, name: str) -> Any:
    """The module of a node, which may lie in a part of its own."""
    return next(m for path, m in made.named_modules() if path.rpartition(".")[2] == name.replace(".", "_"))


SIMULATORS: dict[str, Callable[[Any], Simulator]] = {"norse": norse, "snntorch": snntorch}


# what they share ------------------------------------------------------------------------------------------------------
def imported(name: str) -> Any:
    """A module of a library, or the line that says how to get it."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise InputError(f"--verify {library}: it cannot be imported ({error}); {INSTALL}") from error


def of_state(node: Any, unit: float) -> Callable[[Tensor], Tensor] | None:
    """What puts a membrane, in which ``unit`` stands for 1 here, on its levels; None where it has none."""
    level = metadata(node, "state_level", None)
    if level is None:
        return None
    low, high = metadata(node, "state_low", None), metadata(node, "state_high", None)
    return lambda v: torch.floor(v / (unit * level) + 0.5).clamp(low, high) * (unit * level)


@contextlib.contextmanager
def seen(modules: dict[str, Any], spikes_of: Callable[[Any], Tensor]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the spikes of modules, one entry a step."""
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: found[name].append(spikes_of(out).detach().clone()))
        for name, module in modules.items()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what an importer prints, and its warnings, from the terminal."""
    import logging
    import warnings

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
