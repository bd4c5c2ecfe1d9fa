"""What breaks in a network: bits by hand, shares by count, and that everything is whole again afterwards."""

import pytest
import torch
from torch import nn

from snnlab.hardware import faults
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.lif import LIF
from snnlab.weights.find import weight_of
from snnlab.weights.levels import Levels, OnLevels, keep_on_levels

INT8, LOIHI = Levels(-128, 127), Levels(-256, 254, 2)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def small():
    torch.manual_seed(0)
    layers = [("a_weight", nn.Linear(6, 8)), ("a", LIF(0.9, 0.3)), ("b_weight", nn.Linear(8, 4))]
    return Network([*layers, ("b", Recurrent(LIF(0.9, 0.3), nn.Linear(4, 4)))])


def limited(values, levels):
    layer = nn.Linear(values.shape[1], values.shape[0])
    layer.weight.data.copy_(values)
    keep_on_levels(weight_of(layer), levels)
    return weight_of(layer), levels


def test_a_flipped_bit_of_a_float_and_none_at_zero():
    values = torch.tensor([1.0, -0.5, 3.0, 0.0])
    assert torch.equal(faults.flipped_floats(values, 0.0, drawn()), values)
    every = faults.flipped_floats(values, 1.0, drawn()).view(torch.int32)
    assert torch.equal(every, ~values.view(torch.int32))
    one = torch.tensor([1.0]).view(torch.int32) ^ (1 << 30)  # the highest bit of the exponent
    assert one.view(torch.float32).item() == float("inf")
    many = torch.zeros(100_000)
    share = (faults.flipped_floats(many, 0.01, drawn()).view(torch.int32) != 0).double().mean().item()
    assert share == pytest.approx(1 - 0.99**32, rel=0.02)


@pytest.mark.parametrize(
    ("levels", "most"),
    [
        (OnLevels(INT8), 256),
        (OnLevels(Levels(-8, 7)), 16),
        (OnLevels(Levels(-1, 1)), 4),  # two bits hold -2, too
        (OnLevels(Levels(-1, 1, zero=False)), 2),
        (OnLevels(Levels(-255, 255), LOIHI, power_of_two=True), 256),
    ],
)
def test_levels_that_bits_turn_over_are_numbers_of_the_same_bits(levels, most):
    torch.manual_seed(0)
    weight, form = limited(torch.randn(64, 64), levels)
    assert torch.equal(faults.flipped(weight, 0.0, drawn()), weight.used)
    _, unit = form.of(weight.stored)
    found = (faults.flipped(weight, 0.5, drawn()) / unit).unique()
    assert len(found) == most and torch.equal(found, found.round())
    assert found.min() >= -most / 2 * form.mixed.step


def test_a_layer_of_one_sign_has_its_size_flipped():
    weight, form = limited(-torch.rand(64, 64), OnLevels(Levels(-255, 255), LOIHI, power_of_two=True))
    found = (faults.flipped(weight, 0.5, drawn()) / form.of(weight.stored)[1]).unique()
    assert found.min() == -255 and found.max() == 0 and len(found) == 256


def test_drift_is_a_power_of_the_time_and_read_noise_a_share_of_the_largest_weight():
    weight = weight_of(nn.Linear(300, 300))
    used = weight.used.detach()
    assert torch.equal(faults.drifted(weight, 1.0, 0.05, 0.5, drawn()), used)
    ratio = faults.drifted(weight, 1e4, 0.05, 0.0, drawn()) / used
    assert torch.allclose(ratio, torch.full_like(ratio, 1e4**-0.05), rtol=1e-5)
    noise = faults.read_with_noise(weight, 0.1, drawn()) - used
    assert noise.std().item() == pytest.approx(0.1 * used.abs().max().item(), rel=0.02)


def test_stuck_neurons_give_their_value_in_every_form_and_are_whole_again_afterwards():
    network, frames = small(), torch.rand(9, 5, 6)
    whole = network(frames)
    for value in (0.0, 1.0):
        with faults.stuck(network, value, 1.0, drawn()), network.observe() as seen:
            outputs, record = network(frames), network.unroll(frames)[1]
            assert (outputs == value).all() and (record["b"][0] == value).all()
            assert (seen["a"] == value).all()
        with faults.stuck(network, value, 0.5, drawn()), network.observe() as seen:
            network(frames)
            fixed = (seen["a"] == value).all(0).all(0)
            assert fixed.any() and torch.equal(network(frames), network(frames))  # the same ones
    assert torch.equal(network(frames), whole) and type(network.layers["a"]) is LIF


def test_a_neuron_that_is_stuck_sends_its_value_back_to_its_layer():
    network, frames = small(), torch.zeros(3, 1, 6)
    for linear in (network.layers["b_weight"], network.layers["a_weight"]):
        nn.init.zeros_(linear.bias)
    inner = network.layers["b"].weight
    nn.init.zeros_(inner.bias)
    nn.init.ones_(inner.weight)
    inner.weight.data.fill_diagonal_(0)
    assert not network(frames).any()
    with faults.stuck(network, 1.0, 0.3, drawn(3)):
        outputs = network(frames)
    silent = (outputs[0, 0] == 0).nonzero()[:, 0]
    assert 0 < len(silent) < 4 and (outputs[1, 0, silent] == 1).all()  # one step later the others fire by it


def test_lost_events_are_a_share_of_them_and_keep_their_sign():
    counts = torch.randint(0, 4, (10, 50, 100)).float()
    frames = counts * torch.where(torch.rand_like(counts) < 0.5, -1.0, 1.0)
    assert faults.thinned(frames, 0.0, drawn()) is frames
    left = faults.thinned(frames, 0.2, drawn())
    assert left.abs().sum().item() == pytest.approx(0.8 * counts.sum().item(), rel=0.01)
    assert (left * frames >= 0).all() and (left.abs() <= counts).all() and torch.equal(left, left.round())
    assert not faults.thinned(frames, 1.0, drawn()).any()
    times = torch.rand(3, 4, 5)
    assert torch.isinf(faults.without(times, 1.0, drawn())).all()


def test_weights_are_changed_inside_alone_even_when_something_fails():
    network = small()
    keep_on_levels(weight_of(network.layers["b_weight"]), OnLevels(INT8))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    used = network.layers["b_weight"].weight.detach().clone()

    def fail_inside():
        with faults.changed(network, lambda weight: weight.used.detach() * 0):
            assert not network.layers["a_weight"].weight.any() and not network.layers["b_weight"].weight.any()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert torch.equal(network.layers["b_weight"].weight, used)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
