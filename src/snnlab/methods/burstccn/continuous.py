"""BurstCCN in continuous time: potentials that leak, feedback that lags, weights that move at every moment.

    python -m snnlab.methods.burstccn.continuous [--figure FILE]

Layer l, one sample, forward Euler with step dt; ' marks the value one step ago:
    u_l += dt/tau (W_l e_{l-1} + b_l - u_l),  e_l = sigma(u_l)                                 (1) soma
    a_l += dt/tau (alpha (1 - e_l') (beta_{l+1}' Y - e_{l+1}' Q) - a_l),  p_l = sigma(a_l)     (2) apical dendrite
    p_L = p0 ((y - e_L)(1 - e_L) + 1), without a teacher p0                                    (3) output layer
    beta_l = p_l e_l
    W_l += dt/tau_W (p_l' - p0) e_l' e_{l-1}'^T,  b_l += dt/tau_W (p_l' - p0) e_l'             (4) e_0' is e_0
    Y = W_{l+1}, Q = p0 Y at all times
    mean_l += dt/tau_mean (rate' - mean_l) of event and burst rates; their ratio is p of the last moments

tau = 0.1 of soma and dendrite, tau_W = 100, dt = 0.1, tau_mean = 5, in one arbitrary unit of time. With dt = tau a
potential is its present input.

Status:     a reconstruction. The supplement, which has the paper's equations, could not be read; (1) to (4) and the
            constants follow the authors' code, and nothing here has been held against a figure of theirs. Ours: all of
            ' is one step old, where in the code some event rates are present ones; the teacher has no biases. The means
            drive nothing, there as here.
Task:       regression. A fixed random 3-25-1 net, w1 ~ U(+-sqrt 3), w2 ~ U(+-0.6), turns inputs sin(a_i t + b_i),
            a ~ U(0, pi/2), b ~ U(0, 2 pi), into the target y(t); a student of the same shape sees both, all the time.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnlab import style


@dataclass
class Layer:
    """State of one layer [N] and its weights."""

    weight: Tensor  # [N, N_below]
    bias: Tensor
    u: Tensor = field(init=False)
    apical: Tensor = field(init=False)
    events: Tensor = field(init=False)
    probability: Tensor = field(init=False)
    mean_events: Tensor = field(init=False)
    mean_bursts: Tensor = field(init=False)

    def __post_init__(self) -> None:
        for name in ("u", "apical", "events", "probability", "mean_events", "mean_bursts"):
            setattr(self, name, torch.zeros_like(self.bias))


class ContinuousBurstCCN:
    """A chain of layers in continuous time; the equations are in the docstring of this file.

    Args:
        units: inputs, units of each layer, outputs.
        generator: draws the weights, Xavier normal.
        tau, tau_W, tau_mean, dt: in one unit of time; 0 < dt <= tau, so that Euler's step is stable.
        alpha, p0: slope > 0 and baseline, in (0, 1), of the burst probability. Its offset is logit(p0).

    Raises:
        ValueError: when an argument leaves its range.
    """

    def __init__(
        self,
        units: Sequence[int],
        generator: torch.Generator,
        tau: float = 0.1,
        tau_W: float = 100.0,
        tau_mean: float = 5.0,
        dt: float = 0.1,
        alpha: float = 4.0,
        p0: float = 0.5,
    ) -> None:
        if not 0 < dt <= min(tau, tau_W, tau_mean):
            raise ValueError(
                f"ContinuousBurstCCN: dt = {dt} must be positive and at most tau = {tau}, tau_W = {tau_W} and "
                f"tau_mean = {tau_mean}; 0.1 is the authors'"
            )
        if not (0 < p0 < 1 and alpha > 0):
            raise ValueError(
                f"ContinuousBurstCCN: p0 = {p0} must lie in (0, 1) and alpha = {alpha} be positive; 0.5, 4"
            )
        if len(units) < 2 or min(units) < 1:
            raise ValueError(f"ContinuousBurstCCN: units = {list(units)} need inputs and outputs; [3, 25, 1] is usual")
        self.tau, self.tau_W, self.tau_mean, self.dt, self.alpha, self.p0 = tau, tau_W, tau_mean, dt, alpha, p0
        self.layers = [
            Layer(
                math.sqrt(2 / (below + above)) * torch.randn(above, below, generator=generator, dtype=torch.float64),
                torch.zeros(above, dtype=torch.float64),
            )
            for below, above in pairwise(units)
        ]

    def step(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        """Advance by dt with inputs [N_0] and, with a teacher, target [N_L]: learns; returns the output rates [N_L]."""
        before = [(layer.events, layer.probability) for layer in self.layers]
        below = inputs
        for layer in self.layers:
            layer.u = layer.u + self.dt / self.tau * (layer.weight @ below + layer.bias - layer.u)  # (1)
            below = layer.events = torch.sigmoid(layer.u)
        last = self.layers[-1]
        taught = 0.0 if target is None else (target - last.events) * (1 - last.events)
        last.probability = self.p0 * (taught + torch.ones_like(last.events))  # (3)
        for i in range(len(self.layers) - 2, -1, -1):
            layer, above, (events, probability) = self.layers[i], self.layers[i + 1], before[i + 1]
            arrived = (probability * events - self.p0 * events) @ above.weight  # Y = W, Q = p0 Y
            drive = self.alpha * (1 - before[i][0]) * arrived + math.log(self.p0 / (1 - self.p0))
            layer.apical = layer.apical + self.dt / self.tau * (drive - layer.apical)  # (2)
            layer.probability = torch.sigmoid(layer.apical)
        for layer, (events, probability) in zip(self.layers, before, strict=True):
            keep = self.dt / self.tau_mean
            layer.mean_events = layer.mean_events + keep * (events - layer.mean_events)
            layer.mean_bursts = layer.mean_bursts + keep * (probability * events - layer.mean_bursts)
        if target is not None:
            self.learn(inputs, before)
        return last.events

    def learn(self, inputs: Tensor, before: list[tuple[Tensor, Tensor]]) -> None:
        """(4), from event rates and burst probabilities of the step before."""
        pre = inputs
        for layer, (events, probability) in zip(self.layers, before, strict=True):
            change = self.dt / self.tau_W * (probability - self.p0) * events
            layer.weight = layer.weight + torch.outer(change, pre)
            layer.bias = layer.bias + change
            pre = events


QUIET, LEAST_STEPS = 1000, 2000  # steps of the regression without a teacher, and in all
DT = 0.1


@dataclass
class Regression:
    """Targets and outputs [T] of a run; T steps of dt, learning from step ``quiet`` on."""

    targets: Tensor
    outputs: Tensor
    quiet: int

    def error(self, start: int, stop: int | None = None) -> float:
        """Mean squared error over steps start to stop."""
        return float((self.targets[start:stop] - self.outputs[start:stop]).pow(2).mean())

    @property
    def first(self) -> float:
        """Error of the student before it learns."""
        return self.error(0, self.quiet)

    @property
    def last(self) -> float:
        """Error over the last tenth."""
        return self.error(len(self.targets) - len(self.targets) // 10)


def student_and_teacher(
    seed: int = 0, steps: int = 100_000, quiet: int = QUIET, dt: float = DT, tau_W: float = 100.0
) -> Regression:
    """Show the task of the docstring: ``quiet`` steps without a teaching signal, the others with it all the time."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    first, second = uniform(-math.sqrt(3), math.sqrt(3), 25, 3), uniform(-0.6, 0.6, 1, 25)
    speed, phase = uniform(0, math.pi / 2, 3), uniform(0, 2 * math.pi, 3)
    student = ContinuousBurstCCN([3, 25, 1], generator, dt=dt, tau_W=tau_W)
    targets, outputs = [], []
    for step in range(steps):
        inputs = torch.sin(speed * step * dt + phase)
        target = torch.sigmoid(second @ torch.sigmoid(first @ inputs))
        outputs.append(student.step(inputs, target if step >= quiet else None))
        targets.append(target)
    return Regression(torch.cat(targets), torch.cat(outputs), quiet)


