"""Surrogate gradients with a leaky readout and smoothed labels: a method as somebody outside of snnlab writes it.

y = mean over t of the readout's v[t]
L = cross-entropy of y with (1 - smoothing) one-hot + smoothing / classes
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnlab.data.contract import DataSpec
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.neurons.choice import choose_neuron
from snnlab.neurons.integrator import Integrator


class Mine(Autograd):
    """Args: model, data, encoder, optimizer, scheduler as in Method; neuron, neuron_options as in STBP; smoothing."""

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        neuron: str = "mine.neuron.Quadratic",
        neuron_options: dict[str, Any] | None = None,
        smoothing: float = 0.1,
    ) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"Mine: smoothing = {smoothing} must lie in [0, 1); 0.1 is usual")
        self.make_neuron, self.smoothing = choose_neuron(neuron, neuron_options), smoothing
        super().__init__(model, data, encoder, optimizer, scheduler)

    def blocks(self) -> Blocks:
        return Blocks(self.make_neuron, lambda: Integrator(decay=0.9))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores, labels, label_smoothing=self.smoothing)
