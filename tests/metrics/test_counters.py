"""Counters against numbers counted by hand."""

import pytest
import torch
from torch import nn

from snnlab.layers.network import Network
from snnlab.metrics.firing_rate import FiringRate
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.neurons.lif import LIF


def test_five_spikes_into_fifty_units_are_250_operations():
    spikes = torch.zeros(4, 1, 20)
    spikes[0, 0, :3] = 1
    spikes[2, 0, 5:7] = 1
    counter = SynapticOperations()
    network = Network([("weight", nn.Linear(20, 50))])
    with counter.watch(network):
        network(spikes)
    assert counter.compute().item() == 250


def test_convolution_counts_borders_and_stride():
    network = Network([("conv", nn.Conv2d(1, 2, 3, stride=1, padding=1))])
    frames = torch.zeros(1, 1, 1, 4, 4)
    frames[0, 0, 0, 0, 0] = 1  # a corner reaches 4 positions in each of 2 channels
    frames[0, 0, 0, 1, 1] = 1  # the inside reaches 9
    counter = SynapticOperations()
    with counter.watch(network):
        network(frames)
    assert counter.compute().item() == 2 * (4 + 9)


def test_analog_input_does_not_count():
    counter = SynapticOperations()
    network = Network([("weight", nn.Linear(3, 5))])
    with counter.watch(network, spiking_input=False):
        network(torch.full((2, 1, 3), 0.5))
    assert counter.compute().item() == 0


def test_pooled_spikes_and_event_counts():
    network = Network([("pool", nn.AvgPool2d(2)), ("flatten", nn.Flatten()), ("weight", nn.Linear(1, 7))])
    frames = torch.zeros(1, 1, 1, 2, 2)
    frames[..., 0, 0] = 1
    counter = SynapticOperations()
    with counter.watch(network):
        network(frames)
    assert counter.compute().item() == 7  # one pooled spike, 0.25, reaches 7 synapses
    counter = SynapticOperations()
    network = Network([("weight", nn.Linear(2, 5))])
    with counter.watch(network):
        network(torch.tensor([[[2.0, 0.0]]]))
    assert counter.compute().item() == 10  # two events in one bin


def test_behind_a_spiking_layer_every_weight_counts_even_when_the_input_is_analog():
    network = Network([("first", nn.Linear(3, 4)), ("lif", LIF(0.0, 1e-9)), ("second", nn.Linear(4, 6))])
    nn.init.constant_(network.layers["first"].weight, 1.0)
    nn.init.zeros_(network.layers["first"].bias)
    counter = SynapticOperations()
    with counter.watch(network, spiking_input=False):
        network(torch.full((2, 1, 3), 0.5))
    assert counter.compute().item() == 2 * 4 * 6


def test_firing_rate_over_batches():
    rate = FiringRate()
    rate.update({"a": torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])}, samples=1)
    rate.update({"a": torch.zeros(2, 1, 2)}, samples=1)
    values = rate.compute()
    assert values["firing_rate/a"].item() == pytest.approx(0.25)
    assert values["spikes_per_inference"].item() == pytest.approx(1.0)
