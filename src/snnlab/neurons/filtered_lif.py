"""Doubly filtered leaky integrate-and-fire neuron with a refractory trace (the hidden layer of VDIB and DECOLLE).

    q[t] = decay_synapse * q[t-1] + gain * current[t] / (1 - decay_synapse) (1) synaptic filter
    p[t] = decay_membrane * p[t-1] + q[t-1] / (1 - decay_membrane)          (2) membrane filter, one step late
    r[t] = decay_refractory * r[t-1] - spikes[t-1]                          (3) refractory trace
    v[t] = p[t] + bias + r[t]                                               (4) all of them start at 0
    spikes[t] = 1 where v[t] >= 0                                           (5) fire; equality fires

The paper filters the input, Q and P, and multiplies P by the weight W. Filters are linear, so filtering the current
W x gives the same W P; the gradient of v[t] with respect to W is then the filtered input P[t], the eligibility trace.
The gradient is cut at (3): the reset carries no credit. ``gain`` is 1 (paper), or measured once (ours): p then has the
deviation 1, and a surrogate as wide as that sees most of the units.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.surrogate import Box, Surrogate
from snnlab.neurons.time import units

Gain = Literal["one", "measured"]


class FilteredLIFState(NamedTuple):
    """All [B, ...]: v membrane potential; q, p filtered current; r refractory trace; spikes of the step."""

    v: Tensor
    q: Tensor
    p: Tensor
    r: Tensor
    spikes: Tensor


class FilteredLIF(Neuron):
    """Doubly filtered LIF neuron; the equations are in the docstring of this file.

    Args:
        features: neurons, or channels of a convolution: one bias each.
        decay_membrane, decay_synapse, decay_refractory: factors kept per step, in [0, 1), no unit.
        surrogate: spike function of v; None takes the box of width 1.
        gain: of (1); one, or what ``measure`` finds. Until it has, 1.
        bias: every bias at the start.

    Shapes: currents [T, B, features, ...] -> spikes, same shape, dtype and device; every field of the state [B, ...].

    Raises:
        ValueError: when a decay leaves its range or features is not positive.

    Source: Skatchkovsky, Simeone, Jang 2021 (arXiv:2106.01177), authors' code; their U, W P, alpha, beta, alpha_r are
        v, p, decay_membrane, decay_synapse, decay_refractory.
    """

    times = units(decay_membrane="factor per step", decay_synapse="factor per step", decay_refractory="factor per step")

    def __init__(
        self,
        features: int,
        decay_membrane: float = 0.9,
        decay_synapse: float = 0.85,
        decay_refractory: float = 0.65,
        surrogate: Surrogate | None = None,
        gain: Gain = "one",
        bias: float = 0.0,
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"FilteredLIF: features = {features} must be at least 1")
        for name, decay in (
            ("decay_membrane", decay_membrane),
            ("decay_synapse", decay_synapse),
            ("decay_refractory", decay_refractory),
        ):
            if not 0 <= decay < 1:
                raise ValueError(f"FilteredLIF: {name} = {decay} must lie in [0, 1); 0.9 is usual")
        self.decay_membrane, self.decay_synapse, self.decay_refractory = decay_membrane, decay_synapse, decay_refractory
        self.bias = nn.Parameter(torch.full((features,), float(bias)))
        self.spike = surrogate if surrogate is not None else Box()
        self.measures = gain == "measured"
        if self.measures:
            self.gain: Tensor
            self.measured: Tensor  # whether it was: a net that is trained further keeps the gain that it has
            self.register_buffer("gain", torch.ones(()))
            self.register_buffer("measured", torch.tensor(False))

    def initial_state(self, current: Tensor) -> FilteredLIFState:
        zero = torch.zeros_like(current)
        return FilteredLIFState(zero, zero, zero, zero, zero)

    def step(self, current: Tensor, state: FilteredLIFState) -> tuple[Tensor, FilteredLIFState]:
        check_state("FilteredLIF", state.v, current)
        a, b = self.decay_membrane, self.decay_synapse
        if self.measures:
            current = self.gain * current
        q = torch.add(b * state.q, current, alpha=1 / (1 - b))  # (1)
        p = torch.add(a * state.p, state.q, alpha=1 / (1 - a))  # (2)
        r = self.decay_refractory * state.r - state.spikes.detach()  # (3)
        v = p + self.broadcast_bias(current) + r  # (4)
        spikes = self.spike(v)  # (5)
        return spikes, FilteredLIFState(v, q, p, r, spikes)

    def broadcast_bias(self, current: Tensor) -> Tensor:
        """The bias [features] shaped to add to a current [B, features, ...]."""
        return self.bias.view(-1, *[1] * (current.ndim - 2))

    def extra_repr(self) -> str:
        return f"{len(self.bias)}, decays={self.decay_membrane}, {self.decay_synapse}, {self.decay_refractory}"


@torch.no_grad()
def measure(neuron: FilteredLIF, currents: Tensor) -> None:
    """Set the gain, once, so that p of these currents [T, B, features, ...] has the deviation 1.

    Outside of the class: a step that could see what this does would keep its loop.
    """
    if not neuron.measures:
        return
    a, b = neuron.decay_membrane, neuron.decay_synapse
    q, p = torch.zeros_like(currents[0]), torch.zeros_like(currents[0])
    moments = torch.zeros(3, dtype=torch.float64, device=currents.device)  # of p: how many, sum, sum of squares
    for current in currents:
        q, p = b * q + current / (1 - b), a * p + q / (1 - a)
        moments += torch.stack([moments.new_tensor(p.numel()), p.sum(dtype=moments.dtype), p.double().square().sum()])
    if ranks.number() > 1:  # of the whole batch
        moments = ranks.total(moments)
    variance = moments[2] / moments[0] - (moments[1] / moments[0]) ** 2
    new = ~neuron.measured & (variance > 0)  # silence has no measure; a device is not asked
    neuron.gain.copy_(torch.where(new, variance.rsqrt().to(neuron.gain), neuron.gain))
    neuron.measured.logical_or_(new)
