"""Variational quantum states: method in variational_spin.py, formulas in energies.py, pictures in figures.py."""

from snnlab.methods.variational_spin.variational_spin import VariationalSpin

__all__ = ["VariationalSpin"]
