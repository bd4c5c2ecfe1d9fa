"""VGG9 with batch normalisation on images of 32 x 32, the same image at each step.

    64,64,P,128,128,P,256,256,256,P - 1024 - 10, every neuron behind a norm but the readout's: models/vgg.py

The peers' nets are the same chain of torch layers with that library's neuron in the nine places of ours.
"""

from __future__ import annotations

import torch

from snnlab.bench.workloads.nets import compare_nets
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.models.vgg import VGG

CHANNELS: list[int | str] = [64, 64, "P", 128, 128, "P", 256, 256, 256, "P"]


def measure(bench: Bench, width: float = 1.0, side: int = 32, batch: int = 16, time_steps: int = 8) -> Report:
    """Train one step.

    Args:
        width: factor on all channels and hidden units.
        side: of the images, pixels.
    """
    torch.manual_seed(bench.seed)
    images = torch.rand(batch, 3, side, side)
    frames = images.expand(time_steps, *images.shape).contiguous()
    name = f"VGG9 (width {width:g}), {side} x {side}, B={batch}, T={time_steps}"
    compare_nets(bench, name, VGG(CHANNELS, [1024], width=width), frames, 10, norm=True)
    return Report()
