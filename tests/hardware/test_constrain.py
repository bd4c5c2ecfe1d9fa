"""Networks under a target: what is changed, what is refused, and that training, a run and a load see the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import snnlab
from small_runs import FEW
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.hardware.target import Target
from snnlab.layers.chain import Chain
from snnlab.runs import wiring

TARGETS = sorted(path.stem for path in (conf_dir() / "hardware").glob("*.yaml") if path.stem != "none")
SMALL = ["method=stbp", "data=digits", "model.hidden=[12]", *FEW]


def parts(*overrides):
    return build(compose([*SMALL, *overrides]).config)


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_is_values_that_a_target_takes(name):
    made = instantiate_part("hardware", OmegaConf.load(conf_dir() / "hardware" / f"{name}.yaml"))
    assert isinstance(made, Target) and made.name == name and made.source


def test_none_changes_nothing():
    free = parts()
    assert free.target is None and free.fit is None and free.changed == []
    assert not any(weight.constrained for weight in Chain(free.method.network).weights().values())


def test_loihi_weights_are_even_whole_numbers_and_thresholds_too():
    made = parts("hardware=loihi2")
    for name, weight in Chain(made.method.network).weights().items():
        levels, unit = weight.values.parts[-1].of(weight.stored.detach())
        assert torch.equal(levels * unit, weight.used), name
        assert not (levels % 2).any() and levels.min() >= -256 and levels.max() <= 254
    neuron = made.method.network.layers["hidden1"]
    assert neuron.decay * 4096 == round(0.2 * 4096)
    assert (neuron.threshold / neuron.levels.unit) % 64 == 0
    assert any("decay 0.2 -> 0.199951" in line for line in made.changed)


def test_sums_in_a_chips_network_are_whole_numbers():
    made = parts("hardware=loihi2")
    network = made.method.network
    frames = (torch.rand(6, 4, *made.data.spec.input_shape) < 0.3).float()
    _, record = network.unroll(frames)
    for name, (_, states) in record.items():
        units = states.v / network.layers[name].levels.unit
        assert torch.equal(units, units.round()) and units.any()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["hardware=xylo"], "hidden1 has reset=hard"),
        (["hardware=truenorth"], "hidden1 forgets"),
        (["hardware=truenorth", "method.decay=1.0"], "has a bias"),
        (["hardware=speck2f", "method.decay=1.0", "encoder=direct"], "input is numbers, not spikes"),
        (["hardware=loihi2", "method.neuron=alif"], "is ALIF"),
        (["hardware=loihi2", "method=bntt"], "normalises"),
        (["hardware=int8", "hardware.weight_low=3"], "must hold 0"),
        (["hardware=int8", "hardware.assumptions=[nix]"], "nix, which is no limit"),
        (["hardware=loihi2", "hardware.neurons_per_core=4", "hardware.must_fit=true", "hardware.cores=2"], "cores"),
    ],
)
def test_what_a_target_cannot_is_one_line(line, words):
    with pytest.raises(InputError, match=words) as found:
        parts(*line)
    assert "\n" not in str(found.value) and "hardware" in str(found.value)


def test_a_run_its_checkpoint_and_what_is_loaded_have_the_same_weights(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = wiring.run(compose([*SMALL, "hardware=int4", "trainer.max_epochs=2"]))
    record = json.loads((result.folder / "run.json").read_text())
    assert record["hardware"] == "int4" and record["fit_report"]["fits"]
    loaded = snnlab.load(result.folder)
    stored = torch.load(result.folder / record["checkpoint"], weights_only=True)["state_dict"]
    for name, weight in Chain(loaded).weights().items():
        of_file = stored[f"network.layers.{name}.parametrizations.weight.original"]
        assert torch.equal(weight.stored.detach(), of_file)
        assert len(weight.used.unique()) <= 16
    again = wiring.run(compose([*SMALL, "hardware=int4", f"hardware.start={result.folder}"]))
    assert again.metrics["test"] == result.metrics["test"]


def test_a_free_run_is_taken_under_limits_without_training(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    free = wiring.run(compose(SMALL))
    taken = wiring.run(compose([*SMALL, "hardware=ternary", f"hardware.start={free.folder}"]))
    before, after = (snnlab.load(run.folder).state_dict() for run in (free, taken))
    for name, value in before.items():
        head, _, last = name.rpartition(".")
        assert torch.equal(value, after.get(name, after.get(f"{head}.parametrizations.{last}.original")))
    assert taken.metrics["train"] == {}
    with pytest.raises(InputError, match="do not fit this network"):
        wiring.run(compose([*SMALL, "model.hidden=[13]", "hardware=int8", f"hardware.start={free.folder}"]))
