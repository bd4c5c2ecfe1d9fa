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
from snnlab.hardware.constrain import neurons, reached, unit_of
from snnlab.hardware.target import Target
from snnlab.layers.chain import Chain
from snnlab.runs import wiring
from snnlab.runs.dry_run import make_frames
from snnlab.runs.identity import digest, identity, recorded, row
from snnlab.runs.plan import checked
from snnlab.tables import rows

TARGETS = sorted(path.stem for path in (conf_dir() / "hardware").glob("*.yaml") if path.stem != "none")
SMALL = ["method=stbp", "data=digits", "model.hidden=[12]", *FEW]


def parts(*overrides):
    return build(compose([*SMALL, *overrides]).config)


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_is_values_that_a_target_takes(name):
    made = instantiate_part("hardware", OmegaConf.load(conf_dir() / "hardware" / f"{name}.yaml"))
    assert isinstance(made, Target) and made.name == name and made.source


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"threshold_high": 5, "threshold_step": 2},
            "threshold_high, threshold_step limit nothing without hardware.w",
        ),
        (
            {"weight_low": -8, "weight_high": 7, "weight_types": 4},
            "weight_types limits nothing without hardware.whole_",
        ),
        ({"graded_inputs": True}, "hardware.graded_inputs=false"),
        ({"state_span": 2.0}, "state_span limits nothing without hardware.state_high; .* hardware.state_span=8.0"),
        (
            {"weight_unit": "output"},
            r"nothing without hardware\.weight_high; .* hardware.weight_unit=layer",
        ),
        ({"mixed_low": -8, "mixed_high": 7}, "mixed_low, mixed_high limit nothing without hardware.weight_high"),
        ({"synapses_per_weight": 2}, "synapses_per_weight limits nothing without hardware.synapses"),
        (
            {"kernel_words": [3], "neuron_words": [3], "axons_in": 4},
            "axons_in = 4 limits nothing beside hardware.kern",
        ),
        ({"strides": []}, r"strides = \[\] leaves nothing; null is no limit"),
        ({"resets": ["zero"]}, "resets has zero, and there are soft, hard and none"),
        ({"neurons": []}, r"neurons = \[\] leaves nothing"),
        ({}, "hardware=mine limits nothing; give it a limit, or use hardware=none"),
        ({"assumptions": ["name"], "fan_in": 3}, "assumptions has name, which is no limit"),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(limits, words):
    with pytest.raises(InputError, match=words):
        Target("mine", "here", **limits)


WRONG = [
    "assumptions=[nix]",
    "name=",
    "weight_low=null",
    "weight_low=3",
    "weight_step=1000",
    "weight_step=0",
    "mixed_step=9",
    "fan_in=0",
    "kernel=0",
    "strides=[]",
    "weight_zero=false",
    "weight_types=4",
    "threshold_levels=0",
    "time_step=-1",
    "device=mercury",
    "device=pcm",
    "device_options={step: 1}",
    "neurons=[nix]",
    "resets=[nix]",
    "state_low=null",
    "state_span=0",
    "mac_joule=3",
    "ac_joule=-1e-12",
    "axons_in=abc",
    "nix=3",
]


@pytest.mark.parametrize("typed", WRONG)
def test_an_error_names_the_key_as_it_was_typed(typed):
    with pytest.raises(InputError) as found:
        parts("hardware=int8", f"hardware.{typed}")
    assert f"hardware.{typed.partition('=')[0]}" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    "typed", ["foo=1", "step=-1", "step=abc", "stuck=2", "states=1", "most=0", "curve=foo", "span=0", "asymmetry=1"]
)
def test_an_error_names_the_number_of_a_device_as_it_was_typed(typed):
    with pytest.raises(InputError) as found:
        parts("hardware=rpu", f"hardware.device_options.{typed}")
    assert str(found.value).startswith(f"hardware.device_options.{typed.partition('=')[0]}")


