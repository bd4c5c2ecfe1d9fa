"""The fused form of a neuron where there is one: its program, traced once, run over a whole sequence."""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from snnlab.kernels.backends import backend
from snnlab.kernels.offer import foreseen
from snnlab.kernels.path import current
from snnlab.kernels.program import Program, trace
from snnlab.kernels.record import Unsupported
from snnlab.kernels.sequence import unroll
from snnlab.kernels.sight import Unseen, hooked, sight

log = logging.getLogger("snnlab")

MOST = 32  # programs of one neuron that are remembered

_programs: WeakKeyDictionary[nn.Module, dict[Any, tuple[Program | None, list[Any]]]] = WeakKeyDictionary()


def fused(neuron: nn.Module, currents: Tensor) -> Tensor | None:
    """Outputs [T, B, ...] for currents [T, B, ...], or None where the loop over ``step`` has to do it.

    A program that cannot be compiled here is told once and left alone from then on.
    """
    path, name, outputs = current(), type(neuron).__name__, foreseen(currents)
    if outputs is not None:
        path.fused.add(name)
        return outputs
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
    """The program of a neuron as it is now, traced when it is met for the first time; None: its loop has to do it."""
    known = _programs.setdefault(neuron, {})
    if hooked(neuron):
        return None
    try:
        seen, held = sight(neuron)
    except Unseen as reason:
        if None not in known:
            log.debug("kernels: %s runs step by step: step can see %s", type(neuron).__name__, reason)
            known[None] = (None, [])
        return None
    key = (currents.shape[2:], currents.dtype, currents.device, seen)
    if key not in known:
        if len(known) >= MOST:  # a number that changes with every batch
            del known[next(iter(known))]
        program = None
        try:
            program = trace(neuron, tuple(currents.shape[2:]), currents.dtype, currents.device)
        except Unsupported as reason:
            log.debug("kernels: %s runs step by step: %s", type(neuron).__name__, reason)
        known[key] = (program, held)
    return known[key][0]
