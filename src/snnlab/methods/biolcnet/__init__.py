"""BioLCNet: the method is in biolcnet.py, its rewards in reward.py, its loop in kernel.py."""

from snnlab.methods.biolcnet.biolcnet import BioLCNet

__all__ = ["BioLCNet"]
