"""Event-based gated recurrent unit: a GRU whose units send a value when they cross a threshold, and nothing otherwise.

Currents come three a unit, behind one another [x_u, x_r, x_g] = W x + b; y[t-1] returns through R inside the cell.

    u = sigmoid(x_u + R_u y[t-1])                                   (1) update gate
    r = sigmoid(x_r + R_r y[t-1])                                   (2) reset gate
    g = tanh(x_g + r * (R_g y[t-1] + b_g))                          (3) form="released": gated behind the product
    g = tanh(x_g + R_g (r * y[t-1]))                                    form="paper": in front of it
    c* = u c[t-1] + (1 - u) g                                       (4) form="released": u keeps the old state
    c* = u g + (1 - u) c[t-1] - y[t-1]                                  form="paper": the value sent is taken off, late
    o[t] = 1 where c* > threshold                                   (5) event; equality is none
    y[t] = o[t] c*                                                  (6) what is sent: the value, not 1
    c[t] = c* - o[t] threshold                                      (7) form="released": threshold taken off, at once
    c[t] = c*                                                           form="paper"

    zoneout p: c* keeps c[t-1] of a unit with probability p in training, and is p c[t-1] + (1 - p) c* otherwise, before
    anything is taken off. Backward of (5): dampening max(0, 1 - epsilon |c* - threshold|), through (6) and (7), to the
    threshold too. events=False is the dense twin: y = c*, nothing is taken off; in the released form that is
    torch.nn.GRU, whose z is u, and in the paper's the GRU of Cho et al. 2014.

What no backward needs: the gradient of y[t-1] enters through o + c* o' alone, which is 0 for every unit that sent
nothing and lies outside of the surrogate's support. ``sparse_backward`` leaves those out of the product with R.

State: v is c, y and spikes are y and o of the step before. The released code takes a first state h0 as y[-1] and
leaves c[-1] = 0: ``EGRUState(v=zeros, y=h0, spikes=zeros)`` does so; here both start at 0.

Source: Subramoney, Nazeer, Schoene, Mayr, Kappel, ICLR 2023, arXiv:2206.06178; their theta is ``threshold``. Forms: the
released code, and the text of a version of 2022. In the paper epsilon is the support, in the code its inverse.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.neurons.egru_sequence import Options, unroll
from snnlab.neurons.neuron import Neuron, Sends
from snnlab.neurons.surrogate import DampedTriangle
from snnlab.neurons.time import units

Form = Literal["released", "paper"]


class EGRUState(NamedTuple):
    """All [B, H]: v internal state c after what is taken off at once, y values sent, spikes the events o (0 or 1)."""

    v: Tensor
    y: Tensor
    spikes: Tensor


class _Masked(torch.autograd.Function):
    """y, whose gradient is worked out as 0 outside of a mask."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return grads[0] * mask, None


