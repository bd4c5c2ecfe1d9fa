"""What units that never fire make of exact spike times: potentials, weighted means of them, and their largest value.

    V_j(t) = sum_i w_ji sum_k eps(t - t_i^k),  eps of current_based.py: what one spike through a weight of 1 brings
    mean:   1/T int_0^T g(t) V_j dt = sum_i w_ji 1/T sum_k int g(t) eps(t - t_i^k) dt                       (1)
with g = 1, 1 - t/T or e^(-t/T) in closed form, of tau_m V' = -V + I by parts, with S = T - t_i^k:
    int_0^S e^(-as) eps ds = [tau_s' (1 - e^(-aS - S/tau_s)) - tau_m e^(-aS) eps(S)] / (1 + a tau_m),
                             tau_s' = 1 / (a + 1/tau_s)                                                     (2)
    int_0^S s eps ds       = tau_s^2 - (S tau_s + tau_s^2) e^(-S/tau_s) - tau_m (S eps(S) - int_0^S eps)    (3)
For any other g, and for what is no mean of V, V is taken at ``POINTS`` + 1 points of [0, T] by the trapezoidal rule. V
is continuous and its slope is bounded, so that the error is of second order in the step h: at most h^2 / 8 of the
largest second derivative of g V between spikes, and as much of its kinks at them, below 1e-3 of the mean for h <
tau_s / 10 (tests).

The maximum is exact: between two events V has one local maximum at most, in closed form. Its gradient is that of V at
that moment, which does not count itself where V' = 0, and is that of an inhibitory spike which ends a rise.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from snnlab.kernels import threads
from snnlab.simulators.arrays import LEAST, placed, receiving, sending, sorted_events
from snnlab.simulators.current_based import CurrentBased, left
from snnlab.simulators.simulator import Firing, check_layer

POINTS = 256
Shape = Literal["constant", "linear", "exponential", "sigmoid", "input"]


def mean_response(since: Tensor, rate: float, tau_membrane: float, tau_synapse: float) -> Tensor:
    """(2): the integral of e^(-rate s) eps(s) over s from 0 to ``since`` >= 0."""
    fading = torch.exp(-rate * since)
    _, brought = left(since, tau_membrane, tau_synapse)
    faster = 1 / (rate + 1 / tau_synapse)
    return (-faster * torch.expm1(-since / faster) - tau_membrane * fading * brought) / (1 + rate * tau_membrane)


def mean_potential(
    times: Tensor, weight: Tensor, firing: Firing, tau_membrane: float, shape: Shape, inputs: Tensor | None = None
) -> Tensor:
    """(1): [B, M] for spike times [B, N, K] and weight [M, N].

    ``shape`` is g: constant 1; linear 1 - t/T; exponential e^(-t/T); sigmoid 1 / (1 + e^((t/T - 1/2) / 0.2)); input, as
    many spikes of ``inputs`` [B, N', K'] as come around t, through the membrane's filter, their mean over time 1.
    """
    times = occupied(times, weight, firing.duration)
    T, tau_s = firing.duration, firing.tau_synapse
    fired = times < T
    at = torch.where(fired, times, torch.full_like(times, T))  # at T a spike brings nothing
    since = T - at
    if shape in ("constant", "exponential"):
        rate = 1 / T if shape == "exponential" else 0.0
        brought = torch.exp(-rate * at) * mean_response(since, rate, tau_membrane, tau_s)
    elif shape == "linear":
        whole = mean_response(since, 0.0, tau_membrane, tau_s)
        synapse = tau_s**2 - (since * tau_s + tau_s**2) * torch.exp(-since / tau_s)
        moment = synapse - tau_membrane * (since * left(since, tau_membrane, tau_s)[1] - whole)  # (3)
        brought = (1 - at / T) * whole - moment / T
    else:
        return (
            torch.einsum(
                "s,sb,sbm->bm",
                *weights_of(shape, times, firing, tau_membrane, inputs),
                potentials(times, weight, firing, tau_membrane),
            )
            / T
        )
    return (brought.sum(-1) / T) @ weight.T


def occupied(times: Tensor, weight: Tensor, duration: float) -> Tensor:
    """The places of the buffers [B, N, K] that a spike of any unit takes; shapes are checked."""
    check_layer(times, weight)
    return times[..., (times < duration).flatten(0, 1).any(0)]


def weights_of(
    shape: Shape, times: Tensor, firing: Firing, tau_membrane: float, inputs: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The trapezoidal rule's weights [POINTS + 1], s, and g there [POINTS + 1, B]."""
    grid = torch.linspace(0, 1, POINTS + 1, dtype=times.dtype, device=times.device)
    rule = torch.full_like(grid, firing.duration / POINTS)
    rule[0] = rule[-1] = firing.duration / (2 * POINTS)
    if shape == "sigmoid":
        return rule, torch.sigmoid((0.5 - grid) / 0.2)[:, None].expand(-1, len(times))
    assert inputs is not None
    index = (inputs.detach() / firing.duration * POINTS).ceil().clamp(max=POINTS + 1).long().flatten(1)
    counts = times.new_zeros(len(times), POINTS + 2).scatter_add_(1, index, torch.ones_like(index, dtype=times.dtype))
    gap = (grid[:, None] - grid).clamp(min=0) * firing.duration
    activity = torch.exp(-gap / tau_membrane).tril() @ counts[:, :-1].T
    return rule, activity / ((rule @ activity) / firing.duration).clamp(min=torch.finfo(times.dtype).tiny)


