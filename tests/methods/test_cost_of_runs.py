"""Every method's test says what an inference costs, in figures that fit each other."""

from __future__ import annotations

from typing import Any

import pytest

from small_runs import FEW, small_run
from snnlab.config.compose import compose
from snnlab.runs import wiring

EVERY = {"energy_joule", "ann_energy_joule", "ann_energy_ratio", "ann_multiply_accumulates", "accumulates"}
EVERY |= {"multiply_accumulates", "memory_bytes", "sparsity", "spikes_per_inference", "synaptic_operations"}
STEPS = {"membrane_updates", "dense_operations"}


def figures_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, *words: str) -> tuple[dict[str, Any], list[str]]:
    monkeypatch.chdir(tmp_path)
    result = wiring.run(compose([*small_run(words[0]), *words[1:]]))
    return result.metrics["test"], result.lines()


def test_spikes_into_a_dense_network_and_what_the_terminal_says(monkeypatch: Any, tmp_path: Any) -> None:
    test, lines = figures_of(monkeypatch, tmp_path, "stbp", "model.hidden=[8]", "encoder=rate", "encoder.time_steps=5")
    assert (EVERY | STEPS | {"energy_delay_joule_steps"}) <= set(test)
    assert test["accumulates"] == test["synaptic_operations"] and test["multiply_accumulates"] == 0
    assert test["energy_joule"] == pytest.approx(0.9e-12 * test["accumulates"], rel=1e-12, abs=0)
    assert test["energy_delay_joule_steps"] == pytest.approx(5 * test["energy_joule"], rel=1e-12, abs=0)
    assert test["ann_multiply_accumulates"] * 5 == test["dense_operations"]
    assert test["memory_bytes"] == {"weights": 4 * (64 * 8 + 8 + 8 * 10 + 10), "states": 4 * 18, "spikes": 3}
    rates = test["firing_rate"]
    assert test["membrane_updates"] == 5 * 18
    assert 1 - test["sparsity"]["activations"] == pytest.approx((8 * rates["hidden1"] + 10 * rates["readout"]) / 18)
    said = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines if line.startswith("test")}
    assert said["energy_joule"].endswith(" nJ") or said["energy_joule"].endswith(" pJ")
    assert said["memory_bytes/states"] == "72 B" and said["membrane_updates"] == "90 updates"


def test_a_step_of_a_recording_is_a_time(monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data=randman", "data.samples=20", "data.steps=20", "data.batch_size=10", "model.hidden=[8]"]
    test = wiring.run(compose(["method=stbp", *FEW, *words])).metrics["test"]
    assert test["energy_delay_joule_seconds"] == pytest.approx(20 * 0.002 * test["energy_joule"], rel=1e-12, abs=0)


def test_no_spikes(monkeypatch: Any, tmp_path: Any) -> None:
    test, _ = figures_of(monkeypatch, tmp_path, "ann", "model.hidden=[8]", "model.dropout=0")
    assert test["multiply_accumulates"] == 64 * 8 + 8 * 10
    assert test["energy_joule"] == pytest.approx(4.6e-12 * test["multiply_accumulates"], rel=1e-12, abs=0)
    assert test["memory_bytes"] == {"weights": 4 * (64 * 8 + 8 * 10)} and "accumulates" not in test


def test_exact_times_and_a_stochastic_readout(monkeypatch: Any, tmp_path: Any) -> None:
    test, _ = figures_of(monkeypatch, tmp_path, "multispike_fast_deep", "model.hidden=[8]")
    assert set(test) >= EVERY | {"energy_delay_joule_seconds"} and not STEPS & set(test)
    assert test["accumulates"] == test["synaptic_operations"]
    test, _ = figures_of(monkeypatch, tmp_path, "vdib")
    assert set(test) >= (EVERY | STEPS) and test["accumulates"] == test["synaptic_operations"]
