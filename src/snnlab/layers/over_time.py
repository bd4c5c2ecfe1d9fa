"""Apply a layer without memory to a whole sequence at once."""

from __future__ import annotations

from torch import Tensor, nn


def over_time(layer: nn.Module, sequence: Tensor) -> Tensor:
    """Return ``layer`` applied to [T, B, ...] with time and batch merged: [T*B, ...] in, [T, B, ...] out."""
    steps, batch = sequence.shape[:2]
    outputs: Tensor = layer(sequence.flatten(0, 1))  # [T*B, ...]
    return outputs.unflatten(0, (steps, batch))
