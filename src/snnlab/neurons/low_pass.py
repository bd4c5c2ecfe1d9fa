"""Low-pass filter of a current.

    v[t] = v[t-1] + k[t] (current[t] - v[t-1])      (1) v[-1] = 0

start="zero"    k[t] = k: the first 1/k steps pull v towards 0
start="mean"    k[t] = max(k, 1 / (t + 1)): v is the plain mean of the currents until t = 1/k; with k = 0 for ever
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab import kernels
from snnlab.neurons.neuron import Temporal, check_state
from snnlab.neurons.time import units

Start = Literal["zero", "mean"]


class LowPassState(NamedTuple):
    """v [B, ...]: filtered current; seen []: steps taken so far, on the CPU wherever v lies, where it is read."""

    v: Tensor
    seen: Tensor


class LowPass(Temporal):
    """Filter of the first order; the equation is in the docstring of this file.

    Args:
        k: weight of the newest current, in [0, 1]; 1 passes the current through.
        start: what v is pulled to in the first steps.

    Shapes: currents [T, B, ...] -> v [T, B, ...].

    Raises:
        ValueError: when k leaves its range, or is 0 with start=zero.
    """

    times = units(k="share per step")

    by_step = False
    filters = True

    def __init__(self, k: float = 0.1, start: Start = "zero") -> None:
        super().__init__()
        if not 0 <= k <= 1:
            raise ValueError(f"LowPass: k = {k} must lie in [0, 1]; 0.1 averages about 10 steps")
        if start not in ("zero", "mean"):
            raise ValueError(f"LowPass: start = {start!r} must be zero or mean")
        if k == 0 and start == "zero":
            raise ValueError("LowPass: k = 0 never moves from zero; start=mean makes it the mean of all steps")
        self.k, self.start = k, start

    def initial_state(self, current: Tensor) -> LowPassState:
        return LowPassState(torch.zeros_like(current), current.new_zeros((), device="cpu"))

    def steps(self, state: LowPassState) -> float:
        """Steps taken so far; only start=mean needs to know."""
        return 0.0 if self.start == "zero" else float(state.seen)

    def weight(self, seen: float) -> float:
        """k[t] after ``seen`` steps."""
        return self.k if self.start == "zero" else max(self.k, 1 / (seen + 1))

    def step(self, current: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        check_state("LowPass", state.v, current)
        v = torch.lerp(state.v, current.to(state.v.dtype), self.weight(self.steps(state)))  # (1)
        return v, LowPassState(v, state.seen + 1)

    def carry(self, currents: Tensor, state: LowPassState) -> tuple[Tensor, LowPassState]:
        """Go on from ``state``: currents [T, B, ...] -> v [T, B, ...] and the state after them."""
        check_state("LowPass", state.v, currents[0])
        seen, v, filtered = self.steps(state), state.v, []
        for t, current in enumerate(currents):
            v = torch.lerp(v, current.to(v.dtype), self.weight(seen + t))  # (1)
            filtered.append(v)
        if (watch := kernels.watched_by()) is not None:
            watch.notice(self, v)
        return torch.stack(filtered), LowPassState(v, state.seen + len(currents))

    def forward(self, currents: Tensor) -> Tensor:
        return self.carry(currents, self.initial_state(currents[0]))[0]

    def extra_repr(self) -> str:
        return f"k={self.k}, start={self.start}"
