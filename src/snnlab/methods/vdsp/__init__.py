"""VDSP: the method is in vdsp.py, its rules in rules.py, their fast form in kernel.py."""

from snnlab.methods.vdsp.vdsp import VDSP

__all__ = ["VDSP"]
