"""Whether everything that a batch makes is finite: sums, which are read at once on the CPU, elsewhere together, seldom.

A value that is not finite makes every sum that it enters NaN or infinite, so one number a tensor tells. A membrane that
is not finite stays so until its sequence ends, so its last state tells of all of them; of a weight's outputs the last
step is looked at, as what was not finite before is in the membranes behind it. One thing passes: an infinite current
before the last step, of a product that outgrew its bits, into a neuron that forgets all when it fires or is bounded.
A field that starts infinite (the time since a spike that never was) may be so, and is left out.

Whoever trains opens a watch (callbacks/finite.py); layers give it what they made, and nothing is done without one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor


def read_freely(device: torch.device) -> bool:
    """Whether to read a value of this device at every step makes nothing wait."""
    return device.type == "cpu"


class Watch:
    """Sums of what was noticed since it was last asked, by name or module, in the order in which they came first."""

    def __init__(self) -> None:
        self.sums: dict[Any, Tensor] = {}  # on a device that waits for whoever reads it
        self.broken: list[Any] = []  # of what was read at once, what is not finite
        self.latest: dict[Any, Any] = {}  # state of a layer that is stepped, by layer
        self.left_out: dict[Any, set[int]] = {}  # fields of a layer's state that start infinite

    @torch.no_grad()
    def notice(self, key: Any, *tensors: Tensor) -> None:
        """Take in what ``key``, a name or a module, made; whole numbers are finite."""
        for tensor in tensors:
            if not tensor.is_floating_point():
                continue
            if read_freely(tensor.device):
                if not is_finite(tensor):
                    self.broken.append(key)
            else:
                total = tensor.detach().sum(dtype=torch.float64)
                self.sums[key] = self.sums[key] + total if key in self.sums else total

    def started(self, layer: Any, state: Any) -> None:
        """Learn, once a layer, which fields of its first state are infinite."""
        if layer not in self.left_out:
            fields = enumerate(leaves(state))
            self.left_out[layer] = {i for i, field in fields if not bool(torch.isfinite(field.detach().sum()))}

    def ended(self, layer: Any, state: Any) -> None:
        """Take in a layer's last state."""
        skipped = self.left_out.get(layer, ())
        self.notice(layer, *(field for i, field in enumerate(leaves(state)) if i not in skipped))

    def first(self) -> Any | None:
        """The first of what was noticed that is not finite, or None; at most one read. It starts anew."""
        for layer, state in self.latest.items():
            self.ended(layer, state)
        keys, sums, broken = list(self.sums), list(self.sums.values()), self.broken
        self.sums, self.latest, self.broken = {}, {}, []
        if broken:
            return broken[0]
        if not sums:
            return None
        totals = torch.stack([total.to(sums[0].device) for total in sums]).tolist()
        return next((key for key, total in zip(keys, totals, strict=True) if not math.isfinite(total)), None)


def is_finite(tensor: Tensor) -> bool:
    """Whether every value is finite; the sum tells it, but where it is too large for its bits."""
    return math.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


def watched_by() -> Watch | None:
    """The watch that is open now."""
    return _watch.get()


@contextmanager
def watching(watch: Watch | None) -> Iterator[None]:
    """Let ``watch`` notice what is made while the context is open; None notices nothing."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def leaves(state: Any) -> Iterator[Tensor]:
    """The tensors of a state, which may hold states."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for part in state.values():
            yield from leaves(part)
    elif isinstance(state, tuple | list):
        for part in state:
            yield from leaves(part)
