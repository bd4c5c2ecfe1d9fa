"""NF-ResNet-34: layers and parameters counted by hand, the variance law of its branches, stems, errors."""

import pytest
import torch
from torch import nn

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.layers.blocks import Blocks
from snnlab.layers.scale import Scale
from snnlab.models.nf_resnet import NFResNet
from snnlab.neurons.lif import LIF

CHANNELS, DEPTHS = [64, 128, 256, 512], [3, 4, 6, 3]
BLOCKS = Blocks(lambda: LIF(0.5, 0.3), lambda: LIF(0.5, 0.3))


def conv(inputs, outputs, kernel=3):
    return inputs * outputs * kernel**2 + outputs


BODY = (
    6 * conv(64, 64)
    + (conv(64, 128) + conv(64, 128, 1) + 7 * conv(128, 128))
    + (conv(128, 256) + conv(128, 256, 1) + 11 * conv(256, 256))
    + (conv(256, 512) + conv(256, 512, 1) + 5 * conv(512, 512))
)


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_it_has_34_weights_and_on_imagenet_22_million_parameters():
    network = NFResNet(CHANNELS, DEPTHS)(BLOCKS, (3, 224, 224), 1000)
    gains = 16  # one learned number a block
    assert count(network) == conv(3, 64, 7) + BODY + gains + 512 * 1000 + 1000 == 21_789_176
    assert round(count(network) / 1e6) == 22
    weights = [n for n, m in network.leaves().items() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len([n for n in weights if "shortcut" not in n]) == 34
    assert [n for n in weights if "shortcut" in n] == [f"block{i}_weight_shortcut" for i in (4, 8, 14)]
    assert list(network.neurons())[:-1] == [f"block{i}_conv{j}" for i in range(1, 17) for j in (1, 2)]
    assert list(network.layers)[-4:-2] == ["global_pool", "flatten"] and network.layers["global_pool"].kernel_size == (
        7,
        7,
    )


def test_on_cifar_the_small_stem_is_taken(empty_data):
    options = ["method=stbp", "data=cifar10", "model=nf_resnet34", "encoder=direct", "encoder.time_steps=2"]
    network = build(compose(options).config).method.network
    assert network.layers["weight_stem"].kernel_size == (3, 3)
    assert count(network) == conv(3, 64) + BODY + 16 + 512 * 10 + 10 == 21_273_626
    assert "pool_stem" not in network.layers


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 34, 34), (3, 64, 64), (1, 8, 8), (1, 9, 13), (3, 70, 65)])
def test_pictures_of_all_sizes(shape):
    network = NFResNet(CHANNELS, [1, 1, 2, 1], width=1 / 32)(BLOCKS, shape, 7)
    assert network(torch.rand(2, 3, *shape)).shape == (2, 3, 7)
    assert ("pool_stem" in network.layers) == (min(shape[1:]) >= 64)


def test_the_scales_follow_the_law():
    """beta^2: 1, 1.04, 1.08, then 1.12 at the transition and 1.04 behind it; alpha at the end of every branch."""
    leaves = NFResNet([4, 8], [3, 2], alpha=0.2)(BLOCKS, (1, 8, 8), 2).leaves()
    ins = [layer.factor for name, layer in leaves.items() if name.endswith("scale_in")]
    assert [1 / f**2 for f in ins] == pytest.approx([1, 1.04, 1.08, 1.12, 1.04], abs=1e-12)
    assert {layer.factor for name, layer in leaves.items() if name.endswith("scale_out")} == {0.2}
    assert all(layer.gain == 0 for name, layer in leaves.items() if name.endswith("scale_out"))


class Gaussian(Blocks):
    """No nonlinearity; convolutions that keep the variance of independent inputs, without borders."""

    def __init__(self):
        super().__init__(nn.Identity, nn.Identity, bias=False)

    def conv(self, inputs, outputs, kernel, padding=0, stride=1):
        mode = "circular" if padding else "zeros"
        layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False, padding_mode=mode)
        nn.init.normal_(layer.weight, std=(inputs * kernel**2) ** -0.5)
        return layer


def test_variance_of_the_stream_is_beta_squared_and_of_every_neurons_input_one():
    torch.manual_seed(0)
    network = NFResNet([64, 96], [4, 3], alpha=0.5, gain=None)(Gaussian(), (64, 16, 16), 2)
    inputs, streams = {}, {}

    def watch(name, layer):
        def keep(_layer, before, after):
            if name.endswith("scale_in"):
                streams[name], inputs[name] = before[0].var().item(), after.var().item()
            elif name.endswith("conv2"):
                inputs[name] = after.var().item()

        layer.register_forward_hook(keep)

    for name, layer in network.leaves().items():
        watch(name, layer)
    network(torch.randn(1, 64, 64, 16, 16))
    assert list(streams.values()) == pytest.approx([1, 1.25, 1.5, 1.75, 2, 1.25, 1.5], rel=0.1)
    assert list(inputs.values()) == pytest.approx([1] * 14, rel=0.1)


def test_a_learned_factor_at_zero_leaves_only_the_shortcuts():
    scale = Scale(0.2, gain=0.0)
    assert not scale(torch.ones(2, 3)).any()
    scale(torch.ones(2, 3)).sum().backward()
    assert scale.gain.grad.item() == pytest.approx(0.2 * 6)
    assert Scale(0.2)(torch.ones(1)).item() == pytest.approx(0.2) and not list(Scale(0.2).parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NFResNet([64], [3, 4]), "NFResNet: depths = [3, 4] must give at least 1 block for each of channels"),
        (lambda: NFResNet([64], [0]), "NFResNet: depths = [0] must give at least 1 block"),
        (lambda: NFResNet([64], [3], alpha=0), "NFResNet: alpha = 0 must be positive; 0.2 is the paper's"),
        (lambda: NFResNet([64], [3], width=0), "NFResNet: width = 0 must be positive"),
        (lambda: NFResNet([64], [3])(BLOCKS, (20,), 2), "NFResNet: input [20] has no picture to convolve"),
    ],
)
def test_what_cannot_be_built_is_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)
