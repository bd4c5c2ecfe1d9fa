"""The fit report: for every limit of every target a network that fits exactly, and one that is too big by one."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.hardware.constrain import constrain
from snnlab.hardware.fit import fit, must_fit
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.ahp import AHP
from snnlab.neurons.integer_ahp import IntegerAHP
from snnlab.neurons.lif import LIF
from snnlab.weights.find import weight_of
from snnlab.weights.masked import keep_mask


def target(name, **changed):
    made = instantiate_part("hardware", OmegaConf.load(conf_dir() / "hardware" / f"{name}.yaml"))
    return dataclasses.replace(made, **changed)


def lif():
    return LIF(1.0, reset="hard")


def dense(*sizes, recurrent=False):
    layers = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        neuron = Recurrent(lif(), nn.Linear(b, b, bias=False)) if recurrent and i == 0 else lif()
        layers += [(f"weight{i}", nn.Linear(a, b, bias=False)), (f"neurons{i}", neuron)]
    return Network(layers), (sizes[0],)


def conv(channels=2, outputs=2, side=8, kernel=3, stride=1, padding=0, pool=None):
    layers = [("weight", nn.Conv2d(channels, outputs, kernel, stride, padding)), ("neurons", lif())]
    if pool:
        layers += [("pool", nn.AvgPool2d(pool)), ("flatten", nn.Flatten())]
        left = ((side + 2 * padding - kernel) // stride + 1) // pool
        layers += [("after", nn.Linear(outputs * left**2, 3)), ("last", lif())]
    return Network(layers), (channels, side, side)


def report(name, made, classes=3, **changed):
    network, shape = made
    return fit(network, target(name, **changed), shape, classes)


# target, what fits exactly, what is too big by one, the words of the need
CASES = [
    ("xylo", dense(16, 40, 8), dense(17, 40, 8), "inputs"),
    ("xylo", dense(4, 1000, 8), dense(4, 1001, 8), "hidden neurons"),
    ("xylo", dense(4, 20, 8), dense(4, 20, 9), "outputs"),
    ("xylo", dense(4, 64, 8), dense(4, 65, 8), "synapses of an input"),
    ("truenorth", dense(256, 4), dense(257, 4), "synapses of a neuron"),
    ("truenorth", dense(256, 4), dense(257, 4), "axons into a core"),
    ("truenorth", dense(9, 8, 256), dense(9, 8, 257), "cores that its neurons reach"),
    ("truenorth", dense(4, 4096 * 256), dense(4, 4096 * 256 + 1), "cores"),
    ("loihi2", dense(4096, 4), dense(4097, 4), "axons into a core"),
    ("loihi2", dense(4086, 10, recurrent=True), dense(4087, 10, recurrent=True), "axons into a core"),
    ("loihi2", dense(2, 128 * 1024), dense(2, 128 * 1024 + 1), "cores"),
    ("spinnaker2", dense(1, 152_000), dense(1, 152_001), "neurons"),
    ("spinnaker2", dense(1000, 152), dense(1000, 152_001), "synapses"),
    ("brainscales2", dense(4, 512), dense(4, 513), "neurons"),
    ("brainscales2", dense(128, 512), dense(129, 512), "synapses"),
    ("speck2f", conv(side=128, stride=4, kernel=4), conv(side=129, stride=4, kernel=4), "pixels of an input's side"),
    ("speck2f", conv(side=66, outputs=1), conv(side=67, outputs=1), "pixels of an output's side"),
    ("speck2f", conv(side=4, outputs=1024, channels=1), conv(side=4, outputs=1025, channels=1), "channels"),
    ("speck2f", conv(side=20, kernel=16), conv(side=20, kernel=17), "pixels of a kernel's side"),
    ("speck2f", conv(stride=2), conv(stride=3), "stride"),
    ("speck2f", conv(padding=7, kernel=8), conv(padding=8, kernel=8), "padding"),
    ("speck2f", conv(pool=2), conv(side=10, pool=8), "pool in front"),
    ("speck2f", conv(side=66, outputs=16), conv(side=66, outputs=17), "words of states"),
    ("speck2f", conv(channels=256, outputs=256, side=3, kernel=1), conv(256, 257, 3, 1), "words of weights"),
    ("speck2f", dense(*[4] * 10), dense(*[4] * 11), "layers"),
]


@pytest.mark.parametrize(("name", "inside", "outside", "what"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_exactly_and_too_big_by_one(name, inside, outside, what):
    if not (conf_dir() / "hardware" / f"{name}.yaml").exists():
        pytest.skip(f"there is no hardware={name} here")
    fits = [need for need in report(name, inside).needs if need.what == what]
    passed = [need for need in report(name, outside).needs if need.what == what]
    assert fits and all(need.fits for need in fits)
    assert passed and not all(need.fits for need in passed)


@pytest.mark.parametrize(("name", "inside", "outside", "what"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_what_is_said_to_fit_does_and_one_more_does_not(name, inside, outside, what):
    """The net that is too big says a number; the one that fits exactly is the net of that number."""
    (said,) = {need.instead for need in report(name, outside).needs if need.what == what and not need.fits}
    need = max(need.need for need in report(name, inside).needs if need.what == what)
    limits = {str(need.limit) for need in report(name, inside).needs if need.what == what}
    if said.startswith("one of "):
        assert f"[{said.removeprefix('one of ')}]" in limits and str(int(need)) in said
        return
    number = int(said.split()[0].replace(",", ""))
    if what.startswith("words of"):
        assert said.endswith("outputs fit") and number == next(iter(inside[0].leaves().values())).weight.shape[0]
    elif what == "cores that its neurons reach":
        assert said.endswith("units in the next layer fit") and number == 256
    else:
        assert said.endswith(f"{what} fit")
        assert number == need or (name, what, number) == ("spinnaker2", "synapses", 152_000_000)  # of 608 MB


def test_what_fits_a_next_layer_on_one_core_follows_its_memory_too():
    limits = {"one_target_core": True, "synapse_bits": 640, "neurons_per_core": 100}  # 8 inputs of 8 bits: 10 neurons

    def reached(units, **more):
        needs = report("int8", dense(4, 8, units), **{**limits, **more}).needs
        return next(need for need in needs if need.what == "cores that its neurons reach")

    assert reached(11).instead == "10 units in the next layer fit" and reached(10).fits
    assert reached(9, neurons_per_core=5).instead == "5 units in the next layer fit"
    assert reached(5, neurons_per_core=5).fits and not reached(6, neurons_per_core=5).fits


def test_axons_out_of_a_core_say_what_next_layer_fits():
    limits = {"axons_out": 20, "neurons_per_core": 10}  # a core of 10 neurons reaches two cores, 20 units

    def axons(units):
        needs = report("int8", dense(4, 12, units), **limits).needs
        return next(n for n in needs if n.layer == "weight0" and n.what == "axons out of a core")

    assert axons(20).need == 12 and axons(20).fits  # 12 neurons on two cores: 6 each
    assert axons(31).need == 24 and axons(31).instead == "30 units in the next layer fit"
    assert axons(30).fits and not axons(31).fits


def test_a_spike_into_a_convolution_reaches_the_cores_of_its_kernel_alone():
    """Sides of 8, 4 maps: 256 neurons on 8 cores of 32. A kernel of 3 x 3 reaches 36 of them: two cores at least."""
    layers = []
    for i in range(2):
        layers += [(f"weight{i}", nn.Conv2d(4, 4, 3, padding=1, bias=False)), (f"neurons{i}", lif())]
    made = report("int8", (Network(layers), (4, 8, 8)), axons_out=64, neurons_per_core=32)
    assert made.cores == {"weight0": 8, "weight1": 8}
    assert [(n.need, n.fits) for n in made.needs if n.what == "axons out of a core"] == [(64, True), (32, True)]


def test_what_returns_takes_synapses_of_the_same_neurons():
    for name, what, inside, outside in (
        ("truenorth", "synapses of a neuron", dense(200, 56, recurrent=True), dense(200, 57, recurrent=True)),
        ("xylo", "synapses of an input", dense(4, 56, 8, recurrent=True), dense(4, 57, 8, recurrent=True)),
    ):
        fits, passed = (
            [need.fits for need in report(name, made).needs if need.what == what] for made in (inside, outside)
        )
        assert all(fits) and not all(passed)


def test_classes():
    assert not [n for n in report("speck2f", dense(4, 4), classes=14).needs if not n.fits]
    assert [n.what for n in report("speck2f", dense(4, 4), classes=15).needs if not n.fits] == ["classes"]


SIZES = (
    *("inputs", "outputs", "hidden", "layers", "fan_in", "fan_out", "neurons_in_all", "synapses", "cores"),
    *("axons_in", "axons_out", "synapse_bits", "input_side", "output_side", "channels", "kernel", "recurrent_synapses"),
    "threshold_high",
)


@pytest.mark.parametrize("key", SIZES)
def test_every_limit_decides_at_its_number(key):
    """A limit that is exactly what is needed fits, and one less does not."""
    made, far = (
        (conv(padding=1) if key in ("channels", "kernel") or "side" in key else dense(6, 5, 4, recurrent=True)),
        10**9,
    )
    needs = [need.need for need in report("loihi2", made, **{key: far}).needs if need.limit == far]
    assert needs
    exact, less = (report("loihi2", made, **{key: int(max(needs)) - i}) for i in (0, 1))
    assert exact.fits and not less.fits


def test_a_layer_finds_no_core_when_others_have_taken_those_that_suit():
    layers = []
    for i in range(4):  # three cores have 65,536 words of states
        layers += [(f"weight{i}", nn.Conv2d(16, 16, 3, padding=1, bias=False)), (f"neurons{i}", lif())]
    made = report("speck2f", (Network(layers[:6]), (16, 64, 64)))
    assert made.fits and made.cores == {"weight0": 1, "weight1": 1, "weight2": 1}
    made = report("speck2f", (Network(layers), (16, 64, 64)))
    assert [need.what for need in made.needs if not need.fits] == ["layers that find a core"]


def test_the_report_says_what_would_fit():
    made = report("speck2f", conv(side=66, outputs=17))
    line = next(line for line in made.lines() if "words of states" in line)
    assert "16 outputs fit" in line and "does NOT fit" in made.lines()[0]
    kept = made.as_dict()
    assert not kept["fits"] and [need["what"] for need in kept["needs"]] == [need.what for need in made.needs]
    with pytest.raises(InputError, match="16 outputs fit"):
        must_fit(made)


@pytest.mark.parametrize(
    ("inputs", "side", "kernel"), [(32, 16, 3), (32, 8, 5), (64, 16, 3), (8, 33, 5), (1, 64, 1), (1024, 1, 1)]
)
def test_as_many_outputs_fit_as_are_said_and_not_one_more(inputs, side, kernel):
    def made(outputs):  # too many weights for the cores with many states, and the other way round
        layer: nn.Module = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        if side == 1:
            layer = nn.Linear(inputs, outputs, bias=False)
        shape = (inputs,) if side == 1 else (inputs, side, side)
        return fit(Network([("weight0", layer), ("neurons0", lif())]), target("speck2f"), shape, 4)

    def fits(outputs):
        return all(need.fits for need in made(outputs).needs if need.what.startswith("words of"))

    said = {need.instead for need in made(500).needs if need.what.startswith("words of") and not need.fits}
    (words,) = said  # one number, whichever memory is short
    number = int(words.split()[0].replace(",", ""))
    assert words.endswith("outputs fit") and fits(number) and not fits(number + 1)


def test_what_has_no_source_is_marked():
    lines = report("loihi2", dense(4, 5, 3)).lines()
    assert any("(assumed)" in line for line in lines) and not any("cores" in x and "(assumed)" in x for x in lines[1:])


def test_numbers_without_a_source_are_told_where_no_need_shows_them():
    made = report("spinnaker2", dense(4, 5, 3))
    assert made.as_dict()["assumed"] == made.assumed
    assert made.lines()[-1] == "  assumed, without a source: " + ", ".join(made.assumed)
    numbers = ["weight_low=-128", "weight_high=127", "state_low=-8388608", "state_high=8388607"]
    assert made.assumed == [*numbers, "neurons_per_core=1000"]
    assert report("int8", dense(4, 5, 3)).assumed == []


def test_a_mask_counts_what_exists():
    network, shape = dense(300, 4)
    weight = weight_of(network.layers["weight0"])
    mask = weight.used.new_zeros(4, 300)
    mask[:, :256] = 1
    keep_mask(weight, mask)
    (need,) = [n for n in fit(network, target("truenorth"), shape, 4).needs if n.what == "synapses of a neuron"]
    assert need.need == 256 and need.fits


def test_fan_in_is_kept_by_pruning():
    network, shape = dense(300, 4)
    notes = constrain(network, target("truenorth"), spiking_input=True)
    assert "256 largest are kept" in notes[-1]
    (need,) = [n for n in fit(network, target("truenorth"), shape, 4).needs if n.what == "synapses of a neuron"]
    assert need.fits and int((network.layers["weight0"].weight != 0).sum(1).max()) <= 256


def test_an_integer_network_and_the_constrained_one_are_the_same_spikes():
    torch.manual_seed(0)
    below, back = nn.Linear(12, 8, bias=False), nn.Linear(8, 8, bias=False)
    network = Network([("weight", below), ("neurons", Recurrent(AHP(8, decay=0.95, reset="hard"), back))])
    constrain(network, target("loihi2"), spiking_input=True)
    neuron = network.layers["neurons"].neuron
    unit, frames = neuron.levels.unit, (torch.rand(300, 5, 12) < 0.2).float()
    d_v, d_a = (4096 - round(4096 * d) for d in (neuron.decay, neuron.decay_a))
    whole = IntegerAHP((neuron.w_a / unit).round(), d_v, d_a, round(neuron.threshold / unit), "hard", True, 24, finer=1)
    integer = Network(
        [("weight", nn.Linear(12, 8, bias=False)), ("neurons", Recurrent(whole, nn.Linear(8, 8, bias=False)))]
    )
    integer.double()
    with torch.no_grad():
        integer.layers["weight"].weight.copy_((below.weight.double() / unit).round())
        integer.layers["neurons"].weight.weight.copy_((back.weight.double() / unit).round())
        assert torch.equal(integer.layers["weight"].weight * unit, below.weight.double())
        spikes = network(frames)
        assert torch.equal(spikes, integer(frames.double()).float()) and 0.01 < spikes.mean() < 0.5
