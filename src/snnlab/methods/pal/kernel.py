"""Presentations of a batch, compiled: the loops of ``Circuit.present`` written out, in 64 bits.

Same numbers as circuit.py up to the order of sums (tests). Numbers in brackets are those of pal.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from snnlab.kernels.compiled import njit
from snnlab.methods.pal.circuit import Array, Circuit, Constants

compiled: Any = njit(error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})  # sums in any order


def present(
    circuit: Circuit,
    c: Constants,
    weights: Sequence[Array],
    rates: Sequence[float],
    steps: int,
    inputs: Array,
    targets: Array | None,
    normal: Array | None,
) -> Array:
    """As ``Circuit.present``; weights and state change in place."""
    last = len(weights) - 1
    gains = np.array([c.gain(k == last) for k in range(last + 1)])
    predicted = gains / c.interneuron_gain
    numbers = np.array(
        [
            *(c.g_basal / (c.g_leak + c.g_basal + c.g_apical), c.g_apical / (c.g_leak + c.g_basal + c.g_apical)),
            *(c.g_basal / (c.g_leak + c.g_basal + c.g_target), c.g_target / (c.g_leak + c.g_basal + c.g_target)),
            c.g_dendritic / (c.g_leak + c.g_dendritic + c.g_interneuron),
            c.g_interneuron / (c.g_leak + c.g_dendritic + c.g_interneuron),
            c.interneuron_gain,
            *(c.dt, c.dt / c.tau_low, c.dt / c.tau_high, c.dt / c.tau_noise, c.noise * math.sqrt(c.dt / c.tau_noise)),
            *(c.dt * c.lr_interneuron, c.dt * c.lr_lateral, c.dt * c.lr_backward, c.alpha),
        ]
    )
    seen = np.zeros(last)
    flags = (targets is not None, normal is not None, c.identity, c.tied)
    parts = [circuit.feedback, circuit.lateral, circuit.interneuron, circuit.change]
    parts += [circuit.potential, circuit.inter_potential, circuit.noise, circuit.mean]
    flipped = np.array([weight.shape[0] > weight.shape[1] for weight in weights])  # the longer side in the inner loop
    turned = [
        [np.ascontiguousarray(each.T) if flip else each for each, flip in zip(given, flipped, strict=True)]
        for given in (weights, circuit.change)
    ]
    parts[3] = turned[1]
    _present(
        steps,
        flags,
        numbers,
        gains,
        predicted,
        flipped,
        np.array(rates, float),
        np.ascontiguousarray(inputs),
        np.zeros((0, 0)) if targets is None else np.ascontiguousarray(targets),
        np.zeros((0, 0, 0)) if normal is None else normal,
        tuple(turned[0]),
        *(tuple(part) for part in parts),
        seen,
    )
    for given, taken in zip((weights, circuit.change), turned, strict=True):
        for each, new, flip in zip(given, taken, flipped, strict=True):
            if flip:
                each[:] = new.T
    return seen / (len(inputs) * (steps - steps // 2))


LOG2, LOG2_HIGH, LOG2_LOW = 1.4426950408889634, 0.693145751953125, 1.4286068203094172e-06
SERIES = tuple(1 / math.factorial(n) for n in range(12, -1, -1))


@compiled
def _fire(potential: Any, rate: Any, whole: Any, identity: Any) -> None:
    """rate = phi(potential), without a call of exp: e^x = 2^n e^f with |f| <= log(2) / 2, the latter by its series.

    ``whole`` holds the powers of 2, int64, as long as the rates or longer; loops without calls are vectorised.
    """
    if identity:
        rate[:] = potential
        return
    for i in range(len(rate)):
        x = min(max(-potential[i], -700.0), 700.0)
        n = np.floor(x * LOG2 + 0.5)
        f = (x - n * LOG2_HIGH) - n * LOG2_LOW
        series = 0.0
        for k in range(13):
            series = series * f + SERIES[k]
        rate[i] = series
        whole[i] = (np.int64(n) + 1023) << 52
    powers = whole.view(np.float64)
    for i in range(len(rate)):
        rate[i] = 1.0 / (1.0 + rate[i] * powers[i])


@compiled
def _drive(weight: Any, flipped: Any, below: Any, out: Any) -> None:
    """out = weight below; a flipped weight is stored [inputs, outputs]."""
    if flipped:
        out[: weight.shape[1]] = 0.0
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                out[j] += weight[i, j] * below[i]
        return
    for j in range(weight.shape[0]):
        total = 0.0
        for i in range(weight.shape[1]):
            total += weight[j, i] * below[i]
        out[j] = total


@compiled
def _present(
    steps: Any,
    flags: Any,
    numbers: Any,
    gains: Any,
    predicted: Any,
    flipped: Any,
    rates: Any,
    inputs: Any,
    targets: Any,
    normal: Any,
    weights: Any,
    feedback: Any,
    lateral: Any,
    interneuron: Any,
    change: Any,
    potential: Any,
    inter_potential: Any,
    noise: Any,
    mean: Any,
    seen: Any,
) -> None:
    taught, noisy, identity, tied = flags
    by_basal, by_apical, by_top, by_target, by_dendritic, by_soma, resting = numbers[:7]
    dt, low, high, decay, spread, lr_inter, lr_lateral, lr_back, alpha = numbers[7:]
    last = len(weights) - 1
    widest = 0
    for k in range(last + 1):
        widest = max(widest, len(potential[k]))
    r, after, basal = np.empty((last + 1, widest)), np.empty((last + 1, widest)), np.empty((last + 1, widest))
    r_inter, arrived = np.empty((last, widest)), np.empty((last, widest))
    dendritic, passed, told = np.empty(widest), np.empty(widest), np.empty(widest)
    whole = np.empty(widest, np.int64)
    moves = np.empty(last + 1, np.bool_)
    for k in range(last + 1):
        moves[k] = rates[k] > 0.0 or np.any(change[k] != 0.0)
        _fire(potential[k], r[k, : len(potential[k])], whole, identity)
        if k < last:
            _fire(inter_potential[k], r_inter[k, : len(inter_potential[k])], whole, identity)
    for b in range(inputs.shape[0]):
        for t in range(steps):
            at = 0
            below = inputs[b]
            for k in range(last + 1):
                size, u = len(potential[k]), potential[k]
                _drive(weights[k], flipped[k], below, basal[k])  # (1)
                if k < last:
                    xi, v = noise[k], arrived[k]
                    if noisy:  # (7)
                        for i in range(size):
                            xi[i] += -decay * xi[i] + spread * normal[b, t, at + i]
                        at += size
                    else:
                        xi[:] = 0.0
                    for i in range(size):
                        v[i] = 0.0  # the noise comes last, as (6) takes the rest
                    for j in range(feedback[k].shape[0]):
                        one, two = r[k + 1, j], r_inter[k, j]
                        down, side = feedback[k][j], lateral[k][j]
                        for i in range(size):
                            v[i] += one * down[i] + two * side[i]
                    for i in range(size):
                        u[i] = by_basal * basal[k, i] + by_apical * (v[i] + xi[i])  # (2)
                    if t >= steps // 2:
                        total = 0.0
                        for i in range(size):
                            total += (v[i] + xi[i]) ** 2
                        seen[k] += total / size
                elif taught:
                    for i in range(size):
                        u[i] = by_top * basal[k, i] + by_target * targets[b, i]  # (2)
                else:
                    for i in range(size):
                        u[i] = gains[k] * basal[k, i]
                _fire(u, after[k, :size], whole, identity)
                below = r[k, :size]
            below = inputs[b]
            for k in range(last + 1):
                size = len(potential[k])
                if k < last:
                    wide, xi, v, hum = feedback[k].shape[0], noise[k], arrived[k], mean[k]
                    _drive(interneuron[k], False, r[k, :size], dendritic)
                    for j in range(wide):
                        inter_potential[k][j] = by_dendritic * dendritic[j] + by_soma * potential[k + 1][j]  # (3)
                        hum[j] += high * (r[k + 1, j] - hum[j])
                        passed[j] = lr_back * (r[k + 1, j] - hum[j])
                        dendritic[j] *= resting
                        told[j] = lr_lateral * r_inter[k, j]
                    _fire(inter_potential[k], r_inter[k, :wide], whole, identity)
                    if not tied:
                        _fire(dendritic[:wide], dendritic[:wide], whole, identity)
                        fade = lr_back * alpha
                        for j in range(wide):
                            miss, side, one = lr_inter * (r_inter[k, j] - dendritic[j]), told[j], passed[j]
                            predict, cancel, back = interneuron[k][j], lateral[k][j], feedback[k][j]
                            for i in range(size):
                                predict[i] += miss * r[k, i]  # (5)
                                cancel[i] -= side * v[i]  # (6)
                                back[i] += one * xi[i] - fade * back[i]  # (8)
                if moves[k]:
                    rest = basal[k]
                    for i in range(size):
                        rest[i] *= gains[k]
                    _fire(rest[:size], rest[:size], whole, identity)
                    for j in range(size):
                        rest[j] = low * rates[k] * (after[k, j] - rest[j])
                    if flipped[k]:
                        one, other = below, rest
                    else:
                        one, other = rest, below
                    for j in range(weights[k].shape[0]):  # (4)
                        moved, row, factor = change[k][j], weights[k][j], one[j]
                        for i in range(weights[k].shape[1]):
                            moved[i] += factor * other[i] - low * moved[i]
                            row[i] += dt * moved[i]
                below = r[k, :size]
            for k in range(last + 1):
                r[k] = after[k]
            if tied:
                for k in range(last):
                    factor = predicted[k + 1]
                    for j in range(feedback[k].shape[0]):
                        for i in range(feedback[k].shape[1]):
                            value = weights[k + 1][i, j] if flipped[k + 1] else weights[k + 1][j, i]
                            feedback[k][j, i], lateral[k][j, i], interneuron[k][j, i] = value, -value, factor * value
