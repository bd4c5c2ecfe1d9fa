"""Put a network under the limits of a target: weights and states on levels, decays and thresholds on what there is.

    weights     on the target's levels, straight through (weights/levels.py): training, evaluation, export see the same
    states      rounded and saturated inside ``step``, fused or not (neurons/whole.py)
    decays      the nearest that there is; thresholds likewise, in whole numbers
    fan-in      of each neuron the largest weights that it may have (weights/fan_in.py)

In whole numbers a threshold is worth ``threshold_levels`` units or less, a unit is a power of two, and a level of a
weight is worth 2^weight_shift units; biases are whole numbers of units, and what reaches a neuron (an image's numbers,
or spikes that dropout scales) is rounded to units before it is added. Behind an average of k places a weight has levels
k times as far apart: on the chip the places are summed. What reads a network from outside (an integrating readout) has
weights on levels, too.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.hardware.target import Target
from snnlab.layers.chain import Chain, Link
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.network import Network
from snnlab.layers.pooling_neuron import PoolingNeuron
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons import whole
from snnlab.neurons.choice import NEURONS
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.weights import levels as of_weights
from snnlab.weights.devices import Device, device, keep_in_devices
from snnlab.weights.fan_in import keep_largest
from snnlab.weights.find import weights_inside
from snnlab.weights.weight import Weight

PASSING = (nn.AvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Identity, HeldDropout)  # what whole numbers come through
SNAPPED = {"decay", "tau_a", "beta", "refractory"}  # arguments with a time of neurons whose decays are DECAYS
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
DECAYS = ("decay", "decay_a")  # attributes of neurons that are factors per step
NAMES = {path.rpartition(".")[2]: name for name, path in NEURONS.items()}  # of method.neuron, by class
OTHER = "take a method whose neurons the chip has (docs/hardware.md)"
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
    if target.mixed_high is not None:
        steps = f", in steps of {target.mixed_step}" if target.mixed_step else ""
        both = f"{target.mixed_low} to {target.mixed_high}{steps} (mixed_low, mixed_high)"
        notes.append(
            f"weights of a layer of both signs: {both}; of one sign: {target.weight_low} to {target.weight_high}"
        )
    driven = {edge.name: [units[t] for t in edge.targets if t in units] for edge in Chain(network).edges()}
    for name, weight, places in reached(network):
        if target.fan_in is not None and weight.fan_in > target.fan_in:
            notes.append(f"{name}: of the {weight.fan_in} weights of each neuron the {target.fan_in} largest are kept")
            keep_largest(weight, target.fan_in)
        unit = min(driven[name], default=None)
        limit(weight, target, unit, places)
        if target.whole_numbers and unit is not None and weight.bias_values is not None:
            of_weights.keep_bias_on(weight, of_weights.OnUnit(unit, target.state_low, target.state_high))
    if target.device is not None:
        held(network, device(target.device, target.device_options))
        notes.append(f"weights are conductances of {target.device} devices, and move in pulses; biases stay digital")
    return notes


def neurons(network: Network) -> dict[str, Temporal]:
    """What spikes, by layer; of a layer that wraps neurons, those."""
    return {name: inner(layer) for name, layer in network.neurons().items()}


def on_levels(network: Network) -> list[str]:
    """The layers of neurons whose states lie on levels."""
    return [name for name, neuron in neurons(network).items() if isinstance(neuron, whole.OnLevels)]


def inner(layer: Any) -> Any:
    """The neurons that a layer is, or wraps."""
    while isinstance(layer, Recurrent | PoolingNeuron):
        layer = layer.neuron
    return layer


def reached(network: Network) -> list[tuple[str, Weight, int]]:
    """Every weight by name, with the number of places that are averaged between the neurons in front of it and it."""
    found, places = [], 1
    for name, layer in network.leaves().items():
        if isinstance(layer, nn.AvgPool2d):
            size = layer.kernel_size
            places *= math.prod(size) if isinstance(size, tuple) else size**2
        inside = list(weights_inside(layer))
        found += [(f"{name}.{path}" if path else name, weight, places) for path, weight in inside]
        if inside or isinstance(layer, Neuron):
            places = 1
    return found


# what the target cannot run, whatever its size ------------------------------------------------------------------------
def check(network: Network, target: Target, spiking_input: bool) -> None:
    """Refuse what the target has no form for.

    Raises:
        InputError: naming the layer and what would do.
    """
    if target.sampling and not any(getattr(neuron, "samples", False) for neuron in neurons(network).values()):
        raise refusal(
            target, "this network answers for data, and no sampler", "use hardware=loihi2, int8 or another with data"
        )
    links = Chain(network).links
    for link in links:
        kind = type(link.neuron).__name__
        outside = link is links[-1] and isinstance(link.layer, Temporal)  # it reads the network
        if not target.norms and normalises(link.layer):
            raise refusal(target, f"{link.name} normalises while the network runs", OTHER)
        if isinstance(link.layer, Recurrent) and not target.recurrent:
            raise refusal(target, f"spikes of {link.name} return to it", "use a model without loops, such as mlp")
        if isinstance(link.layer, Neuron):
            check_neuron(link, target, outside)
        elif target.whole_numbers and not isinstance(link.layer, PASSING) and link.weight is None and not outside:
            raise refusal(target, f"{link.name} is {kind}", f"{OTHER} and model=mlp or small_conv")
    for name, weight, places in reached(network):
        if not (weight.dense or target.convolutions):
            raise refusal(target, f"{name} is a convolution", "use model=mlp")
        if target.whole_numbers and places & (places - 1):
            raise refusal(target, f"{name} reads averages of {places} places", "pool 2, 4, 8, ... of them")
        if weight.exists is not None and not target.weight_zero:
            what = f"{name} lacks synapses, which are weights of 0"
            raise refusal(target, what, "use hardware=ternary, or weights without a mask")
        if weight.bias_values is not None and not target.biases:
            raise refusal(target, f"{name} has a bias", "use method.bias=false")
    if target.whole_numbers and not spiking_input and not target.graded_inputs:
        raise refusal(target, "the network's input is numbers, not spikes", "use encoder=rate, or event data")
    if target.whole_numbers and not neurons(network):
        raise refusal(target, "the network has no neurons that spike", OTHER)


def normalises(layer: nn.Module) -> bool:
    """Whether there is a normalisation in it that is worked out at every step."""
    return any(isinstance(part, NORMS) or "BatchNorm" in type(part).__name__ for part in layer.modules())


def check_neuron(link: Link, target: Target, outside: bool) -> None:
    """Refuse a neuron that the target does not have; ``outside``: it reads the network."""
    neuron = inner(link.layer)
    kind, reset = type(neuron).__name__, getattr(neuron, "reset", None)
    if target.neurons is not None and not {kind, NAMES.get(kind)} & set(target.neurons):
        names = {name: NAMES.get(name, name) for name in target.neurons}
        ways = " or ".join(f"method.neuron={n}" if n in NEURONS else f"neurons of class {n}" for n in names.values())
        raise refusal(target, f"{link.name} is {kind}", f"{OTHER} and {ways}")
    if target.state_high is not None and not neuron.by_step and not (outside and not target.whole_numbers):
        raise refusal(
            target,
            f"{link.name} ({kind}) has states that cannot be rounded, not being worked out step by step",
            OTHER
            if target.whole_numbers
            else "hardware.state_low=null hardware.state_high=null limits the weights alone",
        )
    if target.state_high is not None and getattr(neuron, "sends", "spikes") != "spikes":
        raise refusal(
            target,
            f"{link.name} ({kind}) sends values, not spikes",
            OTHER
            if target.whole_numbers
            else "hardware.state_low=null hardware.state_high=null limits the weights alone",
        )
    if reset is not None and target.resets is not None and reset not in target.resets:
        raise refusal(target, f"{link.name} has reset={reset}", f"use method.reset={' or '.join(target.resets)}")
    if target.refractory is not None and int(getattr(neuron, "refractory", 0) or 0) > target.refractory:
        raise refusal(target, f"{link.name} is silent for {neuron.refractory} steps", f"{target.refractory} are most")
    if target.whole_numbers and getattr(neuron, "leak", "first") != "first":
        raise refusal(target, f"{link.name} has leak={neuron.leak}", "use method.leak=first")
    if target.whole_numbers and getattr(neuron, "v_reset", None):
        raise refusal(target, f"{link.name} is reset to {neuron.v_reset:g}", "chips reset to 0")
    if target.decay != "any" and not plain_decays(neuron):
        what = f"{link.name} ({kind}) forgets by constants of its own, not those of hardware.decay={target.decay}"
        raise refusal(target, what, "use method.neuron=lif")
    if target.decay == "none":
        for key in DECAYS:
            decay: Any = getattr(neuron, key, None)
            if decay not in (None, 1.0):
                raise refusal(target, f"{link.name} forgets: its {key} is {decay:g}", "use method.decay=1.0")


def plain_decays(neuron: Temporal) -> bool:
    """Whether DECAYS are all that the neuron forgets by."""
    return "decay" in neuron.times and not {*neuron.times} - SNAPPED


def refusal(target: Target, what: str, instead: str) -> InputError:
    """One line for what ``target`` has no form for."""
    return InputError(f"hardware={target.name}: {what}, and {target.name} has no form for that; {instead}")


# limits that are kept -------------------------------------------------------------------------------------------------
def settle(name: str, neuron: Any, target: Target) -> list[str]:
    """Take the nearest decays and threshold that there are, and put the states on their levels; say what changed."""
    notes = []
    for key in DECAYS if target.decay in ("4096ths", "shifts") else ():
        before = getattr(neuron, key, None)
        if isinstance(before, float | int):
            setattr(neuron, key, nearest_decay(float(before), target.decay))
            if getattr(neuron, key) != before:
                notes.append(f"{name}: {key} {before:g} -> {getattr(neuron, key):g}, the nearest that there is")
    if target.whole_numbers:
        before, neuron.threshold = neuron.threshold, stepped(dyadic(neuron.threshold), target)
        if neuron.threshold != before:
            notes.append(f"{name}: threshold {before:g} -> {neuron.threshold:g}, a whole number of units")
        settle_current(neuron, target)
    if target.state_low is not None and not neuron.by_step:
        return [
            *notes,
            f"{name}: its states are not rounded: it reads the network, and is worked out for all steps at once",
        ]
    if target.state_low is not None and target.state_high is not None:
        unit = unit_of(neuron, target)
        made = whole.Levels(unit, target.state_low, target.state_high, target.decay, target.whole_numbers)
        whole.keep_on_levels(neuron, made)
    return notes


def settle_currents(network: Network, target: Target) -> None:
    """Put the neurons' own currents on levels again, after weights were loaded."""
    for neuron in neurons(network).values() if target.whole_numbers else ():
        settle_current(neuron, target)


