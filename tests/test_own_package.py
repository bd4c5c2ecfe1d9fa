"""A method, a neuron and a data set of somebody's own package run, load and are refused like those of the house."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.initializers.kaiming import Kaiming
from snnlab.layers.chain import Chain
from snnlab.metrics.multiply_accumulates import multiply_accumulates
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.train import main
from snnlab.weights.find import weight_of
from snnlab.weights.quantised import keep_rounded

HERE = Path(__file__).parent
OWN = HERE / "own_package"
ARGUMENTS = ["--config-dir", str(OWN / "my_conf"), "method=mine", "logger=none", "callbacks.progress=false"]


@pytest.fixture
def python(tmp_path):
    """Run Python in an empty folder, with the package on its path."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(OWN), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return call


def test_its_method_neuron_and_data_run_and_load(python, tmp_path):
    ended = python("-m", "snnlab", *ARGUMENTS, "data=two_rates")
    assert ended.returncode == 0, ended.stderr
    (run,) = (tmp_path / "outputs").glob("*")
    record = json.loads((run / "run.json").read_text())
    assert (record["method"], record["data"], record["model"]) == ("mine", "two_rates", "mlp")
    assert record["provenance"]["source"] == "synthetic" and record["metrics"]["test"]["accuracy"] > 0.9
    assert record["kernels"]["fused"] == ["Integrator", "Quadratic"]  # from ``step`` alone
    code = f"import snnlab; print(type(snnlab.load({str(run)!r}).neurons()['hidden1']).__name__)"
    assert python("-c", code).stdout.strip() == "Quadratic"


@pytest.mark.parametrize("method", ["stbp", "mine"])
def test_its_question_is_answered_judged_and_drawn(python, tmp_path, method):
    arguments = [option if option != "method=mine" else f"method={method}" for option in ARGUMENTS]
    model = ["model=mlp", "model.hidden=[32]", "encoder=none", "trainer.max_epochs=2"]
    ended = python("-m", "snnlab", *arguments, "data=levels", *model)
    assert ended.returncode == 0, ended.stderr
    (run,) = (tmp_path / "outputs").glob("*")
    record = json.loads((run / "run.json").read_text())
    for split in ("train", "val", "test"):
        assert set(record["metrics"][split]) >= {"loss", "accuracy", "distance"}
    assert 0 < record["metrics"]["test"]["distance"] < 1.2  # of levels 0 to 4, a constant answer in the middle has 1.2
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    nearest = min(range(len(rows)), key=lambda epoch: float(rows[epoch]["val/distance"]))
    assert record["checkpoint"] == f"checkpoints/epoch{nearest:03d}.ckpt"  # chosen by the question's own figure
    assert {"distances.png", "confusion_matrix.png"} <= {path.name for path in (run / "figures").iterdir()}


