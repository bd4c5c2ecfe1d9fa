"""Tables over hand-written run.json files."""

import json

import pytest

from snnlab.errors import InputError
from snnlab.tables.__main__ import main
from snnlab.tables.rows import markdown, read_runs


def write(folder, seed, accuracy, source="bundled", **more):
    folder.mkdir(parents=True)
    content = {
        "schema": 1,
        "status": "completed",
        "method": "stbp",
        "data": "digits",
        "seed": seed,
        "overrides": ["method=stbp", f"seed={seed}", "paths.output=x"],
        "provenance": {"source": source, "altered": False, "subset": False},
        "metrics": {"train": {}, "val": {}, "test": {"accuracy": accuracy, "firing_rate": {"hidden1": 0.25}}},
        "timing": {"fit_seconds": 3.0},
    }
    (folder / "run.json").write_text(json.dumps(content | more))


def test_seeds_become_one_row_with_mean_and_spread(tmp_path):
    write(tmp_path / "a", 0, 0.8)
    write(tmp_path / "b", 1, 0.9)
    write(tmp_path / "c", 0, 0.5, source="simulated")
    table = markdown(read_runs([tmp_path]), ["test/accuracy", "test/firing_rate/hidden1", "fit_seconds", "test/none"])
    lines = table.splitlines()
    assert "| `method=stbp` | 0, 1 | 0.8500 ± 0.0707 | 0.2500 ± 0.0000 | 3.0000 ± 0.0000 |  | completed |" in lines
    assert "| `method=stbp` (simulated) | 0 | 0.5000 | 0.2500 | 3.0000 |  | completed |" in lines
    assert len(lines) == 4


def test_command(tmp_path, capsys):
    write(tmp_path / "a", 0, 0.8)
    main([str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == [{"run": "`method=stbp`", "seed": 0, "test/accuracy": 0.8}]
    assert main([str(tmp_path / "nowhere")]) == 2 and "holds no run.json" in capsys.readouterr().err


def test_another_schema_is_refused(tmp_path):
    write(tmp_path / "a", 0, 0.8, schema=99)
    with pytest.raises(InputError, match="schema = 99, this snnlab reads 1"):
        read_runs([tmp_path])
