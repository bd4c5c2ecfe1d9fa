"""Phaseless Alignment Learning; the rule is in circuit.py, its compiled loop in kernel.py, the method in pal.py."""

from snnlab.methods.pal.pal import PAL

__all__ = ["PAL"]
