"""What a fused layer may do with what it is given: write over currents that nobody else needs; no second derivative."""

from __future__ import annotations

import torch
from torch import Tensor


def first_derivative() -> None:
    """Raise RuntimeError where a backward is to be differentiated again: what it computes is no graph."""
    if torch.is_grad_enabled():
        raise RuntimeError("fused layers have first derivatives only; take kernels=step where create_graph is needed")


def offer(currents: Tensor) -> None:
    """Let the neuron that these currents are given to next write what it keeps over them."""
    currents.offered = True  # type: ignore[attr-defined]


def accept(currents: Tensor) -> bool:
    """Whether these currents are offered; an offer is taken once."""
    return bool(vars(currents).pop("offered", False))
