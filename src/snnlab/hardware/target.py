"""What a chip or a number format allows: one file of values each in conf/hardware, and the class that they are for.

A limit that is null is none. Levels are whole numbers: a weight is (whole number) x (unit), and the unit is the
network's own unless ``whole_numbers`` ties it to the thresholds, as on a chip whose membrane counts in it.
``assumptions`` names the limits that have no source; every report marks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from snnlab.errors import InputError, nearest
from snnlab.neurons.choice import NEURONS
from snnlab.weights.devices import device

Decay = Literal["any", "4096ths", "shifts", "none"]
Unit = Literal["layer", "output"]


@dataclass(frozen=True)
class Target:
    """The limits of a chip.

    Args:
        name: of the chip.
        source: where the limits were read.
        assumptions: names of the limits below that have no source.
        start: a run folder whose weights are put under the limits as they are, without training; null trains.
        must_fit: whether a network that does not fit is refused.

        weight_low, weight_high: levels of a weight.
        weight_step: distance of two levels.
        weight_zero: whether 0 is a level.
        mixed_low, mixed_high, mixed_step: the same for a layer that holds both signs; null is as above.
        weight_unit: one unit for a layer, or one for each of its outputs.
        weight_types: different values, beside 0, that one neuron's weights have; input i has type i modulo this.
        whole_numbers: weights, thresholds and membranes count in one unit, a power of two.
        threshold_levels: how many units a threshold is worth at most, and more than half of it, in whole numbers.
        weight_shift: least and most powers of two of units that a level of a weight is worth, in whole numbers.
        graded_inputs: whether the network's input may be numbers, not spikes, in whole numbers.
        biases: whether there are any.
        state_low, state_high: levels of a neuron's state; beyond them it saturates.
        state_span: thresholds that state_high stands for, where the unit is the network's own.
        threshold_high, threshold_step: largest threshold, and of what it is a multiple.
        device: what a weight is held by where it is a conductance, a name of weights/devices.py; null is a number.
        device_options: numbers of that device, in place of its own.
        sampling: whether the chip here runs samplers alone, which have a Hamiltonian in place of data.
        decay: which factors per step there are: any, 4096ths, 1 - 2^-k (shifts), or 1 alone (none).
        neurons: classes of neurons, or their names in method.neuron; null is every one.
        resets: of neurons: soft, hard, none; null is every one.
        refractory: most silent steps after a spike.
        norms: whether normalisation is worked out while the network runs.
        time_step: of the chip's tick, in seconds, where it has one: what a step takes of data that has no time.

        inputs, outputs: units of the network's input, and of its last layer.
        hidden: neurons of all other layers.
        classes: of the readout.
        layers: layers of weights.
        recurrent: whether spikes may return to their own layer.
        recurrent_synapses: of one layer.
        fan_in, fan_out: synapses of one neuron, and that one input reaches.
        neurons_in_all, synapses: of the whole chip.
        synapses_per_weight: rows that a signed weight takes.
        cores: of the chip; a layer takes one, or as many as the limits of one core ask for.
        neurons_per_core, axons_in, axons_out, synapse_bits: of one core; synapse_bits are of its weight memory.
        one_target_core: whether a neuron's spikes reach one core only.
        kernel_words, neuron_words: of each core, where a layer is a core.
        input_side, output_side: pixels of a map.
        channels, kernel: of a convolution.
        strides, paddings, pools: that there are.
        convolutions: whether there are any.

        mac_joule, ac_joule: energy of one multiplication with addition, and of one addition.

    Raises:
        InputError: when limits contradict each other.
    """

    name: str
    source: str
    assumptions: list[str] = field(default_factory=list)
    start: str | None = None
    must_fit: bool = False
    # numbers
    weight_low: int | None = None
    weight_high: int | None = None
    weight_step: int = 1
    weight_zero: bool = True
    mixed_low: int | None = None
    mixed_high: int | None = None
    mixed_step: int | None = None
    weight_unit: Unit = "layer"
    weight_types: int | None = None
    whole_numbers: bool = False
    threshold_levels: int = 128
    weight_shift: list[int] = field(default_factory=lambda: [0, 0])
    graded_inputs: bool = False
    biases: bool = True
    state_low: int | None = None
    state_high: int | None = None
    state_span: float = 8.0
    threshold_high: int | None = None
    threshold_step: int = 1
    decay: Decay = "any"
    device: str | None = None
    device_options: dict[str, Any] = field(default_factory=dict)
    # neurons
    neurons: list[str] | None = None
    resets: list[str] | None = None
    refractory: int | None = None
    norms: bool = True
    time_step: float | None = None
    sampling: bool = False
    # sizes
    inputs: int | None = None
    outputs: int | None = None
    hidden: int | None = None
    classes: int | None = None
    layers: int | None = None
    recurrent: bool = True
    recurrent_synapses: int | None = None
    fan_in: int | None = None
    fan_out: int | None = None
    neurons_in_all: int | None = None
    synapses: int | None = None
    synapses_per_weight: int = 1
    cores: int | None = None
    neurons_per_core: int | None = None
    axons_in: int | None = None
    axons_out: int | None = None
    synapse_bits: int | None = None
    one_target_core: bool = False
    kernel_words: list[int] | None = None
    neuron_words: list[int] | None = None
    input_side: int | None = None
    output_side: int | None = None
    channels: int | None = None
    kernel: int | None = None
    strides: list[int] | None = None
    paddings: list[int] | None = None
    pools: list[int] | None = None
    convolutions: bool = True
    # energy
    mac_joule: float = 4.6e-12
    ac_joule: float = 0.9e-12

    def __post_init__(self) -> None:
        limits = [each.name for each in fields(self) if each.name not in NO_LIMITS]
        if not self.name.strip():
            raise InputError("hardware.name is empty; give the chip a name")
        for key in self.assumptions:
            if key not in limits:
                raise InputError(f"hardware.assumptions has {key}, which is no limit")
        if all(getattr(self, key) == default_of(key) for key in limits):
            raise InputError(f"hardware={self.name} limits nothing; give it a limit, or use hardware=none")
        self._check_numbers()
        for low, high in (("weight_low", "weight_high"), ("mixed_low", "mixed_high"), ("state_low", "state_high")):
            least, most = getattr(self, low), getattr(self, high)
            both = f"{self._given(low)} and {self._given(high)}"
            if (least is None) != (most is None):
                raise InputError(f"{both} are given together, or not at all")
            if least is not None and not (least <= 0 < most and most - least <= 2**25):
                raise InputError(f"{both} must hold 0, and at most 2^25 levels")
        for step, ends in (("weight_step", ("weight_low", "weight_high")), ("mixed_step", ("mixed_low", "mixed_high"))):
            for end in ends:
                if (size := getattr(self, step)) and (getattr(self, end) or 0) % size:
                    raise InputError(f"{self._given(end)} must be a multiple of {self._given(step)}")
        if self.mixed_step is not None and self.mixed_high is None:
            raise InputError(f"{self._given('mixed_step')} needs hardware.mixed_low and hardware.mixed_high")
        if not self.weight_zero and self.fan_in is not None:
            raise InputError(f"{self._given('fan_in')} leaves weights of 0, which hardware.weight_zero = false has not")
        if not self.weight_zero and (self.weight_low, self.weight_high) != (-1, 1):
            raise InputError(
                "hardware.weight_zero = false needs the levels -1 and 1; set hardware.weight_low=-1 "
                "hardware.weight_high=1"
            )
        self._check_what_says_nothing()
        if self.whole_numbers and (self.weight_high is None or self.weight_unit != "layer"):
            raise InputError(
                "hardware.whole_numbers needs hardware.weight_low and weight_high, and weight_unit = layer"
            )
        if self.whole_numbers and self.state_high is None:
            raise InputError(
                "hardware.whole_numbers needs hardware.state_low and state_high, such as -8388608 and 8388607"
            )
        if self.whole_numbers and self.threshold_levels > (self.state_high or 0):
            raise InputError(f"{self._given('threshold_levels')} must be at most {self._given('state_high')}")
        if self.threshold_step > self.threshold_levels:
            raise InputError(f"{self._given('threshold_step')} must be at most {self._given('threshold_levels')}")
        if len(self.weight_shift) != 2 or not self.weight_shift[0] <= self.weight_shift[1] <= MOST_SHIFT:
            raise InputError(
                f"{self._given('weight_shift')} must be two numbers, the least first, at most {MOST_SHIFT}: [0,13]"
            )
        if len(self.kernel_words or []) != len(self.neuron_words or []):
            raise InputError("hardware.kernel_words and hardware.neuron_words come together, one of each for a core")
        if self.time_step is not None and not self.time_step > 0:
            raise InputError(f"{self._given('time_step')} must be positive; 0.001 is a millisecond")
        if self.device is not None:
            if self.weight_high is not None:
                raise InputError(
                    f"{self._given('device')}: a device has no levels; set hardware.weight_low=null "
                    "hardware.weight_high=null"
                )
            try:
                device(self.device, self.device_options)
            except InputError as error:
                raise InputError(f"hardware.{error}") from error
        elif self.device_options:
            raise InputError("hardware.device_options are for a device; set hardware.device=gokmen_vlasov")
        for name in self.neurons or []:
            if name not in NEURONS and not name[:1].isupper():
                raise InputError(f"hardware.neurons has {name}: nearest: {nearest(name, NEURONS)}; or a class, as LIF")
        for reset in self.resets or []:
            if reset not in ("soft", "hard", "none"):
                raise InputError(f"hardware.resets has {reset}, and there are soft, hard and none")
        if self.whole_numbers and self.state_span != default_of("state_span"):
            raise InputError(
                f"{self._given('state_span')} is for a unit of the network's own, and in whole numbers "
                "hardware.threshold_levels says what a threshold is worth"
            )
        if not self.state_span > 0:
            raise InputError(f"{self._given('state_span')} must be positive; 8 thresholds are usual")
        for key in ("mac_joule", "ac_joule"):
            if not 0 < getattr(self, key) < 1:
                raise InputError(f"{self._given(key)} must be the energy of one operation, such as 4.6e-12")

    def _given(self, key: str) -> str:
        """A limit with its value, as on the command line."""
        return f"hardware.{key} = {word(getattr(self, key))}"

    def _check_numbers(self) -> None:
        """Raise InputError for a number below what there can be, or a list of nothing."""
        for each in fields(self):
            key, given = each.name, getattr(self, each.name)
            null = "; null is no limit" if "None" in str(each.type) else ""
            if given == [] and key not in ("assumptions", "weight_shift"):
                raise InputError(f"hardware.{key} = [] leaves nothing{null}")
            if key in SIGNED or not str(each.type).startswith(("int", "list[int")):
                continue
            least = 0 if key in ("paddings", "refractory", "weight_shift") else 1
            if any(number is not None and number < least for number in (given if isinstance(given, list) else [given])):
                raise InputError(f"{self._given(key)} must be at least {least}{null}")

    def _check_what_says_nothing(self) -> None:
        """Raise InputError for a limit that limits nothing without, or beside, another."""
        for needed, keys in NEEDS.items():
            alone = [key for key in keys if getattr(self, key) not in (default_of(key), None)]
            if alone and getattr(self, needed) in (None, False):
                as_is = " ".join(f"hardware.{key}={word(default_of(key))}" for key in alone)
                raise InputError(
                    f"hardware.{', '.join(alone)} limit{'s' * (len(alone) == 1)} nothing without hardware.{needed}; "
                    f"set it, or {as_is}"
                )
        if self.kernel_words is not None:
            for key in ("neurons_per_core", *OF_CORES):
                if getattr(self, key) not in (None, False):
                    raise InputError(
                        f"{self._given(key)} limits nothing beside hardware.kernel_words, where a layer is a core; set "
                        f"hardware.{key}={word(default_of(key))}"
                    )

    @property
    def weight_bits(self) -> int | None:
        """Bits of a weight's level; None where nothing limits it."""
        return weight_bits(vars(self))

    @property
    def state_bits(self) -> int | None:
        """Bits of a state; None where nothing limits it."""
        if self.state_low is None or self.state_high is None:
            return None
        return (self.state_high - self.state_low).bit_length()

    def marked(self, limit: str) -> bool:
        """Whether a limit has no source."""
        return limit in self.assumptions


