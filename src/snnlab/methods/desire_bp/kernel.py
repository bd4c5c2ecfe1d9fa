"""Samples of a batch one after the other through fully connected layers, compiled: the rule's own order of updates.

Same numbers as ``DesireBP.learn`` on one sample at a time, up to the order of sums (tests). Numbers in brackets are
those of desire_bp.py. Weights lie input by input, [I, N] of each layer in one array, so that a spike adds one row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from snnlab.kernels.cpu import compiled


def present(
    frames: Tensor,
    labels: Tensor,
    weights: list[Tensor],
    alive: list[Tensor],
    scales: list[float],
    signs: list[Tensor] | None,
    lrs: list[float],
    numbers: tuple[float, ...],
) -> tuple[Tensor, Tensor]:
    """Learn from the samples in order; returns the outputs' spike counts [B, K], and active desires [B, layers].

    Args:
        frames: inputs [T, B, I].
        weights: [N, I] of each layer, changed in place.
        alive: what reads the input, then each hidden layer: 1 or 0 [B, units], 0 is dropped out; scales: 1 / (1 - p).
        signs: of the desires of each hidden layer, 1 or -1 [B, units]; None: they follow from the layer above.
        lrs: learning rate of each layer; 0: its weights rest.
        numbers: decay, threshold, T', least error of an output, least sum of a hidden desire.
    """
    dtype = weights[0].dtype
    sizes = np.array([weights[0].shape[1], *(weight.shape[0] for weight in weights)], np.int64)
    flat = np.concatenate([weight.detach().T.contiguous().view(-1).numpy() for weight in weights])
    kind = flat.dtype
    kept = np.concatenate([mask.to(dtype).numpy() for mask in alive], 1)
    given = kept[:, :0] if signs is None else np.concatenate([sign.to(dtype).numpy() for sign in signs], 1)
    counts, active = frames.new_zeros(len(labels), int(sizes[-1])), frames.new_zeros(len(labels), len(weights))
    parts = [np.array(part, kind) for part in (scales, lrs, (0.0, 1.0, *numbers))]
    inputs = frames.to(dtype).contiguous().numpy()
    _present(inputs, labels.numpy(), sizes, flat, kept, given, *parts, counts.numpy(), active.numpy())
    start = 0
    for weight, lr in zip(weights, lrs, strict=True):
        part = flat[start : start + weight.numel()]
        if lr:
            weight.copy_(weight.new_tensor(part).view(weight.shape[1], weight.shape[0]).T)
        start += weight.numel()
    return counts, active


@compiled
def _present(
    inputs: Any,
    labels: Any,
    sizes: Any,
    flat: Any,
    alive: Any,
    given: Any,
    scales: Any,
    lrs: Any,
    numbers: Any,
    counts: Any,
    active: Any,
) -> None:
    zero, one, decay, threshold, span, least_error, least_sum = numbers
    steps, layers, total = inputs.shape[0], len(sizes) - 1, int(sizes.sum())
    widest = int(sizes.max())
    fired = np.zeros((steps + 1, total), flat.dtype)  # row 0 of a layer's units: nothing has arrived yet
    rates, errors, desires = np.empty(total, flat.dtype), np.empty(total, flat.dtype), np.empty(total, flat.dtype)
    v, trace, sums = np.empty(widest, flat.dtype), np.empty((steps, widest), flat.dtype), np.empty(widest, flat.dtype)
    places, posts = np.empty(widest, np.int64), np.empty(widest, np.int64)
    for b in range(inputs.shape[1]):
        # forward: the input arrives at once, what a layer fires a step later
        fired[1:, : sizes[0]] = inputs[:, b]
        for t in range(steps):
            for i in range(sizes[0]):
                fired[t + 1, i] *= alive[b, i]
        pre, post, first = 0, int(sizes[0]), 0
        for layer in range(layers):
            width, units, late = int(sizes[layer]), int(sizes[layer + 1]), 0 if layer else 1
            v[:units] = zero
            rates[post : post + units] = zero
            for t in range(steps):
                for j in range(units):
                    v[j] *= decay  # (1)
                for i in range(width):
                    x = fired[t + late, pre + i]
                    if x != zero:
                        x *= scales[layer]
                        row = flat[first + i * units : first + (i + 1) * units]
                        for j in range(units):
                            v[j] += x * row[j]
                for j in range(units):  # (2), (3)
                    spike = zero
                    if v[j] >= threshold and (layer == layers - 1 or alive[b, post + j] > zero):
                        spike = one
                        v[j] -= threshold
                        rates[post + j] += one
                    fired[t + 1, post + j] = spike
            for j in range(units):
                if layer == layers - 1:
                    counts[b, j] = rates[post + j]
                rates[post + j] /= span
            first += width * units
            pre, post = post, post + units
        # desires, from the output down
        post = total - int(sizes[layers])
        some = 0
        for j in range(int(sizes[layers])):  # (5), (6)
            target = one if j == labels[b] else zero
            error = abs(target - rates[post + j])
            desires[post + j] = zero
            if error > least_error:
                desires[post + j] = target + target - one
                some += 1
            errors[post + j] = error
        active[b, layers - 1] = some
        if some == 0:  # nothing is desired anywhere
            continue
        for layer in range(layers - 1, 0, -1):  # (7), (8)
            width, units = int(sizes[layer]), int(sizes[layer + 1])
            first -= width * units
            pre = post - width
            found = 0
            for j in range(units):
                if desires[post + j] != zero and errors[post + j] != zero:
                    places[found] = j
                    sums[found] = desires[post + j] * errors[post + j]
                    found += 1
            some = 0
            for i in range(width):
                g, row = zero, flat[first + i * units : first + (i + 1) * units]
                for f in range(found):
                    g += row[places[f]] * sums[f]
                towards = one if g > zero else zero
                if len(given[0]):
                    towards = one if given[b, pre - sizes[0] + i] > zero else zero
                desires[pre + i] = zero
                if abs(g) >= least_sum:
                    desires[pre + i] = towards + towards - one
                    some += 1
                errors[pre + i] = abs(towards - rates[pre + i])
            active[b, layer - 1] = some
            post = pre
        # updates
        pre, first = 0, 0
        for layer in range(layers):  # (9), (10)
            width, units, late = int(sizes[layer]), int(sizes[layer + 1]), 0 if layer else 1
            post = pre + width
            found = 0
            if lrs[layer] != zero:
                for j in range(units):
                    if desires[post + j] != zero and rates[post + j] > zero:
                        posts[found] = j
                        found += 1
            if found:
                seen = 0
                for i in range(width):
                    arrived = zero
                    for t in range(steps):
                        arrived = max(arrived, fired[t + late, pre + i])
                    if arrived > zero:
                        places[seen] = i
                        seen += 1
                for k in range(seen):
                    value = zero
                    for t in range(steps):
                        x = fired[t + late, pre + places[k]] * scales[layer]
                        value = decay * value + min(max(x, zero), one)
                        trace[t, k] = value
                for f in range(found):
                    j = posts[f]
                    sums[:seen] = zero
                    for t in range(steps):
                        if fired[t + 1, post + j] > zero:
                            for k in range(seen):
                                sums[k] += trace[t, k]
                    change = lrs[layer] * desires[post + j]
                    for k in range(seen):
                        flat[first + places[k] * units + j] += change * sums[k]
            first += width * units
            pre = post
