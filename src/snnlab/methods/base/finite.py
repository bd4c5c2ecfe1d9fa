"""What to say of a run whose values are not finite: the first parameter or layer, by name, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snnlab import kernels


def held(method: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer of real numbers, by name."""
    for name, tensor in (*method.named_parameters(), *method.named_buffers()):
        if tensor.is_floating_point():
            yield name, tensor


def broken_parameter(method: nn.Module) -> str | None:
    """The first parameter or buffer that is not finite, in words, and whether its gradient is; reads every one."""
    for name, tensor in held(method):
        if not bool(torch.isfinite(tensor).all()):
            gradient = tensor.grad
            also = (
                " and so is its gradient" if gradient is not None and not bool(torch.isfinite(gradient).all()) else ""
            )
            return f"{name} ({values(tensor)} of {tensor.numel()} values are not finite{also})"
    return None


def values(tensor: Tensor) -> int:
    """How many of them are not finite."""
    return int((~torch.isfinite(tensor)).sum())


def name_of(method: nn.Module, key: Any) -> str:
    """What was noticed, for people: a layer by its name and class, all else as it is."""
    if isinstance(key, str):
        return key
    names = {module: name for name, module in method.named_modules()}
    return f"layer {names.get(key, '').removeprefix('network.layers.')} ({type(key).__name__})"


def culprit(method: nn.Module) -> str | None:
    """The first parameter that is not finite, else the first of what the open watch noticed, or None."""
    watch = kernels.watched_by()
    key = None if watch is None else watch.first()
    return broken_parameter(method) or (None if key is None else name_of(method, key))
