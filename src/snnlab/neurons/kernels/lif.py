"""The LIF family in one pass over time: compiled for the CPU, blocks of neurons in parallel, the membrane in cache.

Operations and their order are those of ``step`` in lif.py and plif.py, so spikes are identical; gradients differ by
rounding. Saved for the backward: v before the reset. With x = v - threshold, h the surrogate derivative, s the spikes
and r[t] the gradient that reaches v after reset and leak,

    dL/ds[t] = grad[t] + r[t] d(reset)/ds           (1) second term unless detach_reset
    dL/dv[t] = r[t] d(reset)/dv + h(x[t]) dL/ds[t]  (2)
    dL/dcurrent[t] = gain dL/dv[t]                  (3)
    r[t-1] = decay dL/dv[t]                         (4) 0 with detach_state

PLIF's gain g is learned: dL/dg = sum of dL/dv[t] (v[t] - v_after[t-1]) / g      (5)
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from platformdirs import user_cache_dir
from torch import Tensor

from snnlab.neurons import surrogate as curves

BLOCK = 1024  # neurons that share a pass; a few float32 rows of them stay in the first-level cache

LEAKS = {"first": 0, "scaled": 1, "last": 2, "learned": 3}
RESETS = {"none": 0, "soft": 1, "hard": 2}
CURVES: dict[type, int] = {
    curves.Rectangle: 0,
    curves.Triangle: 1,
    curves.Sigmoid: 2,
    curves.Gaussian: 3,
    curves.ATan: 4,
    curves.FastSigmoid: 5,
    curves.Box: 6,
}

_cache = os.environ.get("SNNLAB_CACHE") or user_cache_dir("snnlab")
settings: Any = numba.config
settings.CACHE_DIR = str(Path(_cache) / "kernels")
compiled: Any = numba.njit(parallel=True, cache=True, error_model="numpy")
inlined: Any = numba.njit(inline="always", error_model="numpy")


class Rule(NamedTuple):
    """What a LIF neuron does, as numbers that a kernel takes."""

    leak: int
    reset: int
    curve: int
    strict: bool
    detach_reset: bool
    detach_state: bool


# numba takes an int beside a float32 as float64, so every constant comes in the dtype of the currents
@compiled
def _forward(
    currents: Any, spikes: Any, before: Any, leak: int, reset: int, strict: bool, constants: Any, block: int
) -> None:
    steps, neurons = currents.shape
    zero, one, decay, gain, threshold, v_reset = constants[:6]
    for b in numba.prange((neurons + block - 1) // block):
        first, last = b * block, min(neurons, (b + 1) * block)
        v = np.zeros(last - first, currents.dtype)
        for t in range(steps):
            current, u, s = currents[t, first:last], before[t, first:last], spikes[t, first:last]
            n = last - first
            if leak == 0:
                for j in range(n):
                    u[j] = decay * v[j] + current[j]
            elif leak == 1:
                for j in range(n):
                    u[j] = decay * v[j] + gain * current[j]
            elif leak == 2:
                for j in range(n):
                    u[j] = v[j] + current[j]
            else:
                for j in range(n):
                    u[j] = v[j] + (current[j] - (v[j] - v_reset)) * gain
            if strict:
                for j in range(n):
                    s[j] = one if u[j] - threshold > zero else zero
            else:
                for j in range(n):
                    s[j] = one if u[j] - threshold >= zero else zero
            if reset == 1:
                for j in range(n):
                    v[j] = u[j] - threshold * s[j]
            elif reset == 2:
                for j in range(n):
                    v[j] = u[j] * (one - s[j]) + v_reset * s[j]
            else:
                for j in range(n):
                    v[j] = u[j]
            if leak == 2:
                for j in range(n):
                    v[j] = decay * v[j]


@inlined
def _derivative(curve: int, x: Any, h: Any, zero: Any, one: Any, p: Any, q: Any) -> None:
    """h(x) of a row; p and q are the curve's constants of ``curve_constants``."""
    n = len(x)
    if curve == 0:
        for j in range(n):
            h[j] = q if abs(x[j]) < p else zero
    elif curve == 1:
        for j in range(n):
            h[j] = max(p - q * abs(x[j]), zero)
    elif curve == 2:
        for j in range(n):
            e = np.exp(-abs(x[j]) * p)
            h[j] = p * e / ((one + e) * (one + e))
    elif curve == 3:
        for j in range(n):
            h[j] = q * np.exp(-x[j] * x[j] * p)
    elif curve == 4:
        for j in range(n):
            h[j] = q / (one + (p * x[j]) * (p * x[j]))
    elif curve == 5:
        for j in range(n):
            h[j] = one / ((one + abs(x[j]) * p) * (one + abs(x[j]) * p))
    else:
        for j in range(n):
            h[j] = one if x[j] > -p and x[j] <= p else zero