def test_it_meets_data_and_methods_of_the_house(monkeypatch):
    monkeypatch.syspath_prepend(str(OWN))
    assert type(build(compose(["method=mine", "data=digits"], OWN / "my_conf").config).method).__name__ == "Mine"
    options = ["method=stbp", "data=two_rates", "model=mlp", "encoder=none", "method.neuron=mine.neuron.Quadratic"]
    method = build(compose([*options, "method.neuron_options.critical=0.7"], OWN / "my_conf").config).method
    assert {type(n).__name__: n.critical for n in method.network.neurons().values()} == {"Quadratic": 0.7}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.smoothing=1", "Mine: smoothing = 1 must lie in [0, 1)"),
        ("method.neuron=mine.neuron.Cubic", "mine.neuron has no such class; nearest: Neuron, Quadratic"),
        ("method.neuron=mine.data.TwoRates", "is no subclass of snnlab.neurons.neuron.Neuron"),
        ("method.neuron=quadratic", "choose one of"),
        ("method.neuron_options.rat=1.0", "method.neuron_options.rat: Quadratic has no such key; nearest: rate"),
        ("data.inputs=1", "data.two_rates: inputs = 1 must lie in 2 to 10000"),
    ],
)
def test_its_bad_input_is_one_line(monkeypatch, capsys, tmp_path, override, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(OWN))
    assert main([*ARGUMENTS, "data=two_rates", override]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1 and not (tmp_path / "outputs").exists()


def test_contributing_shows_these_files():
    text = (HERE.parent / "CONTRIBUTING.md").read_text()
    shown = re.findall(r"`tests/own_package/([\w/.]+)`", text)
    assert {"mine/method.py", "mine/neuron.py", "mine/data.py", "mine/question.py", "my_conf/method/mine.yaml"} <= set(
        shown
    )
    assert all((OWN / path).is_file() for path in shown)


# a weight of its own --------------------------------------------------------------------------------------------------
LOCAL = ["method=stbp", "data=two_rates", "model=windowed", "encoder=none", "method.decay=0.5", "method.width=1.0"]


def local(monkeypatch, *options: str):
    monkeypatch.syspath_prepend(str(OWN))
    torch.manual_seed(0)
    return build(compose([*LOCAL, *options], OWN / "my_conf").config)


def test_its_locally_connected_weight_trains(python, tmp_path):
    arguments = [option for option in ARGUMENTS if option != "method=mine"]
    ended = python(
        "-m", "snnlab", *arguments, *LOCAL, "init=kaiming", "trainer.max_epochs=4", "method.optimizer.lr=0.01"
    )
    assert ended.returncode == 0, ended.stderr
    (run,) = (tmp_path / "outputs").glob("*")
    record = json.loads((run / "run.json").read_text())
    assert record["model"] == "windowed" and record["metrics"]["test"]["accuracy"] > 0.8
    assert record["metrics"]["test"]["synaptic_operations"] > 0


def test_the_dry_run_lists_its_weight(python, tmp_path):
    arguments = [option for option in ARGUMENTS if option != "method=mine"]
    ended = python("-m", "snnlab", *arguments, *LOCAL, "dry_run=true")
    assert ended.returncode == 0 and not (tmp_path / "outputs").exists(), ended.stderr
    assert re.search(r"weight1 +\[16\] +80 parameters", ended.stdout), ended.stdout  # 20 inputs, windows of 5


def test_synapses_of_its_weight_are_counted_by_hand(monkeypatch):
    network, counter = local(monkeypatch).method.network, SynapticOperations()
    with torch.no_grad():
        network.layers["weight1"].weight.zero_()  # no hidden spikes
    frames = torch.zeros(2, 1, 20)
    frames[0, 0, [0, 3, 10]] = 1  # in 1, 4 and 5 windows
    frames[1, 0, 19] = 2  # two events in one step, 1 window
    with counter.watch(network):
        network(frames)
    assert counter.compute().item() == 1 + 4 + 5 + 2
    assert multiply_accumulates(network, frames[0]) == {"weight1": 16 * 5, "readout_weight": 16 * 2}


def test_initialisers_and_edges_know_its_weight(monkeypatch):
    network = local(monkeypatch).method.network
    Kaiming()(network, torch.zeros(1, 1, 20))
    weight, bound = network.layers["weight1"].weight, math.sqrt(6 / 5)  # fan-in 5
    assert 0.9 * bound < weight.abs().max() <= bound
    edges = {edge.name: (edge.sources, edge.targets, edge.spikes) for edge in Chain(network).edges()}
    assert edges["weight1"] == (("input",), ["hidden1"], True)
    assert edges["readout_weight"] == (("hidden1",), ["readout"], True)


def test_its_weight_is_rounded_like_those_of_the_house(monkeypatch):
    parts = local(monkeypatch)
    layer = parts.method.network.layers["weight1"]
    keep_rounded(layer, 8, 0.25)
    frames = (torch.rand(10, 8, 20) < 0.3).float()
    parts.method.loss(parts.method.scores(frames), torch.arange(8) % 2).backward()
    stored = weight_of(layer).stored
    assert (layer.weight % 0.25 == 0).all() and stored.grad.abs().max() > 0
