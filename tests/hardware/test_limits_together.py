"""Weights that keep a sign, lack synapses or are rewired, under a target: both contracts hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import snnlab
from small_runs import FEW
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.export.__main__ import main as export
from snnlab.hardware.constrain import reached
from snnlab.runs import wiring
from snnlab.weights.deep_rewiring import Rewired
from snnlab.weights.devices import Devices
from snnlab.weights.find import weight_of
from snnlab.weights.levels import Levels, OnLevels, keep_on_levels
from snnlab.weights.masked import Masked
from snnlab.weights.signed import Signed, keep_signs

LINE = ["method=stbp", "data=digits", "model.hidden=[12]", *FEW]
OWN = {
    "signed": ["init=fluctuation", "init.inhibitory=0.25", "data.sequence=rows", "encoder=none"],
    "masked": ["init=fluctuation", "init.density=0.5"],
    "rewired": ["method.rewiring={_target_: snnlab.weights.deep_rewiring.DeepRewiring, connectivity: 0.3}"],
}
LEVELS = {"int4": (-8, 7), "ternary": (-1, 1), "binary": (-1, 1), "loihi2": (-256, 255)}


def kept(weight):
    """What is left of the weight's own contract: the sign of each value (0 is any), and where there is none."""
    used = weight.used.detach()
    for part in weight.values.parts:
        if isinstance(part, Signed):
            assert not ((used * part.sign) < 0).any() and (used < 0).any()
        elif isinstance(part, Masked | Rewired):
            assert not used[part.exists == 0].any() and used[part.exists == 1].any()
            if isinstance(part, Rewired):
                assert not ((used * part.sign) < 0).any()
        else:
            continue
        return True
    return False


@pytest.mark.parametrize("target", ["int4", "ternary", "binary", "loihi2", "rpu"])
@pytest.mark.parametrize("own", OWN)
def test_both_contracts_hold(own, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed = compose([*LINE, *OWN[own], f"hardware={target}"])
    if (own, target) in {("masked", "binary"), ("rewired", "binary"), ("rewired", "rpu")}:
        with pytest.raises(InputError, match=r"lacks synapses|devices stay where they are") as refusal:
            wiring.run(composed)
        assert "\n" not in str(refusal.value)
        return
    folder = wiring.run(composed).folder
    record = json.loads((folder / "run.json").read_text())
    stored = torch.load(folder / record["checkpoint"], weights_only=True)["state_dict"]
    network = snnlab.load(folder)
    weights = {name: weight for name, weight, _ in reached(network)}
    held = [kept(weight) for weight in weights.values()]
    assert any(held)
    for name, weight in weights.items():
        assert torch.equal(stored[f"network.layers.{name}.parametrizations.weight.original"], weight.stored.detach())
        first, last = weight.values.parts[0], weight.values.parts[-1]
        assert isinstance(first, Devices) if target == "rpu" else isinstance(last, OnLevels)
    if target not in LEVELS:
        return
    assert export([str(folder), "--format", "numpy"]) == 0
    low, high = LEVELS[target]
    with np.load(next(folder.rglob("network.npz"))) as arrays:
        for name, weight in weights.items():
            levels = arrays[f"{name}/levels"]
            assert np.array_equal(levels * arrays[f"{name}/unit"], weight.used.detach().numpy())
            assert low <= levels.min() and levels.max() <= high
            both = levels.min() < 0 < levels.max()
            assert target != "loihi2" or not both or not (levels % 2).any()


def test_a_weight_of_nothing_keeps_its_sign_where_there_is_no_0():
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.5]]))
    weight = weight_of(layer)
    keep_signs(weight, torch.tensor([False, True]))
    keep_on_levels(weight, OnLevels(Levels(-1, 1, zero=False)))
    assert weight.used.tolist() == [[-0.25, 0.25]]
