"""FPTT; the method is in fptt.py, the regulariser around its steps in dynamic_regularizer.py."""

from snnlab.methods.fptt.fptt import FPTT

__all__ = ["FPTT"]
