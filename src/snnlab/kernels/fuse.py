"""The fused form of a neuron where there is one: its program, traced once, run over a whole sequence."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from snnlab.kernels.backends import backend
from snnlab.kernels.path import current
from snnlab.kernels.program import Program, Unsupported, inputs, trace
from snnlab.kernels.sequence import unroll

log = logging.getLogger("snnlab")

OWN = vars(nn.Module()).keys() - {"training"}  # what every module has
MOST = 32  # programs of one neuron that are remembered

_programs: WeakKeyDictionary[nn.Module, dict[Any, Program | None]] = WeakKeyDictionary()


def fused(neuron: nn.Module, currents: Tensor) -> Tensor | None:
    """Outputs [T, B, ...] for currents [T, B, ...], or None where the loop over ``step`` has to do it.

    A program that cannot be compiled here is told once and left alone from then on.
    """
    path, name, outputs = current(), type(neuron).__name__, None
    wanted = path.enabled and currents.numel() and currents.ndim > 1 and not torch.compiler.is_compiling()
    kernel = backend(currents) if wanted else None
    program = None if kernel is None else _program(neuron, currents)
    if program is not None and program.runs is not False:
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
