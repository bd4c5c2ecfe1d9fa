"""A linear layer and its LIF neurons under int8 against the same without a limit, forward and backward, both fused.

    free        weights and states in 32 bits
    weights     weights on the levels of 8 bits
    states      states rounded to 16 bits inside the fused step
    int8        both, as hardware=int8 has it

Spikes of int8 are compared with those of ``step`` before anything is timed.
"""

from __future__ import annotations

import torch
from torch import nn

from snnlab import kernels
from snnlab.bench.workloads.rounds import Job
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.errors import RunFailure
from snnlab.layers.network import Network
from snnlab.neurons import whole
from snnlab.neurons.lif import LIF
from snnlab.weights.find import weight_of
from snnlab.weights.levels import Levels, OnLevels, keep_on_levels

UNIT = 8 / 2**15  # of the states: 16 bits over 8 thresholds


def measure(bench: Bench, units: int = 512, batch: int = 16, time_steps: int = 500, rate: float = 0.1) -> Report:
    """Train one step of Linear(units, units) and its LIF neurons.

    Args:
        rate: of the input spikes.

    Raises:
        RunFailure: when the fused form is not that of ``step``.
    """
    torch.manual_seed(bench.seed)
    frames = (torch.rand(time_steps, batch, units) < rate).float()
    start = nn.Linear(units, units).state_dict()
    nets = {
        "free": layer(start, False, False),
        "weights": layer(start, True, False),
        "states": layer(start, False, True),
        "int8": layer(start, True, True),
    }
    with torch.no_grad():
        fused = nets["int8"](frames)
        with kernels.using(kernels.Path("step")):
            looped = nets["int8"](frames)
    if not torch.equal(fused, looped):
        raise RunFailure("levels: the fused form is not that of step, so its time means nothing")

    def job(net: Network) -> Job:
        def train() -> None:
            net(frames).sum().backward()

        return train

    name = f"Linear({units}, {units}) + LIF, B={batch}, T={time_steps}"
    bench.compare(name, {key: job(net) for key, net in nets.items()}, "free", keep=nets)
    return Report()


def layer(start: dict[str, torch.Tensor], weights: bool, states: bool) -> Network:
    """The layer with these first weights, and what is limited."""
    outputs, inputs = start["weight"].shape
    linear, neuron = nn.Linear(inputs, outputs), LIF(0.9)
    linear.load_state_dict(start)
    if weights and (weight := weight_of(linear)) is not None:
        keep_on_levels(weight, OnLevels(Levels(-127, 127)))
    if states:
        whole.keep_on_levels(neuron, whole.Levels(UNIT, -(2**15), 2**15 - 1))
    return Network([("weight", linear), ("neurons", neuron)])
