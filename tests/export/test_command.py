"""``python -m snnlab.export``: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import snnlab
from snnlab.config.compose import compose
from snnlab.export.__main__ import main
from snnlab.layers.chain import Chain
from snnlab.runs.wiring import run

nir = pytest.importorskip("nir")
FEW = ["data=digits", "logger=none", "callbacks.figures=false", "callbacks.progress=false", "callbacks.health=false"]
FEW += ["trainer.max_epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1"]
FEW += ["trainer.limit_test_batches=1", "model.hidden=[12]"]


def train(tmp_path_factory, *options):
    with pytest.MonkeyPatch.context() as patch:
        if "SNNLAB_CACHE" not in os.environ:  # what is compiled once is there for all tests
            patch.setenv("SNNLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run(compose([*FEW, *options, f"paths.output={tmp_path_factory.mktemp('outputs')}"])).folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return train(tmp_path_factory, "method=stbp")


@pytest.fixture(scope="module")
def int4(tmp_path_factory):
    return train(tmp_path_factory, "method=stbp", "hardware=int4")


def written(capsys, *arguments):
    """The exit code, both outputs, and the folder that was written."""
    code = main([str(word) for word in arguments])
    captured = capsys.readouterr()
    record = [line.split(maxsplit=1)[1] for line in captured.out.splitlines() if line.startswith("record")]
    return code, captured.out, captured.err, Path(record[0]).parent if record else None


def test_a_run_leaves_as_a_graph_that_says_its_time_step_reset_and_comparison(stored, capsys):
    code, out, _, folder = written(capsys, stored)
    assert code == 0 and folder.parent == stored / "exports"
    assert "6 nodes, 5 edges, 888 weights (none)" in out and "0.001 s, as digits has none of its own" in out
    graph = nir.read(folder / "network.nir")
    assert graph.metadata["time_step"] == 1e-3
    assert graph.nodes["hidden1"].metadata["reset"] == "hard" and graph.nodes["hidden1"].metadata["comparison"] == ">"
    record = json.loads((folder / "export.json").read_text())
    assert record["weights"] == 888 and record["format"] == "nir"


def test_weights_of_an_int4_run_are_the_same_in_run_checkpoint_and_graph(int4, capsys):
    _, out, _, folder = written(capsys, int4)
    graph, network = nir.read(folder / "network.nir"), snnlab.load(int4)
    assert "states are rounded to levels of 0.0625" in out
    name = json.loads((int4 / "run.json").read_text())["checkpoint"]
    state = torch.load(int4 / name, weights_only=True)["state_dict"]
    for layer, weight in Chain(network).weights().items():
        used = weight.used.detach().numpy()
        assert np.array_equal(graph.nodes[layer].weight, used)
        kept = state[f"network.layers.{layer}.parametrizations.weight.original"]
        (limit,) = weight.values.parts
        assert np.array_equal(limit(kept).numpy(), used)
        assert len(np.unique(used)) <= 16
        levels = used / graph.nodes[layer].metadata["level"]
        assert np.array_equal(levels, np.rint(levels)) and levels.min() >= -8 and levels.max() <= 7
    _, _, _, folder = written(capsys, int4, "--format", "numpy")
    arrays = np.load(folder / "network.npz")
    for layer, weight in Chain(network).weights().items():
        assert np.array_equal(arrays[f"{layer}/levels"] * arrays[f"{layer}/unit"], weight.used.detach().numpy())
    assert "# int4: the integers of" in (folder / "README.md").read_text()
    assert "weight1: [12, 64], 768 weights on 1" in (folder / "README.md").read_text()


def test_torchscript_gives_the_outputs_of_the_network_and_refuses_other_lengths(stored, capsys, tmp_path):
    code, out, _, folder = written(capsys, stored, "--format", "torchscript", "--samples", "7", "--out", tmp_path / "x")
    assert code == 0 and folder == tmp_path / "x" and "frames [10, 7, 1, 8, 8]" in out
    script = torch.jit.load(folder / "network.pt")
    frames = (torch.rand(10, 3, 1, 8, 8) < 0.5).float()
    with torch.no_grad():
        assert torch.equal(script(frames), snnlab.load(stored)(frames))
    with pytest.raises(RuntimeError):
        script(frames[:4])


def test_torchscript_of_a_network_under_a_target_leaves_it_as_it_is(int4, capsys, tmp_path):
    before = snnlab.load(int4)
    frames = (torch.rand(10, 3, 1, 8, 8) < 0.5).float()
    code, _, _, folder = written(capsys, int4, "--format", "torchscript", "--samples", "7", "--out", tmp_path / "x")
    assert code == 0
    with torch.no_grad():
        assert torch.equal(torch.jit.load(folder / "network.pt")(frames), before(frames))


def test_a_graph_that_comes_back_trains(stored, capsys, tmp_path):
    _, _, _, folder = written(capsys, stored)
    path = folder / "network.nir"
    code, out, _, _ = written(capsys, "--from", path)
    assert code == 0 and "weight1        Affine     [12, 64]" in out and f"model=nir model.path={path}" in out
    line = [word for word in FEW if not word.startswith("model.")]
    again = run(compose([*line, "method=stbp", "model=nir", f"model.path={path}", f"paths.output={tmp_path}"]))
    before, after = snnlab.load(stored), snnlab.load(again.folder)
    assert not torch.equal(before.layers["weight1"].weight, after.layers["weight1"].weight)


def test_a_library_that_is_not_there_and_one_that_is(stored, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "norse", None)
    code, _, err, folder = written(capsys, stored, "--verify", "norse")
    assert code == 2 and folder is None and "--verify norse: it cannot be imported" in err and "pip install" in err
    monkeypatch.undo()
    pytest.importorskip("norse.torch")
    code, out, err, folder = written(capsys, stored, "--verify", "norse", "--samples", "5")
    assert code == 0 and "norse      hidden1" in out and err == ""
    assert json.loads((folder / "export.json").read_text())["verify"]["rows"][0]["mismatches"] == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--format", "nri"], "--format nri: there is no such format; nearest: nir"),
        (["--format", "numpy"], "this run has hardware=none"),
        (["--format", "numpy", "--verify", "norse"], "--verify reads graphs"),
        (["--verify", "nors"], "there is no such library here; nearest: norse"),
        (["--samples", "0", "--verify", "norse"], "must be a whole number from 1"),
        (["--samples", "1e3"], "must be a whole number from 1"),
        (["other"], "export one run at a time"),
        (["--out", "."], "is there already"),
        (["method.neuron=alif", "method.threshold=0.1"], "method.neuron"),
        (["--from", "x.nir"], "is of no use beside a graph"),
        (["method.reset=none"], "is not reset by its spikes, and every neuron of NIR is"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(stored, capsys, arguments, why):
    before = sorted(stored.rglob("*"))
    code, _, err, _ = written(capsys, stored, *arguments)
    assert code == 2 and err.count("\n") == 1 and sorted(stored.rglob("*")) == before
    assert why in err or arguments[0].startswith("method.neuron")


def test_without_a_run_the_help_is_shown(capsys, tmp_path):
    assert main([]) == 2 and main(["--help"]) == 0
    assert capsys.readouterr().out.count("usage:") == 2
    assert main([str(tmp_path)]) == 2 and main(["--from", str(tmp_path / "no.nir")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "no.nir: cannot be read" in errors[1]


def test_what_has_no_form_is_refused_by_its_name(tmp_path_factory, capsys):
    folder = train(tmp_path_factory, "method=bntt", "encoder.time_steps=4")
    code, _, err, _ = written(capsys, folder)
    assert code == 2 and "norm1 (BatchNormThroughTime) has gains of its own for every step" in err
