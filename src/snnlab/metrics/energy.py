"""Energy of one inference from its operations, and energy times delay.

    energy          mac_joule multiply_accumulates + ac_joule accumulates
    energy_delay    energy times how long an inference takes

The constants are those of 32-bit floating point at 45 nm: 0.9 pJ to add, 4.6 pJ to multiply (3.7) and add. Memory
traffic, leaks, resets, norms and a chip at rest are not in them, and often cost more.
Source: Horowitz, ISSCC 2014, doi 10.1109/ISSCC.2014.6757323.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

MAC_JOULE, AC_JOULE = 4.6e-12, 0.9e-12


class Energy(Metric):
    """``update`` takes operations and delays summed over so many samples; ``compute`` the two values of one inference.

    Args:
        mac_joule, ac_joule: joule of one multiply-accumulate, and of one accumulate.

    Raises:
        ValueError: when one is not positive.
    """

    full_state_update = False
    multiply_accumulates: Tensor
    accumulates: Tensor
    delay: Tensor
    samples: Tensor

    def __init__(self, mac_joule: float = MAC_JOULE, ac_joule: float = AC_JOULE) -> None:
        super().__init__()
        if not min(mac_joule, ac_joule) > 0:
            raise ValueError(
                f"Energy: mac_joule = {mac_joule} and ac_joule = {ac_joule} must be positive; 4.6e-12 and 0.9e-12 are "
                "usual"
            )
        self.mac_joule, self.ac_joule = mac_joule, ac_joule
        for name in ("multiply_accumulates", "accumulates", "delay", "samples"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self, multiply_accumulates: Tensor | float, accumulates: Tensor | float, delay: Tensor | float, samples: int = 1
    ) -> None:
        self.multiply_accumulates = self.multiply_accumulates + multiply_accumulates
        self.accumulates = self.accumulates + accumulates
        self.delay = self.delay + delay
        self.samples = self.samples + samples

    def compute(self) -> dict[str, Tensor]:
        samples = self.samples.clamp(min=1)
        energy = (self.mac_joule * self.multiply_accumulates + self.ac_joule * self.accumulates) / samples
        return {"energy": energy, "energy_delay": energy * self.delay / samples}