def settle_current(neuron: Any, target: Target) -> None:
    """The current that a neuron's own spike brings, such as an AHP's, in whole units."""
    if hasattr(neuron, "w_a"):
        unit = unit_of(neuron, target)
        neuron.w_a.copy_((neuron.w_a / unit).floor() * unit)


def unit_of(neuron: Any, target: Target) -> float:
    """What one level of a neuron's state is worth: a power of two, in the unit of the membrane."""
    threshold = getattr(neuron, "threshold", None)
    threshold = 1.0 if threshold is None else float(torch.as_tensor(threshold).detach().abs().max()) or 1.0
    if target.whole_numbers:
        return whole.power_of_two(threshold / target.threshold_levels)
    return whole.power_of_two(threshold * target.state_span / (target.state_high or 1))


def nearest_decay(decay: float, kind: str) -> float:
    """The nearest factor per step of n / 4096, or of 1 - 2^-k, k = 0 .. 15."""
    if kind == "4096ths":
        return round(4096 * decay) / 4096
    return min((1 - 2.0**-k for k in range(16)), key=lambda there: abs(there - decay))


def dyadic(threshold: float) -> float:
    """The nearest number that is at most QUANTUM times a power of two."""
    part = whole.power_of_two(threshold) / QUANTUM
    return round(threshold / part) * part


def stepped(threshold: float, target: Target) -> float:
    """The nearest threshold that is a multiple of ``threshold_step`` units, at most ``threshold_levels`` of them."""
    step = target.threshold_step
    part = step * whole.power_of_two(threshold / target.threshold_levels)
    return part * min(max(round(threshold / part), 1), target.threshold_levels // step)


def held(network: Network, device: Device) -> None:
    """Let the weights be held by devices, drawn from the run's seed, layer after layer."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for _, weight, _ in reached(network):
        keep_in_devices(weight, device, generator)


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
