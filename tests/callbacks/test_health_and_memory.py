"""Health notices name the layer; live bytes count what a step holds; pictures and checkpoints are chosen right."""

import logging
from contextlib import ExitStack

import pytest
import torch
from torch import nn

from snnlab.callbacks.health import Health
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
    text = notices("method.threshold=1e6", "method.surrogate=atan")
    assert "health: hidden1 is dead: 0.0e+00 spikes per neuron and step" in text
    assert text.count("hidden1 is dead") == 1  # told once a run
    assert "weight1 gets almost no gradient" in text


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
    health._seen = {"hidden1": torch.ones(4, 2, 3), "hidden2": torch.full((4, 2, 3), 0.5)}
    health._open = ExitStack()
    logger = logging.getLogger("snnlab")
    logger.addHandler(caplog.handler)
    try:
        health.on_train_batch_end(None, None, None, None, 0)
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
