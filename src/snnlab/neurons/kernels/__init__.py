"""Fused forms of neurons: the same numbers as ``step``, a whole sequence in one pass.

A neuron's ``forward`` asks for its kernel here and falls back to the loop over ``step`` where there is none.
"""

from __future__ import annotations

import logging
from types import ModuleType

log = logging.getLogger("snnlab")

_module: ModuleType | None = None
_looked = False
enabled = True  # the config's ``kernels: step`` turns them off
used: set[str] = set()  # names of the neurons whose kernel has run in this process


def lif_kernel() -> ModuleType | None:
    """The compiled kernels of the LIF family, or None (told once) where numba is missing or cannot compile."""
    global _module, _looked
    if not enabled:
        return None
    if not _looked:
        _looked = True
        try:
            from snnlab.neurons.kernels import lif as module

            _module = module
        except Exception as error:  # an optional speed-up must not stop a run
            log.warning("kernels: numba is not usable (%s); neurons run step by step", str(error).split("\n")[0])
    return _module


def path() -> str:
    """Which path ran, for run.json: ``fused`` when a kernel was used, else ``step``."""
    return "fused" if used else "step"
