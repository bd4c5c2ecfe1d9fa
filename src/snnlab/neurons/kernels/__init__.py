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

from snnlab.neurons.kernels.program import Program, Unsupported, inputs, trace

log = logging.getLogger("snnlab")

enabled = True  # the config's ``kernels: step`` turns them off
half = False  # ``kernels: half``: what the backward needs of the forward is kept in half the bits
used: set[str] = set()  # classes that ran fused in this process
looped: set[str] = set()  # classes that ran step by step
_backends: dict[str, ModuleType | None] = {}  # cpu.py and gpu.py, once they were asked for
_programs: WeakKeyDictionary[nn.Module, dict[Any, Program | None]] = WeakKeyDictionary()


def path() -> dict[str, list[str]]:
    """Which path each class of neuron took in this process, for run.json."""
    return {"fused": sorted(used), "step": sorted(looped - used)}


def fused(neuron: nn.Module, currents: Tensor) -> Tensor | None:
    """Outputs [T, B, ...] for currents [T, B, ...], or None where the loop over ``step`` has to do it."""
    name = type(neuron).__name__
    kernel = backend(currents) if enabled and currents.numel() and currents.ndim > 1 else None
    program = None if kernel is None else _program(neuron, currents)
    if program is None:
        looped.add(name)
        return None
    from snnlab.neurons.kernels.sequence import unroll

    used.add(name)
    return unroll(neuron, program, currents, kernel)


def offer(currents: Tensor) -> None:
    """Let the neuron that these currents are given to next write what it keeps over them."""
    currents.offered = True  # type: ignore[attr-defined]


def backend(tensor: Tensor) -> ModuleType | None:
    """The kernels for a tensor, or None; a compiler that is missing or broken is told once."""
    place = {"cpu": "cpu", "cuda": "gpu"}.get(tensor.device.type)
    if place is None or tensor.dtype not in (torch.float32, torch.float64):
        return None
    if place not in _backends:
        try:
            _backends[place] = import_module(f"snnlab.neurons.kernels.{place}")
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
