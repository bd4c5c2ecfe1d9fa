"""BLiTNet: the method is in blitnet.py, its rules in rules.py, their fast form in kernel.py, its readouts beside."""

from snnlab.methods.blitnet.blitnet import BLiTNet

__all__ = ["BLiTNet"]
