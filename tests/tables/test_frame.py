"""``snnlab.runs``: a row for every run, whatever it came to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import snnlab
from snnlab.errors import InputError
from snnlab.tables.frame import WHO
from snnlab.train import main

pandas = pytest.importorskip("pandas")
SMALL = ["method=stbp", "data=digits", "encoder.time_steps=2", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
SMALL += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "logger=none", "callbacks.figures=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs of one recipe, one of another, and one that has not ended."""
    output = tmp_path_factory.mktemp("runs")
    for i, words in enumerate((["model.hidden=[8]"], ["model.hidden=[8]", "seed=1"], ["model.hidden=[9,9]"])):
        assert main([*SMALL, *words, f"paths.output={output / str(i)}"]) == 0
    stopped = output / "3" / "stopped"
    stopped.mkdir(parents=True)
    content = json.loads(next((output / "0").rglob("run.json")).read_text())
    unknown = {key: content.pop(key) for key in ("seal", "identity", "machine", "git", "fit_report")}
    assert unknown
    empty = {"metrics": {}, "timing": {}, "memory": {}, "parameters": None, "status": "interrupted"}
    (stopped / "run.json").write_text(json.dumps({**content, **empty}))
    return output


def test_a_row_is_a_run(folder):
    table = snnlab.runs(folder)
    assert list(table["model.hidden"]) == ["[8]", "[8]", "[9,9]", "[8]"] and list(table["seed"]) == [0, 1, 0, 0]
    assert list(table.columns[:8]) == [*WHO, "model.hidden"]
    assert list(table["status"]) == ["completed"] * 3 + ["interrupted"]
    records = [json.loads(Path(place, "run.json").read_text()) for place in table["folder"]]
    for (_, row), record in zip(table.iloc[:3].iterrows(), records, strict=False):
        assert row["test/accuracy"] == record["metrics"]["test"]["accuracy"]
        assert row["test/energy_joule"] == record["metrics"]["test"]["energy_joule"]
        assert row["test/firing_rate/hidden1"] == record["metrics"]["test"]["firing_rate"]["hidden1"]
        assert row["fit_seconds"] == record["timing"]["fit_seconds"]
        assert row["peak_bytes"] == record["memory"]["peak_bytes"] and row["parameters"] == record["parameters"]
    assert table["source"].tolist() == ["bundled"] * 4 and not table["subset"].any()
    assert table["row"].nunique() == 2 and table["row"][0] == table["row"][1] == table["row"][3]  # but for the seed
    left = table.iloc[3]
    assert pandas.isna(left["test/accuracy"]) and pandas.isna(left["parameters"]) and pandas.isna(left["threads"])


def test_types_are_those_of_the_values_where_some_are_missing(folder):
    types = snnlab.runs(folder).dtypes.astype(str)
    assert {types[name] for name in ("seed", "parameters", "peak_bytes", "epochs", "threads")} == {"Int64"}
    assert {types[name] for name in ("test/accuracy", "val/loss", "fit_seconds")} == {"float64"}
    assert {types[name] for name in ("altered", "subset")} == {"boolean"}
    assert {types[name] for name in ("method", "status", "model.hidden", "marks", "folder")} == {"string"}
    assert types["started"].startswith("datetime64") and "object" not in set(types)


def test_several_folders_one_run_and_means_over_seeds(folder):
    table = snnlab.runs(folder / "0", folder / "1")
    assert "model.hidden" not in table  # it tells none from the others
    assert table.groupby("method")["test/accuracy"].count().item() == 2
    assert len(snnlab.runs(folder / "2" / "latest")) == 1


def test_the_room_stays_a_room():
    code = "import snnlab; assert callable(snnlab.runs); import snnlab.runs.record as r; assert callable(snnlab.runs)"
    code += "; from snnlab.runs import wiring; import snnlab.runs.identity; snnlab.runs.identity.OUTSIDE; r.RunRecord"
    code += "; assert type(snnlab.runs).__mro__[1].__name__ == 'module' and callable(snnlab.runs)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_snnlab_loads_neither_torch_nor_pandas():
    code = "import sys, snnlab; snnlab.run, snnlab.runs, snnlab.observe, snnlab.load; "
    code += "sys.exit(bool({'torch', 'numpy', 'pandas', 'hydra', 'matplotlib'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"nowhere holds no run\.json"):
        snnlab.runs("nowhere")
    with pytest.raises(InputError, match=r"outputs holds no run\.json"):
        snnlab.runs()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="needs the package pandas: pip install"):
        snnlab.runs()
