"""A small convolutional net with batch normalisation, 2-32-64-256-10 on event frames of 28 x 28.

    2x28x28 - 32C3 - norm - LIF - AP2 - 64C3 - norm - LIF - AP2 - 256 - norm - LIF - 10 - LIF

3x3 convolutions with padding 1, average pools of 2, every layer spiking: models/small_conv.py with these widths.
"""

from __future__ import annotations

import torch

from snnlab.bench.workloads.nets import compare_nets
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.models.small_conv import SmallConv


def measure(
    bench: Bench,
    channels: list[int] = [32, 64],  # noqa: B006
    hidden: int = 256,
    side: int = 28,
    batch: int = 16,
    time_steps: int = 10,
    rate: float = 0.1,
) -> Report:
    """Train one step.

    Args:
        channels: of each convolution.
        side: of the event frames, pixels.
        rate: events per pixel, polarity and step.
    """
    torch.manual_seed(bench.seed)
    frames = (torch.rand(time_steps, batch, 2, side, side) < rate).float()
    widths = "-".join(map(str, [2, *channels, hidden, 10]))
    name = f"{widths} with norm, {side} x {side}, B={batch}, T={time_steps}"
    compare_nets(bench, name, SmallConv(channels, hidden), frames, 10, norm=True)
    return Report()
