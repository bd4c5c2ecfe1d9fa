"""Compiled loops of implicit.py: one sample after the other, its events in order of time, all neurons at once.

``numbers`` are tau_m, tau_s, threshold, stop, the least slope, the time at which a postsynaptic potential is largest,
whether the reset is hard, its height and tau_r, in float64; states are kept as the weights are. Where tau_r = tau_m the
reset is a part of V and R, what resets have left, stays 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.cpu import compiled
from snnlab.kernels.threads import ALIGNED
from snnlab.simulators.current_kernels import crossing, factors

TRIES = 80  # halvings of a bracket


@compiled
def reset_state(v: Any, i: Any, r: Any, numbers: Any) -> Any:
    """V, I and R behind a spike."""
    if numbers[6]:
        return 0.0, 0.0, 0.0
    if numbers[8] == numbers[0]:
        return v - numbers[7], i, r
    return v, i, r + numbers[7]


@compiled
def potential(v: Any, i: Any, r: Any, s: Any, numbers: Any) -> Any:
    """u and u' after a time s without a spike, of potential v, current i and what is left, r, of resets."""
    tau_m, tau_r = numbers[0], numbers[8]
    slow, fast, brought = factors(s, tau_m, numbers[1])
    driven, reset = v * slow + i * brought, r * np.exp(-s / tau_r)
    return driven - reset, (i * fast - driven) / tau_m + reset / tau_r


@compiled
def turn(v: Any, i: Any, numbers: Any) -> Any:
    """Where e^(s/tau_r) u' turns, -1 where it does not: V'/tau_r + V'' = a I + b V is 0 once at most."""
    tau_m, tau_s, tau_r = numbers[0], numbers[1], numbers[8]
    a = (1 / tau_r - 1 / tau_s - 1 / tau_m) / tau_m
    b = (1 / tau_m - 1 / tau_r) / tau_m
    if tau_m == tau_s:
        return -tau_m * (v + a / b * i) / i if i != 0 else -1.0
    apart = 1 / tau_s - 1 / tau_m
    grown = -(v + a / b * i) * apart / (v * apart + i / tau_m) if v * apart + i / tau_m != 0 else -1.0
    return np.log1p(grown) / apart if grown > -1 else -1.0


@compiled
def narrowed(low: Any, high: Any, which: Any, level: Any, v: Any, i: Any, r: Any, numbers: Any) -> Any:
    """Where u (0) or u' (1) passes a level between two times at which it lies on either side of it."""
    below = potential(v, i, r, low, numbers)[which] < level
    for _ in range(TRIES):
        s = (low + high) / 2
        if (potential(v, i, r, s, numbers)[which] < level) == below:
            low = s
        else:
            high = s
        if high - low <= 1e-16 * numbers[0]:
            break
    return high


@compiled
def crossing_of_three(v: Any, i: Any, r: Any, gap: Any, numbers: Any) -> Any:
    """After what time u first reaches the threshold from below, -1 where it does not within ``gap``.

    u has three exponentials, and turns twice at most: between its turns, which lie where e^(s/tau_r) u', itself
    turning once at most, is 0, it only rises or only falls.
    """
    threshold = numbers[2]
    now, slope = potential(v, i, r, 0.0, numbers)
    if now >= threshold:  # within rounding
        return 0.0 if slope > 0 else -1.0
    middle = turn(v, i, numbers)
    at, begin = 0.0, 0.0
    for half in range(2):
        end = middle if half == 0 and 0 < middle < gap else gap
        after = potential(v, i, r, end, numbers)[1]
        if (slope > 0) != (after > 0):
            peak = narrowed(begin, end, 1, 0.0, v, i, r, numbers)
            if slope > 0 and potential(v, i, r, peak, numbers)[0] >= threshold:
                return narrowed(at, peak, 0, threshold, v, i, r, numbers)
            at = peak
        if after > 0 and potential(v, i, r, end, numbers)[0] >= threshold:
            return narrowed(at, end, 0, threshold, v, i, r, numbers)
        begin, slope = end, after
        if end == gap:
            break
    return -1.0


