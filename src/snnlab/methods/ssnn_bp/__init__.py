"""SSNN-BP (reconstruction); the method is in ssnn_bp.py."""

from snnlab.methods.ssnn_bp.ssnn_bp import SSNNBP

__all__ = ["SSNNBP"]
