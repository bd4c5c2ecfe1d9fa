"""Kernels of a backward that visits active entries only: LIF neurons behind a linear layer, a sequence at once.

An entry (t, b, j) is active where a surrogate derivative with an end is not 0. Entries of a tensor [T, B, N] are kept
as ``Entries``, ordered by sample, then step, then unit. With e = g(v) dL/ds at the active entries A,

    trace[t] = decay * trace[t-1] + x[t]            (1)     dW[j, i] = sum over A of e[t, b, j] trace[t, b, i]
    delta[t] = decay * delta[t+1] + e[t]            (2)     dx[t, b, i] = sum over j of W[j, i] delta[t, b, j]

Neither decays step by step: both are kept divided by a power of the decay, which is multiplied in where they are read,
so a step without an event costs nothing. (1) takes |A| * inputs multiplications, which the kernel counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.kernels.compiled import njit
from snnlab.kernels.cpu import CHUNK, compiled, number
from snnlab.kernels.threads import share

WIDTH = 256  # inputs whose traces are followed together; their part of dW stays in the second-level cache
SMALL = 2.0**-40  # power of the decay below which what is divided by it is multiplied out

summed: Any = njit(error_model="numpy", fastmath={"reassoc", "contract"})  # sums in vectors; the same at every call


class Entries(NamedTuple):
    """Some entries of a tensor [T, B, N].

    steps: T; first [B * T + 1]: where those of sample b and step t begin, at place b * T + t; units: j; values: of the
    entries.
    """

    steps: int
    first: Tensor
    units: Tensor
    values: Tensor

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        return self.first.numpy(), self.units.numpy(), self.values.numpy()


@compiled
def fire(
    begin: Any, end: Any, currents: Any, spikes: Any, counts: Any, decay: Any, threshold: Any, reach: Any, last: Any
) -> None:
    """Spikes of currents [T, B, N]; how many of |v - threshold| are below reach; v [B, N] after the last reset."""
    steps, _, units = currents.shape
    zero, one = threshold - threshold, threshold / threshold
    last[begin:end] = zero
    for t in range(steps):
        for b in range(begin, end):
            row, fired, state = currents[t, b], spikes[t, b], last[b]
            found = np.int32(0)
            for j in range(units):
                potential = decay * state[j] + row[j]
                x = potential - threshold
                spike = one if x > zero else zero
                fired[j] = spike
                state[j] = potential - threshold * spike
                found += np.int32(abs(x) < reach)
            counts[b * steps + t] = found


@compiled
def collect_active(
    begin: Any,
    end: Any,
    currents: Any,
    spikes: Any,
    decay: Any,
    threshold: Any,
    reach: Any,
    first: Any,
    units: Any,
    values: Any,
) -> None:
    """The entries that ``fire`` has counted, with v - threshold: the membranes once more, in the place of a copy."""
    steps, _, width = currents.shape
    x, states = np.empty(width, currents.dtype), np.zeros((end - begin, width), currents.dtype)
    for t in range(steps):
        for b in range(begin, end):
            row, fired, state = currents[t, b], spikes[t, b], states[b - begin]
            for j in range(width):
                potential = decay * state[j] + row[j]
                x[j] = potential - threshold
                state[j] = potential - threshold * fired[j]
            place = first[b * steps + t]
            for start in range(0, width if place < first[b * steps + t + 1] else 0, CHUNK):
                part, found = x[start : start + CHUNK], np.int32(0)
                for k in range(len(part)):
                    found += np.int32(abs(part[k]) < reach)
                for k in range(len(part) if found else 0):
                    if abs(part[k]) < reach:
                        units[place] = start + k
                        values[place] = part[k]
                        place += 1


@compiled
def count(begin: Any, end: Any, x: Any, counts: Any) -> None:
    """How many numbers of x [T, B, N] are not 0, for each sample and step."""
    steps, _, width = x.shape
    for t in range(steps):
        for b in range(begin, end):
            row, found = x[t, b], np.int32(0)
            for j in range(width):
                found += np.int32(row[j] != 0)
            counts[b * steps + t] = found


@compiled
def collect(begin: Any, end: Any, x: Any, first: Any, units: Any, values: Any) -> None:
    """The entries that ``count`` has counted."""
    steps, _, width = x.shape
    for t in range(steps):
        for b in range(begin, end):
            row, place = x[t, b], first[b * steps + t]
            for start in range(0, width, CHUNK):
                part, found = row[start : start + CHUNK], np.int32(0)
                for k in range(len(part)):
                    found += np.int32(part[k] != 0)
                for k in range(len(part) if found else 0):
                    if part[k] != 0:
                        units[place] = start + k
                        values[place] = part[k]
                        place += 1


@compiled
def gather(
    begin: Any, end: Any, steps: Any, first: Any, inputs: Any, values: Any, weights: Any, bias: Any, outputs: Any
) -> None:
    """outputs [T, B, N] = bias + the sum of values times their rows of weights [I, N]; the sums of ``cpu.gather``."""
    units = weights.shape[1]
    for t in range(steps):
        for b in range(begin, end):
            output, place, stop = outputs[t, b], first[b * steps + t], first[b * steps + t + 1]
            for j in range(units):
                output[j] = bias[j]
            rest = stop - (stop - place) % 4
            for f in range(place, rest, 4):
                va, vb, vc, vd = values[f], values[f + 1], values[f + 2], values[f + 3]
                wa, wb = weights[inputs[f]], weights[inputs[f + 1]]
                wc, wd = weights[inputs[f + 2]], weights[inputs[f + 3]]
                for j in range(units):
                    output[j] += (va * wa[j] + vb * wb[j]) + (vc * wc[j] + vd * wd[j])
            for f in range(rest, stop):
                v, w = values[f], weights[inputs[f]]
                for j in range(units):
                    output[j] += v * w[j]


@compiled
def pick(begin: Any, end: Any, dense: Any, first: Any, units: Any, values: Any) -> None:
    """values *= dense [T, B, N] at the entries."""
    steps = dense.shape[0]
    for t in range(steps):
        for b in range(begin, end):
            row = dense[t, b]
            for a in range(first[b * steps + t], first[b * steps + t + 1]):
                values[a] *= row[units[a]]


@compiled
def weight_gradient(
    begin: Any,
    end: Any,
    steps: Any,
    decay: Any,
    small: Any,
    first: Any,
    units: Any,
    e: Any,
    first_in: Any,
    inputs: Any,
    values: Any,
    sums: Any,
    operations: Any,
) -> None:
    """sums [N, I] = (1) for the inputs from begin to end; operations[i] counts the products of input i."""
    one = sums.dtype.type(1)
    for start in range(begin, end, WIDTH):
        stop = min(end, start + WIDTH)
        width = stop - start
        trace, part = np.empty(width, sums.dtype), np.zeros((len(sums), width), sums.dtype)
        done = 0
        for b in range((len(first) - 1) // steps):
            trace[:] = 0
            scale = one
            for place in range(b * steps, (b + 1) * steps):
                scale *= decay
                if scale < small:
                    for k in range(width):
                        trace[k] *= scale
                    scale = one
                for n in range(first_in[place], first_in[place + 1]):
                    i = inputs[n]
                    if start <= i < stop:
                        trace[i - start] += values[n] / scale
                for a in range(first[place], first[place + 1]):
                    row, factor = part[units[a]], e[a] * scale
                    for k in range(width):
                        row[k] += factor * trace[k]
                    done += 1
        sums[:, start:stop] = part
        operations[start:stop] = done


@summed
def input_gradient(
    begin: Any,
    end: Any,
    decay: Any,
    small: Any,
    first: Any,
    units: Any,
    e: Any,
    first_in: Any,
    inputs: Any,
    weights: Any,
    gradient: Any,
) -> None:
    """gradient [T, B, I] = (2) at the entries of the layer below, for weights [I, N]; the rest is left alone."""
    width = weights.shape[1]
    steps = gradient.shape[0]
    zero, one = weights.dtype.type(0), weights.dtype.type(1)
    delta = np.empty(width, weights.dtype)
    for b in range(begin, end):
        delta[:] = 0
        scale = one
        for t in range(steps - 1, -1, -1):
            place = b * steps + t
            scale *= decay
            if scale < small:
                for j in range(width):
                    delta[j] *= scale
                scale = one
            for a in range(first[place], first[place + 1]):
                delta[units[a]] += e[a] / scale
            row = gradient[t, b]
            for n in range(first_in[place], first_in[place + 1]):
                weight = weights[inputs[n]]
                total = zero
                for j in range(width):
                    total += weight[j] * delta[j]
                row[inputs[n]] = total * scale


@summed
def product_at(begin: Any, end: Any, dense: Any, first: Any, inputs: Any, weights: Any, gradient: Any) -> None:
    """gradient [T, B, I] = dense [T, B, N] times weights [I, N] at the entries; the rest is left alone."""
    width = weights.shape[1]
    steps = gradient.shape[0]
    zero = weights.dtype.type(0)
    for t in range(steps):
        for b in range(begin, end):
            row, given = gradient[t, b], dense[t, b]
            for n in range(first[b * steps + t], first[b * steps + t + 1]):
                weight, total = weights[inputs[n]], zero
                for j in range(width):
                    total += weight[j] * given[j]
                row[inputs[n]] = total


@compiled
def filtered(begin: Any, end: Any, decay: Any, first: Any, units: Any, e: Any, delta: Any) -> None:
    """delta [T, B, N] of (2), whole."""
    steps = delta.shape[0]
    for b in range(begin, end):
        for t in range(steps - 1, -1, -1):
            row = delta[t, b]
            if t == steps - 1:
                row[:] = 0
            else:
                after = delta[t + 1, b]
                for j in range(len(row)):
                    row[j] = decay * after[j]
            for a in range(first[b * steps + t], first[b * steps + t + 1]):
                row[units[a]] += e[a]


def places(counts: Tensor) -> Tensor:
    """Where each of the counted begins, and the end of all."""
    first = torch.zeros(len(counts) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=first[1:])
    return first


def room(counts: Tensor, like: Tensor) -> Entries:
    """Entries of a tensor [T, ...], as many as were counted for each sample and step, not yet filled."""
    first = places(counts)
    total = int(first[-1])
    return Entries(len(like), first, torch.empty(total, dtype=torch.int32), like.new_empty(total))


def nonzero(x: Tensor) -> Entries:
    """The entries of x [T, B, N] that are not 0."""
    counts = torch.empty(x.shape[0] * x.shape[1], dtype=torch.int64)
    share(count, x.shape[1], x.numpy(), counts.numpy(), least=1)
    entries = room(counts, x)
    share(collect, x.shape[1], x.numpy(), *entries.arrays, least=1)
    return entries


def fired(currents: Tensor, decay: float, threshold: float, reach: float) -> tuple[Tensor, Entries, Tensor]:
    """Spikes [T, B, N] of a LIF neuron that fires above its threshold and has it subtracted; its active entries, with
    v - threshold; v [B, N] after the last step."""
    steps, batch, _ = currents.shape
    spikes, last = torch.empty_like(currents), torch.empty_like(currents[0])
    counts = torch.empty(steps * batch, dtype=torch.int64)
    numbers = [number(value, currents) for value in (decay, threshold, reach)]
    share(fire, batch, currents.numpy(), spikes.numpy(), counts.numpy(), *numbers, last.numpy(), least=1)
    entries = room(counts, currents)
    share(collect_active, batch, currents.numpy(), spikes.numpy(), *numbers, *entries.arrays, least=1)
    return spikes, entries, last


def currents(x: Entries, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b [T, B, N] of the entries x of the input, for a weight [N, I]."""
    batch = (len(x.first) - 1) // x.steps
    outputs = x.values.new_empty(x.steps, batch, len(weight))
    start = weight.new_zeros(len(weight)) if bias is None else bias.contiguous()
    given = (part.numpy() for part in (weight.t().contiguous(), start, outputs))
    share(gather, batch, x.steps, *x.arrays, *given, least=1)
    return outputs