@compiled
def _backward(
    grad: Any,
    before: Any,
    out: Any,
    of_gain: Any,
    leak: int,
    reset: int,
    curve: int,
    strict: bool,
    detach_reset: bool,
    detach_state: bool,
    constants: Any,
    block: int,
) -> None:
    steps, neurons = grad.shape
    zero, one, decay, gain, threshold, v_reset, p, q, scale = constants
    keep = one if leak == 2 else (one - gain if leak == 3 else decay)
    feed = gain if leak == 1 or leak == 3 else one
    for b in numba.prange((neurons + block - 1) // block):
        first, last = b * block, min(neurons, (b + 1) * block)
        n = last - first
        r = np.zeros(n, grad.dtype)
        x = np.empty(n, grad.dtype)
        h = np.empty(n, grad.dtype)
        total = 0.0
        for t in range(steps - 1, -1, -1):
            g, u, o = grad[t, first:last], before[t, first:last], out[t, first:last]
            if leak == 2:
                for j in range(n):
                    r[j] = decay * r[j]
            for j in range(n):
                x[j] = u[j] - threshold
            _derivative(curve, x, h, zero, one, p, q)
            if scale != one:
                for j in range(n):
                    h[j] = scale * h[j]
            if reset == 1:
                if detach_reset:
                    for j in range(n):
                        r[j] = r[j] + h[j] * g[j]  # (1), (2)
                else:
                    for j in range(n):
                        r[j] = r[j] + h[j] * (g[j] - threshold * r[j])
            elif reset == 2:
                for j in range(n):
                    fired = x[j] > zero if strict else x[j] >= zero
                    through = zero if fired else r[j]
                    of_spike = g[j] if detach_reset else g[j] + r[j] * (v_reset - u[j])
                    r[j] = through + h[j] * of_spike
            else:
                for j in range(n):
                    r[j] = r[j] + h[j] * g[j]
            for j in range(n):
                o[j] = feed * r[j]  # (3)
            if leak == 3:  # (5)
                for j in range(n):
                    after = zero
                    if t > 0:
                        past = before[t - 1, first + j]
                        fired = past - threshold > zero if strict else past - threshold >= zero
                        after = past
                        if fired and reset == 1:
                            after = past - threshold
                        elif fired and reset == 2:
                            after = v_reset
                    total += r[j] * (u[j] - after) / gain
            for j in range(n):
                r[j] = zero if detach_state else keep * r[j]  # (4)
        of_gain[b] = total


def curve_constants(curve: int, width: float) -> tuple[float, float]:
    """The two numbers of each curve that ``_derivative`` needs, from its width."""
    return {
        0: (width / 2, 1 / width),
        1: (math.sqrt(width) / 2, width / 4),
        2: (1 / width, 0.0),
        3: (1 / (2 * width), 1 / math.sqrt(2 * math.pi * width)),
        4: (math.pi / width, 1 / width),
        5: (1 / width, 0.0),
        6: (width / 2, 0.0),
    }[curve]


class _FusedLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: Tensor, gain: Tensor | None, rule: Rule, numbers: tuple[float, ...]) -> Tensor:
        flat = currents.contiguous().view(len(currents), -1)
        before, spikes = torch.empty_like(flat), torch.empty_like(flat)
        ctx.rule, ctx.shape = rule, currents.shape
        ctx.constants = np.array(numbers, flat.numpy().dtype)
        if gain is not None:
            ctx.constants[3] = gain.detach().numpy()
        ctx.block = block_size(flat.shape[1])
        arrays = (flat.detach().numpy(), spikes.numpy(), before.numpy())
        _forward(*arrays, rule.leak, rule.reset, rule.strict, tuple(ctx.constants), ctx.block)
        ctx.save_for_backward(before)
        return spikes.view(currents.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        (before,) = ctx.saved_tensors
        grad = grads[0].contiguous().view_as(before)
        out = torch.empty_like(before)
        of_gain = np.zeros(-(-before.shape[1] // ctx.block))
        arrays = (grad.numpy(), before.numpy(), out.numpy(), of_gain)
        rule: Rule = ctx.rule
        choices = (rule.leak, rule.reset, rule.curve, rule.strict, rule.detach_reset, rule.detach_state)
        _backward(*arrays, *choices, tuple(ctx.constants), ctx.block)
        learned = torch.tensor(of_gain.sum(), dtype=before.dtype) if ctx.needs_input_grad[1] else None
        return out.view(ctx.shape), learned, None, None


def block_size(neurons: int) -> int:
    """Neurons per block: enough blocks for the threads that torch may use, none larger than ``BLOCK``."""
    threads = min(torch.get_num_threads(), settings.NUMBA_NUM_THREADS)
    numba.set_num_threads(threads)
    return max(16, min(BLOCK, -(-neurons // threads)))


def supports(neuron: Any, currents: Tensor) -> bool:
    """Whether the kernels hold for these currents: on the CPU, float32 or float64, a curve that they know."""
    return (
        currents.device.type == "cpu"
        and currents.dtype in (torch.float32, torch.float64)
        and type(neuron.spike) in CURVES
        and currents.numel() > 0
    )


def unroll(neuron: Any, currents: Tensor, gain: Tensor | None = None) -> Tensor:
    """Spikes [T, B, ...] of a LIF neuron, or with ``gain`` (0-d, learned) of a PLIF neuron."""
    curve = CURVES[type(neuron.spike)]
    leak = LEAKS["learned" if gain is not None else neuron.leak]
    cuts = (neuron.spike.strict, neuron.detach_reset, neuron.detach_state)
    rule = Rule(leak, RESETS[neuron.reset], curve, *cuts)
    plain = (0.0, 1.0, neuron.decay, 1 - neuron.decay, neuron.threshold, neuron.v_reset)
    shape = (*curve_constants(curve, neuron.spike.width), neuron.spike.scale)
    spikes: Tensor = _FusedLIF.apply(currents, gain, rule, plain + shape)
    return spikes
