"""The whole numbers of a target: they give the weights that are used, and run alone they give the network's spikes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.export.integers import integers
from snnlab.layers.chain import Chain


def built(*overrides, bias="false"):
    line = ["method=stbp", "data=digits", "logger=none", f"method.bias={bias}", "model.hidden=[12]", *overrides]
    parts = build(compose(line).config)
    return parts.method.network.eval(), parts.target


@pytest.mark.parametrize("target", ["int8", "int4", "ternary", "binary", "loihi2"])
@pytest.mark.parametrize("unit", ["layer", "output"])
def test_levels_times_unit_are_the_weights_to_the_bit(target, unit):
    if target == "loihi2" and unit == "output":
        return  # whole numbers have one unit for a layer
    network, limits = built(f"hardware={target}", f"hardware.weight_unit={unit}")
    arrays, _ = integers(network, limits)
    for name, weight in Chain(network).weights().items():
        levels, scale = arrays[f"{name}/levels"], arrays[f"{name}/unit"]
        assert np.array_equal(levels.astype(np.float32) * scale, weight.used.detach().numpy())
        assert levels.dtype == (np.int16 if target == "loihi2" else np.int8)
        for row in levels if unit == "output" else [levels]:
            assert len(np.unique(row)) <= {"int8": 255, "int4": 16, "ternary": 3, "binary": 2, "loihi2": 256}[target]
        if target == "loihi2":
            assert (levels % 2 == 0).all()


def test_neurons_of_more_constants_than_the_layout_has_say_so():
    for kind, more in (("lif", False), ("ahp", False), ("alif", True), ("cuba_lif", True)):
        _, lines = integers(*built("hardware=int8", f"method.neuron={kind}"))
        assert ("more constants" in next(line for line in lines if line.startswith("hidden1"))) == more, kind


def chip(arrays, layers, spikes):
    """Loihi's arithmetic on integers alone, as the README of the layout says it: spikes [T, B, N] -> by layer."""
    found = {}
    for weight, name in layers:
        w = arrays[f"{weight}/levels"].astype(np.int64) << int(arrays[f"{weight}/shift"])
        get = {key: int(arrays[f"{name}/{key}"]) for key in ("threshold", "decay_4096ths", "low", "high")}
        v, made = np.zeros((spikes.shape[1], len(w)), np.int64), []
        for frame in spikes:
            v = np.sign(v) * (np.abs(v) * (4096 - get["decay_4096ths"]) // 4096) + frame.astype(np.int64) @ w.T
            v = v + arrays.get(f"{weight}/bias", 0)
            fired = v > get["threshold"] if arrays[f"{name}/strict"] else v >= get["threshold"]
            v = np.where(fired, v - get["threshold"] if arrays[f"{name}/reset"] == "soft" else 0, v)
            v = v.clip(get["low"], get["high"])
            made.append(fired)
        spikes = found[name] = np.stack(made).astype(np.int64)
    return found


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize(("strict", "bias"), [("true", "false"), ("false", "false"), ("false", "true")])
def test_the_integers_run_alone_give_the_spikes(reset, strict, bias):
    network, target = built(
        "hardware=loihi2",
        f"method.reset={reset}",
        f"method.strict={strict}",
        "method.decay=0.8",
        "method.threshold=0.3",
        bias=bias,
    )
    for weight in Chain(network).weights().values() if bias == "true" else ():
        torch.nn.init.uniform_(weight.bias_values.stored, -0.1, 0.1)
    arrays, _ = integers(network, target)
    frames = (torch.rand(30, 8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    with torch.no_grad(), network.observe() as seen:
        network(frames)
    layers = [("weight1", "hidden1"), ("readout_weight", "readout")]
    assert bias == "false" or arrays["weight1/bias"].dtype == np.int64
    found = chip(arrays, layers, frames.flatten(2).numpy())
    for name, spikes in found.items():
        assert np.array_equal(spikes, seen[name].numpy()) and spikes.sum() > 100


def test_ahp_neurons_and_convolutions_have_all_that_runs_them():
    network, target = built("hardware=loihi2", "method.neuron=ahp")
    arrays, _ = integers(network, target)
    assert {f"hidden1/{key}" for key in ("w_a", "decay_a_4096ths", "refractory", "threshold")} <= arrays.keys()
    assert arrays["hidden1/w_a"].dtype == np.int64
    network, target = built("hardware=int8", "model=small_conv", "model.channels=[2]", "model.hidden=4")
    arrays, lines = integers(network, target)
    assert arrays["weight1/padding"].tolist() == [1, 1] and arrays["weight_hidden/places"] == 4
    assert any("weight1: [2, 1, 3, 3], 18 weights" in line for line in lines)


def test_floating_point_has_no_integers():
    with pytest.raises(InputError, match="this run has hardware=none; --format nir"):
        integers(*built("hardware=none"))
    with pytest.raises(InputError, match="this run has hardware=rpu, whose weights lie on no levels"):
        integers(*built("hardware=rpu"))