def potentials(times: Tensor, weight: Tensor, firing: Firing, tau_membrane: float, points: int = POINTS) -> Tensor:
    """V [points + 1, B, M] at equal distances from 0 to T, exactly: spikes are gathered at the point behind them."""
    times = occupied(times, weight, firing.duration)
    batch, units, _ = times.shape
    step = firing.duration / points
    fired = times < firing.duration
    at = torch.where(fired, times, torch.zeros_like(times))
    point = (at.detach() / step).ceil().clamp(max=points).long()
    gap = (point * step - at).clamp(min=0)
    brought = left(gap, tau_membrane, firing.tau_synapse)[1] * fired
    kept = torch.exp(-gap / firing.tau_synapse) * fired
    place = (point * batch + torch.arange(batch, device=times.device)[:, None, None]) * units
    place = (place + torch.arange(units, device=times.device)[:, None]).flatten()
    made = [
        times.new_zeros((points + 1) * batch * units).index_add(0, place, values.flatten()).view(-1, units) @ weight.T
        for values in (brought, kept)
    ]
    grid = step * torch.arange(points + 1, dtype=times.dtype, device=times.device)
    slow, response = left((grid[:, None] - grid).clamp(min=0), tau_membrane, firing.tau_synapse)
    v, i = (values.view(points + 1, -1) for values in made)
    return (slow.tril() @ v + response.tril() @ i).view(points + 1, batch, -1)


def largest_potential(times: Tensor, weight: Tensor, firing: Firing, tau_membrane: float) -> Tensor:
    """max over [0, T] of V: [B, M]; 0 where V is never positive."""
    check_layer(times, weight)
    numbers = CurrentBased(tau_membrane).numbers(firing)
    largest: Tensor = _Largest.apply(times, weight, firing.duration, numbers)  # type: ignore[no-untyped-call]
    return largest


class _Largest(torch.autograd.Function):
    """The largest V and its moment forward; the adjoint of V there backward; on the CPU."""

    @staticmethod
    def forward(ctx: Any, times: Tensor, weight: Tensor, duration: float, numbers: np.ndarray) -> Tensor:
        from snnlab.simulators import leaky_output_kernels

        weights = sending(weight)
        events = sorted_events(times, weights.dtype, duration)
        values = np.zeros((len(times), len(weight)), weights.dtype)
        found = (np.zeros_like(values), np.full(values.shape, -1, np.int32), np.zeros_like(values))
        kept = (*events, times.shape[2], weights)
        threads.share(leaky_output_kernels.largest, len(times), numbers, *kept, values, *found, least=LEAST)
        ctx.numbers, ctx.kept, ctx.found = numbers, kept, found
        ctx.shape, ctx.weight_device = times.shape, weight.device
        return torch.from_numpy(values).to(times.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from snnlab.simulators import leaky_output_kernels

        event_times, places, offsets, _, weights = ctx.kept
        batch = len(grads[0])
        errors = grads[0].detach().cpu().to(torch.from_numpy(weights).dtype).contiguous().numpy()
        parts = -(-batch // threads.ALIGNED)
        of_weights, used = np.zeros((parts, *weights.shape), weights.dtype), np.zeros(parts, np.uint8)
        of_events = np.zeros(len(event_times), weights.dtype)
        threads.share(
            leaky_output_kernels.credit_largest,
            batch,
            ctx.numbers,
            *ctx.kept,
            *ctx.found,
            errors,
            of_weights,
            used,
            of_events,
            least=LEAST,
        )
        of_weight = torch.from_numpy(receiving(of_weights, np.flatnonzero(used))).to(ctx.weight_device)
        return placed(of_events, places, offsets, ctx.shape).to(grads[0].device), of_weight, None, None
