"""Which weights there are: the weight that a layer is, and all those inside a module."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from snnlab.weights.conv import ConvWeight
from snnlab.weights.linear import LinearWeight
from snnlab.weights.weight import Weight


def weight_of(layer: nn.Module) -> Weight | None:
    """The weight that ``layer`` is: itself, a view of a layer of torch, or None."""
    if isinstance(layer, Weight):
        return layer
    if isinstance(layer, LinearWeight.views):
        return LinearWeight(layer)
    return ConvWeight(layer) if isinstance(layer, ConvWeight.views) else None


def weights_inside(module: nn.Module, name: str = "") -> Iterator[tuple[str, Weight]]:
    """Every weight that ``module`` is or holds, in order, by its path; nothing is looked for inside a weight."""
    weight = weight_of(module)
    if weight is not None:
        yield name, weight
        return
    for child_name, child in module.named_children():
        yield from weights_inside(child, f"{name}.{child_name}" if name else child_name)
