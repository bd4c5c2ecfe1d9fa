"""What one sample does to the synapses onto a neuron j: p_i its inputs, x_j its amplitude, I_j its net input.

    M+, M- sizes of existing synapses only; one that would fall below LEAST is set to LEAST; [] is 1 where it holds, else 0

    paper   M+ += eta ([p_i > 0][x_j > 0] - [p_i > 0][x'_j > 0])        (2) x' two samples before: input of step t,
                                                                            output of step t - 1, one step from i to j
            M+ *= total / sum_i M+                                      (4)
            M- += eta [p_i > 0] (1 where x_j > 0, else -f_j)            (6)
            M- *= 1 + balance eta sign(I_j)                             (7)
    code    M+ += eta (0.5 - x_j)[p_i > 0][x_j > 0], at most MOST       (2')
            M- += the same, at most MOST                                (6')
            M- *= 1 + balance eta I_j                                   (7')
    both    theta_j += eta_theta ([x_j > 0] - f_j), theta_j >= 0        (8)

Source: blitnet.py; numbers without a prime are the paper's equations.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.amplitude import Amplitude
from snnlab.weights.paired import Paired

LEAST = 1e-6  # size of a synapse that would change its sign
MOST = 10.0  # of version 25

Learn = Literal["all", "thresholds", "none"]


class Rule(NamedTuple):
    """version: paper or code; balance: of (7); total: of (4), 0 leaves the sums alone; what learns."""

    version: Literal["paper", "code"]
    balance: float
    total: float
    learn: Learn


def moved(
    values: Tensor, weight: Paired, rule: Rule, eta: float, p: Tensor, x: Tensor, earlier: Tensor, net: Tensor, f: Tensor
) -> Tensor:
    """W after one sample; values of W's shape, p [1, ...], x, earlier, net and f [...] of the outputs."""
    pre, exists = (p > 0).to(values), values != 0
    fired = (x > 0).to(values)

    def per_synapse(signal: Tensor) -> Tensor:
        return weight.outer(signal.unsqueeze(0), pre)

    size = values.abs()
    both = per_synapse(eta * (0.5 - x) * fired) if rule.version == "code" else None
    up = per_synapse(eta * (fired - (earlier > 0).to(values))) if both is None else both
    there = weight.excitatory(exists)
    excited = (weight.excitatory(size) + weight.excitatory(up)).clamp(min=LEAST) * there
    other = per_synapse(eta * torch.where(x > 0, 1.0, -f).to(values)) if both is None else both
    there = weight.inhibitory(exists)
    inhibited = (weight.inhibitory(size) + weight.inhibitory(other)).clamp(min=LEAST) * there
    drive = net if rule.version == "code" else net.sign()
    factor = (1 + rule.balance * eta * drive).view(*x.shape, *[1] * (values.dim() - x.dim()))
    if rule.version == "code":
        excited, inhibited = excited.clamp(max=MOST), inhibited.clamp(max=MOST)
        inhibited = (inhibited * factor).clamp(LEAST, MOST) * there
    else:
        inhibited = (inhibited * factor).clamp(min=LEAST) * there
        if rule.total:
            synapses = tuple(range(x.dim(), values.dim()))
            excited = excited * (rule.total / excited.sum(synapses, keepdim=True).clamp(min=LEAST))
    return torch.cat([excited, -inhibited], weight.along)


def settle(neuron: Amplitude, eta: float, x: Tensor, f: Tensor) -> None:
    """(8), in place."""
    neuron.threshold.add_(eta * ((x > 0).to(f) - f)).clamp_(min=0)