def figure(run: Regression, dt: float = DT, window: int = 400) -> Any:
    """Target and output before learning and at the end."""
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(1, 2, figsize=(7, 2.4), sharey=True, constrained_layout=True)
    steps = len(run.targets)
    parts = ((run.quiet - window, run.quiet, "before learning"), (steps - window, steps, "at the end"))
    for axis, (start, stop, title) in zip(axes, parts, strict=True):
        time = torch.arange(max(start, 0), stop) * dt
        axis.plot(time, run.targets[max(start, 0) : stop], color=style.INK, linewidth=1, label="target")
        axis.plot(time, run.outputs[max(start, 0) : stop], color=style.RED, linewidth=1, label="output")
        axis.set(xlabel="time", title=title)
    axes[0].legend(frameon=False, fontsize=style.SMALL)
    return picture


def check_figure(parser: argparse.ArgumentParser, path: Path) -> None:
    """End with exit code 2 unless a figure can be written to ``path``."""
    from matplotlib.figure import Figure

    if not path.parent.is_dir():
        parser.error(f"--figure {path}: there is no folder {path.parent}")
    if path.is_dir() or path.suffix[1:].lower() not in Figure().canvas.get_supported_filetypes():
        parser.error(f"--figure {path} must be a file that ends as a picture does: .png, .svg or .pdf")


def main(arguments: Sequence[str] | None = None) -> None:
    """Show the regression for three seeds; with ``--figure FILE`` draw the first."""
    parser = argparse.ArgumentParser("python -m snnlab.methods.burstccn.continuous", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=100_000, help="of 0.1 each")
    parser.add_argument("--tau-W", type=float, default=100.0, help="time constant of the weights; 100 is the authors'")
    parser.add_argument("--figure", help="file to draw target and output of seed 0 into")
    options = parser.parse_args(arguments)
    if options.steps < LEAST_STEPS:
        parser.error(f"--steps {options.steps} must be at least {LEAST_STEPS}: the first {QUIET} teach nothing")
    if not options.tau_W >= DT:
        parser.error(f"--tau-W {options.tau_W} must be at least the step, {DT}; 100 is the authors'")
    if options.figure:
        check_figure(parser, Path(options.figure).expanduser().absolute())
    for seed in range(3):
        run = student_and_teacher(seed, options.steps, tau_W=options.tau_W)
        print(f"seed {seed}: mean squared error {run.first:.2e} before learning, {run.last:.2e} at the end; ", end="")
        print(f"variance of the target {float(run.targets.var()):.2e}")
        if seed == 0 and options.figure:
            figure(run).savefig(options.figure)


if __name__ == "__main__":
    main()
