"""A network under whole-numbered limits as the numbers that a chip holds: integers and their units, in one .npz file.

weight = levels * unit              levels: integers
v      = (whole number) * level     level: of the neuron's state, in whole numbers or where states are rounded
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from snnlab.errors import InputError
from snnlab.export.nir_graph import array, kind_of
from snnlab.hardware.constrain import inner, plain_decays, reached
from snnlab.hardware.target import Target
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.neurons import whole
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.weights.levels import OnLevels, levels_of

DECAYS = {"4096ths": "decay_4096ths", "shifts": "decay_shift"}

README = """# {target}: the integers of {run}

`network.npz` (numpy.load) holds, for each layer, in the order in which they are run:

{lines}

| key | what it is |
| --- | --- |
| `<layer>/levels` | weights in whole numbers, [outputs, inputs, ...]; a weight is levels x `<layer>/unit` |
| `<layer>/unit` | what one level is worth, one number or one for each output |
| `<layer>/shift` | where membranes count in whole numbers: a level adds itself times 2^shift to them |
| `<layer>/places` | places that an average in front of the weight takes, which the chip sums; 1 where there is none |
| `<layer>/bias` | added at each step: a number of levels of the state where membranes count in whole numbers |
| `<layer>/stride`, `padding`, `dilation`, `groups` | of a convolution |
| `<layer>/level` | what one level of a neuron's state is worth; the next four are numbers of levels |
| `<layer>/threshold` | a spike where v reaches it, or where it is above it (`<layer>/strict`) |
| `<layer>/v_reset` | what v is after a spike, where `<layer>/reset` is `hard`; `soft`: the threshold is subtracted |
| `<layer>/low`, `high` | ends of the state, which saturates |
| `<layer>/decay_4096ths` | d: v keeps v (4096 - d) / 4096, cut towards 0 |
| `<layer>/decay_shift` | k: v loses max(floor(v / 2^k), 1), the 1 where v >= 1 alone |
| `<layer>/decay` | a factor, where the target has any |
| `<layer>/leak` | `first`: v decays, then the current is added; `last`: v decays after the reset |
| `<layer>/refractory` | silent steps after a spike |
| `<layer>/w_a`, `decay_a_...` | of AHP neurons: what a spike takes from their slow current, and how that decays |

Each step, for each layer: v decays, the weighted spikes are added, v is compared, reset, rounded to its levels and kept
in `low` to `high`. Time step: {time_step:g} s.
"""


@torch.no_grad()
def integers(network: Network, target: Target | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays by name, and one line for each layer.

    Raises:
        InputError: where nothing is on levels.
    """
    if target is None or target.weight_high is None:
        has = "hardware=none" if target is None else f"hardware={target.name}, whose weights lie on no levels"
        raise InputError(
            f"--format numpy writes the whole numbers of a target, and this run has {has}; "
            "--format nir writes its floating-point numbers"
        )
    arrays, lines = dict[str, np.ndarray](), list[str]()
    driven = {edge.name: edge.targets for edge in Chain(network).edges()}
    for name, weight, places in reached(network):
        if not (weight.values.parts and isinstance(weight.values.parts[-1], OnLevels)):
            raise InputError(f"{name} ({type(weight.layer).__name__}) lies on no levels, so it has no integers")
        levels, unit = levels_of(weight)
        arrays |= {
            f"{name}/levels": smallest(levels),
            f"{name}/unit": array(unit),
            f"{name}/places": np.asarray(places),
        }
        behind = [inner(network.leaves()[t]) for t in driven.get(name, []) if t in network.leaves()]
        level = min((n.levels.unit for n in behind if isinstance(n, whole.OnLevels)), default=None)
        if target.whole_numbers and level is not None:
            arrays[f"{name}/shift"] = np.asarray(round(math.log2(float(unit) / (level * places))))
        if weight.bias_values is not None:
            unit_of_bias = level if target.whole_numbers and level is not None else 1.0
            arrays[f"{name}/bias"] = np.asarray(in_units(weight.bias_values.used, unit_of_bias))
        for key in ("stride", "padding", "dilation", "groups"):
            if not weight.dense and hasattr(weight.layer, key):
                arrays[f"{name}/{key}"] = np.asarray(getattr(weight.layer, key))
        used = np.unique(arrays[f"{name}/levels"])
        lines.append(f"{name}: {list(levels.shape)}, {levels.numel():,} weights on {len(used)} levels")
    for name, layer in network.leaves().items():
        if isinstance(layer, Neuron | Integrator):
            values = of_neuron(inner(layer))
            arrays |= {f"{name}/{key}": np.asarray(value) for key, value in values.items()}
            more = "" if plain_decays(inner(layer)) else "; more constants are in config.yaml, or learned, and not here"
            lines.append(f"{name}: {kind_of(inner(layer)).__name__}, {told(values)}{more}")
    return arrays, lines


def of_neuron(neuron: Temporal) -> dict[str, Any]:
    """Threshold, decays, levels and reset, in whole numbers where there are."""
    levels = neuron.levels if isinstance(neuron, whole.OnLevels) else None
    unit = 1.0 if levels is None else levels.unit
    found: dict[str, Any] = {}
    for key in ("reset", "leak"):
        if hasattr(neuron, key):
            found[key] = getattr(neuron, key)
    if levels is not None:
        found |= {"level": unit, "low": np.int64(levels.low), "high": np.int64(levels.high)}
    for key in ("threshold", "w_a", "v_reset"):
        value: Any = getattr(neuron, key, None)
        if value is not None:
            found[key] = in_units(value, unit)
    for key in ("decay", "decay_a"):
        decay: Any = getattr(neuron, key, None)
        if isinstance(decay, float | int):
            found |= decays(key, float(decay), None if levels is None else levels.decay)
    refractory: Any = getattr(neuron, "refractory", None)
    if refractory is not None:
        found["refractory"] = int(refractory)
    if hasattr(neuron, "spike"):
        found["strict"] = bool(getattr(neuron.spike, "strict", False))
    return found


def decays(key: str, decay: float, form: str | None) -> dict[str, Any]:
    """A factor per step as the target writes it."""
    if form == "4096ths":
        return {f"{key}_4096ths": np.int64(round(4096 * (1 - decay)))}
    if form == "shifts":
        return {f"{key}_shift": np.int64(round(-math.log2(1 - decay)))}
    return {key: decay}


def in_units(value: Any, unit: float) -> Any:
    """A value in units; an integer where it is one."""
    given = np.asarray(array(value) if isinstance(value, torch.Tensor) else value, np.float64) / unit
    return given.astype(np.int64) if bool(np.all(given == np.rint(given))) else given


def smallest(levels: torch.Tensor) -> np.ndarray:
    """Whole numbers in the smallest type of integers that holds them."""
    found = levels.cpu().numpy().astype(np.int64)
    low, high = int(found.min()), int(found.max())
    kinds = (np.int8, np.int16, np.int32, np.int64)
    return found.astype(next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max))


def told(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if np.ndim(value) == 0)
