"""Hold the devices of snnlab.weights.devices against those of aihwkit 1.1.0, which has to be installed beside snnlab.

usage: python tests/oracles/aihwkit_devices.py          (beside torch 2.10; the wheel of 1.1.0 misreads tensors of 2.13)

The device of each preset that is as the mean of all stands here and there in 2,000 copies, so that chance averages out;
each gets 10,000 pulses, up and down in turns (PCM: up alone), set anew to 0 after every 20, and is read after
each. Held to 2 %: the mean step up and down, their asymmetry, the spread of a step, the write noise; and of the devices
of a preset, 90,000 here and there, the mean and the spread of their ends and of their steps.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from aihwkit.simulator.configs import SingleRPUConfig, UpdateParameters
from aihwkit.simulator.presets.devices import GokmenVlasovPresetDevice, PCMPresetDevice, ReRamESPresetDevice
from aihwkit.simulator.tiles import AnalogTile

from snnlab.weights.devices import PRESETS, Devices

PULSES, COPIES = 10_000, 2000
ROUND = 20  # pulses from 0 on
EACH = 10 * ROUND  # pulses of one tile: its noise comes from a table of its own, whose mean is off by 0.6 % of a spread
THEIRS = {"gokmen_vlasov": GokmenVlasovPresetDevice, "reram_es": ReRamESPresetDevice, "pcm": PCMPresetDevice}
NAMES = {"max_bound": "high", "min_bound": "low", "dwmin_up": "up", "dwmin_down": "down"}


ALIKE = {"dw_min_dtod": 0.0, "up_down_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0}


def tile_of(name: str, outputs: int, inputs: int, **numbers: float) -> AnalogTile:
    """An aihwkit tile of this preset where an update is one pulse each."""
    update = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    device = THEIRS[name](construction_seed=7, **numbers)
    tile = AnalogTile(outputs, inputs, SingleRPUConfig(device=device, update=update))
    tile.tile.set_learning_rate(100 * PRESETS[name].step)  # its pulses are drawn; so much makes one of them certain
    return tile


def spread_of_devices(name: str) -> dict[str, tuple[float, float]]:
    """Mean and spread of what differs between devices: theirs and ours."""
    hidden = tile_of(name, 300, 300).get_hidden_parameters()
    ours = Devices(PRESETS[name], torch.full((300, 300), -1.0), torch.Generator().manual_seed(1))
    found = {}
    for theirs, own in NAMES.items():
        a, b = hidden[theirs].abs(), getattr(ours, own)[0].abs()
        found[f"mean {own}"] = (float(a.mean()), float(b.mean()))
        found[f"spread {own}"] = (float(a.std()), float(b.std()))
    return found


def steps_of_one(name: str) -> dict[str, tuple[float, float]]:
    """The same pulses for one device in many copies: mean step up and down, spread, asymmetry; theirs and ours."""
    device = replace(PRESETS[name], low_spread=0.0, high_spread=0.0, step_spread=0.0, asymmetry_spread=0.0)
    tile = tile_of(name, COPIES, 1, **ALIKE)
    ours = Devices(device, torch.full((COPIES, 1), -1.0), torch.Generator().manual_seed(1))
    ours.scale.fill_(1.0)
    x, ones = torch.ones(1, 1), torch.ones(COPIES, 1)
    steps: dict[str, list[list[torch.Tensor]]] = {"up": [[], []], "down": [[], []]}
    one_way, always = device.one_way, torch.ones(COPIES, 1, dtype=torch.bool)
    for number in range(PULSES):
        if number % EACH == 0:
            tile = tile_of(name, COPIES, 1, **ALIKE)
        if number % ROUND == 0:
            tile.set_weights(torch.zeros(COPIES, 1))
            ours.conductance.zero_()
        up = one_way or number % 2 == 0
        before = persistent(tile, device.write), ours.conductance[0].clone()
        tile.tile.update(x, -ones.T.contiguous() if up else ones.T.contiguous(), False)
        ours._pulse(0, always, always if up else ~always)
        after = persistent(tile, device.write), ours.conductance[0]
        for kept, a, b in zip(steps["up" if up else "down"], before, after, strict=True):
            kept.append(b - a)
    found: dict[str, tuple[float, float]] = {}
    for way, pair in steps.items():
        if pair[0]:
            mean, spread = zip(*((float(torch.cat(s).mean()), float(torch.cat(s).std())) for s in pair), strict=True)
            found |= {f"step {way}": mean, f"spread of a step {way}": spread}
    if not one_way:
        a, b = (
            (found["step up"][i] + found["step down"][i]) / (found["step up"][i] - found["step down"][i])
            for i in (0, 1)
        )
        found["asymmetry"] = (1 + a, 1 + b)  # of their difference to their sum, around 1: it may be near 0
    if device.write:
        ours.conductance.zero_()
        tile.set_weights(torch.zeros(COPIES, 1))
        reads: list[list[torch.Tensor]] = [[], []]
        for number in range(200):
            tile.tile.update(x, -ones.T.contiguous() if number % 2 else ones.T.contiguous(), False)
            ours._read(always)
            reads[0].append(tile.get_weights()[0].clone() - persistent(tile, 1.0))
            reads[1].append(ours.read - ours.conductance[0])
        found["write noise"] = tuple(float(torch.stack(r).std()) for r in reads)  # type: ignore[assignment]
    return found


def persistent(tile: AnalogTile, hidden: float) -> torch.Tensor:
    """The conductance of a tile's devices, without write noise."""
    if hidden:
        return tile.get_hidden_parameters()["persistent_weights"].clone()
    return tile.get_weights()[0].clone()


def main() -> int:
    torch.manual_seed(0)
    far = 0
    for name in THEIRS:
        for what, (theirs, ours) in (spread_of_devices(name) | steps_of_one(name)).items():
            off = abs(ours - theirs) / abs(theirs) if theirs else abs(ours)
            far += off > 0.02
            print(f"{name:14} {what:22} aihwkit {theirs:12.6f}  snnlab {ours:12.6f}  {100 * off:6.2f} %")
    return int(far > 0)


if __name__ == "__main__":
    sys.exit(main())
