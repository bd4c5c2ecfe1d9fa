"""The microcircuit of PAL: what it keeps, and one step of it, written as in the docstring of pal.py.

``step`` is the reference; kernel.py has the same numbers, compiled. Weights between layers l and l+1 are all stored in
the shape of W_{l+1}, [N_{l+1}, N_l]: ``feedback`` is B_l^T, ``lateral`` (B_l^PI)^T, ``interneuron`` W_l^IP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Constants(NamedTuple):
    """Conductances (1/ms), times (ms) and rates that rest while samples are shown."""

    g_leak: float
    g_basal: float
    g_apical: float
    g_dendritic: float
    g_interneuron: float
    g_target: float
    dt: float
    tau_low: float
    tau_high: float
    tau_noise: float
    noise: float
    alpha: float
    lr_interneuron: float
    lr_lateral: float
    lr_backward: float
    identity: bool  # rates are potentials; else logistic
    tied: bool  # feedback follows the forward weights

    @property
    def hidden_gain(self) -> float:
        """Potential of a hidden soma over that of its basal dendrite, with the apical dendrite at 0."""
        return self.g_basal / (self.g_leak + self.g_basal + self.g_apical)

    @property
    def output_gain(self) -> float:
        """The same of the output layer, which has no apical dendrite, without a target."""
        return self.g_basal / (self.g_leak + self.g_basal)

    @property
    def interneuron_gain(self) -> float:
        """Potential of an interneuron over that of its dendrite, without the nudge."""
        return self.g_dendritic / (self.g_leak + self.g_dendritic)

    def gain(self, last: bool) -> float:
        return self.output_gain if last else self.hidden_gain

    def rate(self, potential: Array) -> Array:
        """phi."""
        return potential.copy() if self.identity else 1 / (1 + np.exp(-potential))


class Circuit:
    """State and feedback weights of a circuit, views of one vector: what a checkpoint holds.

    Args:
        widths: N_0 (inputs), N_1, ..., N_L.
        values: the vector, float64 and contiguous; None starts at 0.
    """

    feedback: list[Array]  # B_l^T of the hidden layers l = 1..L-1
    lateral: list[Array]  # (B_l^PI)^T
    interneuron: list[Array]  # W_l^IP
    change: list[Array]  # low-passed dW/dt of the layers 1..L
    potential: list[Array]  # prospective potentials of the pyramidal neurons, layers 1..L
    inter_potential: list[Array]  # of the interneurons beside hidden layer l, N_{l+1}
    noise: list[Array]  # xi_l
    mean: list[Array]  # low-passed rates of layer l+1

    def __init__(self, widths: Sequence[int], values: Array | None = None) -> None:
        self.widths = list(widths)
        above = [(after, before) for before, after in pairwise(widths[1:])]
        shapes: dict[str, list[tuple[int, ...]]] = {
            "feedback": [*above],
            "lateral": [*above],
            "interneuron": [*above],
            "change": [(after, before) for before, after in pairwise(widths)],
            "potential": [(units,) for units in widths[1:]],
            "inter_potential": [(units,) for units in widths[2:]],
            "noise": [(units,) for units in widths[1:-1]],
            "mean": [(units,) for units in widths[2:]],
        }
        size = sum(math.prod(shape) for each in shapes.values() for shape in each)
        self.values = np.zeros(size) if values is None else values
        start = 0
        for name, each in shapes.items():
            views = []
            for shape in each:
                views.append(self.values[start : start + math.prod(shape)].reshape(shape))
                start += math.prod(shape)
            setattr(self, name, views)

    def predict_itself(self, weights: Sequence[Array], constants: Constants, feedback: bool = True) -> None:
        """Set the interneurons' weights so that without a target every apical potential settles at 0.

        Args:
            weights: W_1, ..., W_L.
            constants: of the circuit.
            feedback: False leaves ``interneuron`` as it is and cancels the feedback alone.
        """
        last = len(weights) - 1
        for k in range(last):
            self.lateral[k][:] = -self.feedback[k]
            if feedback:
                self.interneuron[k][:] = constants.gain(k + 1 == last) / constants.interneuron_gain * weights[k + 1]

    def tie(self, weights: Sequence[Array], constants: Constants) -> None:
        """B_l = W_{l+1}^T, in the self-predicting state."""
        for k in range(len(weights) - 1):
            self.feedback[k][:] = weights[k + 1]
        self.predict_itself(weights, constants)

    def step(
        self,
        c: Constants,
        weights: Sequence[Array],
        rates: Sequence[float],
        inputs: Array,
        target: Array | None,
        normal: Array | None,
    ) -> list[Array]:
        """Advance by dt; weights and state change in place. Numbers in brackets are those of pal.py.

        Args:
            c: constants of the circuit.
            weights: W_1, ..., W_L.
            rates: learning rate of each of them.
            inputs: r_0.
            target: u_target [N_L]; None: no target.
            normal: standard normal numbers, one for each hidden neuron; None: the noise is off.

        Returns the apical potentials of the hidden layers.
        """
        last, at = len(weights) - 1, 0
        r, r_inter = [c.rate(u) for u in self.potential], [c.rate(u) for u in self.inter_potential]
        below, basal, apical = [inputs, *r[:-1]], [], []
        for k, weight in enumerate(weights):
            basal.append(weight @ below[k])  # (1)
            if k == last:
                break
            if normal is None:
                self.noise[k][:] = 0
            else:  # (7)
                drawn = normal[at : at + len(self.noise[k])].astype(float)
                self.noise[k] += -c.dt / c.tau_noise * self.noise[k] + c.noise * math.sqrt(c.dt / c.tau_noise) * drawn
                at += len(drawn)
            apical.append(self.feedback[k].T @ r[k + 1] + self.lateral[k].T @ r_inter[k] + self.noise[k])
            total = c.g_leak + c.g_basal + c.g_apical
            self.potential[k][:] = (c.g_basal * basal[k] + c.g_apical * apical[k]) / total  # (2)
        nudge = 0.0 if target is None else c.g_target
        drive = c.g_basal * basal[last] + (0 if target is None else nudge * target)
        self.potential[last][:] = drive / (c.g_leak + c.g_basal + nudge)  # (2)
        for k, weight in enumerate(weights):
            if k < last:
                dendritic = self.interneuron[k] @ r[k]
                self.inter_potential[k][:] = (c.g_dendritic * dendritic + c.g_interneuron * self.potential[k + 1]) / (
                    c.g_leak + c.g_dendritic + c.g_interneuron
                )  # (3)
                self.mean[k] += c.dt / c.tau_high * (r[k + 1] - self.mean[k])
                if not c.tied:
                    missed = c.rate(self.inter_potential[k]) - c.rate(c.interneuron_gain * dendritic)
                    self.interneuron[k] += c.dt * c.lr_interneuron * np.outer(missed, r[k])  # (5)
                    self.lateral[k] -= c.dt * c.lr_lateral * np.outer(r_inter[k], apical[k] - self.noise[k])  # (6)
                    rule = np.outer(r[k + 1] - self.mean[k], self.noise[k]) - c.alpha * self.feedback[k]
                    self.feedback[k] += c.dt * c.lr_backward * rule  # (8)
            error = rates[k] * (c.rate(self.potential[k]) - c.rate(c.gain(k == last) * basal[k]))
            self.change[k] += c.dt / c.tau_low * (np.outer(error, below[k]) - self.change[k])  # (4)
            weight += c.dt * self.change[k]
        if c.tied:
            self.tie(weights, c)
        return apical

    def present(
        self,
        c: Constants,
        weights: Sequence[Array],
        rates: Sequence[float],
        steps: int,
        inputs: Array,
        targets: Array | None,
        normal: Array | None,
    ) -> Array:
        """Show samples [B, N_0] one after the other for ``steps`` each, learning on the way.

        Shapes: targets [B, N_L]; normal [B, steps, hidden neurons]. Returns the mean squared apical potential over the
        second half of each presentation, one for each hidden layer.
        """
        seen = np.zeros(len(weights) - 1)
        for b, shown in enumerate(inputs):
            for t in range(steps):
                target, drawn = None if targets is None else targets[b], None if normal is None else normal[b, t]
                apical = self.step(c, weights, rates, shown, target, drawn)
                if t >= steps // 2:
                    seen += [float((v**2).mean()) for v in apical]
        return seen / (len(inputs) * (steps - steps // 2))
