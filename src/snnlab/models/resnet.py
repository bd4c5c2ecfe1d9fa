"""Residual networks of spike-based backpropagation (Lee et al. 2020): both branches charge the block's second neuron.

    stem    64C3 - neuron - P
    block   neuron( conv3x3(neuron(conv3x3(x)), stride) + shortcut(x) )
    end     fully connected hidden layers - readout

    resnet11    blocks 128, 256 / 2, 512, 512 / 2 (/ is the stride), then 1024 - classes: the authors' code
    resnet9     blocks 128, 256 / 2, 512 / 2, then 1024 - classes: ours; the paper's is not in the authors' code

The stride sits on the second convolution. The shortcut is a 1x1 convolution where the channels change, a strided 1x1
pool where only the size does, else nothing. Every neuron may be followed by dropout.
"""

from __future__ import annotations

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.layers.residual import Residual
from snnlab.models.mlp import check_units
from snnlab.models.model import Model
from snnlab.models.vgg import Layers, fully_connected, picture, widened


class ResNet(Model):
    """Topology of a residual network.

    Args:
        stem: channels of the first convolution.
        blocks: [channels, stride] of each residual block, in order.
        hidden: units of each fully connected hidden layer.
        dropout: probability of a unit to be dropped after each neuron, in [0, 1); one mask per batch, held over time.
        width: factor on all channels and hidden units, > 0; 1 is the published net.

    Raises:
        ValueError: when a layer is empty, a block is no pair, a stride is below 1, or the input has no picture or one
            too small.
    """

    def __init__(
        self, stem: int, blocks: list[list[int]], hidden: list[int], dropout: float = 0.0, width: float = 1.0
    ) -> None:
        for block in blocks:
            if len(block) != 2 or min(block) < 1:
                raise ValueError(f"ResNet: block {block} must be [channels, stride], both at least 1; [128, 1] is one")
        check_units("ResNet", [stem])
        check_units("ResNet", hidden)
        self.stem = widened("ResNet", stem, width)
        self.blocks = [(widened("ResNet", channels, width), stride) for channels, stride in blocks]
        self.hidden = [widened("ResNet", units, width) for units in hidden]
        self.dropout = dropout

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        inputs, height, width = picture("ResNet", input_shape)
        if min(height, width) < 2:
            raise ValueError(f"ResNet: input {list(input_shape)} is too small for the stem's pool, which halves it")
        layers: Layers = [
            ("weight_stem", blocks.conv(inputs, self.stem, 3, padding=1)),
            ("norm_stem", blocks.norm(self.stem)),
            *self.neuron(blocks, "stem", self.stem),
            ("pool", blocks.pool(2)),
        ]
        inputs, height, width = self.stem, height // 2, width // 2
        for i, (channels, stride) in enumerate(self.blocks, start=1):
            layers.append((f"block{i}", self.block(blocks, inputs, channels, stride)))
            layers += [(f"block{i}_{name}", layer) for name, layer in self.neuron(blocks, "conv2", channels)]
            inputs, height, width = channels, -(-height // stride), -(-width // stride)
        layers.append(("flatten", nn.Flatten()))
        return Network(layers + fully_connected(blocks, inputs * height * width, self.hidden, outputs, self.dropout))

    def block(self, blocks: Blocks, inputs: int, channels: int, stride: int) -> Residual:
        """The two branches up to the sum."""
        body: Layers = [
            ("weight1", blocks.conv(inputs, channels, 3, padding=1)),
            ("norm1", blocks.norm(channels)),
            *self.neuron(blocks, "conv1", channels),
            ("weight2", blocks.conv(channels, channels, 3, padding=1, stride=stride)),
            ("norm2", blocks.norm(channels)),
        ]
        shortcut: Layers = []
        if inputs != channels:
            shortcut.append(("weight_shortcut", blocks.conv(inputs, channels, 1, stride=stride)))
            shortcut.append(("norm_shortcut", blocks.norm(channels)))
        elif stride > 1:
            shortcut.append(("pool_shortcut", nn.AvgPool2d(1, stride)))
        return Residual(Network(body), Network(shortcut))

    def neuron(self, blocks: Blocks, name: str, channels: int) -> Layers:
        """A neuron and, on request, its dropout."""
        dropout: Layers = [(f"dropout_{name}", blocks.dropout(self.dropout))] if self.dropout else []
        return [(name, blocks.neuron(channels)), *dropout]
