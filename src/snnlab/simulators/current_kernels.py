"""Compiled loops of current_based.py: one sample after the other, its events in order of time, all neurons at once.

``numbers`` are tau_m, tau_s, threshold, stop, the least slope, and the time at which a postsynaptic potential is
largest, in float64: times between events and crossings are worked out in it, states are kept as the weights are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.cpu import compiled
from snnlab.kernels.threads import ALIGNED

TRIES = 80  # of Newton's rule, each of which halves the bracket at least where it does not converge
APART = 1.05  # tau_m / tau_s, above which e^(-s/tau_s) is a power of e^(-s/tau_m)


@compiled
def power(x: Any, ratio: Any) -> Any:
    """x^ratio for x in [0, 1]; whole ratios, which are usual, by products."""
    whole = int(ratio + 0.5)
    if abs(ratio - whole) > 1e-9 or whole > 8:
        return x**ratio
    product = x
    for _ in range(whole - 1):
        product *= x
    return product


@compiled
def factors(gap: Any, tau_m: Any, tau_s: Any) -> Any:
    """slow, fast and brought after ``gap``: V becomes V slow + I brought, and I becomes I fast.

    Where the time constants are near each other, the difference of the exponentials is taken without cancellation.
    """
    slow, ratio = np.exp(-gap / tau_m), tau_m / tau_s
    if ratio > APART:
        fast = power(slow, ratio)
        return slow, fast, (slow - fast) / (ratio - 1)
    if ratio == 1:
        return slow, slow, slow * gap / tau_m
    apart, fast = abs(tau_m - tau_s), np.exp(-gap / tau_s)
    return slow, fast, -max(slow, fast) * np.expm1(-gap * apart / (tau_m * tau_s)) * tau_s / apart


@compiled
def peak(v: Any, i: Any, tau_m: Any, tau_s: Any) -> Any:
    """When V, rising from v < i, is largest: where V = I. Infinite where it only rises towards 0 from below."""
    share = 1 - v / i
    if tau_m == tau_s:
        return tau_m * share
    part = (tau_m - tau_s) * share / tau_m
    return -tau_m * tau_s / (tau_m - tau_s) * np.log1p(-part) if part < 1 else np.inf


@compiled
def crossing(v: Any, i: Any, kept: Any, tau_m: Any, tau_s: Any, threshold: Any) -> Any:
    """x = e^(-s/tau_m) of the time s after which V first reaches the threshold from below, 0 where x < ``kept``.

    ``kept`` is x of the next event. With r = tau_m / tau_s > 1 and c = i / (r - 1), V = x (v + c - c x^(r-1)) is
    concave in x: from x = 1, where it is below the threshold, Newton's rule goes down to the root and never past it.
    Where there is none it comes to x < kept, or past the peak, where V no longer rises with s. r = 2 has a closed form,
    and r near 1 or below goes to ``bracketed``.
    """
    if not (i > threshold and i > v):
        return 0.0
    if v >= threshold:  # within rounding
        return 1.0
    r = tau_m / tau_s
    if r == 2:
        square = (v + i) * (v + i) - 4 * i * threshold
        x = (v + i + np.sqrt(square)) / (2 * i) if square >= 0 else 0.0
        return min(x, 1.0) if x >= kept else 0.0
    if r < APART:
        s = bracketed(v, i, -tau_m * np.log(kept) if kept > 0 else np.inf, tau_m, tau_s, threshold)
        return np.exp(-s / tau_m) if s >= 0 else 0.0
    c, x = i / (r - 1), 1.0
    for _ in range(TRIES):
        bent = c * power(x, r - 1)
        slope = v + c - r * bent
        if not slope < 0:
            return 0.0
        step = (x * (v + c - bent) - threshold) / slope
        x -= step
        if x < kept:
            return 0.0
        if abs(step) <= 1e-15:
            return x
    return x if x * (v + c - c * power(x, r - 1)) >= threshold * (1 - 1e-12) else 0.0


@compiled
def bracketed(v: Any, i: Any, gap: Any, tau_m: Any, tau_s: Any, threshold: Any) -> Any:
    """After what time V, rising from v, first reaches the threshold, -1 where it does not within ``gap``.

    V rises while I > V, once at most, so that it crosses where it lies at or above the threshold at its peak or at the
    end of the gap, whichever comes first; that is the bracket of Newton's rule.
    """
    high = min(peak(v, i, tau_m, tau_s), gap)
    slow, fast, brought = factors(high, tau_m, tau_s)
    if not v * slow + i * brought >= threshold:
        return -1.0
    low, s = 0.0, (threshold - v) * tau_m / (i - v)
    for _ in range(TRIES):
        if not low < s < high:
            s = (low + high) / 2
        slow, fast, brought = factors(s, tau_m, tau_s)
        now = v * slow + i * brought
        if now < threshold:
            low = s
        else:
            high = s
        step = (threshold - now) * tau_m / (i * fast - now)
        s += step
        if abs(step) <= 1e-15 * tau_m or high - low <= 1e-16 * tau_m:
            break
    return min(max(s, low), high)


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
    """Spike times of neurons that do not reach each other; ``slots`` spikes per input unit; weights [in, out].

    Writes outputs and slopes du/dt [B, M, K] and, for ``credit``, of the r-th spike found in a sample the event behind
    which it came, behind[b, r], and its place, fired[b, r] = j K + k. A neuron that fires between two events is carried
    to the next one by itself and put back there.
    """
    tau_m, tau_s, threshold, stop, top = numbers[0], numbers[1], numbers[2], numbers[3], numbers[5]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    V, I = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)  # noqa: E741  as the equations
    flags, count = np.empty(neurons, np.int32), np.empty(neurons, np.int32)
    own, own_v, own_i = np.empty(neurons, np.int32), np.empty(neurons, V.dtype), np.empty(neurons, V.dtype)
    least, zero, ratio = number(threshold * (1 - 1e-5)), number(0), tau_m / tau_s
    for s in range(begin, end):
        V[:], I[:], count[:] = 0, 0, 0
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
            for q in range(apart):
                j = own[q]
                V[j], I[j] = own_v[q], own_i[q] + row[j]
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
                flags[j] = np.int32((I[j] > V[j]) & (max(V[j], zero) + I[j] * gain >= least))
                hits += flags[j]
            before = t
            if hits == 0:
                continue
            whole = np.exp(-(after - t) / tau_m)
            for j in range(neurons):
                if flags[j] == 0:
                    continue
                v: Any = np.float64(V[j])
                i, now, kept, k = np.float64(I[j]), t, whole, count[j]
                while k < most:
                    x = crossing(v, i, kept, tau_m, tau_s, threshold)
                    if x == 0:
                        break
                    now, kept = min(now - tau_m * np.log(x), after), min(kept / x, 1.0)
                    v, i = 0.0, i * power(x, ratio)
                    outputs[s, j, k], slopes[s, j, k] = now, (i - threshold) / tau_m
                    behind[s, total], fired[s, total] = e - 1 - first, j * most + k
                    total += 1
                    k += 1
                if k > count[j]:
                    count[j] = k
                    slow, fast, brought = factors(after - now, tau_m, tau_s)
                    own[apart], own_i[apart] = j, i * fast
                    own_v[apart] = v * slow + i * brought if k < most else np.nan  # never crosses again
                    apart += 1
        found[s] = total


@compiled
def simulate_recurrent(
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
    """As ``simulate``, every spike an event for the other neurons: recurrent [from, to]."""
    tau_m, tau_s, threshold, stop, top = numbers[0], numbers[1], numbers[2], numbers[3], numbers[5]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    V, I = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)  # noqa: E741  as the equations
    flags, count = np.empty(neurons, np.int32), np.empty(neurons, np.int32)
    least, zero = number(threshold * (1 - 1e-5)), number(0)
    for s in range(begin, end):
        V[:], I[:], count[:] = 0, 0, 0
        first, last = offsets[s], offsets[s + 1]
        e, total = first, 0
        now = np.float64(times[first]) if last > first else stop
        while now < stop:
            while e < last and times[e] <= now:
                row = weights[places[e] // slots]
                for j in range(neurons):
                    I[j] += row[j]
                e += 1
            after = np.float64(times[e]) if e < last else stop
            gain = number(factors(min(after - now, top), tau_m, tau_s)[2])
            hits, winner, soonest = 0, -1, np.exp(-(after - now) / tau_m)
            for j in range(neurons):
                flags[j] = np.int32((I[j] > V[j]) & (max(V[j], zero) + I[j] * gain >= least))
                hits += flags[j]
            for j in range(neurons if hits else 0):
                if flags[j] == 0:
                    continue
                x = crossing(np.float64(V[j]), np.float64(I[j]), soonest, tau_m, tau_s, threshold)
                if x > 0 and (winner < 0 or x > soonest):
                    winner, soonest = j, x
            gap = after - now if winner < 0 else min(-tau_m * np.log(soonest), after - now)
            slow, fast, brought = factors(gap, tau_m, tau_s)
            keep, decay, gain = number(slow), number(fast), number(brought)
            for j in range(neurons):
                V[j] = V[j] * keep + I[j] * gain
                I[j] = I[j] * decay
            if winner < 0:
                now = after
                continue
            now = min(now + gap, after)
            k = count[winner]
            outputs[s, winner, k], slopes[s, winner, k] = now, (np.float64(I[winner]) - threshold) / tau_m
            behind[s, total], fired[s, total] = e - 1 - first, winner * most + k
            total += 1
            count[winner] = k + 1
            V[winner] = zero if k + 1 < most else np.nan  # never crosses again
            row = recurrent[winner]
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
    outputs: Any,
    slopes: Any,
    behind: Any,
    fired: Any,
    found: Any,
    errors: Any,
    pulls: Any,
    of_weights: Any,
    used: Any,
    of_times: Any,
    timed: Any,
) -> None:
    """Errors dL/dt [B, M, K] and pulls dL/dn [B, M] back to weights [in, out] and, where ``timed``, to input spikes.

    Each caller sums in an ``of_weights`` of its own, and marks it in ``used``.
    """
    tau_m, tau_s, threshold, stop, floor = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    used[begin // ALIGNED] = 1
    sums = of_weights[begin // ALIGNED]
    P, Q = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    own, own_p, own_q = np.empty(neurons, np.int32), np.empty(neurons, P.dtype), np.empty(neurons, P.dtype)
    of_v, of_i = number(1 / tau_m), number(1 / tau_s)
    for s in range(begin, end):
        P[:], Q[:] = 0, 0
        first, r, after, active = offsets[s], found[s] - 1, stop, False
        e = offsets[s + 1] - 1
        while e >= first:
            t, apart = np.float64(times[e]), 0
            while r >= 0 and behind[s, r] == e - first:
                j = fired[s, r] // most
                p, q, now = np.float64(P[j]), np.float64(Q[j]), after
                while r >= 0 and behind[s, r] == e - first and fired[s, r] // most == j:
                    k = fired[s, r] % most
                    slow, fast, brought = factors(now - outputs[s, j, k], tau_m, tau_s)
                    q, p = q * fast + p * brought, p * slow
                    slope = max(np.float64(slopes[s, j, k]), floor)
                    p += (threshold * p / tau_m - errors[s, j, k]) / slope + pulls[s, j] / threshold
                    now = np.float64(outputs[s, j, k])
                    r -= 1
                slow, fast, brought = factors(now - t, tau_m, tau_s)
                own[apart], own_p[apart], own_q[apart] = j, p * slow, q * fast + p * brought
                apart += 1
                active = True
            if active:
                slow, fast, brought = factors(after - t, tau_m, tau_s)
                keep, decay, gain = number(slow), number(fast), number(brought)
                for j in range(neurons):
                    Q[j] = Q[j] * decay + P[j] * gain
                    P[j] = P[j] * keep
                for x in range(apart):
                    P[own[x]], Q[own[x]] = own_p[x], own_q[x]
            after = t
            while e >= first and times[e] == t:
                if active:
                    unit = places[e] // slots
                    row = sums[unit]
                    for j in range(neurons):
                        row[j] += Q[j]
                    if timed:
                        of_times[e] = moved(weights[unit], P, Q, of_v, of_i)
                e -= 1


@compiled
def moved(row: Any, P: Any, Q: Any, of_v: Any, of_i: Any) -> Any:
    """dL/dt of an event that adds ``row`` to I: sum of row (Q / tau_s - P / tau_m), behind the event."""
    total: Any = np.float64(0)
    for j in range(len(row)):
        total += row[j] * (Q[j] * of_i - P[j] * of_v)
    return total


@compiled
def credit_recurrent(
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
    """As ``credit``, errors going back through recurrent [from, to] as well."""
    tau_m, tau_s, threshold, stop, floor = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    number = weights.dtype.type
    neurons, most = weights.shape[1], outputs.shape[2]
    used[begin // ALIGNED] = 1
    sums, returned = of_weights[begin // ALIGNED], of_recurrent[begin // ALIGNED]
    P, Q = np.empty(neurons, weights.dtype), np.empty(neurons, weights.dtype)
    of_v, of_i = number(1 / tau_m), number(1 / tau_s)
    for s in range(begin, end):
        P[:], Q[:] = 0, 0
        first, r, after = offsets[s], found[s] - 1, stop
        e = offsets[s + 1] - 1
        while e >= first:
            spiked = r >= 0 and behind[s, r] == e - first
            j, k = (fired[s, r] // most, fired[s, r] % most) if spiked else (0, 0)
            t = np.float64(outputs[s, j, k] if spiked else times[e])
            slow, fast, brought = factors(max(after - t, 0.0), tau_m, tau_s)
            keep, decay, gain = number(slow), number(fast), number(brought)
            for x in range(neurons):
                Q[x] = Q[x] * decay + P[x] * gain
                P[x] = P[x] * keep
            after = t
            if spiked:
                error = errors[s, j, k] + moved(recurrent[j], P, Q, of_v, of_i)
                row = returned[j]
                for x in range(neurons):
                    row[x] += Q[x]
                slope = max(np.float64(slopes[s, j, k]), floor)
                P[j] += (threshold * P[j] / tau_m - error) / slope + pulls[s, j] / threshold
                r -= 1
                continue
            unit = places[e] // slots
            row = sums[unit]
            for x in range(neurons):
                row[x] += Q[x]
            if timed:
                of_times[e] = moved(weights[unit], P, Q, of_v, of_i)
            e -= 1
