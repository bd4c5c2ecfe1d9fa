"""Desire backpropagation: the method is in desire_bp.py, its loop over samples in kernel.py."""

from snnlab.methods.desire_bp.desire_bp import DesireBP

__all__ = ["DesireBP"]
