"""Normalisation-free residual network, NF-ResNet-34 of OTTT (Xiao et al. 2022; Brock et al. 2021, arXiv:2101.08692).

    y = x + alpha gain f(x / beta)                  f: neuron - conv3x3 - neuron - conv3x3
    y = s(z) + alpha gain g(z), z = neuron(x / beta)    at a transition; s: strided conv1x1, g: the rest of f
    beta^2 = 1 at the stem; + alpha^2 after each block; 1 + alpha^2 after a transition              (1)

(1) is the variance of x that convolutions of unit variance give, so every neuron sees a current of variance 1: with
plain weights only as far as their initialiser keeps it, with OTTT's scaled weight standardisation by construction.
``gain`` is one learned number per block, from 0 in the authors' code; the paper's formula has none (null).

    stem small      3x3, for pictures below 64 pixels: our choice, OTTT runs this net on ImageNet only
    stem large      7x7 with stride 2, then an average pool 3x3 with stride 2
    end             the residual stream, averaged over each map - readout; no neuron in between, as in the authors' code

There is no ``norm`` block in it, whatever the method offers.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.layers.residual import Residual
from snnlab.layers.scale import Scale
from snnlab.models.mlp import check_units
from snnlab.models.model import Model
from snnlab.models.vgg import Layers, picture, widened


class NFResNet(Model):
    """Topology of a normalisation-free residual network.

    Args:
        channels: of each stage; each but the first starts with a stride of 2.
        depths: blocks of each stage; [3, 4, 6, 3] is ResNet-34.
        alpha: weight of a branch, > 0.
        gain: start of the learned factor on each branch; None leaves it out.
        stem: small, large, or auto (large from 64 pixels on).
        width: factor on all channels, > 0; 1 is the published net.

    Raises:
        ValueError: when channels and depths differ in length, a stage is empty, alpha is not positive, or the input has
            no picture.
    """

    def __init__(
        self,
        channels: list[int],
        depths: list[int],
        alpha: float = 0.2,
        gain: float | None = 0.0,
        stem: Literal["auto", "small", "large"] = "auto",
        width: float = 1.0,
    ) -> None:
        if len(channels) != len(depths) or not channels or min(depths) < 1:
            raise ValueError(
                f"NFResNet: depths = {depths} must give at least 1 block for each of channels = {channels}; "
                "[3, 4, 6, 3] is ResNet-34"
            )
        if not alpha > 0:
            raise ValueError(f"NFResNet: alpha = {alpha} must be positive; 0.2 is the paper's")
        check_units("NFResNet", channels)
        self.channels = [widened("NFResNet", c, width) for c in channels]
        self.depths, self.alpha, self.gain, self.stem = list(depths), alpha, gain, stem

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        inputs, height, width = picture("NFResNet", input_shape)
        layers: Layers
        if self.stem == "large" or (self.stem == "auto" and min(height, width) >= 64):
            layers = [
                ("weight_stem", blocks.conv(inputs, self.channels[0], 7, padding=3, stride=2)),
                ("pool_stem", nn.AvgPool2d(3, 2, 1)),
            ]
            height, width = -(-height // 4), -(-width // 4)
        else:
            layers = [("weight_stem", blocks.conv(inputs, self.channels[0], 3, padding=1))]
        inputs, variance, i = self.channels[0], 1.0, 0
        for stage, (channels, depth) in enumerate(zip(self.channels, self.depths, strict=True)):
            for block in range(depth):
                i += 1
                stride = 2 if stage > 0 and block == 0 else 1
                transition = stride > 1 or inputs != channels
                layers += self.block(blocks, f"block{i}", inputs, channels, stride, variance**-0.5)
                variance = (1.0 if transition else variance) + self.alpha**2  # (1)
                inputs, height, width = channels, -(-height // stride), -(-width // stride)
        layers += [("global_pool", nn.AvgPool2d((height, width))), ("flatten", nn.Flatten())]
        return Network(layers + blocks.stream_readout(inputs, outputs))

    def block(self, blocks: Blocks, name: str, inputs: int, channels: int, stride: int, down: float) -> Layers:
        """One block behind an input that is scaled by ``down`` = 1 / beta."""
        first: Layers = [("scale_in", Scale(down)), ("conv1", blocks.neuron(inputs))]
        rest: Layers = [
            ("weight1", blocks.conv(inputs, channels, 3, padding=1, stride=stride)),
            ("conv2", blocks.neuron(channels)),
            ("weight2", blocks.conv(channels, channels, 3, padding=1)),
            ("scale_out", Scale(self.alpha, self.gain)),
        ]
        if stride == 1 and inputs == channels:
            return [(name, Residual(Network(first + rest)))]
        shortcut = Network([("weight_shortcut", blocks.conv(inputs, channels, 1, stride=stride))])
        shared = [(f"{name}_{inner}", layer) for inner, layer in first]
        return [*shared, (name, Residual(Network(rest), shortcut))]
