"""init.from_run, method.freeze and callbacks.early_stopping: what a run begins with, keeps, and waits for."""

import json

import pytest
import torch

from small_runs import small_run
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.runs.identity import deciding, identity
from snnlab.runs.warm_start import warm_start
from snnlab.runs.wiring import run

TINY = ["method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "callbacks.progress=false"]
TINY += ["model.hidden=[4]", "encoder.time_steps=2", "data.batch_size=50", "callbacks.health=false"]
TINY += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]


def record(folder):
    return json.loads((folder / "run.json").read_text())


def weights(folder, epoch=0):
    return torch.load(folder / f"checkpoints/epoch{epoch:03d}.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def source(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return run(compose([*TINY, "trainer.max_epochs=1"])).folder.resolve()


def started(*overrides):
    parts = build(compose([*TINY, *overrides]).config)
    warm_start(parts)
    return parts.method.state_dict()


def test_weights_of_another_run_are_where_training_begins(source, caplog):
    there, stored = started(f"init.from_run={source}", "seed=5"), weights(source)
    names = [name for name in stored if name.startswith("network.")]
    assert names and all(torch.equal(there[name], stored[name]) for name in names)
    limited = started(f"init.from_run={source}", "hardware=int8")[
        "network.layers.weight1.parametrizations.weight.original"
    ]
    assert torch.equal(limited, stored["network.layers.weight1.weight"])


def test_what_does_not_fit_begins_anew_and_is_told(source, caplog):
    caplog.set_level("INFO", "snnlab")
    overrides = (f"init.from_run={source}", "method.neuron=plif", "model.hidden=[4,3]")
    there = started(*overrides)
    assert torch.equal(there["network.layers.weight1.weight"], weights(source)["network.layers.weight1.weight"])
    line = next(message for message in caplog.messages if message.startswith("init: weights of"))
    assert line.count("weight2.weight") == 1 and "readout_weight.weight" in line and "weight1.weight" not in line
    assert "3 of 9 parameters taken; anew: " in line
    assert line.endswith("; without a place here: readout_weight.weight [10, 4]")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["init.from_run=nowhere"], "nowhere is no run folder"),
        (
            ["init.from_run={source}", "model.hidden=[7]", "method.bias=false"],
            r"^init.from_run = \S+: its weights do not fit this network: none of its weights",
        ),
        (["init.from_run={source}", "model.hidden=[7]"], "none of its weights has the name"),  # but a bias has
        (["init.from_run=3"], "init.from_run = 3 must be text"),
        (["init.from_runs=3"], "init.from_runs: there is no such key"),
    ],
)
def test_what_cannot_be_begun_with(source, overrides, said):
    with pytest.raises(InputError, match=said):
        started(*[override.format(source=source) for override in overrides])


def test_the_run_that_it_began_with_is_part_of_what_a_run_is(source, tmp_path):
    began = compose([*TINY, f"init.from_run={source}"]).plain()
    moved = source.parent / "moved"
    source.rename(moved)
    again = compose([*TINY, f"init.from_run={moved}"]).plain()
    assert identity(began | {"init": again["init"]}) == identity(again) != identity(compose(TINY).plain())
    result = run(compose([*TINY, "trainer.max_epochs=1", f"init.from_run={moved}"]))
    assert record(result.folder)["identity"]["init"]["from_run"] == deciding(again)["init"]["from_run"]


@pytest.mark.parametrize(
    "method", ["stbp", "ann", "spike_bp", "bntt", "ottt", "fptt", "burstccn", "ssnn_bp", "conversion"]
)
def test_a_frozen_layer_keeps_its_bits(monkeypatch, tmp_path, method):
    monkeypatch.chdir(tmp_path)
    overrides = [*small_run(method), "method.freeze=[weight1]"]
    start = build(compose(overrides).config).method
    before = {name: value.clone() for name, value in start.state_dict().items()}
    after = weights(run(compose(overrides)).folder)
    frozen = [name for name, parameter in start.named_parameters() if not parameter.requires_grad]
    assert frozen and all(torch.equal(after[name], before[name]) for name in frozen)
    learned = [name for name, parameter in start.named_parameters() if parameter.requires_grad]
    assert any(not torch.equal(after[name], before[name]) for name in learned)


