"""Fused forms of neurons: the same numbers as ``step``, a whole sequence in one pass.

``Temporal.forward`` asks here first and loops over ``step`` where there is no kernel. program.py reads a step off,
cpu.py writes it out for the processor, sequence.py runs it forward and backward.
"""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from snnlab.neurons.kernels.program import Program, Unsupported, inputs, trace

log = logging.getLogger("snnlab")

enabled = True  # the config's ``kernels: step`` turns them off
used: set[str] = set()  # classes that ran fused in this process
looped: set[str] = set()  # classes that ran step by step
_usable: list[bool] = []  # whether numba is, once that was asked
_programs: WeakKeyDictionary[nn.Module, dict[Any, Program | None]] = WeakKeyDictionary()


def path() -> dict[str, list[str]]:
    """Which path each class of neuron took in this process, for run.json."""
    return {"fused": sorted(used), "step": sorted(looped - used)}


def fused(neuron: nn.Module, currents: Tensor) -> Tensor | None:
    """Outputs [T, B, ...] for currents [T, B, ...], or None where the loop over ``step`` has to do it."""
    name = type(neuron).__name__
    if enabled and currents.numel() and currents.ndim > 1 and on_cpu(currents):
        program = _program(neuron, currents)
        if program is not None:
            from snnlab.neurons.kernels.sequence import unroll

            used.add(name)
            return unroll(neuron, program, currents)
    looped.add(name)
    return None


def offer(currents: Tensor) -> None:
    """Let the neuron that these currents are given to next write what it keeps over them."""
    currents.offered = True  # type: ignore[attr-defined]


def on_cpu(tensor: Tensor) -> bool:
    """Whether the kernels of cpu.py hold for a tensor; a missing or broken numba is told once."""
    if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
        return False
    if not _usable:
        try:
            from snnlab.neurons.kernels import cpu  # noqa: F401

            _usable.append(True)
        except Exception as error:  # an optional speed-up must not stop a run
            _usable.append(False)
            log.warning("kernels: numba is not usable (%s); neurons run step by step", str(error).split("\n")[0])
    return _usable[0]


def _program(neuron: nn.Module, currents: Tensor) -> Program | None:
    """The program of a neuron as it is set now, traced when it is met for the first time."""
    plain: list[Any] = [currents.shape[2:], currents.dtype]
    for module in neuron.modules():  # what may be set between two sequences
        plain += [
            (k, v if isinstance(v, bool | int | float | str) else repr(v))
            for k, v in vars(module).items()
            if k[0] != "_"
        ]
    held = inputs(neuron)
    plain += [(t.shape, t.dtype) for t in held]
    known = _programs.setdefault(neuron, {})
    key = tuple(plain)
    if key not in known:
        try:
            program = trace(neuron, tuple(currents.shape[2:]), currents.dtype)
        except Unsupported as reason:
            log.debug("kernels: %s runs step by step: %s", type(neuron).__name__, reason)
            known[key] = None
        else:
            known[key] = program
    return known[key]
