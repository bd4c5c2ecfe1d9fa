"""Which compiled kernels hold for a tensor: cpu.py, gpu.py, or none."""

from __future__ import annotations

import logging
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

log = logging.getLogger("snnlab")

_backends: dict[str, ModuleType | None] = {}  # cpu.py and gpu.py, once they were asked for


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
