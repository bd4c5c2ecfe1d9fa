"""VDIB: a spiking encoder and an artificial decoder, trained by a directed information bottleneck."""

from snnlab.methods.vdib.vdib import VDIB

__all__ = ["VDIB"]
