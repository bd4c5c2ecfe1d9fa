"""LeNet of the spiking literature: 20C5-P2-50C5-P2-200-10, convolutions without padding unless asked.

A feature map narrower than two kernels (the 8x8 digits) is padded, so that the same net runs on small pictures.
"""

from __future__ import annotations

from snnlab.models.small_conv import Padding, SmallConv


class LeNet(SmallConv):
    """Topology of LeNet; arguments as in SmallConv, the kernel is 5."""

    name = "LeNet"

    def __init__(
        self, channels: list[int], hidden: int = 200, dropout: float = 0.0, padding: Padding = "valid"
    ) -> None:
        super().__init__(channels, hidden, kernel=5, dropout=dropout, padding=padding)
