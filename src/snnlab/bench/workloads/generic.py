"""Neurons of which only ``step`` need be written: ``forward`` against the eager loop over ``step``.

    loop        one call of step per time step, autograd records every operation
    forward     what a network calls: the neuron's own forward, or the one that every neuron inherits
    inherited   the inherited forward, where the neuron has one of its own and the inherited one runs fused
    floor       ReLU on the same currents: what reading and writing them once costs

Forward and backward on currents alone, no weights. Outputs are first compared with the loop's; gradients too, but for
neurons whose ``step`` says that its gradient is another one. A neuron whose spikes carry no gradient runs forward only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab import kernels
from snnlab.bench.workloads.nets import loop
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.errors import InputError, nearest
from snnlab.neurons.composite import CompositeNeuron
from snnlab.neurons.filtered_lif import FilteredLIF
from snnlab.neurons.leak_corrected_lif import LeakCorrectedLIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.low_pass import LowPass
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import ATan, FastSigmoid


class AdaptiveState(NamedTuple):
    """v membrane potential, a adaptation of the threshold, both [B, ...]."""

    v: Tensor
    a: Tensor


class Adaptive(Neuron):
    """A neuron as a user writes it, with two states and nothing but ``step``: a LIF whose threshold rises per spike.

    v[t] = 0.9 v[t-1] + current[t];  spikes[t] = 1 where v[t] >= 1 + a[t-1]
    a[t] = 0.95 a[t-1] + 0.2 spikes[t];  v[t] = v[t] (1 - spikes[t])
    """

    def __init__(self) -> None:
        super().__init__()
        self.spike = FastSigmoid()

    def initial_state(self, current: Tensor) -> AdaptiveState:
        return AdaptiveState(torch.zeros_like(current), torch.zeros_like(current))

    def step(self, current: Tensor, state: AdaptiveState) -> tuple[Tensor, AdaptiveState]:
        v = 0.9 * state.v + current
        spikes = self.spike(v - 1.0 - state.a)
        return spikes, AdaptiveState(v * (1 - spikes), 0.95 * state.a + 0.2 * spikes)


NEURONS: dict[str, Callable[[int], Neuron]] = {
    "LIF": lambda units: LIF(0.5, 1.0, "hard", detach_reset=True, surrogate=ATan()),
    "PLIF": lambda units: PLIF(2.0, surrogate=ATan()),
    "FilteredLIF": FilteredLIF,
    "LeakCorrectedLIF": lambda units: LeakCorrectedLIF(),
    "CompositeNeuron": lambda units: CompositeNeuron(LowPass()),
    "Adaptive": lambda units: Adaptive(),
}
ANOTHER_GRADIENT = {"LeakCorrectedLIF": "step's gradient is that of gate 1, as its docstring says"}


def measure(
    bench: Bench,
    neurons: list[str] = ["LIF", "PLIF", "FilteredLIF", "LeakCorrectedLIF", "CompositeNeuron", "Adaptive"],  # noqa: B006
    units: int = 512,
    batch: int = 64,
    time_steps: int = 100,
) -> Report:
    """Run each of ``neurons`` over currents [time_steps, batch, units].

    Raises:
        InputError: when a neuron is unknown.
    """
    for name in neurons:
        if name not in NEURONS:
            raise InputError(f"generic: neurons = {name} is unknown; nearest: {nearest(name, NEURONS)}")
    for name in neurons:
        torch.manual_seed(bench.seed)
        neuron = NEURONS[name](units)
        currents = torch.randn(time_steps, batch, units)
        forms: dict[str, Callable[[Tensor], Tensor]] = {"loop": lambda x, n=neuron: torch.stack(loop(n, x))}  # type: ignore[misc]
        forms["forward"] = neuron
        if type(neuron).forward is not Temporal.forward and path(
            lambda x, n=neuron: Temporal.forward(n, x),  # type: ignore[misc]
            currents,
        ):
            forms["inherited"] = lambda x, n=neuron: Temporal.forward(n, x)  # type: ignore[misc]
        forms["floor"] = torch.relu if outcome(neuron, neuron, currents)[1] else lambda x: torch.relu(x.detach())
        notes = {key: told(form, forms["loop"], neuron, currents) for key, form in forms.items() if key != "floor"}
        notes["loop"] = "the eager loop over step"
        jobs = {key: training_step(form, neuron, currents) for key, form in forms.items()}
        title = f"{name}, [T={time_steps}, B={batch}, {units}]"
        bench.compare(title, jobs, "loop", notes, 1 / len(neurons), keep=("forward",))
    return Report()


def path(form: Callable[[Tensor], Tensor], currents: Tensor) -> bool:
    """Whether ``form`` runs through a compiled kernel."""
    taken = kernels.Path()
    with torch.no_grad(), kernels.using(taken):
        form(currents[:2])
    return bool(taken.fused)


def told(form: Callable[[Tensor], Tensor], loop: Callable[[Tensor], Tensor], neuron: Neuron, currents: Tensor) -> str:
    """Which path it takes, and whether its numbers are the loop's."""
    words = ["compiled" if path(form, currents) else "no kernel"]
    (expected, gradients), (found, others) = (outcome(each, neuron, currents) for each in (loop, form))
    differing = int((found != expected).sum())
    words.append(f"spikes differ in {differing:,} of {found.numel():,}" if differing else "spikes equal")
    if not gradients:
        words.append("spikes carry no gradient, forward only")
    elif type(neuron).__name__ in ANOTHER_GRADIENT:
        words.append(ANOTHER_GRADIENT[type(neuron).__name__])
    else:
        pairs = zip(others, gradients, strict=True)
        worst = max(float((a - b).norm() / b.norm()) if float(b.norm()) else float(a.norm()) for a, b in pairs)
        words.append("gradients equal" if worst < 1e-4 else f"gradients differ by {worst:.0%}")
    return ", ".join(words)


def outcome(form: Callable[[Tensor], Tensor], neuron: Neuron, currents: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Spikes, and the gradients of the currents and of what the neuron learns; [] where there are none."""
    neuron.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    leaf = currents.clone().requires_grad_()
    spikes = form(leaf)
    if not spikes.requires_grad:
        return spikes, []
    spikes.backward(torch.randn(spikes.shape, generator=torch.Generator().manual_seed(1)))
    learned = [p.grad for p in neuron.parameters() if p.grad is not None]
    return spikes.detach(), [g for g in (leaf.grad, *learned) if g is not None]


def training_step(form: Callable[[Tensor], Tensor], neuron: Neuron, currents: Tensor) -> Callable[[], None]:
    leaf = currents.clone().requires_grad_()
    given = torch.randn(currents.shape, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        leaf.grad = None
        neuron.zero_grad(set_to_none=True)
        outputs: Any = form(leaf)
        if outputs.requires_grad:
            outputs.backward(given)

    return step
