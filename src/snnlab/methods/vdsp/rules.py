"""What a postsynaptic spike does to a weight w in [0, 1] whose presynaptic membrane potential is V.

    plain       V < 0   dw = + lr (1 - w) exp(-alpha w) (exp(-V) - 1)           (1) has just fired: potentiate
                V > 0   dw = - lr w exp(alpha (w - 1)) (exp(V) - 1)             (2) is about to fire: depress
    memristor   V_app = v_prog - V is the voltage across the device
                V_app > vthp    dw = + lr f_p(w) (exp(V_app) - exp(vthp))       (3)
                V_app < -vthn   dw = - lr f_n(w) (exp(-V_app) - exp(vthn))      (4)
                f_p and f_n are the curves of weights/memristor.py

Else dw = 0. (1) and (2) vanish at w = 1 and w = 0, and keep w in [0, 1] by themselves while lr (exp(max |V|) - 1) < 1.

Source: Garg et al. 2022, doi 10.3389/fnins.2022.983950, authors' code; theirs scales (3) and (4) apart, A_p and A_n.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.errors import InputError
from snnlab.weights.memristor import Memristor as Device


class Plain(NamedTuple):
    """(1) and (2): alpha >= 0, how much faster weights move away from the bound they move to."""

    alpha: float = 2.0

    def check(self, lr: float, largest: float) -> None:
        """Raise InputError where an argument leaves its range, or |V| up to ``largest`` could push w over a bound."""
        if self.alpha < 0:
            raise InputError(f"method.alpha = {self.alpha} must not be negative; 2 is the authors' default")
        check_lr(lr, largest, 1.0)

    def change(self, w: Tensor, v: Tensor, lr: float) -> Tensor:
        """dw for weights w and potentials v that broadcast together."""
        up = (1 - w) * torch.exp(-self.alpha * w) * (torch.exp(-v) - 1)
        down = w * torch.exp(self.alpha * (w - 1)) * (torch.exp(v) - 1)
        return lr * torch.where(v < 0, up, torch.where(v > 0, -down, 0.0))


class Memristor(NamedTuple):
    """(3) and (4): thresholds vthp, vthn >= 0, programming voltage, and the shape of the device's curves."""

    v_prog: float = 0.0
    vthp: float = 0.5
    vthn: float = 0.5
    alpha_p: float = 1.0
    alpha_n: float = 5.0
    x_p: float = 0.3
    x_n: float = 0.5

    @property
    def device(self) -> Device:
        """The device, its state the weight itself."""
        return Device(0.0, 1.0, self.vthp, self.vthn, self.alpha_p, self.alpha_n, self.x_p, self.x_n)

    def check_ranges(self) -> None:
        """Raise InputError where an argument leaves its range."""
        self.device.check("method.")

    def check(self, lr: float, largest: float) -> None:
        """As ``Plain.check``."""
        self.check_ranges()
        check_lr(lr, largest + abs(self.v_prog), min(1 - self.x_p, 1 - self.x_n))

    def change(self, w: Tensor, v: Tensor, lr: float) -> Tensor:
        """dw for weights w and potentials v that broadcast together."""
        return lr * self.device.change(w, self.v_prog - v)


def check_lr(lr: float, largest: float, room: float) -> None:
    """Raise InputError unless one update at the ``largest`` |V| is smaller than ``room``."""
    most = room / math.expm1(largest)
    if not lr < most:
        raise InputError(f"method.lr = {lr} can push a weight out of [0, 1] in one update; it must be below {most:.3g}")
