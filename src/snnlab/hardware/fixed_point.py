"""A trained network of AHP neurons in the number formats of a chip: 8-bit weights, 12-bit decays, an integer membrane.

    W_int = round(s W), |W_int| <= weight_limit             (1) one scale s for all weights into a layer of neurons
    current = 2^weight_exponent * W_int spikes              (2)
    threshold_int = 2^weight_exponent * round(s threshold)  (3)
    w_a_int = floor(s 2^weight_exponent w_a) <= w_a_limit   (4) of a unit with an AHP current
    d = int(4096 / tau)                                     (5) decay kept per step: (4096 - d) / 4096

s is the largest that (1) and (4) allow. By (5) a time constant becomes 4096 / d: 700 steps are 819, and more than 4096
have no decay left. Units with an AHP current are worked out ``finer`` (neurons/integer_ahp.py).
For the released constants (threshold mantissa 127, tau_v 20, tau_a 700, beta 1,390,000) that is threshold_int = 8128
and w_a_int = 96. The weights of the readout are rounded likewise and scaled back: it is read outside of the chip.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.layers.chain import Chain, Link
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.ahp import AHP
from snnlab.neurons.integer_ahp import ONE, IntegerAHP
from snnlab.weights.weight import Weight


@dataclass(frozen=True)
class NumberFormat:
    """Limits of a chip's numbers; the defaults are those of the released net of Rao et al. 2022."""

    weight_limit: int = 255  # largest |weight|: 8 bits and a sign
    weight_exponent: int = 6  # a weight of 1 adds 2^6 to the membrane
    w_a_limit: int = 254  # the released code wants it below 255
    membrane_bits: int = 24  # with the sign
    finer: int = 4  # units with an AHP current count in parts of the others' unit (thrAdaScale)


def integer_network(
    network: Network, chip: NumberFormat | None = None, arithmetic: Literal["integer", "float"] = "integer"
) -> Network:
    """Return a copy of ``network`` in whole numbers (held in float64); ``network`` stays as it is.

    Args:
        network: linear layers without bias and AHP neurons, recurrent or not; other layers stay as they are.
        chip: the number formats; None takes NumberFormat().
        arithmetic: of the neurons: integer, or float with the same rounding.

    Raises:
        InputError: when a layer has no integer form.
    """
    chip = NumberFormat() if chip is None else chip
    links = Chain(network).links
    layers: list[tuple[str, nn.Module]] = []
    waiting: tuple[int, Weight] | None = None  # position of a linear layer whose neurons are still to come, its weight
    for link in links:
        name, weight = link.name, link.weight
        if weight is not None and weight.dense:
            if weight.bias_values is not None:
                raise InputError(f"fixed_point: {name} has a bias, which has no integer form; use method.bias=false")
            waiting = len(layers), weight
            layers.append((name, link.layer))
        elif isinstance(link.neuron, AHP):
            if waiting is None:
                raise InputError(f"fixed_point: {name} has no linear layer below it; its currents would not be whole")
            position, below = waiting
            whole, back, integer = converted(link, below, link.neuron, chip, arithmetic)
            layers[position] = (layers[position][0], whole)
            layers.append((name, integer if back is None else Recurrent(integer, back)))
            waiting = None
        elif isinstance(link.layer, nn.Identity | nn.Flatten) or waiting is None or name == links[-1].name:
            layers.append((name, copy.deepcopy(link.layer)))
        else:
            raise InputError(
                f"fixed_point: {name} is a {type(link.layer).__name__}, which has no integer form; use neuron=ahp"
            )
    if waiting is not None:  # the readout
        position, below = waiting
        used = below.used.detach().double()
        scale = chip.weight_limit / max(float(used.abs().max()), 1e-12)
        layers[position] = (layers[position][0], plain_linear(torch.round(scale * used) / scale))
    return Network(layers).double()


def converted(
    link: Link,
    below: Weight,
    neuron: AHP,
    chip: NumberFormat,
    arithmetic: Literal["integer", "float"],
) -> tuple[nn.Module, nn.Module | None, IntegerAHP]:
    """The weights into a layer of neurons, those that return, and the neurons, in whole numbers."""
    name, weights = link.name, [below]
    if link.returning is not None:
        returned = link.returning.weight
        if returned is None or not returned.dense or returned.bias_values is not None:
            raise InputError(f"fixed_point: {name} returns through weights with no integer form; use method.bias=false")
        weights.append(returned)
    if neuron.reset == "none":
        raise InputError(f"fixed_point: {name} is never reset, as the chip's are; use method.reset=soft or hard")
    into = [weight.used.detach().double() for weight in weights]
    one = 1 << chip.weight_exponent
    scale = chip.weight_limit / max(*(float(weight.abs().max()) for weight in into), 1e-12)
    w_a = neuron.w_a.detach().double()
    if (largest := float(w_a.max())) > 0:
        scale = min(scale, (chip.w_a_limit + 0.5) / (one * largest))
    threshold = round(scale * neuron.threshold)
    if threshold < 1:
        raise InputError(f"fixed_point: {name} has weights so large that its threshold rounds to 0; lower init.gain")
    decays = {"tau_v": whole_part((1 - neuron.decay) * ONE), "tau_a": whole_part(ONE / neuron.tau_a)}
    for tau, d in decays.items():
        if d < 1:
            raise InputError(
                f"fixed_point: {tau} of {name} is so long that its decay rounds to 0; {ONE} steps is the most"
            )
    whole = [plain_linear(one * torch.round(scale * weight)) for weight in into]
    integer = IntegerAHP(
        torch.floor(scale * one * w_a),
        decays["tau_v"],
        decays["tau_a"],
        threshold * one,
        neuron.reset,
        neuron.refractory,
        chip.membrane_bits,
        arithmetic,
        chip.finer,
    )
    return whole[0], whole[1] if len(whole) > 1 else None, integer


def whole_part(number: float) -> int:
    """``int`` of a number that is not a hair below the whole one it should be."""
    return int(round(number, 9))


def plain_linear(weight: Tensor) -> nn.Module:
    """A linear layer with this weight and no bias, where the weight lies."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype, device=weight.device)
    layer.weight.data.copy_(weight)
    return layer
