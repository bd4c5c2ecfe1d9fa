"""Health notices name the layer; live bytes count what a step holds; pictures and checkpoints are chosen right."""

import logging
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from snnlab.callbacks.health import LASTING, Health
from snnlab.callbacks.memory import LiveBytes
from snnlab.callbacks.reproducible import derived_seed
from snnlab.config.compose import compose
from snnlab.layers.network import Network
from snnlab.runs.wiring import run

QUICK = [
    "method=stbp",
    "data=digits",
    "logger=none",
    "trainer.max_epochs=1",
    "model.hidden=[16]",
    "callbacks.figures=false",
]


@pytest.fixture
def notices(monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("snnlab")
    monkeypatch.setattr(logger, "propagate", True)

    def of(*options: str) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "snnlab"):
            run(compose([*QUICK, *options]))
        return "\n".join(r.getMessage() for r in caplog.records if r.getMessage().startswith("health:"))

    return of


def test_a_dead_layer_is_named(notices):
    text = notices("method.threshold=1e6", "method.surrogate=atan")  # an epoch of 26 batches, looked at four times
    assert "health: hidden1 is dead: 0.0e+00 spikes per neuron and step" in text
    assert text.count("hidden1 is dead") == 1  # told once a run
    assert "weight1 gets almost no gradient" in text
    assert "try method.threshold=500000 (now 1e+06) or init=kaiming init.gain=2" in text


def looked_at(health, *rates):
    """Let ``health`` look once at a layer of each rate."""
    health._seen = {f"hidden{i}": torch.full((4, 2, 3), float(rate)) for i, rate in enumerate(rates, 1)}
    health._open = ExitStack()
    health.on_train_batch_end(None, None, None, None, 0)


def test_what_passes_is_not_told_and_what_lasts_is(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    health = Health({"threshold": 0.5})
    for look in range(12):
        looked_at(health, look % 4 == 3, 0, 1)  # the first one wakes up at every fourth look
        if look == 2:
            assert not caplog.records
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2 and told[0].startswith("health: hidden2 is dead: 0.0e+00 spikes per neuron and step")
    assert told[0].endswith("try method.threshold=0.25 (now 0.5) or init=kaiming init.gain=2")
    assert told[1].endswith("try method.threshold=1 (now 0.5) or init=kaiming init.gain=0.5")


def test_gradients_of_a_method_with_steps_of_its_own_are_seen(monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("snnlab.callbacks.health.EXPLODING", 1e-12)
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    options = ["method=vdib", "data=drifting_blobs", "logger=none", "callbacks.figures=false", "trainer.max_epochs=1"]
    options += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
    with caplog.at_level(logging.WARNING, "snnlab"):
        run(compose(options))
    assert "health: readout gets a huge gradient" in caplog.text


def test_a_saturated_layer_is_named(caplog):
    health = Health()
    logger = logging.getLogger("snnlab")
    logger.addHandler(caplog.handler)
    try:
        for _ in range(LASTING):
            looked_at(health, 1, 0.5)
    finally:
        logger.removeHandler(caplog.handler)
    assert "health: hidden1 is saturated: 1.00 spikes per neuron and step" in caplog.text
    assert "hidden2" not in caplog.text


def test_an_exploding_gradient_is_named(caplog):
    class Module:
        network = Network([("weight1", nn.Linear(2, 2))])

    health = Health()
    Module.network.layers["weight1"].weight.grad = torch.full((2, 2), 1e5)
    health._open = ExitStack()
    logger = logging.getLogger("snnlab")
    logger.addHandler(caplog.handler)
    try:
        health.look(Module.network)
        health.on_train_batch_end(None, None, None, None, 0)
    finally:
        logger.removeHandler(caplog.handler)
    assert "health: weight1 gets a huge gradient (rms 1.0e+05)" in caplog.text


def test_live_bytes_counts_what_is_alive_at_once():
    with LiveBytes() as counted:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b * 2
        del b, c
    assert counted.peak == 8000 and counted.live == 0


def test_live_bytes_sees_the_backward():
    layer = nn.Linear(100, 100, bias=False)
    x = torch.rand(50, 100)
    with LiveBytes() as counted:
        layer(x).sum().backward()
    assert counted.peak >= 100 * 100 * 4  # the weight's gradient
    assert counted.live >= 100 * 100 * 4  # and it stays


def test_seeds_of_epochs_are_unrelated_and_fixed():
    seeds = {derived_seed(seed, "train", epoch) for seed in range(20) for epoch in range(20)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(0, "train", 0) == derived_seed(0, "train", 0)