def product_at_entries(dense: Tensor, below: Entries, weight: Tensor) -> Tensor:
    """dense [T * B, N] times the weight [N, I] at the entries of [T, B, I], 0 elsewhere; [T, B, I]."""
    dense = dense.contiguous().view(below.steps, -1, len(weight))
    gradient = dense.new_zeros(*dense.shape[:2], weight.shape[1])
    given = (dense, below.first, below.units, weight.t().contiguous(), gradient)
    share(product_at, dense.shape[1], *(part.numpy() for part in given), least=1)
    return gradient


def multiplied(active: Entries, dense: Tensor) -> Entries:
    """The entries, their values times those of ``dense`` [T, B, N]."""
    values = active.values.clone()
    share(pick, dense.shape[1], dense.numpy(), active.first.numpy(), active.units.numpy(), values.numpy(), least=1)
    return active._replace(values=values)


def gradient_of_weight(e: Entries, x: Entries, decay: float, shape: torch.Size) -> tuple[Tensor, int]:
    """(1) in the shape [N, I] of the weight, and how many products it took."""
    sums = e.values.new_empty(shape)
    operations = torch.empty(shape[1], dtype=torch.int64)
    numbers = (number(decay, sums), number(SMALL, sums))
    given = (*e.arrays, *x.arrays, sums.numpy(), operations.numpy())
    share(weight_gradient, shape[1], e.steps, *numbers, *given, least=64)
    return sums, int(operations.sum())


