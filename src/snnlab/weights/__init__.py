"""Weights: what connects (linear, conv, local) and what limits (signed, masked, standardised, quantised, rewired)."""
