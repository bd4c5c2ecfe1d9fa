"""Network: step, forward and unroll are one computation; dropout is held; recurrence lags by one step."""

import pytest
import torch
from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.network import Network, output_shape
from snnlab.layers.recurrent import Recurrent
from snnlab.models.lenet import LeNet
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv
from snnlab.neurons.lif import LIF

BLOCKS = Blocks(lambda: LIF(0.8, 0.3), lambda: LIF(0.8, 0.3))
MODELS = [MLP([12, 7]), MLP([]), RecurrentMLP([9]), SmallConv([4, 5], hidden=6), LeNet([3, 4], hidden=8)]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 28, 28)])
def test_step_forward_and_unroll_agree(model, shape):
    torch.manual_seed(0)
    network = model(BLOCKS, shape, 10)
    frames = torch.rand(6, 3, *shape)
    states, outputs = None, []
    for frame in frames:
        output, states = network.step(frame, states)
        outputs.append(output)
    unrolled, record = network.unroll(frames)
    assert torch.equal(torch.stack(outputs), unrolled)
    assert torch.allclose(network(frames), unrolled, atol=1e-6)
    assert set(record) >= set(network.neurons())
    assert output_shape(network, shape) == (10,)


def test_observe_sees_every_spiking_layer_and_nothing_stays_behind():
    network = MLP([5])(BLOCKS, (4,), 3)
    with network.observe() as seen:
        network(torch.rand(7, 2, 4))
    assert {name: tuple(s.shape) for name, s in seen.items()} == {"hidden1": (7, 2, 5), "readout": (7, 2, 3)}
    seen.clear()
    network(torch.rand(7, 2, 4))
    assert seen == {}


def test_dropout_holds_one_mask_over_time_and_scales():
    torch.manual_seed(0)
    layer = HeldDropout(0.25)
    outputs = layer(torch.ones(9, 40, 500))
    assert all(torch.equal(outputs[0], outputs[t]) for t in range(9))
    assert outputs.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert outputs.mean().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(outputs[0], layer(torch.ones(9, 40, 500))[0])  # a new batch draws a new mask
    assert torch.equal(layer.eval()(torch.ones(2, 3, 4)), torch.ones(2, 3, 4))
    ones = torch.ones(2, 3, 4)
    assert HeldDropout(0.0)(ones) is ones


def test_dropout_step_uses_the_mask_of_its_state():
    layer = HeldDropout(0.5)
    state = layer.initial_state(torch.ones(3, 8))
    first, state = layer.step(torch.ones(3, 8), state)
    second, _ = layer.step(torch.ones(3, 8), state)
    assert torch.equal(first, second)


def test_recurrence_arrives_one_step_later():
    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, 0.5)
    layer = Recurrent(LIF(decay=0.0, threshold=0.4), weight)
    currents = torch.zeros(4, 1, 1)
    currents[0] = 1.0
    assert layer(currents).flatten().tolist() == [1, 1, 1, 1]  # each spike causes the next one
    nn.init.constant_(weight.weight, 0.3)
    assert layer(currents).flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MLP([3, 0]), "MLP: hidden = [3, 0] needs at least 1 unit"),
        (lambda: SmallConv([4], kernel=4), "SmallConv: kernel = 4 must be odd"),
        (lambda: SmallConv([4, 4, 4, 4])(BLOCKS, (1, 8, 8), 2), "is too small for 4 pooled stages"),
        (lambda: SmallConv([4])(BLOCKS, (20,), 2), "has no picture to convolve; use model=mlp"),
        (lambda: HeldDropout(1.0), "HeldDropout: p = 1.0 must lie in [0, 1)"),
        (lambda: Network([("a", nn.Identity()), ("a", nn.Identity())]), "a layer name is used twice"),
    ],
)
def test_what_cannot_be_built_is_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)
