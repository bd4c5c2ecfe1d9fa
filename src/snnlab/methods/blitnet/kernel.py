"""Samples of one layer, one after the other, compiled: the numbers of rules.py up to the order of sums (tests).

A synapse that is 0 does not exist. Numbers in brackets are those of rules.py and neurons/amplitude.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.cpu import compiled


@compiled
def present(
    windows: Any,
    inputs: Any,
    weight: Any,
    threshold: Any,
    constant: Any,
    target: Any,
    noise: Any,
    before: Any,
    rates: Any,
    whole: Any,
    numbers: Any,
    outputs: Any,
) -> None:
    """Fill ``outputs`` [B, N, P] with amplitudes, and move weight, threshold and ``before`` sample by sample.

    windows [P, K]; inputs [B, I]; weight [N, P, 2 K]; threshold, constant, target [N, P]; noise [B or 0, N, P];
    before [2, N, P]: amplitudes of the two samples before; rates [B, 2]: eta and eta_theta; whole: (weights move,
    version of the code); numbers: 0, 1, 1/2, the largest amplitude, balance, total, LEAST, MOST.
    """
    moves, code = whole
    zero, one, half, ceiling, balance, total, least, most = numbers
    neurons, places, synapses = weight.shape
    taps = synapses // 2
    active, strength = np.empty(taps, np.int64), np.empty(taps, weight.dtype)
    for b in range(len(inputs)):
        eta, eta_theta = rates[b]
        for place in range(places):
            found = 0
            for k in range(taps):
                p = inputs[b, windows[place, k]]
                if p > zero:
                    active[found], strength[found] = k, p
                    found += 1
            for j in range(neurons):
                row = weight[j, place]
                net = zero
                for a in range(found):
                    net += (row[active[a]] + row[taps + active[a]]) * strength[a]
                v = net + constant[j, place] - threshold[j, place]
                if len(noise):
                    v += noise[b, j, place]
                x = min(max(v, zero), ceiling)
                outputs[b, j, place] = x
                fired = one if x > zero else zero
                f = target[j, place]
                if moves and eta > zero:
                    if code:
                        change = eta * (half - x) * fired
                        if change != zero:
                            for a in range(found):
                                k = active[a]
                                if row[k] != zero:  # (2')
                                    row[k] = min(max(row[k] + change, least), most)
                                k += taps
                                if row[k] != zero:  # (6')
                                    row[k] = -min(max(-row[k] + change, least), most)
                        factor = one + balance * eta * net
                        for k in range(taps, synapses):  # (7')
                            if row[k] != zero:
                                row[k] = -min(max(-row[k] * factor, least), most)
                    else:
                        earlier = one if before[1, j, place] > zero else zero
                        change = eta * (fired - earlier)
                        other = eta if fired > zero else -eta * f
                        for a in range(found):
                            k = active[a]
                            if row[k] != zero and change != zero:  # (2)
                                row[k] = min(max(row[k] + change, least), most)
                            k += taps
                            if row[k] != zero:  # (6)
                                row[k] = -min(max(-row[k] + other, least), most)
                        factor = one + balance * eta * (one if net > zero else (-one if net < zero else zero))
                        for k in range(taps, synapses):  # (7)
                            if row[k] != zero:
                                row[k] = -min(max(-row[k] * factor, least), most)
                        if total > zero:  # (4)
                            whole_row = zero
                            for k in range(taps):
                                whole_row += row[k]
                            scale = total / max(whole_row, least)
                            for k in range(taps):
                                row[k] *= scale
                if eta_theta > zero:  # (8)
                    threshold[j, place] = max(threshold[j, place] + eta_theta * (fired - f), zero)
                before[1, j, place] = before[0, j, place]
                before[0, j, place] = x
