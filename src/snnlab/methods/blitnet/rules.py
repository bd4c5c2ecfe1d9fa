"""What one sample does to the synapses onto a neuron j: p_i its inputs, x_j its amplitude, I_j its net input.

    M+, M- sizes of existing synapses only, from LEAST to MOST: one that would change its sign is LEAST.
    [] is 1 where it holds, else 0.

    paper   M+ += eta ([p_i > 0][x_j > 0] - [p_i > 0][x'_j > 0])        (2) x' two samples before: input of step t,
                                                                            output of step t - 1, one step from i to j
            M+ *= total / sum_i M+                                      (4)
            M- += eta [p_i > 0] (1 where x_j > 0, else -f_j)            (6)
            M- *= 1 + balance eta sign(I_j)                             (7)
    code    M+ += eta (0.5 - x_j)[p_i > 0][x_j > 0]                     (2')
            M- += the same                                              (6')
            M- *= 1 + balance eta I_j                                   (7')
    both    theta_j += eta_theta ([x_j > 0] - f_j), theta_j >= 0        (8)

Source: blitnet.py; numbers without a prime are the paper's equations.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.neurons.amplitude import Amplitude
from snnlab.weights.both_signs import BothSigns

LEAST = 1e-6  # size of a synapse that would change its sign
MOST = 10.0  # of version 25; without a bound (7) lets inhibition by inputs that are always 0 grow for ever

Learn = Literal["all", "thresholds", "none"]


class Rule(NamedTuple):
    """version: paper or code; balance: of (7); total: of (4), 0 leaves the sums alone; what learns."""

    version: Literal["paper", "code"]
    balance: float
    total: float
    learn: Learn


def moved(
    values: Tensor,
    weight: BothSigns,
    rule: Rule,
    eta: float,
    p: Tensor,
    x: Tensor,
    earlier: Tensor,
    net: Tensor,
    f: Tensor,
) -> Tensor:
    """W after one sample; values of W's shape, p [1, ...], x, earlier, net and f [...] of the outputs."""
    pre, exists = (p > 0).to(values), values != 0
    fired = (x > 0).to(values)

    def per_synapse(signal: Tensor) -> Tensor:
        return weight.outer(signal.unsqueeze(0), pre)

    size = values.abs()
    code = rule.version == "code"
    change = eta * ((0.5 - x) * fired if code else fired - (earlier > 0).to(values))
    other = change if code else eta * torch.where(x > 0, 1.0, -f).to(values)
    excited, inhibited = (
        grown(weight_part(size), weight_part(per_synapse(each)) * weight_part(exists))
        for weight_part, each in ((weight.excitatory, change), (weight.inhibitory, other))
    )
    drive = net if code else net.sign()
    factor = (1 + rule.balance * eta * drive).view(*x.shape, *[1] * (values.dim() - x.dim()))
    inhibited = (inhibited * factor).clamp(LEAST, MOST) * weight.inhibitory(exists)
    if rule.total:
        synapses = tuple(range(x.dim(), values.dim()))
        excited = excited * (rule.total / excited.sum(synapses, keepdim=True).clamp(min=LEAST))
    return torch.cat([excited, -inhibited], weight.along)


def grown(size: Tensor, change: Tensor) -> Tensor:
    """Sizes after a change, where there is one, within their bounds."""
    return torch.where(change != 0, (size + change).clamp(LEAST, MOST), size)


def settle(neuron: Amplitude, eta: float, x: Tensor, f: Tensor) -> None:
    """(8), in place."""
    neuron.threshold.add_(eta * ((x > 0).to(f) - f)).clamp_(min=0)
