"""A fully connected net, 784-800-10, every layer spiking."""

from __future__ import annotations

import torch

from snnlab.bench.workloads.nets import compare_nets
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.models.mlp import MLP


def measure(
    bench: Bench,
    hidden: list[int] = [800],  # noqa: B006
    batch: int = 100,
    time_steps: int = 20,
    rate: float = 0.2,
    gain: float = 3.0,
) -> Report:
    """Train one step.

    Args:
        hidden: units of each hidden layer.
        rate: of the input spikes.
        gain: factor on torch's initial weights.
    """
    torch.manual_seed(bench.seed)
    frames = (torch.rand(time_steps, batch, 784) < rate).float()
    widths = "-".join(map(str, [784, *hidden, 10]))
    compare_nets(bench, f"{widths}, B={batch}, T={time_steps}", MLP(hidden), frames, 10, gain=gain)
    return Report()
