"""The menu a method offers a model. A model asks for blocks by these names only, so every pair composes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from snnlab.errors import InputError
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.low_pass import LowPass
from snnlab.neurons.neuron import Neuron
from snnlab.weights.local import Local2d


class Blocks:
    """Plain weights around a spiking neuron; a method overrides the blocks that its rule changes.

    Args:
        neuron: makes one neuron layer; told ``features`` where it names it (a neuron with weights of its own).
        readout_neuron: makes the temporal layer behind the readout weights, as ``neuron``.
        bias: whether weights carry a bias.
        trace: where the readout reads a trace of what the last layer sent, what it keeps per step; None: no trace.
    """

    neuron_currents = 1  # that each unit of a neuron layer takes
    arranged: frozenset[int] = frozenset()  # units whose currents the model asked for
    trace: float | None = None

    def __init__(
        self,
        neuron: Callable[..., Neuron],
        readout_neuron: Callable[..., nn.Module],
        bias: bool = True,
        trace: float | None = None,
    ) -> None:
        self.make_neuron, self.make_readout_neuron, self.bias = neuron, readout_neuron, bias
        self.neuron_currents, self.trace = currents_per_unit(neuron), trace

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Linear(inputs, outputs, bias=self.bias)

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=self.bias)

    def local(self, inputs: int, outputs: int, size: tuple[int, int], kernel: int, stride: int = 1) -> nn.Module:
        """Windows as those of a convolution on an input of this size, with weights of its own at each place."""
        return Local2d(inputs, outputs, size, kernel, stride, bias=self.bias)

    def norm(self, channels: int) -> nn.Module:
        """Nothing by default: the papers' basic networks have no normalisation."""
        return nn.Identity()

    def shortcut_norm(self, channels: int) -> nn.Module:
        """The norm behind the weight of a shortcut, whose output no neuron sees before it joins another branch."""
        return self.norm(channels)

    def currents(self, features: int) -> int:
        """How many currents a neuron layer of ``features`` units takes; a model that asks arranges weights for them."""
        self.arranged |= {features}
        return features * self.neuron_currents

    def neuron(self, features: int) -> nn.Module:
        """A neuron layer for ``features`` units or channels.

        Raises:
            InputError: when each unit takes several currents, and the model arranges one.
        """
        if self.neuron_currents > 1 and features not in self.arranged:
            raise InputError(
                f"{kind_of(self.make_neuron).__name__} takes {self.neuron_currents} currents a unit, and this model "
                f"arranges one for each of its {features} units or channels; use model=mlp or model=recurrent_mlp"
            )
        return sized(self.make_neuron, features)

    def recurrent(self, features: int) -> nn.Module:
        """A neuron layer whose spikes return to it through a [features, features] weight; one with gates returns its
        outputs itself."""
        if self.neuron_currents > 1:
            return self.neuron(features)
        return Recurrent(sized(self.make_neuron, features), self.linear(features, features))

    def pool(self, kernel: int) -> nn.Module:
        return nn.AvgPool2d(kernel)

    def feedback(self, inputs: int, outputs: int, size: tuple[int, int]) -> list[tuple[str, nn.Module]]:
        """Layers from spikes [B, inputs, h, w] of the step before to a current [B, outputs, *size]; silent at first."""
        weight = self.conv(inputs, outputs, 3, padding=1)
        for parameter in weight.parameters():
            nn.init.zeros_(parameter)
        return [("upsample", nn.Upsample(size, mode="nearest")), ("weight", weight)]

    def dropout(self, p: float) -> nn.Module:
        try:
            return HeldDropout(p)
        except ValueError as error:  # the one number here that is the model's
            raise InputError(f"model: {error}") from error

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        """The last layers: weights and what integrates or fires behind them."""
        currents = outputs * currents_per_unit(self.make_readout_neuron)
        trace = [] if self.trace is None else [("trace", LowPass(1 - self.trace))]
        return [
            *trace,
            ("readout_weight", self.linear(inputs, currents)),
            ("readout", sized(self.make_readout_neuron, outputs)),
        ]

    def stream_readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        """The same where a residual stream, real numbers and no spikes, reaches it."""
        return self.readout(inputs, outputs)


def sized(make: Callable[..., Any], features: int) -> Any:
    """Return ``make()``, or ``make(features=features)`` where it names that argument."""
    return make(features=features) if "features" in inspect.signature(make).parameters else make()


def kind_of(make: Callable[..., Any]) -> Any:
    """The class behind what makes a layer, or itself."""
    return getattr(make, "func", make)


def currents_per_unit(make: Callable[..., Any]) -> int:
    """How many currents each unit of what ``make`` makes takes."""
    return int(getattr(kind_of(make), "currents_per_unit", 1))
