"""Fused forms of neurons: the same numbers as ``step``, a whole sequence in one pass.

``Temporal.forward`` asks here first and loops over ``step`` where there is no kernel. program.py reads a step off,
cpu.py and gpu.py write it out, sequence.py runs it forward and backward.
"""

from __future__ import annotations

import logging
from importlib import import_module
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from snnlab.kernels.path import Path, current, using
from snnlab.kernels.program import Program, Unsupported, inputs, trace

__all__ = ["Path", "current", "fused", "using"]

log = logging.getLogger("snnlab")

_backends: dict[str, ModuleType | None] = {}  # cpu.py and gpu.py, once they were asked for
_programs: WeakKeyDictionary[nn.Module, dict[Any, Program | None]] = WeakKeyDictionary()


OWN = vars(nn.Module()).keys() - {"training"}  # what every module has
MOST = 32  # programs of one neuron that are remembered


def fused(neuron: nn.Module, currents: Tensor) -> Tensor | None:
    """Outputs [T, B, ...] for currents [T, B, ...], or None where the loop over ``step`` has to do it.

    A program that cannot be compiled here is told once and left alone from then on.
    """
    path, name, outputs = current(), type(neuron).__name__, None
    wanted = path.enabled and currents.numel() and currents.ndim > 1 and not torch.compiler.is_compiling()
    kernel = backend(currents) if wanted else None
    program = None if kernel is None else _program(neuron, currents)
    if program is not None and program.runs is not False:
        from snnlab.kernels.sequence import unroll

        try:
            outputs = unroll(neuron, program, currents, kernel)
        except Exception as error:
            if program.runs:
                raise
            reason = str(error).split("\n")[0]
            log.warning("kernels: %s is not usable (%s); it runs step by step", name, reason)
        program.runs = outputs is not None
    (path.looped if outputs is None else path.fused).add(name)
    return outputs


def first_derivative() -> None:
    """Raise RuntimeError where a backward is to be differentiated again: what it computes is no graph."""
    if torch.is_grad_enabled():
        raise RuntimeError("fused layers have first derivatives only; take kernels=step where create_graph is needed")


def offer(currents: Tensor) -> None:
    """Let the neuron that these currents are given to next write what it keeps over them."""
    currents.offered = True  # type: ignore[attr-defined]


def accept(currents: Tensor) -> bool:
    """Whether these currents are offered; an offer is taken once."""
    return bool(vars(currents).pop("offered", False))


def backend(tensor: Tensor) -> ModuleType | None:
    """The kernels for a tensor, or None; a compiler that is missing or broken is told once."""
    place = {"cpu": "cpu", "cuda": "gpu"}.get(tensor.device.type)
    if place is None or tensor.dtype not in (torch.float32, torch.float64):
        return None
    if place not in _backends:
        try:
            _backends[place] = import_module(f"snnlab.kernels.{place}")
        except Exception as error:  # an optional speed-up must not stop a run
            _backends[place] = None
            compiler = "numba" if place == "cpu" else "triton"
            reason = str(error).split("\n")[0]
            log.warning("kernels: %s is not usable (%s); neurons run step by step", compiler, reason)
    return _backends[place]


def on_cpu(tensor: Tensor) -> bool:
    """Whether the kernels of cpu.py hold for a tensor."""
    return tensor.device.type == "cpu" and backend(tensor) is not None


def _program(neuron: nn.Module, currents: Tensor) -> Program | None:
    """The program of a neuron as it is set now, traced when it is met for the first time."""
    plain: list[Any] = [currents.shape[2:], currents.dtype]
    for module in neuron.modules():  # what may be set between two sequences
        plain += [(k, _setting(v)) for k, v in vars(module).items() if k not in OWN]
    held = inputs(neuron)
    plain += [(t.shape, t.dtype) for t in held]
    known = _programs.setdefault(neuron, {})
    key = tuple(plain)
    if key not in known:
        if len(known) == MOST:  # a number that changes with every batch
            del known[next(iter(known))]
        try:
            program = trace(neuron, tuple(currents.shape[2:]), currents.dtype)
        except Unsupported as reason:
            log.debug("kernels: %s runs step by step: %s", type(neuron).__name__, reason)
            known[key] = None
        else:
            known[key] = program
    return known[key]


def _setting(value: Any, depth: int = 3) -> Any:
    """What tells one value of an attribute from another; of an object, its attributes."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, nn.Module):
        return id(value)  # its own settings are looked at by themselves
    if depth and isinstance(value, list | tuple):
        return tuple(_setting(v, depth - 1) for v in value)
    if depth and isinstance(value, dict):
        return tuple((str(k), _setting(v, depth - 1)) for k, v in value.items())
    if depth and hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return type(value), _setting(vars(value), depth - 1)
    return repr(value)
