"""Exact spike times of current-based leaky integrate-and-fire neurons, any pair of time constants, and their adjoint.

    tau_m V' = -V + I,  tau_s I' = -I;  an input spike adds W e_i to I;  V = threshold: spike, V -> 0       (1)
Between two events, V(s) = V e^(-s/tau_m) + I phi(s), I(s) = I e^(-s/tau_s), with
    phi(s) = tau_s / (tau_m - tau_s) [e^(-s/tau_m) - e^(-s/tau_s)],  tau_m = tau_s: (s/tau) e^(-s/tau)      (2)
V rises while I > V, which ends once at most: it crosses where its value at that peak, or at the next event if that
comes first, is the threshold or more; Newton's rule finds where within that bracket (tau_m = 2 tau_s: in closed form).
At the crossing V is the threshold, so that the reset to 0 subtracts it.

Adjoint, backward in time from 0 at T; P = dL/dV = -tau_m lambda_V and Q = dL/dI = -tau_s lambda_I of EventProp:
    over a gap s:       Q <- Q e^(-s/tau_s) + P phi(s),  P <- P e^(-s/tau_m)                                 (3)
    own spike k of n:   P_n <- P_n + [threshold P_n / tau_m - dL/dt_k - sum_j R_jn (Q_j/tau_s - P_j/tau_m)] / V'  (4)
    input spike i:      dL/dw_ji += Q_j,  dL/dt_i = sum_j w_ji (Q_j/tau_s - P_j/tau_m)                       (5)
with P, Q behind the spike, V' = (I - threshold)/tau_m before it, recurrent weights R, for which (5) holds as well. The
gradient of the counts n goes into the jump as dL/dn / threshold: lower V there, and there are fewer spikes.

Shapes:  spike times [B, N, K], infinite = silent; weights [M, N], recurrent [M, M] (to, from); in any unit of time.
Source:  Wunderlich, Pehle 2021, doi 10.1038/s41598-021-91786-z; Nowotny, Turner, Knight 2025, arXiv:2212.01232.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.kernels import threads
from snnlab.simulators.arrays import LEAST, placed, receiving, sending, sorted_events
from snnlab.simulators.simulator import GRAZING, Firing, Simulator, Spikes, check_layer

Kernel = Callable[..., None]
Kernels = tuple[Kernel, Kernel]  # forward and backward


def left(gap: Tensor, tau_membrane: float, tau_synapse: float) -> tuple[Tensor, Tensor]:
    """e^(-gap/tau_m), and phi of (2), the potential that a current of 1 has brought after ``gap`` >= 0."""
    slow = torch.exp(-gap / tau_membrane)
    if tau_membrane == tau_synapse:
        return slow, slow * gap / tau_membrane
    apart = abs(tau_membrane - tau_synapse)
    longer = torch.exp(-gap / max(tau_membrane, tau_synapse))
    return slow, -longer * torch.expm1(-gap * apart / (tau_membrane * tau_synapse)) * tau_synapse / apart


class CurrentBased(Simulator):
    """The neurons of (1); a silent one has no gradient but through its counts, which are of spikes that are there.

    Args:
        tau_membrane: tau_m, in the unit of ``Firing.tau_synapse``.
        least_slope: V' at a spike that errors are divided by at least, in units of threshold / tau_m.

    Raises: ValueError: when one of them is not positive and finite.
    """

    recurs = True

    def __init__(self, tau_membrane: float, least_slope: float = GRAZING) -> None:
        for name, value in (("tau_membrane", tau_membrane), ("least_slope", least_slope)):
            if not 0 < value < float("inf"):
                raise ValueError(f"CurrentBased: {name} = {value} must be positive and finite")
        self.tau_membrane, self.least_slope = tau_membrane, least_slope

    def simulate(self, times: Tensor, weight: Tensor, firing: Firing, recurrent: Tensor | None = None) -> Spikes:
        from snnlab.simulators import current_kernels as loops

        check_layer(times, weight, recurrent)
        firing.check()
        kernels = (loops.simulate, loops.credit)
        if recurrent is not None:
            kernels = (loops.simulate_recurrent, loops.credit_recurrent)
        return layer(times, weight, recurrent, firing, self.numbers(firing), kernels)

    def numbers(self, firing: Firing) -> np.ndarray:
        """What the kernels know of the neurons, see current_kernels.py."""
        tau_m, tau_s = self.tau_membrane, firing.tau_synapse
        top = tau_m if tau_m == tau_s else tau_m * tau_s / (tau_m - tau_s) * np.log(tau_m / tau_s)
        least = self.least_slope * firing.threshold / tau_m
        return np.array([tau_m, tau_s, firing.threshold, firing.duration, least, top])

    def membrane(
        self,
        grid: Tensor,
        times: Tensor,
        weight: Tensor,
        own: Tensor,
        firing: Firing,
        recurrent: Tensor | None = None,
    ) -> Tensor:
        potentials = []
        for t in grid:
            brought = [
                left((t - spikes).clamp(min=0), self.tau_membrane, firing.tau_synapse)[1] for spikes in (times, own)
            ]
            drive = brought[0].sum(-1) @ weight.T + (0 if recurrent is None else brought[1].sum(-1) @ recurrent.T)
            reset = torch.where(own < t, torch.exp(-(t - own) / self.tau_membrane), torch.zeros_like(own)).sum(-1)
            potentials.append(drive - firing.threshold * reset)
        return torch.stack(potentials)


def layer(
    times: Tensor, weight: Tensor, recurrent: Tensor | None, firing: Firing, numbers: np.ndarray, kernels: Kernels
) -> Spikes:
    """The spikes of a layer with the adjoint of ``kernels``; recurrent weights only where they take them."""
    return Spikes(*_Layer.apply(times, weight, recurrent, firing, numbers, kernels))  # type: ignore[no-untyped-call]


class Run(NamedTuple):
    """What happened in a layer, for whoever carries errors back: the arrays of current_kernels.py, in float of weights.

    times, places: of the input spikes of all samples in order of time, ``offsets`` of each sample [B + 1]; slots: K.
    weights [from, to]; recurrent: (), or (the same of the weights through which spikes return,).
    outputs, slopes [B, M, most]: spike times, infinite = silent, and du/dt before them.
    behind, fired [B, M most], found [B]: of the r-th spike of a sample the last input spike before it, counted in its
        sample, and its place j most + k; how many there are.
    """

    times: np.ndarray
    places: np.ndarray
    offsets: np.ndarray
    slots: int
    weights: np.ndarray
    recurrent: tuple[np.ndarray, ...]
    outputs: np.ndarray
    slopes: np.ndarray
    behind: np.ndarray
    fired: np.ndarray
    found: np.ndarray

    @property
    def arguments(self) -> tuple[Any, ...]:
        """As the kernels take them."""
        return (*self[:5], *self.recurrent, *self[6:])


def run(
    times: Tensor,
    weight: Tensor,
    recurrent: Tensor | None,
    firing: Firing,
    numbers: np.ndarray,
    kernel: Kernel,
) -> Run:
    """Simulate a layer: (1) and (2), by a kernel that takes recurrent weights where there are any; on the CPU."""
    batch, _, slots = times.shape
    neurons, most = len(weight), firing.most
    weights = sending(weight)
    returning = () if recurrent is None else (sending(recurrent),)
    event_times, places, offsets = sorted_events(times, weights.dtype, firing.duration)
    outputs = np.full((batch, neurons, most), np.inf, weights.dtype)
    slopes = np.empty_like(outputs)
    behind, fired = (np.empty((batch, neurons * most), np.int32) for _ in range(2))
    found = np.zeros(batch, np.int64)
    done = Run(event_times, places, offsets, slots, weights, returning, outputs, slopes, behind, fired, found)
    threads.share(kernel, batch, numbers, *done.arguments, least=LEAST)
    return done


class _Layer(torch.autograd.Function):
    """``run`` forward, (3) to (5) backward; spikes stay where they were."""

    @staticmethod
    def forward(
        ctx: Any,
        times: Tensor,
        weight: Tensor,
        recurrent: Tensor | None,
        firing: Firing,
        numbers: np.ndarray,
        kernels: Kernels,
    ) -> tuple[Tensor, Tensor]:
        done = run(times, weight, recurrent, firing, numbers, kernels[0])
        ctx.kernel = kernels[1]
        ctx.numbers, ctx.run, ctx.shape, ctx.weight_device = numbers, done, times.shape, weight.device
        made = torch.from_numpy(done.outputs.copy()).to(times.device)
        return made, (made < firing.duration).sum(-1).to(made.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        done: Run = ctx.run
        batch = len(grads[0])
        errors, pulls = (grad.detach().cpu().contiguous().numpy() for grad in grads)
        parts = -(-batch // threads.ALIGNED)
        used = np.zeros(parts, np.uint8)
        sums = [np.zeros((parts, *each.shape), each.dtype) for each in (done.weights, *done.recurrent)]
        timed = bool(ctx.needs_input_grad[0])
        of_events = np.zeros(len(done.times) if timed else 0, done.weights.dtype)
        threads.share(
            ctx.kernel, batch, ctx.numbers, *done.arguments, errors, pulls, *sums, used, of_events, timed, least=LEAST
        )
        mine = np.flatnonzero(used)  # untouched parts are never made real by the system
        of_weights = [torch.from_numpy(receiving(total, mine)).to(ctx.weight_device) for total in sums]
        of_times = None
        if timed:
            of_times = placed(of_events, done.places, done.offsets, ctx.shape).to(grads[0].device)
        return of_times, of_weights[0], of_weights[1] if done.recurrent else None, None, None, None
