"""A run of the papers' tables, drawn at random, is made again from its record and gives its stored numbers."""

import json
import os
import random
from pathlib import Path

import pytest

from snnlab.runs.identity import digest, identity, recorded
from snnlab.runs.record import machine, versions
from snnlab.tables.papers import names

RESULTS = Path(__file__).parents[2] / "results"
SHORT = 15.0  # seconds of training, as they were recorded


def short_runs():
    """Folders of short runs of the tables' own folders, whose data is here, by the order of their names."""
    found = []
    for name in names():
        for path in sorted((RESULTS / name).glob("*/run.json")):
            content = json.loads(path.read_text())
            own = content["data"] in ("mnist", "nmnist", "fashion_mnist")
            if content["timing"]["fit_seconds"] < SHORT and own and not content["config"]["hardware"].get("start"):
                found.append(path.parent)
    return found


def test_a_run_drawn_at_random_gives_its_stored_numbers(tmp_path, monkeypatch, real_data):
    for name in ("mnist", "fashion_mnist", "nmnist"):
        real_data(name)
    from snnlab.config.compose import compose
    from snnlab.runs.wiring import run

    monkeypatch.chdir(tmp_path)
    folder = random.Random(os.environ.get("SNNLAB_DRAW")).choice(short_runs())  # SNNLAB_DRAW=1: the same one again
    print(f"drawn: {folder}")
    stored = json.loads((folder / "run.json").read_text())
    line = [word for word in stored["overrides"] if word.partition("=")[0] not in ("paths.output", "resume", "threads")]
    composition = compose([*line, "threads=1", "logger=none", f"paths.output={tmp_path}"])
    assert identity(composition.plain()) == digest(recorded(stored)), f"{folder}: its line makes another run today"
    result = run(composition)
    again = json.loads((result.folder / "run.json").read_text())
    assert again["provenance"]["hash"] == stored["provenance"]["hash"]
    same = all(versions()[package] == stored["versions"][package] for package in ("torch", "numpy"))
    if same and machine()["cpu"] == stored["machine"]["cpu"] and stored["machine"]["threads"] == 1:
        assert again["metrics"] == stored["metrics"], folder
    else:  # another processor rounds sums in another way
        assert again["metrics"]["test"]["accuracy"] == pytest.approx(stored["metrics"]["test"]["accuracy"], abs=0.02)
