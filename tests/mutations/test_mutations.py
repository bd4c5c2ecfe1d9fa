"""A few of the mutated commands (run.py has them all): none ends in a traceback, hangs or says more than one line."""

import runpy
from pathlib import Path

import pytest

room = runpy.run_path(str(Path(__file__).with_name("run.py")))
entries = runpy.run_path(str(Path(__file__).with_name("entries.py")))


@pytest.mark.parametrize("seed", [11, 12])
def test_mutated_commands_end_well_or_in_one_line(seed, tmp_path):
    import snnlab.runs.sweep  # noqa: F401  what each fork would import again

    for command in room["commands"](seed, 6, 0.0):
        result = room["run"](command, 60, tmp_path)
        assert result["end"] in ("done", "refused", "failed"), (command, result["said"])


def test_a_fault_is_told_apart(tmp_path, monkeypatch):
    import snnlab.train

    def broken(arguments):
        raise ZeroDivisionError(arguments)

    monkeypatch.setattr(snnlab.train, "main", broken)
    assert room["run"](["x"], 60, tmp_path)["end"] == "traceback"


@pytest.mark.parametrize("entry", ["data", "tables"])
def test_mutated_commands_of_other_entry_points(entry, tmp_path):
    for command in entries["commands"](entry, 3, 5, tmp_path):
        result = room["run"](command, 60, tmp_path, f"snnlab.{entry}.__main__")
        assert result["end"] in ("done", "refused", "failed"), (command, result["said"])
