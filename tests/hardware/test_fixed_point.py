"""A network in the chip's numbers: limits, the released constants, the two arithmetics, and what it refuses."""

import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.hardware.fixed_point import NumberFormat, integer_network
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.ahp import AHP
from snnlab.neurons.integrator import Integrator


def make(scale=0.5, bias=False, **options):
    torch.manual_seed(0)
    below, back, out = nn.Linear(12, 8, bias=bias), nn.Linear(8, 8, bias=False), nn.Linear(8, 2, bias=False)
    for layer in (below, back):
        nn.init.uniform_(layer.weight, -scale, scale)
    neuron = Recurrent(AHP(8, **options), back)
    return Network([("weight1", below), ("hidden1", neuron), ("readout_weight", out), ("readout", Integrator(0.95))])


def released(weight_limit=255):
    """The released net's numbers: a largest weight of 255 / 127 thresholds gives the threshold mantissa 127."""
    network = make()
    with torch.no_grad():
        network.layers["weight1"].weight.clamp_(-0.5, 0.5)[0, 0] = 255 / 127
    return network, integer_network(network, NumberFormat(weight_limit=weight_limit))


def test_released_constants():
    _, whole = released()
    neuron = whole.layers["hidden1"].neuron
    assert neuron.threshold == 127 * 64 and neuron.w_a.tolist() == [0] * 4 + [96] * 4
    assert (neuron.decay_v, neuron.decay_a) == (204, 5)  # int(4096 / 20), int(4096 / 700)
    assert neuron.unit.tolist() == [1] * 4 + [4] * 4
    weight = whole.layers["weight1"].weight / 64
    assert weight[0, 0] == 255 and torch.equal(weight, weight.round())


def test_every_number_is_within_its_limit():
    for scale in (0.01, 0.2, 3.0):
        network = make(scale)
        whole = integer_network(network)
        neuron, back = whole.layers["hidden1"].neuron, whole.layers["hidden1"].weight
        for layer in (whole.layers["weight1"], back):
            integers = layer.weight / 64
            assert torch.equal(integers, integers.round()) and integers.abs().max() <= 255
        assert neuron.w_a.max() <= 254 and neuron.threshold % 64 == 0
        # one scale for all that meet in a membrane, whichever limit came first
        ratio = neuron.threshold / 64
        torch.testing.assert_close(
            back.weight / 64, ratio * network.layers["hidden1"].weight.weight.double(), atol=1.1, rtol=0.02
        )


def test_both_arithmetics_and_the_real_net_agree():
    network = make(0.5, decay=0.95)
    frames = (torch.rand(200, 6, 12) < 0.2).double()
    with network.observe() as real:
        network.double()(frames)
    spikes = []
    for arithmetic in ("integer", "float"):
        whole = integer_network(network, arithmetic=arithmetic)
        with whole.observe() as seen:
            outputs = whole(frames)
        spikes.append((seen["hidden1"], outputs))
    assert torch.equal(spikes[0][0], spikes[1][0]) and torch.equal(spikes[0][1], spikes[1][1])
    assert spikes[0][0].sum() > 100
    assert spikes[0][0].sum().item() == pytest.approx(real["hidden1"].sum().item(), rel=0.05)


def test_the_network_stays_as_it_is():
    network = make()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    integer_network(network)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == torch.float32


def test_refusals():
    with pytest.raises(InputError, match=r"weight1 has a bias.*use method\.bias=false"):
        integer_network(make(bias=True))
    with pytest.raises(InputError, match="hidden1 is never reset"):
        integer_network(make(reset="none"))
    with pytest.raises(InputError, match=r"its threshold rounds to 0; lower init\.gain"):
        integer_network(make(scale=1e4))
    slow = Network([("weight1", nn.Linear(4, 4, bias=False)), ("hidden1", AHP(4, tau_a=9000.0))])
    with pytest.raises(InputError, match=r"tau_a of hidden1 is so long .*; 4096 steps is the most"):
        integer_network(slow)
    norm = Network([("weight1", nn.Linear(4, 4, bias=False)), ("norm1", nn.BatchNorm1d(4)), ("hidden1", AHP(4))])
    with pytest.raises(InputError, match="norm1 is a BatchNorm1d"):
        integer_network(norm)
