"""One Linear(n, n) and its LIF layer over a long sequence, as in the Open Neuromorphic benchmark."""

from __future__ import annotations

import torch
from torch import nn

from snnlab.bench.workloads.nets import compare_nets
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network


def measure(
    bench: Bench,
    units: list[int] = [512, 2048],  # noqa: B006
    batch: int = 16,
    time_steps: int = 500,
    rate: float = 0.3,
    gain: float = 3.0,
) -> Report:
    """Train one step at each width of ``units``.

    Args:
        rate: of the input spikes.
        gain: factor on torch's initial weights.
    """
    for width in units:
        torch.manual_seed(bench.seed)
        frames = (torch.rand(time_steps, batch, width) < rate).float()
        name = f"Linear({width}, {width}) + LIF, B={batch}, T={time_steps}"
        compare_nets(bench, name, layer, frames, width, gain=gain, share=1 / len(units))
    return Report()


def layer(blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
    """The model: weights and one neuron layer."""
    weight: nn.Module = blocks.linear(input_shape[0], outputs)
    return Network([("weight1", weight), ("hidden1", blocks.neuron(outputs))])
