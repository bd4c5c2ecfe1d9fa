"""Presentations of a batch, compiled: one loop over samples and steps, whose work follows the spikes.

The numbers in brackets are those of biolcnet.py and neurons/rival_lif.py. The hidden weights lie as
[places, taps, filters], the output's as [hidden, outputs], so that what a spike reaches lies together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.kernels.cpu import compiled


@compiled
def present(
    frames: Any,  # [T, B, inputs]
    labels: Any,  # [B]; what a response is held against
    reads: Any,  # [places, taps]: the input of each tap, -1 where there is none
    w1: Any,  # [places, taps, filters]
    w2: Any,  # [places * filters, outputs]
    theta: Any,  # [places, filters]
    sizes: Any,  # of the reward, float64 [3]
    whole: Any,  # ends of observation, decision and presentation; refractory steps; neurons of a class; stdp; adapt
    neuron: Any,  # decay, threshold, inhibition of the hidden, inhibition of the output, theta_plus, theta_decay
    rule: Any,  # nu_pre, nu_post, keep of traces, sum of weights, nu of the reward
    reward: Any,  # float64: rate, window, least and most of the reward and of the punishment
    votes: Any,  # [B, classes], filled
    given: Any,  # float64 [B], filled: R
    counts: Any,  # [3], added to: spikes of input, hidden and output
) -> None:
    observed, decided, ends, refractory, members, stdp, adapt = whole
    keep, threshold, rival, rival_out, plus, fade = neuron
    nu_pre, nu_post, trace, norm, nu = rule
    places, taps, filters = w1.shape
    inputs, outputs = frames.shape[2], w2.shape[1]
    hidden, zero, one = places * filters, w1.dtype.type(0), w1.dtype.type(1)
    # which taps read an input, one list after the other
    first = np.zeros(inputs + 1, np.int64)
    for p in range(places):
        for k in range(taps):
            if reads[p, k] >= 0:
                first[reads[p, k] + 1] += 1
    for i in range(inputs):
        first[i + 1] += first[i]
    at, filled = np.empty((first[inputs], 2), np.int64), first.copy()
    for p in range(places):
        for k in range(taps):
            i = reads[p, k]
            if i >= 0:
                at[filled[i], 0], at[filled[i], 1] = p, k
                filled[i] += 1
    kind = w1.dtype
    v, current, x_post = (
        np.empty((places, filters), kind),
        np.empty((places, filters), kind),
        np.empty((places, filters), kind),
    )
    rest, spiked = np.empty((places, filters), np.int64), np.empty((places, filters), np.int64)
    x_pre, fired = np.empty(inputs, kind), np.empty(inputs, np.int64)
    u, current_out = np.empty(outputs, kind), np.empty(outputs, kind)
    rest_out, spiked_out = np.empty(outputs, np.int64), np.empty(outputs, np.int64)
    p_plus, p_minus = np.empty(hidden, kind), np.empty(outputs, kind)
    of_class, of_place = np.empty(votes.shape[1], np.int64), np.empty(places, np.int64)
    for b in range(frames.shape[1]):
        v[:], x_post[:], rest[:], spiked[:], x_pre[:] = zero, zero, 0, 0, zero
        u[:], rest_out[:], spiked_out[:], p_plus[:], p_minus[:] = zero, 0, 0, zero, zero
        of_class[:], of_place[:] = 0, 0
        size = 0.0
        for t in range(ends):
            if t == decided and ends > decided:  # the response, and what it is worth
                said = 0
                for c in range(votes.shape[1]):
                    if votes[b, c] > votes[b, said]:
                        said = c
                size = sizes[0] if said == labels[b] else -sizes[1]
                given[b] = size
            found = 0
            current[:] = zero
            for i in range(inputs):
                value = frames[t, b, i]
                if value != zero:
                    fired[found] = i
                    found += 1
                    for s in range(first[i], first[i + 1]):
                        p = at[s, 0]
                        row = w1[p, at[s, 1]]
                        for o in range(filters):
                            current[p, o] += value * row[o]
            counts[0] += found
            # hidden neurons, (1) to (4)
            for p in range(places):
                before, now = of_place[p], 0
                for o in range(filters):
                    if adapt:
                        theta[p, o] *= fade
                    v[p, o] *= keep
                    if rest[p, o] > 0:
                        rest[p, o] -= 1
                    else:
                        v[p, o] += current[p, o] - rival * (before - spiked[p, o])
                for o in range(filters):
                    spiked[p, o] = 1 if v[p, o] >= threshold + theta[p, o] else 0
                    if spiked[p, o]:
                        v[p, o], rest[p, o] = zero, refractory
                        now += 1
                        if adapt:
                            theta[p, o] += plus
                of_place[p] = now
                counts[1] += now
            if stdp:
                for i in range(inputs):
                    x_pre[i] *= trace
                for f in range(found):
                    x_pre[fired[f]] = frames[t, b, fired[f]]
                for p in range(places):
                    for o in range(filters):
                        x_post[p, o] = one if spiked[p, o] else x_post[p, o] * trace
                for f in range(found):  # (5)
                    i = fired[f]
                    value = frames[t, b, i] * nu_pre
                    for s in range(first[i], first[i + 1]):
                        p = at[s, 0]
                        row = w1[p, at[s, 1]]
                        for o in range(filters):
                            row[o] = max(row[o] - value * x_post[p, o], zero)
                for p in range(places):  # (6)
                    if of_place[p]:
                        for o in range(filters):
                            if spiked[p, o]:
                                for k in range(taps):
                                    if reads[p, k] >= 0:
                                        w1[p, k, o] = min(w1[p, k, o] + nu_post * x_pre[reads[p, k]], one)
                continue
            # output neurons
            current_out[:] = zero
            for p in range(places):
                if of_place[p]:
                    for o in range(filters):
                        if spiked[p, o]:
                            row = w2[o * places + p]
                            for n in range(outputs):
                                current_out[n] += row[n]
            total = 0
            for c in range(len(of_class)):
                total += of_class[c]
            for n in range(outputs):
                u[n] *= keep
                if rest_out[n] > 0:
                    rest_out[n] -= 1
                else:
                    u[n] += current_out[n] - rival_out * (total - of_class[n // members])
            of_class[:] = 0
            for n in range(outputs):
                spiked_out[n] = 1 if u[n] >= threshold else 0
                if spiked_out[n]:
                    u[n], rest_out[n] = zero, refractory
                    of_class[n // members] += 1
            for c in range(len(of_class)):
                counts[2] += of_class[c]
                if observed <= t < decided:
                    votes[b, c] += of_class[c]
            if t < decided:
                continue
            for h in range(hidden):  # (8)
                p_plus[h] *= trace
            for n in range(outputs):
                p_minus[n] *= trace
            change = kind.type(nu * size)
            for p in range(places):
                for o in range(filters):
                    if spiked[p, o]:
                        h = o * places + p
                        p_plus[h] += one
                        for n in range(outputs):
                            w2[h, n] -= change * p_minus[n]
            for n in range(outputs):
                if spiked_out[n]:
                    p_minus[n] += one  # after the spikes of this step, which came first: they are what it fired at
                    for h in range(hidden):
                        w2[h, n] += change * p_plus[h]
            for p in range(places):
                for o in range(filters):
                    if spiked[p, o]:
                        row = w2[o * places + p]
                        for n in range(outputs):
                            row[n] = min(max(row[n], zero), one)
            for n in range(outputs):
                if spiked_out[n]:
                    for h in range(hidden):
                        w2[h, n] = min(max(w2[h, n], zero), one)
        if stdp:  # (7)
            for p in range(places):
                for o in range(filters):
                    total_weight = zero
                    for k in range(taps):
                        total_weight += w1[p, k, o]
                    if total_weight > zero:
                        for k in range(taps):
                            w1[p, k, o] *= norm / total_weight
        elif ends > decided and reward[0] > 0.0:
            surprise = size * (ends - decided) - sizes[2]
            sizes[0] = min(max(sizes[0] - reward[0] * surprise, reward[2]), reward[3])
            sizes[1] = min(max(sizes[1] + reward[0] * surprise, reward[4]), reward[5])
            sizes[2] += surprise / reward[1]
