"""S-ResNet, a spiking residual network (Vicente-Sola et al. 2022, arXiv:2111.05955; their code's layout).

    stem    3x3 to F channels - norm - neuron
    stages  three of n blocks, F, 2F and 4F channels; the second and the third begin with a stride of 2
    end     the average of each map - fully connected without a neuron in between - readout

    f(x) = neuron(norm(conv3x3(neuron(norm(conv3x3(x))))))       the stride on the first; s(x): x, or where size and
    r(x) = norm(conv3x3(neuron(norm(conv3x3(x)))))               channels change norm(conv1x1(x)), which never fires

    residual add            y = s(x) + f(x)                 the paper's: onto the spikes; SEW-ResNet's ADD
    residual and            y = s'(x) * f(x)                SEW-ResNet's AND;  s' = neuron(s) where s has a weight
    residual iand           y = s'(x) * (1 - f(x))          SEW-ResNet's IAND
    residual current        y = neuron(s(x) + r(x))         before the neuron: the classic spiking ResNet
    residual preactivation  y = s(x) + r(neuron(x))         a stream of currents, no spikes; MS-ResNet's shortcut. Where
                            y = s(z) + r(z), z = neuron(x)  s has a weight; one more neuron ends the net
    residual none           y = f(x)                        a plain stack

The sum of spikes is 0, 1, 2, ... in the first stage; a shortcut with a weight makes real numbers of it. ``boost`` gives
every class ten units behind the fully connected weights, whose average is its current.

Source: add, f, s and the boost from the authors' code; and, iand: Fang et al. 2021, arXiv:2102.04159; preactivation:
Hu et al. 2021, arXiv:2112.08954, its transitions as in He et al. 2016, arXiv:1603.05027.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.group_mean import GroupMean
from snnlab.layers.network import Network
from snnlab.layers.residual import Residual
from snnlab.models.mlp import check_units
from snnlab.models.model import Model
from snnlab.models.vgg import Layers, picture, widened
from snnlab.neurons.neuron import Neuron

Placement = Literal["add", "and", "iand", "current", "preactivation", "none"]
STAGES = 3
COPIES = 10  # units of a class under ``boost``


class SResNet(Model):
    """Topology of a spiking residual network.

    Args:
        channels: F, of the stem and the first stage.
        n: blocks of each stage; 0 leaves the stem and the end.
        residual: where a block's input is added, see above.
        stem_stride: stride of the stem; 2 for large pictures.
        boost: whether ten units vote for each class.
        width: factor on all channels, > 0.

    Raises:
        ValueError: when an argument leaves its range, or the input has no picture.
    """

    def __init__(
        self,
        channels: int = 32,
        n: int = 6,
        residual: Placement = "add",
        stem_stride: int = 1,
        boost: bool = False,
        width: float = 1.0,
    ) -> None:
        if n < 0:
            raise ValueError(f"SResNet: n = {n} must be at least 0 blocks of each stage; 6 is the paper's")
        if stem_stride < 1:
            raise ValueError(f"SResNet: stem_stride = {stem_stride} must be at least 1; 2 halves the picture")
        if residual not in get_args(Placement):
            raise ValueError(f"SResNet: residual = {residual!r} must be one of {', '.join(get_args(Placement))}")
        check_units("SResNet", [channels])
        self.channels, self.n, self.residual = widened("SResNet", channels, width), n, residual
        self.stem_stride, self.boost = stem_stride, boost

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        inputs, height, width = picture("SResNet", input_shape)
        layers = weighted(blocks, "_stem", inputs, self.channels, self.stem_stride)
        if self.residual != "preactivation":
            layers.append(("stem", blocks.neuron(self.channels)))
        inputs, height, width = self.channels, -(-height // self.stem_stride), -(-width // self.stem_stride)
        for i in range(STAGES * self.n):
            stage, place = divmod(i, self.n)
            channels, stride = self.channels * 2**stage, 2 if stage > 0 and place == 0 else 1
            layers += self.block(blocks, f"block{i + 1}", inputs, channels, stride)
            inputs, height, width = channels, -(-height // stride), -(-width // stride)
        if self.residual == "preactivation":
            layers.append(("end", blocks.neuron(inputs)))
        layers += [("global_pool", nn.AvgPool2d((height, width))), ("flatten", nn.Flatten())]
        return Network(layers + self.readout(blocks, inputs, outputs))

    def block(self, blocks: Blocks, name: str, inputs: int, channels: int, stride: int) -> Layers:
        """One block."""
        before: Layers = [("conv1", blocks.neuron(inputs))] if self.residual == "preactivation" else []
        inner = blocks.neuron(channels)
        body: Layers = [
            *weighted(blocks, "1", inputs, channels, stride),
            ("conv2" if before else "conv1", inner),
            *weighted(blocks, "2", channels, channels),
        ]
        after: Layers = [] if before else [("conv2", blocks.neuron(channels))]
        if self.residual == "none":
            return named(name, body + after)
        changes = stride > 1 or inputs != channels
        shortcut: Layers = []
        if changes:
            shortcut.append(("weight_shortcut", blocks.conv(inputs, channels, 1, stride=stride)))
            shortcut.append(("norm_shortcut", blocks.shortcut_norm(channels)))
        if self.residual == "current":
            return [(name, Residual(Network(body), Network(shortcut))), *named(name, after)]
        if self.residual == "preactivation":
            if changes:
                return [*named(name, before), (name, Residual(Network(body), Network(shortcut)))]
            return [(name, Residual(Network(before + body)))]
        if self.residual == "add":
            return [(name, Residual(Network(body + after), Network(shortcut)))]
        if changes:
            shortcut.append(("shortcut", blocks.neuron(channels)))
        if not isinstance(inner, Neuron):
            raise ValueError(
                f"SResNet: residual = {self.residual} is a logical function of spikes, and {type(inner).__name__} "
                "makes none; use residual=add"
            )
        return [(name, Residual(Network(body + after), Network(shortcut), self.residual))]

    def readout(self, blocks: Blocks, inputs: int, outputs: int) -> Layers:
        """The fully connected weights and what stands behind them."""
        real = self.residual == "add" and self.n > 0  # behind a shortcut with a weight
        make = blocks.stream_readout if real else blocks.readout
        if not self.boost:
            return make(inputs, outputs)
        weight, behind = make(inputs, COPIES * outputs)[0], make(inputs, outputs)[1:]
        return [weight, ("boost", GroupMean(COPIES)), *behind]


def weighted(blocks: Blocks, name: str, inputs: int, channels: int, stride: int = 1) -> Layers:
    """A 3x3 convolution and its norm."""
    weight = blocks.conv(inputs, channels, 3, padding=1, stride=stride)
    return [(f"weight{name}", weight), (f"norm{name}", blocks.norm(channels))]


def named(block: str, layers: Layers) -> Layers:
    """Layers of a block that lie in the chain itself."""
    return [(f"{block}_{name}", layer) for name, layer in layers]
