"""Fused forms of neurons: the same numbers as ``step``, a whole sequence in one pass.

``Temporal.forward`` asks ``fused`` first and loops over ``step`` where there is no kernel. record.py records a step,
program.py reads it off, cpu.py and gpu.py write it out, sequence.py runs it forward and backward. ``Path`` says whether
fused forms are taken.
"""

from snnlab.kernels.backends import backend, on_cpu
from snnlab.kernels.fuse import fused
from snnlab.kernels.offer import accept, first_derivative, foresee, foreseen, offer
from snnlab.kernels.path import Choice, Path, current, using
from snnlab.kernels.sight import hooked
from snnlab.kernels.watch import Watch, read_freely, watched_by, watching

__all__ = [
    "Choice",
    "Path",
    "Watch",
    "accept",
    "backend",
    "current",
    "first_derivative",
    "foresee",
    "foreseen",
    "fused",
    "hooked",
    "offer",
    "on_cpu",
    "read_freely",
    "using",
    "watched_by",
    "watching",
]
