"""ResNet9 and ResNet11: layers and parameters counted by hand, the sum at the second neuron, shapes, errors."""

import pytest
import torch
from torch import nn

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.layers.blocks import Blocks
from snnlab.models.resnet import ResNet
from snnlab.neurons.lif import LIF

BLOCKS = Blocks(lambda: LIF(0.5, 0.3), lambda: LIF(0.5, 0.3))


def conv(inputs, outputs, kernel=3):
    return inputs * outputs * kernel**2 + outputs


def block(inputs, outputs):
    shortcut = conv(inputs, outputs, 1) if inputs != outputs else 0
    return conv(inputs, outputs) + conv(outputs, outputs) + shortcut


def net(choice):
    options = ["method=stbp", "data=cifar10", f"model={choice}", "encoder=direct", "encoder.time_steps=2"]
    return build(compose(options).config).method.network


def test_resnet11_has_eleven_weights_and_its_parameters(empty_data):
    network = net("resnet11")
    blocks = block(64, 128) + block(128, 256) + block(256, 512) + block(512, 512)
    ends = (512 * 4 * 4 * 1024 + 1024) + (1024 * 10 + 10)  # 32 -> pool 16 -> 16, 8, 8, 4
    assert sum(p.numel() for p in network.parameters()) == conv(3, 64) + blocks + ends == 17_940_874
    weights = [n for n, m in network.leaves().items() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len([n for n in weights if "shortcut" not in n]) == 11
    assert [n for n in weights if "shortcut" in n] == [f"block{i}_weight_shortcut" for i in (1, 2, 3)]
    assert "block4_pool_shortcut" in network.leaves()  # 512 -> 512 with a stride: nothing to learn
    assert len(network.neurons()) == 1 + 2 * 4 + 1 + 1


def test_resnet9_has_nine_weights_and_its_parameters(empty_data):
    network = net("resnet9")
    blocks = block(64, 128) + block(128, 256) + block(256, 512)
    ends = (512 * 4 * 4 * 1024 + 1024) + (1024 * 10 + 10)
    assert sum(p.numel() for p in network.parameters()) == conv(3, 64) + blocks + ends == 13_221_258
    weights = [n for n, m in network.leaves().items() if isinstance(m, nn.Linear | nn.Conv2d) and "shortcut" not in n]
    assert len(weights) == 9


def test_both_branches_charge_the_second_neuron():
    """One block of the net against its equations, one step, by hand."""
    torch.manual_seed(0)
    network = ResNet(2, [[3, 2]], [4])(BLOCKS, (1, 8, 8), 2)
    leaves = network.leaves()
    frame = torch.rand(5, 1, 8, 8) * 5
    with network.observe() as seen:
        network(frame[None])
    x = leaves["pool"](seen["stem"][0])
    inner = (leaves["block1_weight1"](x) >= 0.3).float()
    assert torch.equal(seen["block1_conv1"][0], inner)
    current = leaves["block1_weight2"](inner) + leaves["block1_weight_shortcut"](x)
    assert torch.equal(seen["block1_conv2"][0], (current >= 0.3).float())
    assert 0 < seen["block1_conv2"].mean() < 1


def test_a_block_that_changes_nothing_has_a_bare_shortcut():
    network = ResNet(3, [[3, 1], [3, 2]], [4])(BLOCKS, (1, 8, 8), 2)
    assert not network.layers["block1"].shortcut.layers
    assert [n for n in network.leaves() if "shortcut" in n] == ["block2_pool_shortcut"]


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 34, 34), (3, 32, 32), (3, 64, 64), (1, 8, 8), (1, 9, 13)])
def test_pictures_of_all_sizes(shape):
    network = ResNet(64, [[128, 1], [256, 2], [512, 1], [512, 2]], [1024], width=1 / 64)(BLOCKS, shape, 7)
    assert network(torch.rand(2, 3, *shape)).shape == (2, 3, 7)


def test_dropout_follows_every_neuron():
    network = ResNet(2, [[3, 1]], [4], dropout=0.25)(BLOCKS, (1, 8, 8), 2)
    names = list(network.leaves())
    for neuron in ("stem", "block1_conv1", "block1_conv2", "hidden1"):
        assert "dropout" in names[names.index(neuron) + 1]
    assert sum("dropout" in name for name in names) == 4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ResNet(64, [[128]], []), "ResNet: block [128] must be [channels, stride]"),
        (lambda: ResNet(64, [[128, 0]], []), "ResNet: block [128, 0] must be [channels, stride], both at least 1"),
        (lambda: ResNet(0, [], []), "ResNet: hidden = [0] needs at least 1 unit"),
        (lambda: ResNet(4, [[4, 1]], [], width=-1), "ResNet: width = -1 must be positive"),
        (lambda: ResNet(4, [], [])(BLOCKS, (1, 1, 9), 2), "ResNet: input [1, 1, 9] is too small"),
        (lambda: ResNet(4, [], [])(BLOCKS, (20,), 2), "ResNet: input [20] has no picture to convolve; use model=mlp"),
    ],
)
def test_what_cannot_be_built_is_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)
