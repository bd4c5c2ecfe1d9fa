"""Runs whose weights are devices: every way to learn moves them in pulses alone; a resumed run has the same ones."""

import pytest
import torch
from torch import nn

from golden.record import interrupted
from small_runs import small_run
from snnlab import load
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.hardware.fit import fit
from snnlab.hardware.target import Target
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.neurons.lif import LIF
from snnlab.runs.wiring import run
from snnlab.train import main
from snnlab.weights.devices import devices_inside


def state_of(folder):
    path = sorted((folder / "checkpoints").glob("epoch*.ckpt"))[-1]
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.parametrize(("method", "target"), [("ottt", "rpu"), ("burstccn", "memristor"), ("vdsp", "memristor")])
def test_what_was_trained_is_what_the_devices_hold(tmp_path, monkeypatch, method, target):
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    words = [*small_run(method), f"hardware={target}", f"paths.output={tmp_path}"]
    first = {n: v.clone() for n, v in build(compose(words).config).method.state_dict().items()}
    folder = run(compose(words)).folder
    found = load(folder)
    held = list(devices_inside(found))
    assert held
    for stored, part in held:
        assert torch.equal(stored, part.read)
    names = [name for name in state_of(folder) if name.endswith(".conductance")]
    assert any(not torch.equal(first[name], state_of(folder)[name]) for name in names)  # it learned
    drawn = [name for name in first if name.endswith((".up", ".down", ".low", ".high"))]
    assert drawn and all(torch.equal(first[name], state_of(folder)[name]) for name in drawn)


@pytest.mark.parametrize(
    "target",
    [["hardware=rpu", "hardware.device=reram_es"], ["hardware=memristor"], ["hardware=int4"], ["hardware=loihi2"]],
    ids=lambda target: target[0],
)
def test_a_run_that_was_stopped_comes_to_the_bits_of_one_that_was_not(tmp_path, monkeypatch, target):
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    words = ["method=stbp", "data=digits", *target, "model.hidden=[8]", "logger=none"]
    words += ["trainer.max_epochs=2", "trainer.limit_train_batches=4", "callbacks.figures=false", "kernels=step"]
    whole = run(compose([*words, f"paths.output={tmp_path / 'whole'}"])).folder
    words.append(f"paths.output={tmp_path / 'stopped'}")
    with interrupted(1):
        assert main(words) == 130
    assert main([*words, "resume=auto"]) == 0
    (stopped,) = (path.parent for path in (tmp_path / "stopped").glob("*/run.json"))
    one, other = state_of(whole), state_of(stopped)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["stbp", "ottt"])  # ottt: standardised weights, whose gains come behind the devices
def test_the_weights_of_a_free_run_are_set_into_devices(tmp_path, monkeypatch, method):
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    words = [*small_run(method), "model=mlp", "model.hidden=[8]", f"paths.output={tmp_path}"]
    free = run(compose(words)).folder
    after = run(compose([*words, "hardware=rpu", f"hardware.start={free}"])).folder
    one, other = (Chain(load(folder)).weights() for folder in (free, after))
    for name in one:  # but for what a device with a short range clips
        assert (one[name].used - other[name].used).abs().lt(1e-6).float().mean() > 0.97


def test_brainscales_is_for_samplers_and_a_signed_weight_takes_two_synapses():
    words = ["method=stbp", "data=digits", "model.hidden=[40]"]
    with pytest.raises(InputError, match="hardware=brainscales2: this network answers for data, and no sampler"):
        build(compose([*words, "hardware=brainscales2"]).config)
    config = compose([*words, "hardware=brainscales2"]).config.hardware
    target = Target(**{key: value for key, value in config.items() if key != "_target_"})
    for hidden, synapses, neurons in ((502, True, True), (503, True, False), (885, True, False), (886, False, False)):
        layers = [("a_weight", nn.Linear(64, hidden)), ("a", LIF(1.0, 1.0)), ("b_weight", nn.Linear(hidden, 10))]
        needs = {need.what: need for need in fit(Network([*layers, ("b", LIF(1.0, 1.0))]), target, (64,), 10).needs}
        assert needs["synapses"].fits is synapses and needs["synapses"].need == 2 * 74 * hidden  # 131,072 are there
        assert needs["neurons"].fits is neurons


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hardware=rpu", "hardware.device=mercury"], "choose one of gokmen_vlasov, reram_es, pcm, memristor"),
        (["hardware=rpu", "hardware.device_options={steps:1}"], "device_options.steps: there is no such number"),
        (["hardware=int8", "hardware.device_options={stuck:0.1}"], "device_options are for a device"),
        (["experiment=ahp_store_recall_rewired", "hardware=rpu"], "moves connections; use method.rewiring=null"),
    ],
)
def test_what_no_device_can_do_is_refused(words, message):
    first = [] if words[0].startswith("experiment") else ["method=stbp", "data=digits"]
    with pytest.raises(InputError, match=message):
        build(compose([*first, *words]).config)


def test_a_device_has_no_levels():
    with pytest.raises(InputError, match="a device has no levels"):
        Target("mine", "nowhere", device="pcm", weight_low=-8, weight_high=7)
