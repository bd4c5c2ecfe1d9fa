"""Exact spike times of neurons with any reset, and their gradients by implicit differentiation of u(t_k) = threshold.

    u(t) = sum_i w_i epsilon(t - t_i) - sum_{k: t_k < t} eta(t - t_k);  spike k: u(t_k) = threshold from below    (1)
    epsilon(s) = tau_s / (tau_m - tau_s) [e^(-s/tau_m) - e^(-s/tau_s)],  tau_m = tau_s: (s/tau) e^(-s/tau)
    subtractive reset:  eta(s) = height e^(-s/tau_r); height = threshold and tau_r = tau_m put tau_m V' = -V + I to 0
    hard reset:         no eta; u begins anew, potential and current, and the sum is over t_i > t_{k-1} alone

(1) holds whatever a weight or an input time is, so that its derivative is 0. With u'_k the slope before spike k, that
gives t_k by w_i and by t_i, each through every earlier spike of the neuron:
    dt_k/dw_i = -1/u'_k [sum epsilon(t_k - t_i) + sum_{n<k} eta'(t_k - t_n) dt_n/dw_i]                           (2)
    dt_k/dt_i = 1/u'_k [w_i epsilon'(t_k - t_i) - sum_{n<k} eta'(t_k - t_n) dt_n/dt_i]                           (3)
For errors e_k = dL/dt_k these chains are summed once, from the last spike back, in as many steps as there are spikes:
    a_k = e_k + height/tau_r sum_{m>k} g_m e^(-(t_m - t_k)/tau_r),  g_k = a_k / u'_k;  hard: a_k = e_k           (4)
    dL/dw_i = -sum_k g_k epsilon(t_k - t_i),  dL/dt_i = sum_j w_ji sum_k g_k epsilon'(t_k - t_i)                 (5)
over the t_k > t_i, after a hard reset only the next one. Between two events the sums of (5) are carried by
    S = sum g_k e^(-(t_k - t)/tau_m),  E = sum g_k epsilon(t_k - t);  a time s earlier  E e^(-s/tau_s) + S epsilon(s)
and sum g_k epsilon' = S/tau_m - E/tau_s.

Shapes:  spike times [B, N, K], infinite = silent; weights [M, N]; in any unit of time.
Source:  the general form that Yamamoto, Sakemi, Aihara 2022, arXiv:2211.16113, must satisfy; a reconstruction.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import InputError
from snnlab.kernels import threads
from snnlab.simulators.arrays import LEAST, placed, receiving, sending, sorted_events
from snnlab.simulators.simulator import GRAZING, Firing, Simulator, Spikes, check_layer

Reset = Literal["subtractive", "hard"]


class Implicit(Simulator):
    """The neurons of (1); counts have no gradient, and spikes do not return to their own layer.

    Args:
        tau_membrane: tau_m, in the unit of ``Firing.tau_synapse``; they may be equal.
        reset: subtractive, or hard: potential and current to 0.
        height: what a subtractive reset takes, in thresholds.
        tau_reset: tau_r of what it takes; None: tau_m.

    Raises: ValueError: when one of them is not positive and finite, or shapes what a hard reset has not.
    """

    def __init__(
        self, tau_membrane: float, reset: Reset = "subtractive", height: float = 1.0, tau_reset: float | None = None
    ) -> None:
        self.tau_membrane, self.reset, self.height = tau_membrane, reset, height
        self.tau_reset = tau_membrane if tau_reset is None else tau_reset
        for name, value in (("tau_membrane", tau_membrane), ("height", height), ("tau_reset", self.tau_reset)):
            if not 0 < value < float("inf"):
                raise ValueError(f"Implicit: {name} = {value} must be positive and finite")
        if reset == "hard" and (height, self.tau_reset) != (1.0, tau_membrane):
            raise ValueError(
                f"Implicit: a hard reset has no height = {height} and no tau_reset = {tau_reset}; use subtractive"
            )

    def simulate(self, times: Tensor, weight: Tensor, firing: Firing, recurrent: Tensor | None = None) -> Spikes:
        if recurrent is not None:
            raise InputError("implicit differentiation knows no recurrent weights; use model=mlp")
        check_layer(times, weight)
        firing.check()
        found: Tensor = _Layer.apply(times, weight, firing, self.numbers(firing))  # type: ignore[no-untyped-call]
        return Spikes(found, (found < firing.duration).sum(-1).to(found.dtype))

    def numbers(self, firing: Firing) -> np.ndarray:
        """What the kernels know of the neurons, see implicit_kernels.py."""
        tau_m, tau_s = self.tau_membrane, firing.tau_synapse
        top = tau_m if tau_m == tau_s else tau_m * tau_s / (tau_m - tau_s) * np.log(tau_m / tau_s)
        least = GRAZING * firing.threshold / tau_m
        reset = (self.reset == "hard", self.height * firing.threshold, self.tau_reset)
        return np.array([tau_m, tau_s, firing.threshold, firing.duration, least, top, *reset])

    def membrane(
        self,
        grid: Tensor,
        times: Tensor,
        weight: Tensor,
        own: Tensor,
        firing: Firing,
        recurrent: Tensor | None = None,
    ) -> Tensor:
        """As in Simulator, without gradients; ``grid`` in order of time."""
        from snnlab.simulators import implicit_kernels

        check_layer(times, weight)
        weights = sending(weight)
        events = sorted_events(times, weights.dtype, firing.duration)
        moments, spikes = (np.ascontiguousarray(t.detach().cpu().numpy(), np.float64) for t in (grid, own))
        potentials = np.empty((len(moments), len(times), len(weight)), weights.dtype)
        numbers = self.numbers(firing)
        arrays = (*events, times.shape[2], weights, spikes, moments, potentials)
        threads.share(implicit_kernels.potentials, len(times), numbers, *arrays, least=LEAST)
        return torch.from_numpy(potentials).to(grid.device)


class _Layer(torch.autograd.Function):
    """(1) forward, (4) and (5) backward; on the CPU, wherever the tensors lie; spikes stay where they were."""

    @staticmethod
    def forward(ctx: Any, times: Tensor, weight: Tensor, firing: Firing, numbers: np.ndarray) -> Tensor:
        from snnlab.simulators import implicit_kernels

        batch, neurons, most = len(times), len(weight), firing.most
        weights = sending(weight)
        events = sorted_events(times, weights.dtype, firing.duration)
        outputs = np.full((batch, neurons, most), np.inf, weights.dtype)
        behind, fired = (np.empty((batch, neurons * most), np.int32) for _ in range(2))
        found = np.zeros(batch, np.int64)
        kept = (*events, times.shape[2], weights, outputs, np.empty_like(outputs), behind, fired, found)
        threads.share(implicit_kernels.simulate, batch, numbers, *kept, least=LEAST)
        ctx.numbers, ctx.kept, ctx.shape, ctx.weight_device = numbers, kept, times.shape, weight.device
        return torch.from_numpy(outputs.copy()).to(times.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        from snnlab.simulators import implicit_kernels

        event_times, places, offsets, _, weights, *_ = ctx.kept
        batch = len(grads[0])
        errors = grads[0].detach().cpu().contiguous().numpy()
        parts = -(-batch // threads.ALIGNED)
        of_weights, used = np.zeros((parts, *weights.shape), weights.dtype), np.zeros(parts, np.uint8)
        timed = bool(ctx.needs_input_grad[0])
        of_events = np.zeros(len(event_times) if timed else 0, weights.dtype)
        kernel = implicit_kernels.credit
        threads.share(kernel, batch, ctx.numbers, *ctx.kept, errors, of_weights, used, of_events, timed, least=LEAST)
        of_weight = torch.from_numpy(receiving(of_weights, np.flatnonzero(used))).to(ctx.weight_device)
        if not timed:
            return None, of_weight, None, None
        return placed(of_events, places, offsets, ctx.shape).to(grads[0].device), of_weight, None, None
