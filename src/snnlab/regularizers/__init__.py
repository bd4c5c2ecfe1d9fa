"""Penalties on what spiking layers do, for ``method.regularizer``."""