def weight_bits(limits: Mapping[str, Any]) -> int | None:
    """Bits of a weight's level under the limits of a target, or of its config; None where nothing limits it."""
    low, high, step = (limits.get(f"weight_{name}") for name in ("low", "high", "step"))
    if limits.get("mixed_high") is not None:
        low, high, step = limits["mixed_low"], limits["mixed_high"], limits.get("mixed_step") or step
    if low is None or high is None:
        return None
    levels = (high - low) // (step or 1) + (1 if limits.get("weight_zero", True) else 0)
    return max((levels - 1).bit_length(), 1)


def default_of(limit: str) -> Any:
    """The value of a limit that is not given."""
    found = next(f for f in fields(Target) if f.name == limit)
    return found.default if found.default_factory is MISSING else found.default_factory()


def word(value: Any) -> str:
    """A value as on the command line."""
    return "null" if value is None else str(value).lower().replace(" ", "")


MOST_SHIFT = 31  # 2^31 times a weight is beyond any membrane here
NO_LIMITS = ("name", "source", "assumptions", "start", "must_fit")
OF_CORES = ("axons_in", "axons_out", "synapse_bits", "one_target_core")  # beside how many neurons one holds
NEEDS = {  # a limit, and those that say more of it and nothing without it
    "weight_high": ("weight_step", "weight_zero", "weight_unit", "weight_types", "mixed_low", "mixed_high"),
    "whole_numbers": (
        "weight_types",
        "threshold_levels",
        "threshold_high",
        "threshold_step",
        "weight_shift",
        "graded_inputs",
    ),
    "state_high": ("state_span",),
    "synapses": ("synapses_per_weight",),
}
SIGNED = ("weight_low", "weight_high", "mixed_low", "mixed_high", "state_low", "state_high")  # limits that may be < 0
