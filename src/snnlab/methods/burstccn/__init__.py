"""BurstCCN; the discrete-time model is in burstccn.py, the continuous-time one in continuous.py."""

from snnlab.methods.burstccn.burstccn import BurstCCN

__all__ = ["BurstCCN"]
