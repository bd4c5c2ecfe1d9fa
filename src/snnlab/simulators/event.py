"""Exact spike times of integrate-and-fire neurons with a synaptic current, where tau = 2 tau_s (closed form).

    u(t) = tau sum_i w_i [e^(-(t - t_i)/tau) - e^(-(t - t_i)/tau_s)] - Delta sum_k e^(-(t - t_k)/tau)      (1)
over the input spikes t_i < t and the neuron's own t_k < t; it fires where u reaches the threshold from below, and each
spike subtracts Delta = threshold (soft reset). Between two events, with z = e^(-s/tau) after a time s,
    u / tau = B z - A z^2
    A = sum w_i e^(-(t - t_i)/tau_s),  B = sum w_i e^(-(t - t_i)/tau) - (Delta/tau) sum e^(-(t - t_k)/tau)
    s = tau ln(2 A / (B + x)),  x = sqrt(B^2 - 4 A c),  c = threshold / tau                                  (2)
valid where it comes before the next input spike, and again until there is no such root or the buffer is full.

Gradient, exact, of spikes that stay: with X_k = du/dt at spike k, errors e_k = dL/dt_k, from the last k to the first
    e_k += (Delta/tau) sum_{m > k} (e_m / X_m) e^(-(t_m - t_k)/tau)                                          (3)
    g_k = tau e_k / X_k                                                                                     (4)
    dL/dw_i = sum_{t_k > t_i} g_k [e^(-(t_k - t_i)/tau_s) - e^(-(t_k - t_i)/tau)]                            (5)
    dL/dt_i = w_i sum_{t_k > t_i} g_k [e^(-(t_k - t_i)/tau_s)/tau_s - e^(-(t_k - t_i)/tau)/tau]              (6)
summed over neurons in (6). A silent neuron has no g_k, hence a zero gradient.

Shapes:  spike times [B, N, K], infinite = silent; weights [M, N]; in any unit of time.
Source:  Bacho, Chu 2022, arXiv:2212.09500v1; one spike each: Goeltz et al. 2021, doi 10.1038/s42256-021-00388-x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import InputError
from snnlab.kernels import threads
from snnlab.simulators.arrays import LEAST, placed, receiving, sending, sorted_events
from snnlab.simulators.simulator import GRAZING, Firing, Simulator, Spikes, check_layer


class ClosedForm(Simulator):
    """Neurons with tau = 2 tau_s; counts have no gradient, and spikes do not return to their own layer."""

    def simulate(self, times: Tensor, weight: Tensor, firing: Firing, recurrent: Tensor | None = None) -> Spikes:
        if recurrent is not None:
            raise InputError("the closed form of tau = 2 tau_s knows no recurrent weights; use model=mlp")
        found = spike_times(times, weight, *firing)
        return Spikes(found, (found < firing.duration).sum(-1).to(found.dtype))

    def membrane(
        self,
        grid: Tensor,
        times: Tensor,
        weight: Tensor,
        own: Tensor,
        firing: Firing,
        recurrent: Tensor | None = None,
    ) -> Tensor:
        return membrane(grid, times, weight, own, firing.threshold, firing.tau_synapse)


def spike_times(
    times: Tensor, weight: Tensor, threshold: float, tau_synapse: float, duration: float, most: int
) -> Tensor:
    """Return the spike times [B, M, most] of M neurons, in order, infinite where there is none.

    Args:
        times: of the input spikes [B, N, K], infinite = silent; those from ``duration`` on are not seen.
        weight: [M, N].
        threshold: of u, > 0; also what a spike subtracts.
        tau_synapse: tau_s; the membrane's tau is twice that.
        duration: of the simulation, from 0.
        most: spikes of a neuron, after which it is silent; 1 is time to first spike.

    Raises:
        ValueError: shapes that do not fit, or an argument out of its range.
        InputError: weights in 16 bits.
    """
    check_layer(times, weight)
    Firing(threshold, tau_synapse, duration, most).check()
    outputs: Tensor = _SpikeTimes.apply(times, weight, threshold, tau_synapse, duration, most)  # type: ignore[no-untyped-call]
    return outputs


def membrane(grid: Tensor, times: Tensor, weight: Tensor, own: Tensor, threshold: float, tau_synapse: float) -> Tensor:
    """Return u [S, B, M] of (1) at the times ``grid`` [S], for input spikes [B, N, K] and own spikes [B, M, K]."""
    tau = 2 * tau_synapse
    potentials = []
    for t in grid:
        since = (t - times).clamp(min=0)  # a synapse is silent at 0
        drive = (torch.exp(-since / tau) - torch.exp(-since / tau_synapse)).sum(-1)
        reset = torch.where(own < t, torch.exp(-(t - own) / tau), torch.zeros_like(own)).sum(-1)
        potentials.append(tau * drive @ weight.T - threshold * reset)
    return torch.stack(potentials)


def raster(times: Tensor, duration: float, steps: int) -> Tensor:
    """Return how many of the spikes [B, N, K] fall in each of ``steps`` equal parts of the duration: [T, B, N]."""
    fired = times < duration
    step = (times.detach().where(fired, 0) * (steps / duration)).long().clamp(0, steps - 1)
    sample, unit = (torch.arange(size, device=times.device) for size in times.shape[:2])
    index = (step, sample.view(-1, 1, 1), unit.view(-1, 1))
    return times.new_zeros(steps, *times.shape[:2]).index_put_(index, fired.to(times.dtype), accumulate=True)


class _SpikeTimes(torch.autograd.Function):
    """(1) and (2) forward, (3) to (6) backward; on the CPU, wherever the tensors lie; spikes stay where they were."""

    @staticmethod
    def forward(
        ctx: Any, times: Tensor, weight: Tensor, threshold: float, tau_synapse: float, duration: float, most: int
    ) -> Tensor:
        from snnlab.simulators import kernels

        batch, neurons, tau = len(times), len(weight), 2 * tau_synapse
        weights = sending(weight)
        c = threshold / tau
        numbers = np.array([tau, c, c, duration, GRAZING * c], weights.dtype)
        events = sorted_events(times, weights.dtype, duration)
        outputs = np.full((batch, neurons, most), np.inf, weights.dtype)
        slopes = np.empty_like(outputs)
        behind, fired = (np.empty((batch, neurons * most), np.int32) for _ in range(2))
        found = np.zeros(batch, np.int64)
        kept = (*events, times.shape[2], weights, outputs, slopes, behind, fired, found)
        threads.share(kernels.simulate, batch, numbers, *kept, least=LEAST)
        ctx.numbers, ctx.kept, ctx.shape, ctx.weight_device = numbers, kept, times.shape, weight.device
        return torch.from_numpy(outputs.copy()).to(times.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from snnlab.simulators import kernels

        event_times, places, offsets, _, weights, *_ = ctx.kept
        batch = len(grads[0])
        errors = grads[0].detach().cpu().contiguous().numpy()
        parts = -(-batch // threads.ALIGNED)
        of_weights, used = np.zeros((parts, *weights.shape), weights.dtype), np.zeros(parts, np.uint8)
        timed = bool(ctx.needs_input_grad[0])
        of_events = np.zeros(len(event_times) if timed else 0, weights.dtype)
        threads.share(
            kernels.credit, batch, ctx.numbers, *ctx.kept, errors, of_weights, used, of_events, timed, least=LEAST
        )
        of_weight = torch.from_numpy(receiving(of_weights, np.flatnonzero(used))).to(ctx.weight_device)
        if not timed:
            return None, of_weight, None, None, None, None
        return placed(of_events, places, offsets, ctx.shape).to(grads[0].device), of_weight, None, None, None, None
