"""What BLiTNet draws: sparse balanced weights, thresholds, constant inputs, and target rates in equal steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.methods.blitnet.rules import LEAST
from snnlab.neurons.amplitude import Amplitude
from snnlab.neurons.integrator import Integrator
from snnlab.weights.both_signs import BothSignsLinear, BothSignsLocal2d


class Draws(NamedTuple):
    """Arguments of ``BLiTNet`` by the same names; ``forcing``: whether the readout is an output layer."""

    row_sum: float
    p_excitatory: float
    p_inhibitory: float
    rate_low: float
    rate_high: float
    constant: float
    threshold_high: float
    most: float
    forcing: bool


class BLiTNetBlocks(Blocks):
    """Weights with both signs, neurons with thresholds and targets of their own, the readout that is asked for."""

    def __init__(self, draws: Draws) -> None:
        super().__init__(self.made, Integrator)
        self.draws = draws
        self.places: tuple[int, ...] = ()  # of the weight that was made last: its neurons follow

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        self.places = ()
        return self.drawn(BothSignsLinear(inputs, outputs))

    def local(self, inputs: int, outputs: int, size: tuple[int, int], kernel: int, stride: int = 1) -> nn.Module:
        weight = BothSignsLocal2d(inputs, outputs, size, kernel, stride)
        self.places = tuple(weight.weight.shape[1:3])
        return self.drawn(weight)

    @torch.no_grad()
    def drawn(self, weight: BothSignsLinear | BothSignsLocal2d) -> nn.Module:
        """N(1/2, 1/6), cut at 0, kept with the probability of its sign, then sums of ``row_sum`` for either sign."""
        m, values = self.draws, weight.weight
        values.normal_(0.5, 1 / 6).clamp_(min=LEAST)
        synapses = tuple(range(1 if values.dim() == 2 else 3, values.dim()))
        for part, kept, sign in (
            (weight.excitatory(values), m.p_excitatory, 1.0),
            (weight.inhibitory(values), m.p_inhibitory, -1.0),
        ):
            part.mul_(torch.rand_like(part) < kept)
            part.mul_(sign * m.row_sum / part.sum(synapses, keepdim=True).clamp(min=LEAST))
        return weight

    def made(self, features: int) -> Amplitude:
        m, shape = self.draws, (features, *self.places)
        made = Amplitude(m.threshold_high * torch.rand(shape), m.constant * torch.rand(shape), m.most)
        units = made.threshold.numel()
        targets = torch.linspace(m.rate_low, m.rate_high, units)[torch.randperm(units)]
        made.register_buffer("target", targets.view(shape))
        made.register_buffer("before", torch.zeros(2, *shape))
        return made

    def recurrent(self, features: int) -> nn.Module:
        raise InputError(
            "method=blitnet: a sample is one wave, in which nothing can come back; use model=mlp or model=local"
        )

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        if not self.draws.forcing:
            return [("readout_weight", nn.Linear(inputs, outputs)), ("readout", Integrator(decay=0.0))]
        rest = torch.zeros(outputs)
        return [
            ("readout_weight", self.drawn(BothSignsLinear(inputs, outputs))),
            ("readout", Amplitude(rest, rest.clone(), self.draws.most)),
        ]
