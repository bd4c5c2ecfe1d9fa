"""Current-based leaky integrate-and-fire neuron: every spike leaves an exponential synaptic current.

    v[t] = a * v[t-1] + (1 - a) * i[t-1]            (1) leak and integrate; v[-1] = i[-1] = 0
    i[t] = b * i[t-1] + current[t]                  (2) synaptic current; a spike is felt one step later
    spikes[t] = 1 where v[t] >= threshold           (3) fire; equality fires, unless the surrogate is strict
    v[t] = v[t] * (1 - spikes[t])                   (4) reset="hard"; soft and none as in LIF
    a = exp(-time_step / tau_mem), b = exp(-time_step / tau_syn)

One spike through a weight of 1 gives eps[t] = (1 - a) (a^t - b^t) / (a - b); in continuous time its integral is tau_syn
and that of its square tau_syn^2 / (2 (tau_syn + tau_mem)).

Source: Rossbroich, Gygax, Zenke 2022, arXiv:2206.10226; their U, I, theta are v, i, threshold.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.lif import Reset
from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.response import LENGTH, Response
from snnlab.neurons.surrogate import FastSigmoid, Surrogate
from snnlab.neurons.time import decay, units


class CubaLIFState(NamedTuple):
    """v [B, ...]: membrane potential after the reset; i [B, ...]: synaptic current."""

    v: Tensor
    i: Tensor


class CubaLIF(Neuron):
    """LIF neuron with an exponential synapse; the equations are in the docstring of this file.

    Args:
        tau_mem, tau_syn: time constants of membrane and synapse, in ms, > 0.
        time_step: in ms, > 0.
        threshold: > 0, in the unit of v.
        reset: hard (set v to 0), soft (subtract the threshold) or none.
        detach_reset: cut the gradient through the spikes of the reset, as the authors' code does.
        detach_state: refused; a spike is felt through the state only.
        surrogate: spike function of v - threshold; None takes 1 / (1 + 20 |x|)^2 (SuperSpike, beta = 20).

    Shapes: currents [T, B, ...] -> spikes [T, B, ...], same dtype and device; every field of the state [B, ...].

    Raises:
        ValueError: when a time constant, the time step or the threshold is not positive, reset is unknown, or
            detach_state is asked for.
    """

    times = units(tau_mem="ms", tau_syn="ms", time_step="ms")

    def __init__(
        self,
        tau_mem: float = 20.0,
        tau_syn: float = 10.0,
        time_step: float = 1.0,
        threshold: float = 1.0,
        reset: Reset = "hard",
        detach_reset: bool = True,
        detach_state: bool = False,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        for name, value, usual in (
            ("tau_mem", tau_mem, "20 ms is usual"),
            ("tau_syn", tau_syn, "10 ms is usual"),
            ("time_step", time_step, "1 ms is usual"),
            ("threshold", threshold, "1.0 is usual"),
        ):
            if not 0 < value < math.inf:
                raise ValueError(f"CubaLIF: {name} = {value} must be positive and finite; {usual}")
        if reset not in ("soft", "hard", "none"):
            raise ValueError(f"CubaLIF: reset = {reset!r} must be soft, hard or none")
        if detach_state:
            raise ValueError(
                "CubaLIF: detach_state cuts the gradient through its state, and no other reaches the weights; "
                "train in space and time, or use another neuron"
            )
        self.tau_mem, self.tau_syn, self.time_step = tau_mem, tau_syn, time_step
        self.a, self.b = decay(tau_mem, time_step), decay(tau_syn, time_step)
        self.threshold, self.reset, self.detach_reset = threshold, reset, detach_reset
        self.spike = surrogate if surrogate is not None else FastSigmoid(width=0.05)

    def initial_state(self, current: Tensor) -> CubaLIFState:
        return CubaLIFState(torch.zeros_like(current), torch.zeros_like(current))

    def step(self, current: Tensor, state: CubaLIFState) -> tuple[Tensor, CubaLIFState]:
        check_state("CubaLIF", state.v, current)
        v = self.a * state.v + (1 - self.a) * state.i  # (1)
        i = self.b * state.i + current  # (2)
        spikes = self.spike(v - self.threshold)  # (3)
        reset_path = spikes.detach() if self.detach_reset else spikes
        if self.reset == "hard":  # (4)
            v = v * (1 - reset_path)
        elif self.reset == "soft":
            v = v - self.threshold * reset_path
        return spikes, CubaLIFState(v, i)

    def response(self) -> Response:
        mem, syn = self.tau_mem / self.time_step, self.tau_syn / self.time_step  # steps
        kernel = torch.zeros(math.ceil(LENGTH * max(mem, syn)) + 1, dtype=torch.float64)
        v, i = 0.0, 1.0  # the spike comes at t = 0
        for t in range(1, len(kernel)):
            v, i = self.a * v + (1 - self.a) * i, self.b * i  # (1), (2); also where a = b
            kernel[t] = v
        return Response(kernel, syn, syn**2 / (2 * (syn + mem)), self.threshold)

    def extra_repr(self) -> str:
        return (
            f"tau_mem={self.tau_mem}, tau_syn={self.tau_syn}, time_step={self.time_step}, "
            f"threshold={self.threshold}, reset={self.reset}"
        )