def test_cores_count_without_a_limit_of_each(tmp_path):
    assert parts("hardware=int8", "hardware.cores=2").fit.fits  # hidden1 and the readout take one each
    assert not parts("hardware=int8", "hardware.cores=1").fit.fits
    assert not parts("hardware=rpu", "hardware.axons_in=63").fit.fits  # of 64 pixels
    assert not parts("hardware=int8", "hardware.synapse_bits=511").fit.fits  # 64 weights of 8 bits
    assert parts("hardware=int8", "hardware.synapse_bits=512").fit.fits


def test_neurons_may_be_given_by_their_names_on_the_line():
    assert parts("hardware=int8", "hardware.neurons=[lif]").fit.fits
    with pytest.raises(InputError, match=r"hidden1 is LIF, .*method.neuron=ahp"):
        parts("hardware=int8", "hardware.neurons=[ahp]")


@pytest.mark.parametrize(("method", "given"), [("stbp", 16 * 22 / 8), ("ottt", 16 * 12 / 8 + 4 * 10)])
def test_states_count_at_their_bits_and_those_of_a_readout_from_outside_at_32(method, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # 12 hidden units and 10 of the readout, which fires in stbp
    words = [f"method={method}", "data=digits", "model=mlp", "model.hidden=[12]", "encoder.time_steps=3", *FEW]
    test = wiring.run(compose([*words, "hardware=int8"])).metrics["test"]
    assert test["memory_bytes"]["states"] == given


@pytest.mark.parametrize("kind", ["alif", "plif", "cuba_lif", "ltc"])
@pytest.mark.parametrize("decay", ["none", "shifts", "4096ths"])
def test_decays_that_a_target_does_not_reach_are_refused(kind, decay):
    line = ["hardware=int8", f"method.neuron={kind}"]
    assert parts(*line).target.decay == "any"
    with pytest.raises(InputError, match=rf"forgets by constants of its own, not those of hardware\.decay={decay}"):
        parts(*line, f"hardware.decay={decay}")


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
    "line", [["encoder=direct"], ["encoder=rate", "model=small_conv"], ["encoder=direct", "model=recurrent_mlp"]]
)
def test_biases_and_an_images_numbers_are_whole_numbers_too(line):
    words = ["method=stbp", "data=digits", "hardware=loihi2", "method.bias=true", *FEW, *line]
    made = build(compose(words).config)
    network = made.method.network
    for _, weight, _ in reached(network):
        weight.bias_values.stored.data.uniform_(-0.3, 0.3)
        units = weight.bias_values.used / weight.bias_values.parts[-1].unit
        assert torch.equal(units, units.round()) and not torch.equal(weight.bias_values.stored, weight.bias_values.used)
    for neuron in neurons(network).values():
        current = torch.full((1, 1), 0.3)
        _, after = neuron.step(current, neuron.initial_state(current))
        assert after.v == torch.floor(0.3 / neuron.levels.unit * torch.ones(()) + 0.5) * neuron.levels.unit
    encoded = make_frames(made)
    with torch.no_grad():
        _, record = network.unroll(encoded)
    loss = network(encoded).sum()
    loss.backward()
    for name, weight, _ in reached(network):
        assert weight.bias_values.stored.grad.any(), name
    for name, (_, states) in record.items():
        if name in neurons(network):
            units = getattr(states, "neuron", states).v / neurons(network)[name].levels.unit
            assert torch.equal(units, units.round()) and units.any(), name


def test_thresholds_are_multiples_of_the_step():
    made = parts("hardware=loihi2", "hardware.threshold_levels=128", "method.threshold=0.43")
    neuron = made.method.network.layers["hidden1"]
    assert neuron.threshold / unit_of(neuron, made.target) in (64, 128)
    free = parts(
        "hardware=loihi2", "hardware.threshold_levels=128", "hardware.threshold_step=1", "method.threshold=0.43"
    )
    assert free.method.network.layers["hidden1"].threshold / unit_of(neuron, made.target) == 110


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
        (["hardware=int8", "hardware.weight_step=1000"], "must be a multiple of hardware.weight_step = 1000"),
        (["hardware=int8", "hardware.mixed_step=9"], "needs hardware.mixed_low and hardware.mixed_high"),
        (["hardware=binary", "hardware.fan_in=4"], "leaves weights of 0"),
        (["hardware=loihi2", "hardware.weight_shift=[13,0]"], "the least first"),
        (["hardware=loihi2", "hardware.weight_shift=[1]"], "two numbers"),
        (["hardware=loihi2", "hardware.weight_shift=[0,32]"], "the least first, at most 31"),
        (["hardware=loihi2", "hardware.threshold_step=64000"], "at most hardware.threshold_levels = 16384"),
        (["hardware=loihi2", "hardware.state_low=-9", "hardware.state_high=9"], "at most hardware.state_high = 9"),
        (
            ["hardware=loihi2", "hardware.state_low=null", "hardware.state_high=null"],
            "needs hardware.state_low and state_high",
        ),
        (["hardware=speck2f", "hardware.kernel_words=[1,2]"], "one of each for a core"),
        (["hardware=loihi2", "hardware.time_step=-1"], "must be positive"),
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


