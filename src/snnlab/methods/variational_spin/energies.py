"""The formulas of the method over all 2^N states, in 64 bits; numbers in brackets: those of variational_spin.py."""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.questions.hamiltonian import Hamiltonian


def extended(values: Tensor) -> Tensor:
    """(x, 1): [..., K] -> [..., K + 1]."""
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)


def log_weights(weight: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """(1): log p~(v) [S] of states [S, N], and p(h_j = 1 | v) [S, M]; weight W' [M + 1, N + 1]."""
    u = extended(states) @ weight.T
    hidden, visible = u[:, :-1], u[:, -1] - weight[-1, -1]
    return visible + torch.nn.functional.softplus(hidden).sum(1), hidden.sigmoid()


def local_energies(log_p: Tensor, hamiltonian: Hamiltonian) -> Tensor:
    """(2): E_loc(v) [2^N] of psi = sqrt(p); log_p [2^N] up to a constant; 0 where p(v) = 0, which nobody visits."""
    there = torch.isfinite(log_p)
    base = torch.where(there, log_p, 0.0)
    numbers, found = torch.arange(len(log_p)), torch.zeros_like(log_p)
    for flips, values in hamiltonian.elements.items():
        found = found + torch.from_numpy(values) * ((log_p[numbers ^ flips] - base) / 2).exp()
    return torch.where(there, found, 0.0)


def covariance(energies: Tensor, hidden: Tensor, visible: Tensor, share: Tensor) -> Tensor:
    """(3): the gradient in the shape of W'; states with their ``share`` of the samples, 1 in all; corner 0."""
    centred = share * (energies - (share * energies).sum())
    found = extended(hidden).T @ (centred[:, None] * extended(visible))
    found[-1, -1] = 0
    return found
