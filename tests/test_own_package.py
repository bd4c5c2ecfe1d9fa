"""A method, a neuron and a data set of somebody's own package run, load and are refused like those of the house."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.train import main

HERE = Path(__file__).parent
OWN = HERE / "own_package"
ARGUMENTS = ["--config-dir", str(OWN / "my_conf"), "method=mine", "logger=none", "callbacks.progress=false"]


@pytest.fixture
def python(tmp_path):
    """Run Python in an empty folder, with the package on its path."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(OWN), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "SNNLAB_CACHE": str(tmp_path / "cache")}
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
        ("method.neuron=mine.neuron.Cubic", "method.neuron = mine.neuron.Cubic cannot be imported"),
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
