"""Put a network under the limits of a target: weights and states on levels, decays and thresholds on what there is.

    weights     on the target's levels, straight through (weights/levels.py); training, evaluation and export see the same
    states      rounded and saturated inside ``step``, fused or not (neurons/whole.py)
    decays      the nearest that there is; thresholds likewise, in whole numbers
    fan-in      of each neuron the largest weights that it may have (weights/fan_in.py)

In whole numbers a threshold is worth ``threshold_levels`` units or less, a unit is a power of two, and a level of a
weight is worth 2^weight_shift units. Behind an average of k places a weight has levels k times as far apart: on the chip the
places are summed. What reads a network from outside (an integrating readout) has weights on levels too, and no states.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from snnlab.errors import InputError
from snnlab.hardware.target import Target
from snnlab.layers.chain import Chain, Link
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.network import Composite, Network
from snnlab.layers.pooling_neuron import PoolingNeuron
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons import whole
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.weights import levels as of_weights
from snnlab.weights.fan_in import keep_largest
from snnlab.weights.find import weights_inside
from snnlab.weights.weight import Weight

PASSING = (nn.AvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Identity, HeldDropout)  # what whole numbers come through
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
DECAYS = ("decay", "decay_a")  # attributes of neurons that are factors per step
QUANTUM = 64  # a threshold is at most so many times a power of two


def constrain(network: Network, target: Target, spiking_input: bool) -> list[str]:
    """Put ``network`` under the limits of ``target``; return what was changed, one line each.

    Args:
        spiking_input: whether what the network reads is spikes or counts.

    Raises:
        InputError: when it has what the target cannot, naming the layer and what would do.
    """
    check(network, target, spiking_input)
    notes: list[str] = []
    for name, neuron in neurons(network).items():
        notes += settle(name, neuron, target)
    units = {name: unit_of(neuron, target) for name, neuron in neurons(network).items()}
    for name, weight, shift in reached(network, target):
        driven = [units[t] for t in driven_by(network, name) if t in units]
        if target.fan_in is not None and weight.fan_in > target.fan_in:
            keep_largest(weight, target.fan_in)
            notes.append(f"{name}: the {target.fan_in} largest of {weight.fan_in} weights of each neuron are kept")
        limit(weight, target, min(driven) if driven else None, shift)
        if (bias := weight.bias_values) is not None and not target.biases:
            raise InputError(f"hardware={target.name}: {name} has a bias, and there are none; use method.bias=false")
    return notes


def neurons(network: Network) -> dict[str, Temporal]:
    """What spikes, by layer; of a layer that wraps neurons, those."""
    return {name: inner(layer) for name, layer in network.neurons().items()}


def inner(layer: Any) -> Any:
    while isinstance(layer, Recurrent | PoolingNeuron):
        layer = layer.neuron
    return layer


def driven_by(network: Network, weight: str) -> list[str]:
    """The layers of neurons that a weight drives."""
    return next((edge.targets for edge in Chain(network).edges() if edge.name == weight), [])


def reached(network: Network, target: Target) -> list[tuple[str, Weight, int]]:
    """Every weight by name, with the places that are averaged between the neurons in front of it and it."""
    if not target.whole_numbers:
        return [(name, weight, 1) for name, weight in Chain(network).weights().items()]
    found, places = [], 1
    for link in Chain(network).links:
        if isinstance(link.layer, nn.AvgPool2d):
            size = link.layer.kernel_size
            places *= math.prod(size) if isinstance(size, tuple) else size**2
        inside = list(weights_inside(link.layer))
        found += [(f"{link.name}.{path}" if path else link.name, weight, places) for path, weight in inside]
        if inside or isinstance(link.layer, Neuron):
            places = 1
    return found


def check(network: Network, target: Target, spiking_input: bool) -> None:
    """Refuse what the target cannot run, whatever its size.

    Raises:
        InputError: naming the layer and what would do.
    """
    here = f"hardware={target.name}"
    for link in Chain(network).links:
        kind = type(link.neuron).__name__
        if not target.norms and any(
            isinstance(part, NORMS) or "BatchNorm" in type(part).__name__ for part in link.layer.modules()
        ):
            raise InputError(
                f"{here}: {link.name} normalises while the network runs, which the chip cannot; use method=stbp"
            )
        if isinstance(link.layer, Neuron):
            check_neuron(link, target, kind)
        elif (
            target.whole_numbers
            and not isinstance(link.layer, PASSING)
            and link.weight is None
            and not at_end(network, link)
        ):
            raise InputError(
                f"{here}: {link.name} is a {kind}, which has no form in whole numbers; use model=mlp or small_conv"
            )
        if isinstance(link.layer, Recurrent) and not target.recurrent:
            raise InputError(
                f"{here}: spikes of {link.name} return to it, which the chip cannot; use a model without loops"
            )
    if target.whole_numbers and not spiking_input and not target.graded_inputs:
        raise InputError(
            f"{here}: the network's input is numbers, and the chip reads spikes; use encoder=rate or event data"
        )
    if target.weight_types is not None or not target.convolutions:
        for name, weight in Chain(network).weights().items():
            if not weight.dense:
                raise InputError(f"{here}: {name} is a convolution, which the chip has none of; use model=mlp")


def at_end(network: Network, link: Link) -> bool:
    """Whether a layer reads the network from outside: the last one, which never fires."""
    return link.name == Chain(network).links[-1].name and isinstance(link.layer, Temporal)


def check_neuron(link: Link, target: Target, kind: str) -> None:
    """Refuse a neuron that the target does not have."""
    here, neuron = f"hardware={target.name}", inner(link.layer)
    kind = type(neuron).__name__
    if target.neurons is not None and kind not in target.neurons:
        raise InputError(
            f"{here}: {link.name} is {kind}, and the chip has {' and '.join(target.neurons)}; use method.neuron={target.neurons[0].lower()}"
        )
    if target.state_high is not None and (
        isinstance(neuron, Composite) or type(neuron).forward is not Temporal.forward
    ):
        raise InputError(
            f"{here}: the states of {link.name} ({kind}) are not worked out step by step and cannot be rounded; "
            "hardware.state_low=null hardware.state_high=null limits the weights alone"
        )
    if (
        (reset := getattr(neuron, "reset", None)) is not None
        and target.resets is not None
        and reset not in target.resets
    ):
        raise InputError(
            f"{here}: {link.name} has reset={reset}, and the chip has {' and '.join(target.resets)}; use method.reset={target.resets[0]}"
        )
    if target.whole_numbers:
        if getattr(neuron, "leak", "first") != "first":
            raise InputError(
                f"{here}: {link.name} has leak={neuron.leak}, and the chip's neurons leak first; use method.leak=first"
            )
        if getattr(neuron, "v_reset", 0.0):
            raise InputError(f"{here}: {link.name} is reset to {neuron.v_reset}, and the chip's neurons to 0")
    if target.decay == "none":
        for name in DECAYS:
            if (decay := getattr(neuron, name, 1.0)) != 1.0:
                raise InputError(
                    f"{here}: {link.name} has {name} = {decay:g}, and the chip's neurons keep all; use method.decay=1.0"
                )


def settle(name: str, neuron: Any, target: Target) -> list[str]:
    """Take the nearest decays and threshold that there are, and put the states on their levels; say what changed."""
    notes = []
    if target.decay in ("4096ths", "shifts"):
        for key in DECAYS:
            if isinstance(before := getattr(neuron, key, None), float | int):
                after = nearest_decay(float(before), target.decay)
                setattr(neuron, key, after)
                if after != before:
                    notes.append(f"{name}: {key} {before:g} -> {after:g}, the nearest that there is")
    if target.whole_numbers:
        before = neuron.threshold
        neuron.threshold = dyadic(before)
        if neuron.threshold != before:
            notes.append(f"{name}: threshold {before:g} -> {neuron.threshold:g}, a whole number of units")
        if hasattr(neuron, "w_a"):
            unit = unit_of(neuron, target)
            neuron.w_a.copy_((neuron.w_a / unit).floor() * unit)
    if target.state_high is not None and target.state_low is not None:
        unit = unit_of(neuron, target)
        whole.keep_on_levels(neuron, whole.Levels(unit, target.state_low, target.state_high, target.decay))
    return notes


def unit_of(neuron: Any, target: Target) -> float:
    """What one level of a neuron's state is worth: a power of two, in the unit of the membrane."""
    threshold = abs(float(getattr(neuron, "threshold", 1.0))) or 1.0
    if target.whole_numbers:
        return whole.power_of_two(threshold / target.threshold_levels)
    return whole.power_of_two(threshold * target.state_span / (target.state_high or 1))


