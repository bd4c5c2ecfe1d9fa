"""Exact spike times against time steps: the event simulators beside a plain net of the same size and input.

    closed form, general    times and gradients of inputs-hidden-10, tau_m = 2 tau_s: event.py, current_based.py
    general, 4 to 1         the same for tau_m = 4 tau_s, by Newton's rule
    stepped                 stepped.py, ``steps`` of them
    lif                     the platform's own fused net of LIF neurons on the same spikes in ``steps`` bins

Forward and backward of a batch; every input sends one spike or none (``active`` of them do). Events are spikes of the
input and of the hidden layer, each of which reaches a whole layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnlab.bench.workloads.rounds import Job
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.layers.network import Network
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.event import ClosedForm
from snnlab.simulators.simulator import Firing, Simulator
from snnlab.simulators.stepped import Stepped

FIRING = Firing(1.0, 5.0, 50.0, 30)  # ms


def measure(
    bench: Bench,
    batches: list[int] = [1, 5, 32, 256],  # noqa: B006
    inputs: int = 784,
    hidden: int = 350,
    active: float = 0.19,
    steps: int = 100,
) -> Report:
    """Time a training step's forward and backward for each size of a batch."""
    generator = torch.Generator().manual_seed(bench.seed)
    first = 0.065 + 0.045 * torch.randn(hidden, inputs, generator=generator)
    second = 0.2 + 0.1 * torch.randn(10, hidden, generator=generator)
    rates: dict[str, dict[str, float]] = {}
    for batch in batches:
        times = 20 * torch.rand(batch, inputs, 1, generator=generator)
        times = torch.where(torch.rand(times.shape, generator=generator) < active, times, math.inf)
        simulators: dict[str, tuple[Simulator, float]] = {
            "closed form": (ClosedForm(), 0.1),
            "general": (CurrentBased(10.0), 1.0),
            "general, 4 to 1": (CurrentBased(20.0), 1.0),
            "stepped": (Stepped(20.0, FIRING.duration / steps, FIRING.duration), 1.0),
        }
        jobs: dict[str, Job] = {}
        events: dict[str, float] = {}
        for name, (simulator, scale) in simulators.items():
            weights = [(scale * weight).requires_grad_() for weight in (first, second)]
            jobs[name] = job(simulator, times, weights)
            fired = simulator.simulate(times, weights[0].detach(), FIRING).counts.sum()
            events[name] = float(fired + times.isfinite().sum())
        jobs["lif"] = stepwise(times, steps, inputs, hidden)
        case = bench.compare(f"batch {batch}", jobs, "lif", share=1 / len(batches), keep=jobs)
        medians = {name: case.median(name) for name in jobs}
        rates[str(batch)] = {f"{name}, events a second": round(count / medians[name]) for name, count in events.items()}
        rates[str(batch)] |= {f"{name}, samples a second": round(batch / taken) for name, taken in medians.items()}
        for line, rate in rates[str(batch)].items():
            bench.say(f"  {line}: {rate:,}")
    return Report({"batches": rates})


def job(simulator: Simulator, times: Tensor, weights: list[Tensor]) -> Job:
    """Two layers of spike times, forward and backward."""

    def run() -> None:
        hidden = simulator.simulate(times, weights[0], FIRING).times
        torch.exp(-simulator.simulate(hidden, weights[1], FIRING).times).sum().backward()

    return run


def stepwise(times: Tensor, steps: int, inputs: int, hidden: int) -> Job:
    """A net of LIF neurons on the same spikes in bins."""
    index = torch.arange(steps).view(-1, 1, 1)
    step = (times[..., 0] * (steps / FIRING.duration)).floor()
    frames = (index == step).float()
    net = Network(
        [
            ("weight1", nn.Linear(inputs, hidden)),
            ("hidden1", LIF()),
            ("readout_weight", nn.Linear(hidden, 10)),
            ("readout", Integrator()),
        ]
    )

    def run() -> None:
        net(frames).sum().backward()

    return run
