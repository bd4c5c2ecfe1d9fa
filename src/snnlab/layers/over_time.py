"""Apply a layer without memory to a whole sequence at once."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnlab import kernels
from snnlab.kernels.bits import saved_as_bits
from snnlab.layers import spike_linear, spike_pool

SAME = (nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Identity)  # the same input, the same output
GLOBAL = torch.nn.modules.module  # where hooks on every module are kept


def over_time(layer: nn.Module, sequence: Tensor) -> Tensor:
    """Return ``layer`` applied to [T, B, ...] with time and batch merged: [T*B, ...] in, [T, B, ...] out.

    A frame that is the same at every step (direct coding: one frame in memory, seen T times) is worked out once by the
    layers of ``SAME``; with ``kernels: step``, or where somebody watches the layer, T times.
    """
    steps, batch = sequence.shape[:2]
    if steps > 1 and sequence.stride(0) == 0 and kernels.current().enabled and plain(layer, SAME):
        once: Tensor = layer(sequence[0])
        notice(layer, once)
        return once.expand(steps, *once.shape)
    merged = sequence.flatten(0, 1)  # [T*B, ...]
    if spike_linear.takes(layer, merged) and not watched(layer):
        outputs = spike_linear.spike_linear(layer, merged, getattr(sequence, "active", None))  # type: ignore[arg-type]
    elif kernels.current().enabled and spike_pool.takes(layer) and not watched(layer):
        outputs = spike_pool.pool(layer, merged)  # type: ignore[arg-type]
    else:
        # torch's own backward of this class keeps its input, which may be spikes; of no other is that known
        with saved_as_bits() if isinstance(layer, nn.Conv2d) else nullcontext():
            outputs = layer(merged)
    outputs = outputs.unflatten(0, (steps, batch))
    notice(layer, outputs[-1])
    return outputs


def notice(layer: nn.Module, last: Tensor) -> None:
    """Show the outputs [B, ...] that a layer with weights has at the last step to the watch, if there is one."""
    watch = kernels.watched_by()
    if watch is not None and (layer._parameters or layer._modules):
        watch.notice(layer, last)


def plain(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a layer is of one of these classes itself, its weights parametrized or not, and nobody watches it."""
    kind = type(layer).__bases__[0] if parametrize.is_parametrized(layer) else type(layer)
    return kind in kinds and not watched(layer)


def watched(layer: nn.Module) -> bool:
    """Whether a hook on this layer, or on all, waits for its call, or another ``forward`` is put in its place."""
    own = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return bool(own) or "forward" in vars(layer) or GLOBAL._has_any_global_hook()
