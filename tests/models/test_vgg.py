"""VGG nets: layers and parameters counted by hand from the channel list, shapes, the loop of VGG-F, errors."""

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.layers.blocks import Blocks
from snnlab.models.vgg import VGG
from snnlab.neurons.lif import LIF

VGG9 = [64, 64, "P", 128, 128, "P", 256, 256, 256, "P"]
VGG11 = [64, "P", 128, "P", 256, 256, "P", 512, 512, "P", 512, 512]
OTTT = [64, 128, "P", 256, 256, "P", 512, 512, "P", 512, 512]
BLOCKS = Blocks(lambda: LIF(0.5, 0.3), lambda: LIF(0.5, 0.3))
BARE = Blocks(lambda: LIF(), lambda: LIF(), bias=False)


def count(network):
    return sum(p.numel() for p in network.parameters())


def conv(inputs, outputs, kernel=3):
    return inputs * outputs * kernel**2 + outputs


def net(choice, data="cifar10", *options):
    encoder = [] if data in ("nmnist", "mnist_dvs") else ["encoder=direct", "encoder.time_steps=2"]
    return build(compose(["method=stbp", f"data={data}", f"model={choice}", *encoder, *options]).config).method.network


def test_vgg9_has_nine_weights_and_its_parameters(empty_data):
    network = net("vgg9")
    convs = conv(3, 64) + conv(64, 64) + conv(64, 128) + conv(128, 128) + conv(128, 256) + 2 * conv(256, 256)
    assert count(network) == convs + (256 * 4 * 4 * 1024 + 1024) + (1024 * 10 + 10) == 5_941_066
    assert list(network.neurons()) == [f"conv{i}" for i in range(1, 8)] + ["hidden1", "readout"]
    assert [name for name in network.layers if name.startswith("pool")] == ["pool1", "pool2", "pool3"]


def test_vgg11_has_its_parameters(empty_data):
    convs = conv(3, 64) + conv(64, 128) + conv(128, 256) + conv(256, 256) + conv(256, 512) + 3 * conv(512, 512)
    assert count(net("vgg11")) == convs + (512 * 4096 + 4096) + (4096 * 10 + 10) == 11_362_698
    hundred = VGG(VGG11, [4096], global_pool=True)(BLOCKS, (3, 32, 32), 100)
    assert count(hundred) == convs + (512 * 4096 + 4096) + (4096 * 100 + 100)
    assert len(hundred.neurons()) == 8 + 1 + 1


def test_the_net_of_ottt_has_9_2_million_parameters_and_with_feedback_9_6(empty_data):
    convs = (
        conv(3, 64) + conv(64, 128) + conv(128, 256) + conv(256, 256) + conv(256, 512) + 3 * conv(512, 512)
    )  # 64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3
    network = net("vgg_ottt")
    assert count(network) == convs + 512 * 10 + 10 == 9_225_610
    assert round(count(network) / 1e6, 1) == 9.2
    assert list(network.layers)[-5:] == ["conv8", "global_pool", "flatten", "readout_weight", "readout"]
    hundred = [VGG(OTTT, [], True, feedback=loop)(BLOCKS, (3, 32, 32), 100) for loop in (False, True)]
    assert [round(count(n) / 1e6, 1) for n in hundred] == [9.3, 9.6]  # the paper's figures for 100 classes
    assert count(hundred[1]) - count(hundred[0]) == conv(512, 64)


def test_without_bias_the_authors_vgg9_of_spike_based_backprop():
    assert count(VGG(VGG9, [1024])(BARE, (3, 32, 32), 10)) == 5_941_066 - (64 * 2 + 128 * 2 + 256 * 3 + 1024 + 10)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 34, 34), (3, 32, 32), (3, 64, 64), (1, 9, 13)])