def gradient_of_input(e: Entries, below: Entries | None, decay: float, weight: Tensor, shape: torch.Size) -> Tensor:
    """(2) at the active entries of the layer below and 0 elsewhere; whole where the layer below is not known."""
    steps, batch, _ = shape
    if below is None:
        delta = weight.new_empty(steps, batch, len(weight))
        share(filtered, batch, number(decay, weight), *e.arrays, delta.numpy(), least=1)
        return delta @ weight
    gradient = weight.new_zeros(shape)
    numbers = (number(decay, weight), number(SMALL, weight))
    given = (*e.arrays, *below.arrays[:2], weight.t().contiguous().numpy(), gradient.numpy())
    share(input_gradient, batch, *numbers, *given, least=1)
    return gradient


def gradient_of_bias(e: Entries, decay: float, units: int) -> Tensor:
    """The trace of a constant 1 in the place of (1): sum over A of e (1 + decay + ... + decay^t)."""
    trace = torch.cumsum(decay ** torch.arange(e.steps, dtype=torch.float64), 0)
    counts = e.first.diff()
    factors = trace.repeat(len(counts) // e.steps).repeat_interleave(counts)
    sums = torch.zeros(units, dtype=torch.float64).index_add_(0, e.units.long(), e.values.double() * factors)
    return sums.to(e.values.dtype)
