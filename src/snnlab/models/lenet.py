"""LeNet of the spiking literature: 20C5-P2-50C5-P2-200-10, convolutions without padding.

A feature map narrower than two kernels (the 8x8 digits) is padded, so that the same net runs on small pictures.
"""

from __future__ import annotations

from snnlab.models.small_conv import SmallConv


class LeNet(SmallConv):
    """Topology of LeNet; arguments as in SmallConv, the kernel is 5 and unpadded."""

    same_padding = False
    name = "LeNet"

    def __init__(self, channels: list[int], hidden: int = 200, dropout: float = 0.0) -> None:
        super().__init__(channels, hidden, kernel=5, dropout=dropout)