class EGRU(Neuron):
    """A layer of event-based gated recurrent units; the equations are in the docstring of this file.

    Args:
        features: units H, >= 1.
        form: released (the authors' code) or paper.
        threshold_mean: of the thresholds at the start, in (0, 1); they are drawn from Beta(a, 3) with this mean.
        train_threshold: whether they are learned; they stay at 0 or above.
        dampening: height of the surrogate, > 0.
        epsilon: inverse of its half width, > 0.
        zoneout: probability in [0, 1) that a unit keeps its state over a step.
        events: False for the dense twin, without threshold.
        sparse_backward: leave units out of the backward product that have no part in it.
        detach_state: cut the gradient through the state of the step before: spatial backpropagation only.
        bias: whether R has a bias.
        update_bias: start of R_u's bias where there is one: sigmoid(update_bias) is what a unit keeps at first in the
            released form, and what it gives up in the paper's; None draws it as the others.

    Shapes: currents [T, B, 3 H] -> values sent [T, B, H], 0 where no event is; every field of the state [B, H].

    Raises:
        ValueError: when an argument leaves its range, or currents are not [..., B, 3 H].
    """

    times = units()  # how fast a unit forgets is worked out at every step
    currents_per_unit = 3

    def __init__(
        self,
        features: int,
        form: Form = "released",
        threshold_mean: float = 0.3,
        train_threshold: bool = True,
        dampening: float = 0.7,
        epsilon: float = 1.0,
        zoneout: float = 0.0,
        events: bool = True,
        sparse_backward: bool = False,
        detach_state: bool = False,
        bias: bool = True,
        update_bias: float | None = None,
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"EGRU: features = {features} must be at least 1, the units of the layer")
        if form not in ("released", "paper"):
            raise ValueError(f"EGRU: form = {form!r} must be released or paper")
        if not 0 < threshold_mean < 1:
            raise ValueError(f"EGRU: threshold_mean = {threshold_mean} must lie in (0, 1); 0.3 is the authors'")
        for name, value, usual in (("dampening", dampening, 0.7), ("epsilon", epsilon, 1)):
            if not 0 < value < float("inf"):
                raise ValueError(f"EGRU: {name} = {value} must be positive; {usual} is the authors'")
        if not 0 <= zoneout < 1:
            raise ValueError(f"EGRU: zoneout = {zoneout} must lie in [0, 1); 0 is none")
        if update_bias is not None and not (bias and abs(update_bias) < float("inf")):
            raise ValueError(f"EGRU: update_bias = {update_bias} must be a number, and goes with bias=true; 2 is usual")
        self.features, self.form, self.zoneout = features, form, zoneout
        self.dampening, self.epsilon = dampening, epsilon
        self.sparse_backward, self.detach_state = sparse_backward, detach_state
        self.sends: Sends = "values at events" if events else "values"
        self.gates = nn.Linear(features, 2 * features, bias)  # R_u, R_r
        self.candidate = nn.Linear(features, features, bias)  # R_g
        if update_bias is not None:
            nn.init.constant_(self.gates.bias[:features], update_bias)
        self.spike = DampedTriangle(1 / epsilon, strict=True, peak=dampening)
        drawn = torch.distributions.Beta(3 * threshold_mean / (1 - threshold_mean), 3.0).sample((features,))
        self.threshold = nn.Parameter(drawn, requires_grad=train_threshold) if events else None

    def initial_state(self, current: Tensor) -> EGRUState:
        if current.ndim != 2 or current.shape[1] != 3 * self.features:
            raise ValueError(
                f"EGRU: current {list(current.shape)} must be [B, {3 * self.features}], one for each of three gates of "
                f"{self.features} units"
            )
        zero = torch.zeros_like(current[:, : self.features])
        return EGRUState(zero, zero, zero)

    def step(self, current: Tensor, state: EGRUState) -> tuple[Tensor, EGRUState]:
        if current.shape != (len(state.v), 3 * self.features):
            raise ValueError(
                f"EGRU.step: state v is {list(state.v.shape)}, current is {list(current.shape)}, which must be three a "
                "unit; start the batch with initial_state(current)"
            )
        before, y, _ = (part.detach() for part in state) if self.detach_state else state
        if self.sparse_backward and self.threshold is not None:
            y = _Masked.apply(y, self.needed(state))
        x_u, x_r, x_g = current.chunk(3, 1)
        r_u, r_r = self.gates(y).chunk(2, 1)
        u, r = torch.sigmoid(x_u + r_u), torch.sigmoid(x_r + r_r)  # (1), (2)
        if self.form == "released":
            g = torch.tanh(x_g + r * self.candidate(y))  # (3)
            v = self.zoned(torch.lerp(g, before, u), before)  # (4)
        else:
            g = torch.tanh(x_g + self.candidate(r * y))
            v = self.zoned(torch.lerp(before, g, u), before)
        if self.threshold is None:
            return v, EGRUState(v, v, torch.ones_like(v))
        if self.form == "paper":
            v = v - y
        threshold = self.threshold.clamp(min=0)
        events = self.spike(v - threshold)  # (5)
        sent = events * v  # (6)
        if self.form == "released":
            v = v - events * threshold  # (7)
        return sent, EGRUState(v, sent, events)

    def unroll(self, currents: Tensor, state: EGRUState | None = None) -> tuple[Tensor, EGRUState]:
        first = self.initial_state(currents[0]) if state is None else state
        path, fuses = kernels.current(), self.fuses()
        (path.fused if fuses else path.looped).add(type(self).__name__)
        if not fuses:
            return super().unroll(currents, first)
        threshold = currents.new_zeros(self.features) if self.threshold is None else self.threshold.clamp(min=0)
        options = Options(self.form == "released", self.dampening, self.epsilon, self.threshold is not None)
        weights = (self.gates.weight, self.gates.bias), (self.candidate.weight, self.candidate.bias)
        sent, v, events = unroll(options, currents, first.v, first.y, threshold, *weights)
        if (watch := kernels.watched_by()) is not None:
            watch.started(self, first)
            watch.ended(self, EGRUState(v[-1], sent[-1], events[-1]))
        return sent, EGRUState(v, sent, events)

    def forward(self, currents: Tensor) -> Tensor:
        return self.unroll(currents)[0]

    def fuses(self) -> bool:
        """Whether a sequence goes through egru_sequence.py: nobody watches its parts, and ``step`` is the one above."""
        parts = (self.gates, self.candidate)
        return (
            kernels.current().enabled
            and type(self).step is EGRU.step
            and not (self.zoneout or self.detach_state)
            and not kernels.hooked(self)
            # the sequence works the products out itself, so a layer of another kind has to step
            and all(type(part).forward is nn.Linear.forward for part in parts)
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled(self.gates.weight.device.type)
        )

    def needed(self, state: EGRUState) -> Tensor:
        """Where the gradient of y [B, H] matters: units that sent something, or could have."""
        assert self.threshold is not None
        threshold = self.threshold.detach().clamp(min=0)
        v = state.v.detach() - threshold  # c* - threshold
        if self.form == "released":
            v = v + state.spikes.detach() * threshold
        return (state.spikes != 0) | (self.spike.derivative(v) != 0)

    def zoned(self, v: Tensor, before: Tensor) -> Tensor:
        """State after zoneout."""
        if not self.zoneout:
            return v
        if not self.training:
            return torch.lerp(v, before, self.zoneout)
        return torch.where(torch.rand_like(v) < self.zoneout, before, v)

    def events(self, outputs: Tensor) -> Tensor:
        return (outputs != 0).to(outputs.dtype)

    def extra_repr(self) -> str:
        sends = self.sends if self.threshold is not None else "no events"
        return f"{self.features}, form={self.form}, {sends}, zoneout={self.zoneout}"
