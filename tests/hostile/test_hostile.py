"""A sample of what run_folders.py, data_files.py and own_data.py try whole: hostile folders and files harm nobody."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import data_files
import own_data
import run_folders
from harness import attempt, report


def test_a_sample_of_hostile_run_folders(tmp_path):
    good = run_folders.good_run(tmp_path / "good")
    chosen = run_folders.chosen(tmp_path / run_folders.CANARY, seed=0)
    assert len(chosen) >= 250
    outcomes = run_folders.try_all(random.Random(1).sample(chosen, 10), tmp_path, good)
    assert not any(outcome.faults for outcome in outcomes), report(outcomes)


def test_a_pickle_that_is_unpacked_is_noticed(tmp_path, monkeypatch):
    def unpacked(action, run, good):
        return lambda: pickle.loads((run / "checkpoints/epoch000.ckpt").read_bytes())

    good = tmp_path / "good"
    (good / "checkpoints").mkdir(parents=True)
    (good / "checkpoints/epoch000.ckpt").touch()
    monkeypatch.setattr(run_folders, "act", unpacked)
    chosen = run_folders.chosen(tmp_path / run_folders.CANARY, seed=0, only="checkpoint that is a pickle")
    (outcome,) = run_folders.try_all(chosen, tmp_path, good)
    assert outcome.faults == ["executed"], outcome


def test_a_sample_of_hostile_data_files(tmp_path):
    found = list(data_files.cases(seed=0))
    assert len(found) >= 100
    fast = [case for case in found if "bomb" not in case[0] and "sparse half" not in case[0]]
    outcomes = data_files.try_all(random.Random(1).sample(fast, 20), tmp_path)
    assert not any(outcome.faults for outcome in outcomes), report(outcomes)


def test_a_sample_of_hostile_files_and_folders_of_ones_own(tmp_path):
    found = own_data.cases(seed=0)
    assert len(found) >= 600
    slow = ("9999", "pixels", "bomb", "million", "without end", "alone", "sparse", "plain text", "billion", "header")
    fast = [case for case in found if not any(word in case.name for word in slow)]
    folders = [case for case in fast if case.name.startswith("folder: ")]
    chosen = [*random.Random(2).sample(fast, 12), *random.Random(2).sample(folders, 4)]
    outcomes = own_data.try_all(chosen, tmp_path)
    assert not any(outcome.faults for outcome in outcomes), report(outcomes)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda home: (home / "canary").touch(), "executed"),
        (lambda home: 1 / 0, "Traceback"),
        (lambda home: print("\x1b[31m"), "x1b"),
        (lambda home: __import__("os").system("true"), "started"),
        (lambda home: (home.parent / "elsewhere").write_text(""), "wrote"),
        (lambda home: bytearray(2_200_000_000), "bytes"),
    ],
)
def test_the_harness_notices(tmp_path, monkeypatch, action, words):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "home"))
    outcome = attempt("", lambda: action(home), home, home / "canary")
    assert any(words in fault for fault in outcome.faults), outcome
