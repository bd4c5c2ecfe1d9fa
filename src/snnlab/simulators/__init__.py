"""Simulators of spike times without a time step; methods that differentiate spike times share them."""
