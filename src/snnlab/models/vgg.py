"""VGG: stages of 3x3 convolutions between average pools, then fully connected layers (Simonyan & Zisserman 2015).

    one convolution     weight - norm - neuron (- dropout)
    one hidden layer    weight - norm - neuron (- dropout)

    vgg9        64,64,P,128,128,P,256,256,256,P - 1024 - classes        BNTT and spike-based BP on CIFAR-10
    vgg11       64,P,128,P,256,256,P,512,512,P,512,512,GAP - 4096 - classes     BNTT on CIFAR-100
    vgg_ottt    64,128,P,256,256,P,512,512,P,512,512,GAP - classes      OTTT's "VGG (sWS)"; feedback=true is its VGG-F

P is an average pool 2x2 that drops an odd last row and column, GAP the average of each map. With ``feedback`` the
spikes of the last convolution return one step later to the current of the first neuron, through a 3x3 convolution that
starts at zero; they are brought to its size by nearest upsampling, as in OTTT's code.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.feedback import Feedback
from snnlab.layers.network import Network
from snnlab.models.mlp import check_units
from snnlab.models.model import Model

Layers = list[tuple[str, nn.Module]]


class VGG(Model):
    """Topology of a plain convolutional network.

    Args:
        channels: output channels of each 3x3 convolution (same padding), in order, with P for each average pool.
        hidden: units of each fully connected hidden layer.
        global_pool: average each map to one number before the first fully connected layer.
        dropout: probability of a unit to be dropped, in [0, 1); one mask per batch, held over time.
        dropout_after: all (every neuron) or hidden (only the fully connected ones).
        feedback: from the last convolution to the first.
        width: factor on all channels and hidden units, > 0; 1 is the published net.

    Raises:
        ValueError: when a layer is empty, channels holds something else, or the input has no picture or one too small.
    """

    def __init__(
        self,
        channels: list[int | str],
        hidden: list[int],
        global_pool: bool = False,
        dropout: float = 0.0,
        dropout_after: Literal["all", "hidden"] = "all",
        feedback: bool = False,
        width: float = 1.0,
    ) -> None:
        wrong = [c for c in channels if isinstance(c, str) and c != "P"]
        if wrong:
            raise ValueError(f"VGG: channels = {channels} holds {wrong[0]!r}; it takes numbers, and P for a pool")
        if not channels or channels[0] == "P":
            raise ValueError(f"VGG: channels = {channels} must start with a convolution, as in [64, P, 128, P]")
        check_units("VGG", [c for c in channels if isinstance(c, int)])
        check_units("VGG", hidden)
        self.channels = [c if isinstance(c, str) else widened("VGG", c, width) for c in channels]
        self.hidden = [widened("VGG", units, width) for units in hidden]
        self.global_pool, self.dropout, self.dropout_after = global_pool, dropout, dropout_after
        self.feedback = feedback

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        inputs, height, width = picture("VGG", input_shape)
        size = (height, width)  # of the first map
        layers: Layers = []
        ends: list[int] = []  # where the layers of each convolution end, its pool not included
        pools = 0
        for channels in self.channels:
            if isinstance(channels, str):
                pools += 1
                layers.append((f"pool{pools}", blocks.pool(2)))
                height, width = height // 2, width // 2
                if min(height, width) < 1:
                    raise ValueError(
                        f"VGG: input {list(input_shape)} is too small for {self.channels.count('P')} pools; "
                        "each halves it: use fewer, or model=small_conv or mlp"
                    )
                continue
            i = len(ends) + 1
            layers += [
                (f"weight{i}", blocks.conv(inputs, channels, 3, padding=1)),
                (f"norm{i}", blocks.norm(channels)),
                (f"conv{i}", blocks.neuron(channels)),
            ]
            if self.dropout and self.dropout_after == "all":
                layers.append((f"dropout{i}", blocks.dropout(self.dropout)))
            ends.append(len(layers))
            inputs = channels
        if self.feedback:
            layers = self.closed(blocks, layers, ends[-1], size)
        if self.global_pool:
            layers.append(("global_pool", nn.AvgPool2d((height, width))))
            height = width = 1
        layers.append(("flatten", nn.Flatten()))
        return Network(layers + fully_connected(blocks, inputs * height * width, self.hidden, outputs, self.dropout))

    def closed(self, blocks: Blocks, layers: Layers, end: int, size: tuple[int, int]) -> Layers:
        """The same layers with a loop around those from the first neuron to the last convolution's end."""
        numbers = [c for c in self.channels if isinstance(c, int)]
        path = Network(blocks.feedback(numbers[-1], numbers[0], size))
        return [*layers[:2], ("feedback", Feedback(Network(layers[2:end]), path)), *layers[end:]]


def fully_connected(blocks: Blocks, inputs: int, hidden: list[int], outputs: int, dropout: float) -> Layers:
    """Hidden layers and the readout behind a flattened feature map."""
    layers: Layers = []
    for i, units in enumerate(hidden, start=1):
        layers += [
            (f"weight_hidden{i}", blocks.linear(inputs, units)),
            (f"norm_hidden{i}", blocks.norm(units)),
            (f"hidden{i}", blocks.neuron(units)),
        ]
        if dropout:
            layers.append((f"dropout_hidden{i}", blocks.dropout(dropout)))
        inputs = units
    return layers + blocks.readout(inputs, outputs)


def widened(name: str, units: int, width: float) -> int:
    """Units times the factor ``width``, at least 1."""
    if not width > 0:
        raise ValueError(f"{name}: width = {width} must be positive; 1.0 is the published net, 0.25 a small one")
    return max(1, round(units * width))


def picture(name: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of an input that can be convolved."""
    if len(input_shape) != 3:
        raise ValueError(f"{name}: input {list(input_shape)} has no picture to convolve; use model=mlp")
    return input_shape  # type: ignore[return-value]
