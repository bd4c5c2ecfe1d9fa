"""Compiled loops of stepped.py: the neurons of current_kernels.py at multiples of a time step.

``numbers`` and the arguments are those of current_kernels.py, and ``numbers[6]`` is the step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.cpu import compiled
from snnlab.kernels.threads import ALIGNED
from snnlab.simulators.current_kernels import factors, moved


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
    recurrent: Any,
    outputs: Any,
    slopes: Any,
    behind: Any,
    fired: Any,
    found: Any,
) -> None:
    """As ``simulate_recurrent`` at multiples of numbers[6]; recurrent [0, 0] is none; input spikes lie on them."""
    tau_m, tau_s, threshold, stop, step = numbers[0], numbers[1], numbers[2], numbers[3], numbers[6]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    V, I = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)  # noqa: E741  as the equations
    count = np.empty(neurons, np.int32)
    slow, fast, brought = factors(step, tau_m, tau_s)
    keep, decay, gain, height, zero = number(slow), number(fast), number(brought), number(threshold), number(0)
    for s in range(begin, end):
        V[:], I[:], count[:] = 0, 0, 0
        first, last = offsets[s], offsets[s + 1]
        e, total = first, 0
        n = np.int64(np.rint(times[first] / step)) if last > first else np.int64(stop / step) + 1
        while n * step < stop:
            while e < last and np.rint(times[e] / step) <= n:
                row = weights[places[e] // slots]
                for j in range(neurons):
                    I[j] += row[j]
                e += 1
            n += 1
            if n * step >= stop:
                break
            hits: Any = 0
            for j in range(neurons):
                V[j] = V[j] * keep + I[j] * gain
                I[j] = I[j] * decay
                hits += V[j] >= height
            if hits == 0:
                continue
            before = total
            for j in range(neurons):
                if V[j] >= height:
                    k = count[j]
                    outputs[s, j, k], slopes[s, j, k] = n * step, (np.float64(I[j]) - V[j]) / tau_m
                    behind[s, total], fired[s, total] = e - 1 - first, j * most + k
                    total += 1
                    count[j] = k + 1
                    V[j] = zero if k + 1 < most else np.nan  # never crosses again
            if len(recurrent):
                for r in range(before, total):
                    row = recurrent[fired[s, r] // most]
                    for j in range(neurons):
                        I[j] += row[j]
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
    recurrent: Any,
    outputs: Any,
    slopes: Any,
    behind: Any,
    fired: Any,
    found: Any,
    errors: Any,
    pulls: Any,
    of_weights: Any,
    of_recurrent: Any,
    used: Any,
    of_times: Any,
    timed: Any,
) -> None:
    """As ``credit_recurrent``; neurons that fire in one step see each other's spikes only behind it."""
    tau_m, tau_s, threshold, stop, floor = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    used[begin // ALIGNED] = 1
    sums, returned = of_weights[begin // ALIGNED], of_recurrent[begin // ALIGNED]
    P, Q = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    jumps = np.empty(neurons, np.float64)
    of_v, of_i = number(1 / tau_m), number(1 / tau_s)
    for s in range(begin, end):
        P[:], Q[:] = 0, 0
        first, r, after = offsets[s], found[s] - 1, stop
        e = offsets[s + 1] - 1
        while e >= first:
            spiked = r >= 0 and behind[s, r] == e - first
            j, k = (fired[s, r] // most, fired[s, r] % most) if spiked else (0, 0)
            t = np.float64(outputs[s, j, k] if spiked else times[e])
            if t < after:
                slow, fast, brought = factors(after - t, tau_m, tau_s)
                keep, decay, gain = number(slow), number(fast), number(brought)
                for x in range(neurons):
                    Q[x] = Q[x] * decay + P[x] * gain
                    P[x] = P[x] * keep
                after = t
            if not spiked:
                unit = places[e] // slots
                row = sums[unit]
                for x in range(neurons):
                    row[x] += Q[x]
                if timed:
                    of_times[e] = moved(weights[unit], P, Q, of_v, of_i)
                e -= 1
                continue
            together = r
            while together >= 0 and outputs[s, fired[s, together] // most, fired[s, together] % most] == t:
                j, k = fired[s, together] // most, fired[s, together] % most
                error = np.float64(errors[s, j, k])
                if len(recurrent):
                    error += moved(recurrent[j], P, Q, of_v, of_i)
                    row = returned[j]
                    for x in range(neurons):
                        row[x] += Q[x]
                slope = max(np.float64(slopes[s, j, k]), floor)
                jumps[j] = (threshold * P[j] / tau_m - error) / slope + pulls[s, j] / threshold
                together -= 1
            for x in range(together + 1, r + 1):
                P[fired[s, x] // most] += jumps[fired[s, x] // most]
            r = together
