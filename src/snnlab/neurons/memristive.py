"""Memristive integrate-and-fire neuron: a capacitor that two volatile memristors charge and discharge.

    C v' = current I[t] - G1 (v - E1) - G2 (v - E2)             (1) I[t] weighted input, held over a step
    G_k  = x_k / R_on + (1 - x_k) / R_off                       (2) x_k in [0, 1]: how far memristor k is switched on
    tau_k x_k' = (1 - x_k) a_k - x_k b_k                        (3)
    a_k  = sigmoid((u_k - v_on_k) / kappa)                          switches on where u_k = v - E_k is high
    b_k  = sigmoid((v_off_k - u_k) / kappa)                         and off where it is low

Each of (1) and (3) is linear while the other rests: a sub-step h moves it by its exact solution (exponential Euler).

    x_k <- x_k + (a_k / (a_k + b_k) - x_k) (1 - exp(-h (a_k + b_k) / tau_k))                                    (4)
    v   <- v + (v_inf - v) (1 - exp(-h G / C)),  G = G1 + G2,  v_inf = (current I + G1 E1 + G2 E2) / G          (5)

x_k stays in [0, 1] and v between v and v_inf, whatever h and the current. At first v and x_k rest: v = ``rest``, where
(1) and (3) are 0 without a current. ``held`` leaves x_k there: the neuron is a linear RC circuit, the twin that shows
what the memristors do.

    code="voltage"  y[t] = (v[t] - centre) / width                      (6) centre: rest unless it is given
    code="sigmoid"  y[t] = sigmoid((v[t] - centre) / width)
    code="peak"     y[t] = (v[t-1] - centre) / width where v[t-1] is a maximum above ``least``: v[t-2] < v[t-1] >= v[t];
                    0 elsewhere

No surrogate: all of it is differentiated as it stands. A peak's value has the gradient of v there; its time adds none,
as v does not change with time at a maximum.

Source: Zhou, Eshraghian, Choi, Lu, Kang 2022, arXiv:2206.12992; the constants are a released package's, whose time
constants count steps. With them both memristors counteract what drives them, so a constant current makes one overshoot
and no further spike. Exponential Euler, the codes, the rest as the first state and one ``kappa`` for both are ours.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.neuron import Neuron, Sends, check_state
from snnlab.neurons.time import units

Code = Literal["voltage", "sigmoid", "peak"]
MOST_APART = 80.0  # of v_on and v_off, in kappa: beyond it a and b are both 0 in 32 bits between the two


class MemristiveState(NamedTuple):
    """All [B, ...]: v membrane voltage, before the one of the step before, x1 and x2 of the memristors, events sent."""

    v: Tensor
    before: Tensor
    x1: Tensor
    x2: Tensor
    spikes: Tensor


class Memristive(Neuron):
    """Neurons of two memristors and a capacitor; the equations are in the docstring of this file.

    Args:
        code: voltage, sigmoid or peak, see (6).
        centre, width: of the code, V; None is the rest and 50, for the sigmoid 30 and 5.
        least: below it no peak is sent, V.
        current: of a weighted input of 1, A, > 0.
        held: whether the memristors stay as they are at rest.
        sub_steps: of a time step, >= 1.
        time_step: of the data, in the unit of tau1 and tau2.
        r_on, r_off: resistances, Ohm, 0 < r_on <= r_off.
        e1, e2: reversal voltages, e1 < e2.
        capacitance: C, in the unit of time over Ohm.
        tau1, tau2: of the memristors' switching, > 0.
        v_on1, v_off1, v_on2, v_off2: voltages across a memristor at which it switches.
        kappa: how gradually, V, > 0.

    Shapes: currents [T, B, ...] -> y [T, B, ...], same dtype and device; every field of the state [B, ...].

    Raises:
        ValueError: when an argument leaves its range.
    """

    times = units(sub_steps="per step", time_step="steps", tau1="steps", tau2="steps")

    def __init__(
        self,
        code: Code = "voltage",
        centre: float | None = None,
        width: float | None = None,
        least: float = 30.0,
        current: float = 3e-3,
        held: bool = False,
        sub_steps: int = 1,
        time_step: float = 1.0,
        r_on: float = 1e3,
        r_off: float = 1e5,
        e1: float = 0.0,
        e2: float = 50.0,
        capacitance: float = 1e-4,
        tau1: float = 100.0,
        tau2: float = 100.0,
        v_on1: float = 110.0,
        v_off1: float = 5.0,
        v_on2: float = 110.0,
        v_off2: float = 5.0,
        kappa: float = 15.0,
    ) -> None:
        super().__init__()
        if code not in ("voltage", "sigmoid", "peak"):
            raise ValueError(f"Memristive: code = {code!r} must be voltage, sigmoid or peak")
        width = (5.0 if code == "sigmoid" else 50.0) if width is None else width
        positive = {
            "width": (width, 50),
            "current": (current, 3e-3),
            "time_step": (time_step, 1),
            "r_on": (r_on, 1e3),
            "capacitance": (capacitance, 1e-4),
            "tau1": (tau1, 100),
            "tau2": (tau2, 100),
            "kappa": (kappa, 15),
        }
        for name, (value, usual) in positive.items():
            if not 0 < value < math.inf:
                raise ValueError(f"Memristive: {name} = {value} must be positive; {usual} is usual")
        if not r_on <= r_off < math.inf:
            raise ValueError(f"Memristive: r_off = {r_off} must be at least r_on = {r_on}; 1e5 is the authors'")
        if not -math.inf < e1 < e2 < math.inf:
            raise ValueError(f"Memristive: e1 = {e1} must be below e2 = {e2}; 0 and 50 are the authors'")
        for k, (on, off) in enumerate(((v_on1, v_off1), (v_on2, v_off2)), 1):
            if not -math.inf < (on - off) / kappa <= MOST_APART:
                raise ValueError(
                    f"Memristive: v_on{k} = {on} and v_off{k} = {off} may lie {MOST_APART:g} kappa ({kappa}) apart at "
                    "most, or nothing moves the memristor between them; 110, 5 and 15 are the authors'"
                )
        for name, number in (("centre", centre), ("least", least)):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"Memristive: {name} = {number} must be a voltage; 30 is usual")
        if sub_steps < 1:
            raise ValueError(f"Memristive: sub_steps = {sub_steps} must be at least 1; 1 is usual")
        self.code, self.width, self.least, self.current = code, width, least, current
        self.held, self.sub_steps, self.time_step = held, sub_steps, time_step
        self.g_on, self.g_off, self.capacitance = 1 / r_on, 1 / r_off, capacitance
        self.e1, self.e2, self.kappa = e1, e2, kappa
        self.tau1, self.v_on1, self.v_off1 = tau1, v_on1, v_off1
        self.tau2, self.v_on2, self.v_off2 = tau2, v_on2, v_off2
        self.rest, self.rest_x1, self.rest_x2 = self._at_rest()
        self.centre = (30.0 if code == "sigmoid" else self.rest) if centre is None else centre
        self.sends: Sends = "values at events" if code == "peak" else "values"

    def _at_rest(self) -> tuple[float, float, float]:
        """v, x1 and x2 where nothing moves: at E1 the memristors' current leads up, at E2 down; halved in between."""
        low, high = self.e1, self.e2
        while True:
            v = (low + high) / 2
            x1 = on_share(v - self.e1, self.v_on1, self.v_off1, self.kappa)
            x2 = on_share(v - self.e2, self.v_on2, self.v_off2, self.kappa)
            if v in (low, high):
                return v, x1, x2
            out = self._conductance(x1) * (v - self.e1) + self._conductance(x2) * (v - self.e2)
            low, high = (low, v) if out > 0 else (v, high)

    def _conductance(self, x: float) -> float:
        return x * self.g_on + (1 - x) * self.g_off

    def initial_state(self, current: Tensor) -> MemristiveState:
        v = torch.full_like(current, self.rest)
        x1, x2 = torch.full_like(current, self.rest_x1), torch.full_like(current, self.rest_x2)
        sent = torch.zeros_like(current) if self.code == "peak" else torch.ones_like(current)
        return MemristiveState(v, v, x1, x2, sent)

    def step(self, current: Tensor, state: MemristiveState) -> tuple[Tensor, MemristiveState]:
        check_state("Memristive", state.v, current)
        v, x1, x2, spikes, h = state.v, state.x1, state.x2, state.spikes, self.time_step / self.sub_steps
        for _ in range(self.sub_steps):
            if not self.held:
                x1 = self.switched(x1, v - self.e1, self.v_on1, self.v_off1, h / self.tau1)
                x2 = self.switched(x2, v - self.e2, self.v_on2, self.v_off2, h / self.tau2)
            g1 = self.g_off + x1 * (self.g_on - self.g_off)  # (2)
            g2 = self.g_off + x2 * (self.g_on - self.g_off)
            g = g1 + g2
            v_inf = (self.current * current + g1 * self.e1 + g2 * self.e2) / g
            v = v + (v_inf - v) * (1 - torch.exp(-(h / self.capacitance) * g))  # (5)
        sent, least = (v - self.centre) / self.width, self.least  # (6)
        if self.code == "sigmoid":
            sent = torch.sigmoid(sent)
        elif self.code == "peak":
            peak = (state.v > state.before) & (state.v >= v) & (state.v > least)
            spikes = peak.to(v.dtype)
            sent = spikes * ((state.v - self.centre) / self.width)
        return sent, MemristiveState(v, state.v, x1, x2, spikes)

    def switched(self, x: Tensor, u: Tensor, v_on: float, v_off: float, h: float) -> Tensor:
        """(4) for the state of one memristor, the voltage across it, and a sub-step in units of its tau."""
        on, off = torch.sigmoid((u - v_on) / self.kappa), torch.sigmoid((v_off - u) / self.kappa)
        both = on + off
        return x + (on / both - x) * (1 - torch.exp(-h * both))

    def events(self, outputs: Tensor) -> Tensor:
        return (outputs != 0).to(outputs.dtype)

    def extra_repr(self) -> str:
        return f"code={self.code}, current={self.current}, rest={self.rest:.4g}" + (", held" if self.held else "")


def on_share(u: float, v_on: float, v_off: float, kappa: float) -> float:
    """x of a memristor that has rested at a voltage u: a / (a + b)."""
    on, off = sigmoid((u - v_on) / kappa), sigmoid((v_off - u) / kappa)
    return on / (on + off)


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z)), whatever the size of z."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))
