"""What a fused layer may do with what it is given: write over currents that nobody else needs, or pass on the outputs
that were worked out together with them; no second derivative."""

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


def foresee(currents: Tensor, outputs: Tensor) -> None:
    """Let the neuron that these currents are given to next return ``outputs``, which are its own to the bit."""
    currents.outputs = outputs  # type: ignore[attr-defined]


def foreseen(currents: Tensor) -> Tensor | None:
    """The outputs for these currents, where somebody has worked them out; they are taken once."""
    return vars(currents).pop("outputs", None)