def nearest_decay(decay: float, kind: str) -> float:
    """The nearest factor per step of 1/4096 .. 1, or of 1 - 2^-k, k = 0 .. 15."""
    if kind == "4096ths":
        return round(4096 * decay) / 4096
    return min((1 - 2.0**-k for k in range(16)), key=lambda there: abs(there - decay))


def dyadic(threshold: float) -> float:
    """The nearest number that is at most QUANTUM times a power of two."""
    part = whole.power_of_two(threshold) / QUANTUM
    return round(threshold / part) * part


def limit(weight: Weight, target: Target, unit: float | None, places: int) -> None:
    """Put a weight on its levels; ``unit`` is that of the neurons that it drives, None where it drives none."""
    if target.weight_low is None or target.weight_high is None:
        return
    one = of_weights.Levels(target.weight_low, target.weight_high, target.weight_step, target.weight_zero)
    mixed = None
    if target.mixed_low is not None and target.mixed_high is not None:
        mixed = of_weights.Levels(target.mixed_low, target.mixed_high, target.mixed_step or target.weight_step)
    least, most = 2.0**-126, math.inf
    if target.whole_numbers and unit is not None:
        least, most = (unit * places * 2.0**shift for shift in target.weight_shift)
    made = of_weights.OnLevels(one, mixed, target.weight_unit, target.whole_numbers, least, most, target.weight_types)
    of_weights.keep_on_levels(weight, made)
