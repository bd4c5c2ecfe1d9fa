"""Variational quantum states: the method is in variational_spin.py, its formulas in energies.py, figures in figures.py."""

from snnlab.methods.variational_spin.variational_spin import VariationalSpin

__all__ = ["VariationalSpin"]