def test_a_frozen_layer_into_silent_neurons_is_not_raised(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    overrides = [*small_run("multispike_fast_deep"), "method.freeze=[weight1]", "method.silent_share=0"]
    before = build(compose(overrides).config).method.state_dict()["network.layers.weight1.weight"]
    assert torch.equal(weights(run(compose(overrides)).folder)["network.layers.weight1.weight"], before)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.freeze=[weigth1]"], "no layer with parameters is called weigth1; nearest: weight1"),
        (["method.freeze=[hidden1]"], "no layer with parameters is called hidden1"),
        (["method.freeze=[weight1,readout_weight]"], "leaves no layer of the network that learns"),
        (["method.freeze=weight1"], "method.freeze = 'weight1' must be a list"),
        (["method.freeze=[weight1]", "hardware=memristor"], "analog devices"),
    ],
)
def test_layers_that_cannot_be_frozen(overrides, said):
    with pytest.raises(InputError) as error:
        build(compose([*TINY, *overrides]).config)
    assert said in str(error.value)


@pytest.mark.parametrize("method", ["vdsp", "vdib"])
def test_rules_that_cannot_leave_a_layer_alone(method):
    with pytest.raises(InputError, match=r"method\.freeze = \[weight1\]: .*method\.learn"):
        build(compose([*small_run(method), "method.freeze=[weight1]"]).config)


def test_nothing_frozen_is_the_same_run():
    assert identity(compose([*TINY, "method.freeze=[]"]).plain()) == identity(compose(TINY).plain())
    assert identity(compose([*TINY, "method.freeze=[weight1]"]).plain()) != identity(compose(TINY).plain())


def test_training_ends_when_nothing_gets_better(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    still = [*TINY, "method.optimizer.lr=1e-30", "method.scheduler=null", "trainer.max_epochs=9"]
    stopped = record(run(compose([*still, "callbacks.early_stopping=2"])).folder)
    assert stopped["status"] == "completed" and stopped["timing"]["epochs"] == 3
    assert stopped["early_stopping"] == {"patience": 2, "stopped": True}
    assert stopped["checkpoint"] == "checkpoints/epoch000.ckpt"
    whole = record(run(compose([*TINY, "trainer.max_epochs=2", "callbacks.early_stopping=2"])).folder)
    assert whole["early_stopping"] == {"patience": 2, "stopped": False}


def test_what_is_waited_for_decides_what_a_run_is():
    assert identity(compose([*TINY, "callbacks.early_stopping=2"]).plain()) != identity(compose(TINY).plain())
    assert identity(compose([*TINY, "callbacks.progress=true"]).plain()) == identity(compose(TINY).plain())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["callbacks.early_stopping=0"], "must be at least 1"),
        (["callbacks.early_stopping=true"], "must be a whole number or null"),
    ],
)
def test_what_cannot_be_waited_for(overrides, said):
    with pytest.raises(InputError, match=said):
        build(compose([*TINY, *overrides]).config)


def test_without_validation_there_is_nothing_to_wait_for():
    with pytest.raises(InputError, match=r"callbacks\.early_stopping = 2 waits for .*, and this run has none"):
        build(compose(["method=stbp", "data=mnist", "data.val_size=0", "callbacks.early_stopping=2"]).config)


@pytest.mark.parametrize("key", ["compile", "trainer.compile", "+compile"])
def test_what_does_not_pay_is_refused_with_the_reason(key):
    with pytest.raises(InputError, match="made no step faster"):
        compose([f"{key}=true"])