def test_runs_that_start_from_one_row_are_one_row_wherever_those_lie(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = [*SMALL, "trainer.limit_train_batches=1", "callbacks.figures=false"]
    free = [wiring.run(compose([*short, f"seed={seed}"])).folder for seed in (0, 1)]
    other = wiring.run(compose([*short, "method.threshold=0.7"])).folder
    words = [*short, "hardware=ternary"]
    for seed, folder in enumerate(free):
        wiring.run(compose([*words, f"seed={seed}", f"hardware.start={folder}"]))
    runs = rows.read_runs(["outputs"])
    assert sorted(len(row.runs) for row in rows.rows_of(runs).values()) == [1, 2, 2]

    def of(folder, *line):
        return row(compose([*words, f"hardware.start={folder}", *line]).plain())

    moved = free[0].rename(tmp_path / "elsewhere")
    assert of(moved) == of(free[1], "seed=1")  # where it lies is of no account
    assert of(moved) != of(free[1])  # of another seed than its own
    assert of(moved) != of(other)
    assert identity(compose([*words, f"hardware.start={moved}"]).plain()) == digest(recorded(last(runs, seed=0)))
    with pytest.raises(InputError, match=r"hardware.start = /nowhere is no run to start from"):
        of("/nowhere")


def last(runs, seed):
    return next(run for run in runs if run["config"]["hardware"].get("start") and run["seed"] == seed)


def test_a_sweep_starts_all_its_jobs_from_the_run_that_latest_was(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    free = wiring.run(compose([*SMALL, "callbacks.figures=false"])).folder
    planned = checked([*SMALL, "hardware=int8,int4", "hardware.start=outputs/latest"], None)
    for job in planned.jobs.values():
        assert f"hardware.start='{free}'" in job
    taken = wiring.run(compose([*SMALL, "hardware=int8", "hardware.start=outputs/latest"])).folder
    record = json.loads((taken / "run.json").read_text())
    assert record["config"]["hardware"]["start"] == str(free)


def test_a_free_run_is_taken_under_limits_without_training(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    free = wiring.run(compose(SMALL))
    taken = wiring.run(compose([*SMALL, "hardware=ternary", f"hardware.start={free.folder}"]))
    before, after = (snnlab.load(run.folder).state_dict() for run in (free, taken))
    for name, value in before.items():
        head, _, last = name.rpartition(".")
        assert torch.equal(value, after.get(name, after.get(f"{head}.parametrizations.{last}.original")))
    assert taken.metrics["train"] == {}
    for other in ("model.hidden=[13]", "model.hidden=[12,12]"):  # of one more layer, whose weights nobody has
        with pytest.raises(InputError, match="do not fit this network"):
            wiring.run(compose([*SMALL, other, "hardware=int8", f"hardware.start={free.folder}"]))
    with pytest.raises(InputError, match=r"hardware.start = /nowhere.* is no run folder"):
        wiring.run(compose([*SMALL, "hardware=int8", "hardware.start=/nowhere"]))
    without = wiring.run(compose([*SMALL, "method.bias=false"]))
    with pytest.raises(InputError, match="do not fit this network"):  # a chip's biases are stored under a limit
        wiring.run(compose([*SMALL, "hardware=loihi2", f"hardware.start={without.folder}"]))
