"""Small convolutional network: per stage conv - norm - neuron - average pool 2x2, then one hidden layer.

The default is the net of STBP's public code, 32C3-AP2-32C3-AP2-128-10.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.models.mlp import check_units
from snnlab.models.model import Model

Padding = Literal["same", "valid"]


class SmallConv(Model):
    """Topology of a small convolutional network.

    Args:
        channels: output channels of each stage.
        hidden: units of the fully connected hidden layer.
        kernel: width of the convolutions, odd; same padding.
        dropout: probability of a unit to be dropped before the readout, in [0, 1).
        padding: same (a map keeps its size) or valid (none; a map narrower than two kernels is padded all the same).

    Raises:
        ValueError: when a layer is empty, the kernel is even, or the input is too small to be pooled.
    """

    name = "SmallConv"

    def __init__(
        self,
        channels: list[int],
        hidden: int = 128,
        kernel: int = 3,
        dropout: float = 0.0,
        padding: Padding = "same",
    ) -> None:
        check_units(self.name, [*channels, hidden])
        if kernel % 2 == 0 or kernel < 1:
            raise ValueError(f"{self.name}: kernel = {kernel} must be odd, so that the padding is even on both sides")
        if padding not in ("same", "valid"):
            raise ValueError(f"{self.name}: padding = {padding!r} must be same or valid")
        self.channels, self.hidden, self.kernel, self.dropout = list(channels), hidden, kernel, dropout
        self.padding = padding

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        if len(input_shape) != 3:
            raise ValueError(f"{self.name}: input {list(input_shape)} has no picture to convolve; use model=mlp")
        inputs, height, width = input_shape
        layers: list[tuple[str, nn.Module]] = []
        for i, channels in enumerate(self.channels, start=1):
            padding = self.padded(height, width)
            layers += [
                (f"weight{i}", blocks.conv(inputs, channels, self.kernel, padding=padding)),
                (f"norm{i}", blocks.norm(channels)),
                (f"conv{i}", blocks.neuron(channels)),
                (f"pool{i}", blocks.pool(2)),
            ]
            inputs = channels
            height = (height + 2 * padding - self.kernel + 1) // 2
            width = (width + 2 * padding - self.kernel + 1) // 2
            if min(height, width) < 1:
                raise ValueError(
                    f"{self.name}: input {list(input_shape)} is too small for {len(self.channels)} pooled stages; "
                    "use fewer channels or model=mlp"
                )
        layers += [
            ("flatten", nn.Flatten()),
            ("weight_hidden", blocks.linear(inputs * height * width, self.hidden)),
            ("norm_hidden", blocks.norm(self.hidden)),
            ("hidden", blocks.neuron(self.hidden)),
        ]
        if self.dropout:
            layers.append(("dropout", blocks.dropout(self.dropout)))
        return Network(layers + blocks.readout(self.hidden, outputs))

    def padded(self, height: int, width: int) -> int:
        """Zeros added on each side of a feature map of this size."""
        return self.kernel // 2 if self.padding == "same" or min(height, width) < 2 * self.kernel else 0
