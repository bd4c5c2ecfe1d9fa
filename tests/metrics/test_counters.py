"""Counters against numbers counted by hand."""

import pytest
import torch
from torch import nn

from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.trace import Traced
from snnlab.metrics.firing_rate import FiringRate
from snnlab.metrics.multiply_accumulates import multiply_accumulates
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.neurons.lif import LIF
from snnlab.weights.deep_rewiring import DeepRewiring
from snnlab.weights.find import weight_of
from snnlab.weights.local import Local2d
from snnlab.weights.masked import keep_mask
from snnlab.weights.standardised import parametrize_weight


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


def operations(network, frames, way="forward", grad=False):
    """Synaptic operations of one inference, counted while the network runs forward or step by step."""
    counter = SynapticOperations()
    with torch.set_grad_enabled(grad), counter.watch(network, batch=frames.shape[1]):
        if way == "forward":
            network(frames)
        else:
            states = None
            for frame in frames:
                _, states = network.step(frame, states)
    return counter.compute().item()


def by_perturbing(layer, frames):
    """The same for one layer: how many synapses each single spike reaches, unit by unit."""
    weight, total = weight_of(layer), 0.0
    taps = (weight.used != 0).to(frames.dtype)
    for sample in frames.flatten(0, 1):
        for place in sample.nonzero():
            one = torch.zeros_like(sample)
            one[tuple(place)] = 1
            total += sample[tuple(place)].abs().ceil().item() * weight.product(one[None], taps).sum().item()
    return total / frames.shape[1]


CONVOLUTIONS = [
    lambda: nn.Conv2d(2, 4, 3, padding="same", groups=2),
    lambda: nn.Conv2d(2, 4, (2, 3), padding="same", dilation=2),
    lambda: nn.Conv2d(2, 3, 3, padding=2, stride=2, dilation=2),
    lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    lambda: nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect", stride=2),
    lambda: nn.Conv2d(2, 4, 2, padding="same", padding_mode="replicate", groups=2),
    lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
    lambda: nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"),
    lambda: nn.ConvTranspose1d(2, 3, 2, stride=3, output_padding=2),
    lambda: nn.Conv3d(2, 2, 2, padding=1, groups=2),
    lambda: nn.ConvTranspose3d(2, 2, 2, stride=2, output_padding=1),
    lambda: Local2d(2, 3, (6, 6), 3, padding=1, stride=2),
]


@pytest.mark.parametrize("make", CONVOLUTIONS)
def test_every_convolution_counts_what_perturbing_each_unit_finds(make):
    torch.manual_seed(0)
    layer = make()
    sides = {3: (8,), 4: (6, 6), 5: (3, 4, 4), 6: (6, 6)}[layer.weight.dim()]
    frames = (torch.rand(2, 2, 2, *sides) < 0.3) * torch.randint(-2, 3, (2, 2, 2, *sides)).float()  # signed, graded
    assert operations(Network([("weight", layer)]), frames) == by_perturbing(layer, frames) > 0


def masked(inputs, outputs):
    layer = nn.Linear(inputs, outputs)
    keep_mask(weight_of(layer), (torch.rand(outputs, inputs) < 0.4).float())
    return layer


def rewired(inputs, outputs):
    layer = nn.Linear(inputs, outputs, bias=False)
    DeepRewiring(0.3).start(layer)
    return layer


def test_synapses_that_a_mask_or_rewiring_leaves_out_do_not_count():
    torch.manual_seed(0)
    frames = (torch.rand(3, 4, 10) < 0.4).float()
    for layer in (masked(10, 6), rewired(10, 6), parametrize_weight(nn.Linear(10, 6), 2.74, True)):
        network = Network([("weight", layer)])
        assert operations(network, frames) == by_perturbing(layer, frames) > 0
        synapses = (weight_of(layer).used != 0).sum().item()
        assert multiply_accumulates(network, frames[0]) == {"weight": synapses}
    conv = nn.Conv2d(1, 2, 3, padding=1)
    mask = torch.ones(2, 1, 3, 3)
    mask[0] = 0
    keep_mask(weight_of(conv), mask)
    frames = torch.zeros(1, 1, 1, 4, 4)
    frames[..., 1, 1] = 1
    assert operations(Network([("weight", conv)]), frames) == 9  # of one output channel only


def test_a_synapse_of_weight_0_counts_and_connections_that_moved_are_counted_anew():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    assert operations(Network([("weight", layer)]), torch.ones(1, 1, 3)) == 6
    layer, counter = masked(3, 2), SynapticOperations()
    network, part = Network([("weight", layer)]), layer.parametrizations.weight[0]
    for mask, wanted in (([[1, 1, 1], [1, 0, 0]], 4), ([[1, 0, 0], [0, 0, 0]], 1)):
        part.mask.copy_(torch.tensor(mask))
        counter.reset()
        with counter.watch(network):
            network(torch.ones(1, 1, 3))
        assert counter.compute().item() == wanted


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("way", ["forward", "step"])
@pytest.mark.parametrize("trace", [False, True])
def test_returning_and_traced_weights_count_on_every_way(trace, way, grad):
    """Spikes of step t - 1 go back through 4 x 4 weights, those of the last step nowhere; the input through 5 x 4."""
    torch.manual_seed(0)
    below, back = nn.Linear(5, 4), nn.Linear(4, 4)
    if trace:
        below, back = Traced(below, 0.5), Traced(back, 0.5)
    network = Network([("weight", below), ("lif", Recurrent(LIF(0.9, 0.2), back))])
    frames = (torch.rand(6, 3, 5) < 0.5).float()
    with network.observe() as seen, torch.no_grad():
        network(frames)
    wanted = (frames.sum() * 4 + seen["lif"][:-1].sum() * 4) / 3
    assert seen["lif"].sum() > 5
    assert operations(network, frames, way, grad) == pytest.approx(wanted.item())
