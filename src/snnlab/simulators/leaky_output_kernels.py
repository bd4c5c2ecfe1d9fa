"""Compiled loops of leaky_output.py: the largest potential of units that never fire, and its adjoint.

``numbers`` and the arguments are those of current_kernels.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.cpu import compiled
from snnlab.kernels.threads import ALIGNED
from snnlab.simulators.current_kernels import factors, moved, peak


@compiled
def largest(
    begin: Any,
    end: Any,
    numbers: Any,
    times: Any,
    places: Any,
    offsets: Any,
    slots: Any,
    weights: Any,
    values: Any,
    moments: Any,
    turns: Any,
    slopes: Any,
) -> None:
    """The largest V [B, M] of units that never fire, at least 0, and when it is; weights [in, out].

    Where an inhibitory event turns a rising V, ``turns`` is its number in the sample, else -1, and ``slopes`` V' then.
    """
    tau_m, tau_s, stop = numbers[0], numbers[1], numbers[3]
    number = weights.dtype.type
    units = weights.shape[1]
    V, I = np.empty(units, weights.dtype), np.empty(units, weights.dtype)  # noqa: E741  as the equations
    for s in range(begin, end):
        V[:], I[:] = 0, 0
        e, last = offsets[s], offsets[s + 1]
        before = np.float64(times[e]) if last > e else stop
        while e < last:
            t = np.float64(times[e])
            slow, fast, brought = factors(t - before, tau_m, tau_s)
            keep, decay, gain = number(slow), number(fast), number(brought)
            for j in range(units):
                V[j] = V[j] * keep + I[j] * gain
                I[j] = I[j] * decay
            while e < last and times[e] == t:
                row = weights[places[e] // slots]
                for j in range(units):
                    I[j] += row[j]
                e += 1
            left = (np.float64(times[e]) if e < last else stop) - t
            before, most = t, factors(min(left, numbers[5]), tau_m, tau_s)[2]
            for j in range(units):
                v, i = np.float64(V[j]), np.float64(I[j])
                if i > v and max(v, 0.0) + i * most > values[s, j]:  # what V stays below
                    gap = min(peak(v, i, tau_m, tau_s), left)
                    slow, fast, brought = factors(gap, tau_m, tau_s)
                    high = v * slow + i * brought
                    if high > values[s, j]:
                        values[s, j], moments[s, j] = high, t + gap
                        turns[s, j] = e - offsets[s] if gap == left and e < last else -1
                        slopes[s, j] = (i * fast - high) / tau_m


@compiled
def credit_largest(
    begin: Any,
    end: Any,
    numbers: Any,
    times: Any,
    places: Any,
    offsets: Any,
    slots: Any,
    weights: Any,
    moments: Any,
    turns: Any,
    slopes: Any,
    errors: Any,
    of_weights: Any,
    used: Any,
    of_times: Any,
) -> None:
    """Errors [B, M] of the largest V back to weights [in, out] and input spikes; ``used`` as in ``credit``."""
    tau_m, tau_s = numbers[0], numbers[1]
    number = weights.dtype.type
    units = weights.shape[1]
    used[begin // ALIGNED] = 1
    sums = of_weights[begin // ALIGNED]
    P, Q = np.empty(units, weights.dtype), np.empty(units, weights.dtype)
    of_v, of_i = number(1 / tau_m), number(1 / tau_s)
    for s in range(begin, end):
        P[:], Q[:] = 0, 0
        order = np.argsort(moments[s])
        waiting, first = units - 1, offsets[s]
        e = offsets[s + 1] - 1
        after = np.float64(moments[s, order[waiting]])
        while e >= first:
            at_peak = waiting >= 0 and moments[s, order[waiting]] > times[e]
            t = np.float64(moments[s, order[waiting]] if at_peak else times[e])
            slow, fast, brought = factors(max(after - t, 0.0), tau_m, tau_s)
            keep, decay, gain = number(slow), number(fast), number(brought)
            for j in range(units):
                Q[j] = Q[j] * decay + P[j] * gain
                P[j] = P[j] * keep
            after = t
            if at_peak:
                P[order[waiting]] += errors[s, order[waiting]]
                waiting -= 1
                continue
            unit = places[e] // slots
            row = sums[unit]
            for j in range(units):
                row[j] += Q[j]
            of_times[e] = moved(weights[unit], P, Q, of_v, of_i)
            e -= 1
        for j in range(units):
            if turns[s, j] >= 0:  # the maximum moves with the event that ends the rise
                of_times[first + turns[s, j]] += errors[s, j] * slopes[s, j]