def test_pictures_of_all_sizes(shape, feedback):
    network = VGG(OTTT, [8], width=1 / 64, feedback=feedback)(BLOCKS, shape, 7)
    assert network(torch.rand(2, 3, *shape)).shape == (2, 3, 7)
    assert network.layers["weight_hidden1"].in_features == 8 * (shape[1] // 8) * (shape[2] // 8)


@pytest.mark.parametrize(("choice", "data"), [("vgg9", "mnist"), ("vgg9", "digits"), ("vgg11", "nmnist")])
def test_the_published_nets_on_other_data(choice, data, empty_data):
    shape = {"mnist": (1, 28, 28), "digits": (1, 8, 8), "nmnist": (2, 34, 34)}[data]
    network = net(choice, data, "model.width=0.03125")
    assert network(torch.rand(2, 2, *shape)).shape == (2, 2, 10)


def test_width_scales_channels_and_hidden_units():
    model = VGG(VGG9, [1024], width=0.25)
    assert model.channels == [16, 16, "P", 32, 32, "P", 64, 64, 64, "P"] and model.hidden == [256]
    assert VGG([2, "P"], [1], width=0.1).channels == [1, "P"]


def test_dropout_follows_every_neuron_or_the_hidden_ones():
    everywhere = VGG([4, "P", 5], [6], dropout=0.2)(BLOCKS, (1, 8, 8), 3)
    assert [n for n in everywhere.layers if "dropout" in n] == ["dropout1", "dropout2", "dropout_hidden1"]
    assert list(everywhere.layers).index("dropout1") == list(everywhere.layers).index("conv1") + 1
    hidden = VGG([4, "P", 5], [6], dropout=0.2, dropout_after="hidden")(BLOCKS, (1, 8, 8), 3)
    assert [n for n in hidden.layers if "dropout" in n] == ["dropout_hidden1"]


def test_feedback_starts_silent_and_then_reaches_the_first_current_one_step_late():
    torch.manual_seed(0)
    loop = VGG([3, "P", 4, "P"], [], feedback=True)(BLOCKS, (1, 8, 8), 2)
    plain = VGG([3, "P", 4, "P"], [])(BLOCKS, (1, 8, 8), 2)
    plain.load_state_dict({rename(name): value for name, value in loop.state_dict().items() if ".path." not in name})
    frames = torch.rand(4, 2, 1, 8, 8) * 3
    assert torch.equal(loop(frames), plain(frames))  # the weights of the loop are zero

    weight = loop.leaves()["feedback_weight"].weight
    torch.nn.init.constant_(weight, 0.05)
    with loop.observe() as seen:
        loop(frames)
    with plain.observe() as alone:
        plain(frames)
    last = seen["feedback_conv2"]  # [T, B, 4, 4, 4]
    assert torch.equal(seen["feedback_conv1"][0], alone["conv1"][0])  # nothing returns at t = 0
    v, spikes = torch.zeros(2, 3, 8, 8), []
    for t, frame in enumerate(frames):
        current = plain.layers["weight1"](frame)
        if t > 0:
            large = last[t - 1].repeat_interleave(2, -1).repeat_interleave(2, -2)  # nearest
            current = current + torch.nn.functional.conv2d(large, weight, padding=1)
        v = 0.5 * v + current
        spikes.append((v >= 0.3).float())
        v = v - 0.3 * spikes[-1]
    assert torch.equal(seen["feedback_conv1"], torch.stack(spikes))
    assert not torch.equal(seen["feedback_conv1"], alone["conv1"])


def rename(name):
    return name.replace("layers.feedback.body.layers.", "layers.")


def test_the_weights_of_the_loop_learn_and_stay_zero_under_an_initialiser(empty_data):
    network = net(
        "vgg_ottt", "cifar10", "model.feedback=true", "model.width=0.125", "init=kaiming", "method.surrogate=atan"
    )
    weight = network.leaves()["feedback_weight"].weight
    assert not weight.any()
    network(torch.rand(3, 2, 3, 32, 32)).sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VGG([64, "M"], []), "VGG: channels = [64, 'M'] holds 'M'; it takes numbers, and P for a pool"),
        (lambda: VGG(["P", 64], []), "must start with a convolution"),
        (lambda: VGG([], []), "must start with a convolution"),
        (lambda: VGG([64, 0], []), "needs at least 1 unit in every layer"),
        (lambda: VGG([64], [0]), "needs at least 1 unit in every layer"),
        (lambda: VGG([64], [], width=0), "VGG: width = 0 must be positive"),
        (lambda: VGG(VGG11, [4])(BLOCKS, (1, 8, 8), 2), "VGG: input [1, 8, 8] is too small for 4 pools"),
        (lambda: VGG(VGG9, [4])(BLOCKS, (20,), 2), "VGG: input [20] has no picture to convolve; use model=mlp"),
    ],
)
def test_what_cannot_be_built_is_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)
