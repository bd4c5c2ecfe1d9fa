"""A memristor: a conductance between two ends that a voltage moves, and weights as the difference of two of them.

    G = low + x (high - low)                            x in [0, 1] is its state
    V > vthp    dx = + rate f_p(x) (exp(V) - exp(vthp))                 (1)
    V < -vthn   dx = - rate f_n(x) (exp(-V) - exp(vthn))                (2)
                f_p(x) = 1 below x_p, else exp(-alpha_p (x - x_p)) (1 - x) / (1 - x_p)
                f_n(x) = 1 above 1 - x_n, else exp(alpha_n (x + x_n - 1)) x / (1 - x_n)
    w = scale (G+ - G-),  G+ = low + max(w, 0) / scale, G- = low + max(-w, 0) / scale, at most high     (3)

Else dx = 0. ``states``: x is one of so many, equally far apart.

Source: Garg et al. 2022, doi 10.3389/fnins.2022.983950, authors' code; low and high are R_off and R_on of the released
code of Zhou et al. 2022, arXiv:2206.12992.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.errors import InputError


class Memristor(NamedTuple):
    """low, high: conductances, S; vthp, vthn: thresholds >= 0; alpha, x: shape of the curves; states: None is any."""

    low: float = 1e-5
    high: float = 1e-3
    vthp: float = 0.5
    vthn: float = 0.5
    alpha_p: float = 1.0
    alpha_n: float = 5.0
    x_p: float = 0.3
    x_n: float = 0.5
    states: int | None = None

    def check(self, of: str = "memristor: ") -> None:
        """Raise InputError where an argument leaves its range; ``of`` stands in front of its name."""
        if not 0 <= self.low < self.high:
            raise InputError(f"{of}low = {self.low} and high = {self.high} must be conductances, low < high")
        for name in ("vthp", "vthn", "alpha_p", "alpha_n"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{of}{name} = {getattr(self, name)} must not be negative")
        for name in ("x_p", "x_n"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{of}{name} = {getattr(self, name)} must lie in [0, 1)")
        if self.states is not None and self.states < 2:
            raise InputError(f"{of}states = {self.states} must be at least 2; null is any")

    def curves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f_p and f_n at states x."""
        slow_p = torch.exp(-self.alpha_p * (x - self.x_p)) * (1 - x) / (1 - self.x_p)
        slow_n = torch.exp(self.alpha_n * (x + self.x_n - 1)) * x / (1 - self.x_n)
        return torch.where(x < self.x_p, 1.0, slow_p), torch.where(x > 1 - self.x_n, 1.0, slow_n)

    def change(self, x: Tensor, voltage: Tensor) -> Tensor:
        """dx / rate of (1) and (2) for states and voltages that broadcast together."""
        f_p, f_n = self.curves(x)
        up = f_p * (torch.exp(voltage) - math.exp(self.vthp))
        down = f_n * (torch.exp(-voltage) - math.exp(self.vthn))
        return torch.where(voltage > self.vthp, up, torch.where(voltage < -self.vthn, -down, 0.0))

    def conductance(self, x: Tensor) -> Tensor:
        """G of states x, the nearest of ``states``."""
        if self.states is not None:
            x = torch.round(x * (self.states - 1)) / (self.states - 1)
        return self.low + x * (self.high - self.low)

    def pair(self, weights: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """G+ and G- of (3) for weights, before they are taken to ``states``."""
        most = self.high - self.low
        return tuple(self.low + (side * weights / scale).clamp(0, most) for side in (1, -1))  # type: ignore[return-value]
