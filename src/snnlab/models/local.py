"""A locally connected hidden layer, a convolution whose places have weights of their own, and the readout."""

from __future__ import annotations

import math

from torch import nn

from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.models.model import Model


class Local(Model):
    """Topology of a network with one locally connected layer.

    Args:
        filters: units at each place.
        kernel, stride: of the windows.
        crop: pixels that are cut from each side of the input first.

    Raises:
        ValueError: when a number leaves its range, or no window fits into the input.
    """

    def __init__(self, filters: int = 100, kernel: int = 15, stride: int = 4, crop: int = 0) -> None:
        if min(filters, kernel, stride) < 1 or crop < 0:
            raise ValueError(
                f"Local: filters = {filters}, kernel = {kernel}, stride = {stride} must be at least 1 and "
                f"crop = {crop} not negative"
            )
        self.filters, self.kernel, self.stride, self.crop = filters, kernel, stride, crop

    def __call__(self, blocks: Blocks, input_shape: tuple[int, ...], outputs: int) -> Network:
        if len(input_shape) != 3:
            raise ValueError(f"Local: input {list(input_shape)} has no picture to look at; use model=mlp")
        channels, *sides = input_shape
        height, width = (side - 2 * self.crop for side in sides)
        if min(height, width) < self.kernel:
            raise ValueError(
                f"Local: kernel = {self.kernel} does not fit into {[height, width]}, what crop = {self.crop} leaves of "
                f"{sides}; {max(min(height, width), 0)} is the most"
            )
        places = [(side - self.kernel) // self.stride + 1 for side in (height, width)]
        cut: list[tuple[str, nn.Module]] = [("crop", nn.ZeroPad2d(-self.crop))] if self.crop else []
        return Network(
            [
                *cut,
                ("weight1", blocks.local(channels, self.filters, (height, width), self.kernel, self.stride)),
                ("norm1", blocks.norm(self.filters)),
                ("local1", blocks.neuron(self.filters)),
                ("flatten", nn.Flatten()),
                *blocks.readout(self.filters * math.prod(places), outputs),
            ]
        )
