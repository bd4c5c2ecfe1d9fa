"""Weights that are conductances of analog devices, which move in pulses alone: a constraint of the weights contract.

    W = scale * sum of s g                              (1) one device, s = 1; a pair: s = 1, -1
    n = |change of W| / (scale step), at most ``most``  (2) pulses, rounded at random to a whole number
    dg = +- d f(g) + noise                              (3) what each of them does; g stays within the device's ends
    noise ~ N(0, 1) * cycle (d f(g) + add + slope |g|)  (4)
    g read = g + write step N(0, 1)                     (5) of a device that was touched; g itself goes on without it

    up      d = step (1 + step_spread N + asymmetry_spread M + min(asymmetry, 0))           (6) N, M ~ N(0, 1): a
    down    d = step (1 + step_spread N - asymmetry_spread M - max(asymmetry, 0))               device's own, drawn once
    ends    low (1 + low_spread N), high (1 + high_spread N)

    f       constant      1
            exponential   max(1 - A exp(+- gamma z), 0),  z = 2 a g / (high - low) + b; + up, - down
            memristor     the curves of memristor.py of x = (g - low) / (high - low)

What an optimizer, or a rule by ``write``, makes of a weight is what it asks for; ``settle`` gives it to the devices,
and afterwards the weight is what they hold. A stuck device has no steps. Of a one-way pair only one device moves; where
the larger is above 3/4 and the smaller above 1/4 of its end, both are set anew. A layer that begins without a negative
weight stays between 0 and its largest: it needs one device, from 0 on, unless that is one-way.

The first weights are set, not pulsed: as they are where the devices' ends allow it, a two-way pair around the middle of
both ranges. Biases are digital.

Source: aihwkit 1.1.0, simulator/configs/devices.py and presets/devices.py (Gokmen, Vlasov 2016; Gong et al. 2018;
Nandakumar et al. 2020); ``most`` is its desired_bl.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab import kernels
from snnlab.errors import InputError, nearest
from snnlab.weights.deep_rewiring import Rewired
from snnlab.weights.find import weights_inside
from snnlab.weights.memristor import Memristor
from snnlab.weights.weight import Weight

FULL, HALF = 0.75, 0.25  # of a device's end: where a one-way pair is set anew
MEMRISTOR = Memristor()


@dataclass(frozen=True)
class Device:
    """Numbers of one kind of device; ``PRESETS`` has them by name.

    Args:
        low, high: ends of g, in its own unit.
        low_spread, high_spread: between devices, relative.
        step: of a pulse, > 0, in that unit.
        step_spread, asymmetry, asymmetry_spread: of (6).
        cycle, add, slope: of (4).
        write: of (5), in steps.
        curve: f.
        up_factor, down_factor: A. up_exponent, down_exponent: gamma. tilt, offset: a and b.
        pair: whether a weight is the difference of two devices.
        one_way: whether a device only goes up.
        states: of a device that is read, equally far apart; None is any.
        stuck: share of the devices that never move, at a value drawn between their ends.
        most: pulses of one update.
        span: of the range of g, what the largest of the first weights takes.

    Raises:
        InputError: when an argument leaves its range.
    """

    low: float = -1.0
    high: float = 1.0
    low_spread: float = 0.0
    high_spread: float = 0.0
    step: float = 0.001
    step_spread: float = 0.0
    asymmetry: float = 0.0
    asymmetry_spread: float = 0.0
    cycle: float = 0.0
    add: float = 0.0
    slope: float = 0.0
    write: float = 0.0
    curve: Literal["constant", "exponential", "memristor"] = "constant"
    up_factor: float = 0.0
    down_factor: float = 0.0
    up_exponent: float = 1.0
    down_exponent: float = 1.0
    tilt: float = 0.0
    offset: float = 0.0
    pair: bool = False
    one_way: bool = False
    states: int | None = None
    stuck: float = 0.0
    most: int = 31
    span: float = 0.3

    def __post_init__(self) -> None:
        if not (self.low <= 0 < self.high or (self.pair and 0 <= self.low < self.high)):
            ends = f"device_options.low = {self.low} and high = {self.high}"
            raise InputError(f"{ends} must hold 0, or be a pair's, above it")
        if not 0 < self.step < self.high - self.low:
            raise InputError(f"device_options.step = {self.step} must lie in (0, high - low); 0.0016 is usual")
        for name in ("low_spread", "high_spread", "step_spread", "asymmetry_spread", "cycle", "add", "slope", "write"):
            if not 0 <= getattr(self, name) < 1e6:
                raise InputError(f"device_options.{name} = {getattr(self, name)} must be 0 or more")
        if not -1 < self.asymmetry < 1:
            raise InputError(f"device_options.asymmetry = {self.asymmetry} must lie in (-1, 1); 0 is alike up and down")
        if self.one_way and not self.pair:
            raise InputError("device_options.one_way needs pair=true, or a weight could never shrink")
        if self.states is not None and self.states < 2:
            raise InputError(f"device_options.states = {self.states} must be at least 2; null is any")
        if not 0 <= self.stuck < 1:
            raise InputError(f"device_options.stuck = {self.stuck} must be a share in [0, 1)")
        if not 1 <= self.most <= 10_000:
            raise InputError(f"device_options.most = {self.most} must lie in 1 to 10,000 pulses; 31 is usual")
        if not 0 < self.span <= 1:
            raise InputError(f"device_options.span = {self.span} must lie in (0, 1]; 0.3 leaves room to grow")


PRESETS = {
    "gokmen_vlasov": Device(
        low_spread=0.3, high_spread=0.3, step=0.0016, step_spread=0.3, asymmetry_spread=0.01, cycle=0.3
    ),
    "reram_es": Device(
        low_spread=0.3,
        high_spread=0.3,
        step=0.00135,
        step_spread=0.2,
        asymmetry=0.259359,
        asymmetry_spread=0.05,
        cycle=5.0,
        write=75.0,
        curve="exponential",
        up_factor=-1.18445,
        down_factor=-0.081404,
        up_exponent=5.0,
        down_exponent=5.0,
        tilt=-0.5,
        offset=-0.5,
    ),
    "pcm": Device(
        low=0.0,
        high=2.0,
        high_spread=0.1,
        step=0.01,
        step_spread=0.2,
        asymmetry_spread=0.05,
        cycle=0.6,
        add=0.042,
        slope=0.108,
        curve="exponential",
        up_factor=-27.235,
        down_factor=-2.235,
        up_exponent=2.5,
        down_exponent=2.5,
        tilt=-1.0,
        pair=True,
        one_way=True,
    ),
    "memristor": Device(
        low=MEMRISTOR.low,
        high=MEMRISTOR.high,
        low_spread=0.1,
        high_spread=0.1,
        step=(MEMRISTOR.high - MEMRISTOR.low) / 255,
        step_spread=0.1,
        cycle=0.1,
        curve="memristor",
        pair=True,
        states=256,
    ),
}


def device(preset: str, options: dict[str, Any] | None = None) -> Device:
    """The device of a preset, some of its numbers replaced.

    Raises:
        InputError: when there is no such preset or number.
    """
    if preset not in PRESETS:
        raise InputError(f"device = {preset}: choose one of {', '.join(PRESETS)}")
    known = list(Device.__dataclass_fields__)
    for key, value in (options or {}).items():
        if key not in known:
            raise InputError(f"device_options.{key}: there is no such number; nearest: {nearest(key, known)}")
        sample = getattr(PRESETS[preset], key)
        if key in ("most", "states"):
            fits = (value is None and key == "states") or (isinstance(value, int) and not isinstance(value, bool))
        elif isinstance(sample, bool | str):
            fits = isinstance(value, type(sample))
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or (key == "curve" and value not in ("constant", "exponential", "memristor")):
            raise InputError(f"device_options.{key} = {value!r} cannot stand in the place of {sample!r}")
    return replace(PRESETS[preset], **(options or {}))


class Devices(nn.Module):
    """The devices of one weight, as a parametrization of what is stored: values that are set or asked for -> W.

    Args:
        device: their numbers.
        weight: the first values of W.
        generator: draws what each device is; the pulses are drawn by torch's own, as all of a training is.
    """

    low: Tensor  # [K, ...], K devices for each weight, as the next ones
    high: Tensor
    up: Tensor
    down: Tensor
    conductance: Tensor  # g
    read: Tensor  # W, in the shape of the weight
    scale: Tensor
    signed: Tensor  # whether the layer began with weights of both signs

    @torch.no_grad()
    def __init__(self, device: Device, weight: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.device = device
        signed = bool((weight < 0).any()) or not weight.any()
        count = 2 if device.pair and (signed or device.one_way) else 1

        def normal() -> Tensor:
            return torch.randn((count, *weight.shape), generator=generator).to(weight)

        low = device.low * (1 + device.low_spread * normal())
        high = device.high * (1 + device.high_spread * normal())
        if count == 1 and not signed:
            low = torch.zeros_like(low)
        low, high = torch.minimum(low, high), torch.maximum(low, high)
        size, tendency = 1 + device.step_spread * normal(), device.asymmetry_spread * normal()
        up = (device.step * (size + tendency + min(device.asymmetry, 0.0))).abs()
        down = (device.step * (size - tendency - max(device.asymmetry, 0.0))).abs()
        drawn = torch.rand((2, count, *weight.shape), generator=generator).to(weight)
        stuck = drawn[0] < device.stuck
        buffers = {"low": low, "high": high, "up": up.masked_fill(stuck, 0), "down": down.masked_fill(stuck, 0)}
        buffers |= {"conductance": low + drawn[1] * (high - low), "read": torch.zeros_like(weight)}
        buffers |= {"scale": weight.new_ones(()), "signed": torch.tensor(signed, device=weight.device)}
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.set(weight)

    # the contract -----------------------------------------------------------------------------------------------------
    def forward(self, values: Tensor) -> Tensor:
        return values.view_as(values)

    @torch.no_grad()
    def right_inverse(self, values: Tensor) -> Tensor:
        """Ask the devices for ``values``; return what they hold then."""
        change = values - self.read
        asked = change.abs() / (self.scale * self.device.step)
        pulses = torch.floor(asked + torch.rand_like(asked)).clamp(max=self.device.most)
        if kernels.read_freely(values.device):
            rounds = int(pulses.max()) if pulses.numel() else 0
        else:
            rounds = self.device.most  # nothing waits for the number
        up = change > 0
        for number in range(rounds):
            self._pulse(number, pulses > number, up)
        self._refresh()
        self._read(pulses > 0)
        return self.read.clone()

    # devices ----------------------------------------------------------------------------------------------------------
    @property
    def stuck(self) -> Tensor:
        """Which devices never move."""
        return (self.up == 0) & (self.down == 0)

    @property
    def reach(self) -> float:
        """The range of g on one side of 0."""
        return self.device.high - max(self.device.low, 0.0)

    @property
    def pair(self) -> bool:
        return len(self.conductance) == 2

    @torch.no_grad()
    def set(self, values: Tensor) -> Tensor:
        """Choose the scale for ``values``, and set the devices as near to them as they can be; return W then."""
        largest = values.abs().amax() if values.numel() else self.scale
        span = torch.where(self.signed, self.device.span, 1.0)
        self.scale.copy_(torch.where(largest > 0, largest, torch.ones_like(largest)) / (self.reach * span))
        wanted = values / self.scale
        if self.device.one_way:
            target = self._apart(wanted)
        elif self.pair:
            middle = (self.low.amax(0) + self.high.amin(0)) / 2
            target = torch.stack([middle + wanted / 2, middle - wanted / 2])
        else:
            target = wanted.unsqueeze(0)
        target = torch.minimum(torch.maximum(target, self.low), self.high)
        self.conductance.copy_(torch.where(self.stuck, self.conductance, target))
        self._read(torch.ones_like(values, dtype=torch.bool))
        return self.read.clone()

    def _apart(self, difference: Tensor) -> Tensor:
        """A pair that is ``difference`` apart, the smaller where both can begin."""
        return torch.stack([difference.clamp(min=0), (-difference).clamp(min=0)]) + self.low.amax(0)

    def _pulse(self, number: int, asked: Tensor, up: Tensor) -> None:
        """One pulse (3) for the weights that ask for it; the devices of a two-way pair take turns."""
        for side in range(len(self.conductance)):
            direction, moved = (up if side == 0 else ~up), asked
            if self.device.one_way:
                moved = asked & direction
            elif self.pair:
                moved = asked & (number % 2 == side)
            g = self.conductance[side]
            size = torch.where(direction, self.up[side], self.down[side]) * self._curve(side, direction)
            noise = self.device.cycle * (size + self.device.add + self.device.slope * g.abs())
            noise = noise.masked_fill(self.stuck[side], 0) * torch.randn_like(g)
            after = torch.where(direction, g + (size + noise), g - (size + noise))
            after = torch.minimum(torch.maximum(after, self.low[side]), self.high[side])
            self.conductance[side] = torch.where(moved & ~self.stuck[side], after, g)

    def _curve(self, side: int, up: Tensor) -> Tensor:
        """f of (3) for one device of each weight; ``up`` is the direction of its pulse."""
        d, g = self.device, self.conductance[side]
        if d.curve == "constant":
            return torch.ones_like(g)
        width = self.high[side] - self.low[side]
        if d.curve == "memristor":
            f_p, f_n = MEMRISTOR.curves((g - self.low[side]) / width)
            return torch.where(up, f_p, f_n)
        z = 2 * d.tilt * g / width + d.offset
        rising, falling = d.up_factor * torch.exp(d.up_exponent * z), d.down_factor * torch.exp(-d.down_exponent * z)
        return (1 - torch.where(up, rising, falling)).clamp(min=0)

    def _refresh(self) -> None:
        """Set the one-way pairs anew that have no room left, to the difference that they hold."""
        if not self.device.one_way:
            return
        share = self.conductance / self.high
        full = (share.amax(0) > FULL) & (share.amin(0) > HALF)
        target = torch.minimum(self._apart(self.conductance[0] - self.conductance[1]), self.high)
        self.conductance.copy_(torch.where(full & ~self.stuck.any(0), target, self.conductance))

    def _read(self, touched: Tensor) -> None:
        """(1) and (5) for the weights that were touched."""
        g = self.conductance
        if self.device.states is not None:
            width = (self.high - self.low) / (self.device.states - 1)
            g = self.low + torch.round((g - self.low) / width) * width
        if self.device.write:
            g = g + self.device.write * self.device.step * torch.randn_like(g)
        weight = self.scale * ((g[0] - g[1]) if self.pair else g[0])
        weight = torch.where(self.signed, weight, weight.clamp(min=0).minimum(self.scale * self.reach))
        self.read.copy_(torch.where(touched, weight, self.read))


def keep_in_devices(weight: Weight, device: Device, generator: torch.Generator) -> None:
    """Let what is stored of ``weight`` be held by devices from now on; other constraints act on what they hold.

    Raises:
        InputError: when the weight is stored as several tensors, or its connections move.
    """
    values = weight.values
    if any(isinstance(part, Rewired) for part in values.parts):
        raise InputError("devices stay where they are, and method.rewiring moves connections; use method.rewiring=null")
    stored = values.stored  # refuses several
    part = Devices(device, stored.detach(), generator)
    with torch.no_grad():
        stored.copy_(part.read)
    if not values.constrained:
        register_parametrization(weight.layer, "weight", part)
    else:
        chain: Any = weight.layer.parametrizations
        chain["weight"].insert(0, part)


def devices_inside(module: nn.Module) -> Iterator[tuple[Tensor, Devices]]:
    """Every weight of ``module`` that is held by devices: what is stored, and they."""
    for _, weight in weights_inside(module):
        parts = weight.values.parts
        if parts and isinstance(parts[0], Devices):
            yield weight.stored, parts[0]


@torch.no_grad()
def settle(module: nn.Module) -> None:
    """Ask the devices of ``module`` for what was made of the stored weights, and store what they hold then."""
    for stored, part in devices_inside(module):
        stored.copy_(part.right_inverse(stored))