@compiled
def simulate(
    begin: Any,
    end: Any,
    numbers: Any,
    times: Any,
    places: Any,
    offsets: Any,
    slots: Any,
    weights: Any,
    outputs: Any,
    slopes: Any,
    behind: Any,
    fired: Any,
    found: Any,
) -> None:
    """Spike times of all neurons; ``slots`` spikes per input unit; weights [in, out].

    Writes outputs and slopes u' [B, M, K] and, for ``credit``, of the r-th spike found in a sample the event behind
    which it came, behind[b, r], and its place, fired[b, r] = j K + k. A neuron that fires between two events is carried
    to the next one by itself and put back there.
    """
    tau_m, tau_s, threshold, stop, top, tau_r = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[5],
        numbers[8],
    )
    apart_r = tau_r != tau_m
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    V, I = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)  # noqa: E741  as the equations
    R = np.zeros(neurons, weights.dtype)
    flags, count, own = np.empty(neurons, np.int32), np.empty(neurons, np.int32), np.empty(neurons, np.int32)
    own_v, own_i, own_r = np.empty(neurons, V.dtype), np.empty(neurons, V.dtype), np.empty(neurons, V.dtype)
    least, zero = number(threshold * (1 - 1e-5)), number(0)
    for s in range(begin, end):
        V[:], I[:], R[:], count[:] = 0, 0, 0, 0
        first, last = offsets[s], offsets[s + 1]
        e, apart, total = first, 0, 0
        before = np.float64(times[first]) if last > first else stop
        while e < last:
            t = np.float64(times[e])
            slow, fast, brought = factors(t - before, tau_m, tau_s)
            keep, decay, gain = number(slow), number(fast), number(brought)
            row = weights[places[e] // slots]
            for j in range(neurons):
                V[j] = V[j] * keep + I[j] * gain
                I[j] = I[j] * decay + row[j]
            if apart_r:
                keep = number(np.exp((before - t) / tau_r))
                for j in range(neurons):
                    R[j] *= keep
            for q in range(apart):
                j = own[q]
                V[j], I[j], R[j] = own_v[q], own_i[q] + row[j], own_r[q]
            apart = 0
            e += 1
            while e < last and times[e] == t:
                row = weights[places[e] // slots]
                for j in range(neurons):
                    I[j] += row[j]
                e += 1
            after = np.float64(times[e]) if e < last else stop
            gain = number(factors(min(after - t, top), tau_m, tau_s)[2])
            hits = 0
            for j in range(neurons):
                rises = (I[j] > V[j]) | apart_r
                flags[j] = np.int32(rises & (max(V[j], zero) + max(I[j], zero) * gain >= least))
                hits += flags[j]
            before = t
            if hits == 0:
                continue
            for j in range(neurons):
                if flags[j] == 0:
                    continue
                v: Any = np.float64(V[j])
                i: Any = np.float64(I[j])
                r: Any = np.float64(R[j])
                now, left, k = t, after - t, count[j]
                while k < most:
                    if apart_r:
                        gap = crossing_of_three(v, i, r, left, numbers)
                    else:
                        x = crossing(v, i, np.exp(-left / tau_m), tau_m, tau_s, threshold)
                        gap = max(-tau_m * np.log(x), 0.0) if x > 0 else -1.0
                    if gap < 0:
                        break
                    now, left = min(now + gap, after), max(left - gap, 0.0)
                    slow, fast, brought = factors(gap, tau_m, tau_s)
                    r = r * np.exp(-gap / tau_r)
                    v, i = threshold + r, i * fast  # where it fires, u is the threshold
                    outputs[s, j, k], slopes[s, j, k] = now, (i - v) / tau_m + r / tau_r
                    behind[s, total], fired[s, total] = e - 1 - first, j * most + k
                    total += 1
                    k += 1
                    v, i, r = reset_state(v, i, r, numbers)
                if k > count[j]:
                    count[j] = k
                    slow, fast, brought = factors(left, tau_m, tau_s)
                    own[apart], own_i[apart], own_r[apart] = j, i * fast, r * np.exp(-left / tau_r)
                    own_v[apart] = v * slow + i * brought if k < most else np.nan  # never crosses again
                    apart += 1
        found[s] = total


@compiled
def credit(
    begin: Any,
    end: Any,
    numbers: Any,
    times: Any,
    places: Any,
    offsets: Any,
    slots: Any,
    weights: Any,
    outputs: Any,
    slopes: Any,
    behind: Any,
    fired: Any,
    found: Any,
    errors: Any,
    of_weights: Any,
    used: Any,
    of_times: Any,
    timed: Any,
) -> None:
    """Errors dL/dt [B, M, K] back to weights [in, out] and, where ``timed``, to input spikes: (4) and (5).

    Each caller sums in an ``of_weights`` of its own, and marks it in ``used``.
    """
    tau_m, tau_s, stop, floor = numbers[0], numbers[1], numbers[3], numbers[4]
    hard, pull, tau_r = numbers[6], numbers[7] / numbers[8], numbers[8]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    used[begin // ALIGNED] = 1
    sums = of_weights[begin // ALIGNED]
    S, E = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    later, since = np.empty(neurons), np.empty(neurons)  # sum of (4) over later spikes, taken at the first of them
    own, own_s, own_e = np.empty(neurons, np.int32), np.empty(neurons, S.dtype), np.empty(neurons, S.dtype)
    of_s, of_e = number(1 / tau_m), number(1 / tau_s)
    for b in range(begin, end):
        S[:], E[:], later[:], since[:] = 0, 0, 0, stop
        first, r, after, active = offsets[b], found[b] - 1, stop, False
        e = offsets[b + 1] - 1
        while e >= first:
            t, apart = np.float64(times[e]), 0
            while r >= 0 and behind[b, r] == e - first:
                j = fired[b, r] // most
                s: Any = np.float64(S[j])
                x: Any = np.float64(E[j])
                now = after
                while r >= 0 and behind[b, r] == e - first and fired[b, r] // most == j:
                    k = fired[b, r] % most
                    spike = np.float64(outputs[b, j, k])
                    slow, fast, brought = factors(now - spike, tau_m, tau_s)
                    s, x = s * slow, x * fast + s * brought
                    reached = later[j] * np.exp((spike - since[j]) / tau_r)
                    g = (errors[b, j, k] + (0.0 if hard else pull * reached)) / max(np.float64(slopes[b, j, k]), floor)
                    later[j], since[j] = reached + g, spike
                    s, x = (g, 0.0) if hard else (s + g, x)
                    now = spike
                    r -= 1
                slow, fast, brought = factors(now - t, tau_m, tau_s)
                own[apart], own_s[apart], own_e[apart] = j, s * slow, x * fast + s * brought
                apart += 1
                active = True
            if active:
                slow, fast, brought = factors(after - t, tau_m, tau_s)
                keep, decay, gain = number(slow), number(fast), number(brought)
                for j in range(neurons):
                    E[j] = E[j] * decay + S[j] * gain
                    S[j] = S[j] * keep
                for q in range(apart):
                    S[own[q]], E[own[q]] = own_s[q], own_e[q]
            after = t
            while e >= first and times[e] == t:
                if active:
                    unit = places[e] // slots
                    row, sending = sums[unit], weights[unit]
                    moved: Any = np.float64(0)
                    for j in range(neurons):
                        row[j] -= E[j]
                    if timed:
                        for j in range(neurons):
                            moved += sending[j] * (S[j] * of_s - E[j] * of_e)
                        of_times[e] = moved
                e -= 1


@compiled
def potentials(
    begin: Any,
    end: Any,
    numbers: Any,
    times: Any,
    places: Any,
    offsets: Any,
    slots: Any,
    weights: Any,
    own: Any,
    grid: Any,
    found: Any,
) -> None:
    """u [S, B, M] at the times ``grid``, in order, for own spikes [B, M, K]; a spike at such a time comes after it."""
    neurons, most = own.shape[1:]
    for s in range(begin, end):
        for j in range(neurons):
            v, i, r, now = 0.0, 0.0, 0.0, 0.0
            e, k, x = offsets[s], 0, 0
            while x < len(grid):
                event = np.float64(times[e]) if e < offsets[s + 1] else np.inf
                spike = own[s, j, k] if k < most else np.inf
                t = min(event, spike, grid[x])
                slow, fast, brought = factors(max(t - now, 0.0), numbers[0], numbers[1])
                v, i, r, now = v * slow + i * brought, i * fast, r * np.exp(-max(t - now, 0.0) / numbers[8]), t
                if grid[x] == t:
                    found[x, s, j] = v - r
                    x += 1
                elif spike == t:
                    v, i, r = reset_state(v, i, r, numbers)
                    k += 1
                else:
                    i += weights[places[e] // slots, j]
                    e += 1
