"""Compiled loops of event.py: one sample after the other, its input spikes in order of time, all neurons at once.

Potentials and errors are kept relative to the last event, A = a exp(-t / tau_s) and B = b exp(-t / tau), so that every
exponential lies in [0, 1], however long the simulation is. Neurons that fire between two events are carried to the
next one by themselves and put back behind the common decay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.compiled import njit
from snnlab.kernels.cpu import compiled
from snnlab.kernels.threads import ALIGNED


@compiled
def count_events(begin: Any, end: Any, spikes: Any, stop: Any, counts: Any) -> None:
    """How many of the spikes [B, N, K] of each sample come before ``stop``."""
    for b in range(begin, end):
        total = 0
        for k in range(spikes.shape[2]):
            for i in range(spikes.shape[1]):
                total += spikes[b, i, k] < stop
        counts[b] = total


@compiled
def sort_events(begin: Any, end: Any, spikes: Any, stop: Any, offsets: Any, times: Any, places: Any) -> None:
    """Write those spikes and their places i K + k, in order of time, behind ``offsets`` of their sample."""
    units, slots = spikes.shape[1:]
    for b in range(begin, end):
        found, where = times[offsets[b] : offsets[b + 1]], places[offsets[b] : offsets[b + 1]]
        n, last, sorted_already = 0, -stop, True
        for k in range(slots):  # frames of events come in order of time
            for i in range(units):
                t = spikes[b, i, k]
                if t < stop:
                    found[n], where[n] = t, i * slots + k
                    sorted_already &= t >= last
                    n, last = n + 1, t
        if not sorted_already:
            order = np.argsort(found, kind="mergesort")
            found[:], where[:] = found[order], where[order]


@compiled
def crosses(a: Any, b: Any, c: Any, z: Any) -> Any:
    """Whether a x^2 - b x + c, positive at 1 and at 0, reaches 0 between 1 and z; x = exp(-elapsed / tau)."""
    twice = a + a
    return (b > 0) & (b < twice) & (b * b > (twice + twice) * c) & ((b >= twice * z) | (c + z * (a * z - b) <= 0))


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

    Writes outputs and slopes du/dt [B, M, K] and, for ``credit``, of the r-th spike found in a sample the event behind
    which it came, behind[b, r], and its place, fired[b, r] = j K + k.
    """
    tau, c, drop, stop = numbers[0], numbers[1], numbers[2], numbers[3]
    neurons, most = weights.shape[1], outputs.shape[2]
    A, B = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    flags, count = np.empty(neurons, np.int32), np.empty(neurons, np.int32)
    own, own_a, own_b = np.empty(neurons, np.int32), np.empty(neurons, A.dtype), np.empty(neurons, A.dtype)
    for s in range(begin, end):
        A[:], B[:], count[:] = 0, 0, 0
        first, last = offsets[s], offsets[s + 1]
        e, apart, total = first, 0, 0
        before = times[first] if last > first else stop
        while e < last:
            t = times[e]
            decay = np.exp((before - t) / tau)
            faster = decay * decay
            row = weights[places[e] // slots]
            for j in range(neurons):
                A[j] = A[j] * faster + row[j]
                B[j] = B[j] * decay + row[j]
            for q in range(apart):
                j = own[q]
                A[j], B[j] = own_a[q] + row[j], own_b[q] + row[j]
            apart = 0
            e += 1
            while e < last and times[e] == t:
                row = weights[places[e] // slots]
                for j in range(neurons):
                    A[j] += row[j]
                    B[j] += row[j]
                e += 1
            after = times[e] if e < last else stop
            z_next = np.exp((t - after) / tau)
            hits = 0
            for j in range(neurons):
                flags[j] = np.int32(crosses(A[j], B[j], c, z_next))
                hits += flags[j]
            before = t
            if hits == 0:
                continue
            for j in range(neurons):
                if flags[j] == 0:
                    continue
                a, b, now, z_left, k = A[j], B[j], t, z_next, count[j]
                while k < most and crosses(a, b, c, z_left):
                    twice = a + a
                    x = np.sqrt(b * b - (twice + twice) * c)
                    z = (b + x) / twice
                    now = min(now - tau * np.log(z), after)
                    a, b = a * z * z, b * z - drop
                    z_left = z_left / z
                    outputs[s, j, k], slopes[s, j, k] = now, x * z
                    behind[s, total], fired[s, total] = e - 1 - first, j * most + k
                    total += 1
                    k += 1
                count[j] = k
                own[apart] = j
                own_a[apart] = a * z_left * z_left if k < most else np.nan  # never crosses again
                own_b[apart] = b * z_left
                apart += 1
        found[s] = total


@njit(error_model="numpy", fastmath={"reassoc", "contract"})  # type: ignore[misc]
def dot(x: Any, y: Any) -> Any:
    """Inner product, summed in the order that is fastest."""
    total = x[0] * y[0]
    for i in range(1, len(x)):
        total += x[i] * y[i]
    return total


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
    """Errors dL/dt [B, M, K] back to weights [in, out] and, where ``timed``, to input spikes, one number an event.

    Each caller sums in an ``of_weights`` of its own, and marks it in ``used``.
    """
    tau, drop, stop, floor = numbers[0], numbers[2], numbers[3], numbers[4]
    neurons, most = weights.shape[1], outputs.shape[2]
    used[begin // ALIGNED] = 1
    sums = of_weights[begin // ALIGNED]
    slow, fast = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    synapse, shift = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    own, own_slow, own_fast = np.empty(neurons, np.int32), np.empty(neurons, slow.dtype), np.empty(neurons, slow.dtype)
    for s in range(begin, end):
        slow[:], fast[:] = 0, 0
        first, r, after, active = offsets[s], found[s] - 1, stop, False
        e = offsets[s + 1] - 1
        while e >= first:
            t, apart = times[e], 0
            while r >= 0 and behind[s, r] == e - first:
                j = fired[s, r] // most
                g_slow, g_fast, now = slow[j], fast[j], after
                while r >= 0 and behind[s, r] == e - first and fired[s, r] // most == j:
                    k = fired[s, r] % most
                    decay = np.exp((outputs[s, j, k] - now) / tau)
                    g_slow, g_fast, now = g_slow * decay, g_fast * decay * decay, outputs[s, j, k]
                    error = errors[s, j, k] + drop / tau * g_slow  # own later spikes, through the reset
                    g = error * tau / max(slopes[s, j, k], floor)
                    g_slow, g_fast = g_slow + g, g_fast + g
                    r -= 1
                decay = np.exp((t - now) / tau)
                own[apart], own_slow[apart], own_fast[apart] = j, g_slow * decay, g_fast * decay * decay
                apart += 1
                active = True
            if active:
                decay = np.exp((t - after) / tau)
                faster = decay * decay
                for j in range(neurons):
                    slow[j] *= decay
                    fast[j] *= faster
                for q in range(apart):
                    slow[own[q]], fast[own[q]] = own_slow[q], own_fast[q]
                for j in range(neurons):
                    synapse[j] = fast[j] - slow[j]
                    shift[j] = (fast[j] + fast[j] - slow[j]) / tau
            after = t
            while e >= first and times[e] == t:
                if active:
                    unit = places[e] // slots
                    row = sums[unit]
                    for j in range(neurons):
                        row[j] += synapse[j]
                    if timed:
                        of_times[e] = dot(weights[unit], shift)
                e -= 1
