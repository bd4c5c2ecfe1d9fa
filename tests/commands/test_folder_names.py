"""Folders of any name: für (in both of Unicode's forms), run(2), with = , ' " $ % # { [ and a leading dash."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from snnlab.config.compose import compose
from snnlab.config.line import expand_sweeps
from snnlab.config.paths import conf_dir
from snnlab.runs import sweep as room
from snnlab.runs.plan import Sweep

NAMES = ["für", unicodedata.normalize("NFD", "für"), "run(2)", "lr=0.1", "a,b", "it's", 'a"b', " a b ", "a$b", "50%"]
NAMES += ["#1", "{a}", "{", "[", "-x", "a\\", "a\\'b", "*", "@", "null", "1", "a;b|c", "日本"]
QUICK = ["method=stbp", "data=digits", "logger=none", "callbacks.progress=false", "callbacks.figures=false"]
QUICK += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
QUICK += ["trainer.limit_test_batches=1", "encoder.time_steps=2", "model.hidden=[4]"]


def test_an_output_folder_is_taken_letter_by_letter():
    lines = [line for name in NAMES for line in expand_sweeps([f"paths.output={name}", "seed=0,1"])]
    assert lines == [[f"paths.output={name}", f"seed={seed}"] for name in NAMES for seed in (0, 1)]
    for name in NAMES[::4]:
        assert compose([*QUICK, f"paths.output={name}"]).config.paths.output == name


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("a;b|c", "日本", "{", "1", "null", "@")])
def test_a_folder_of_configs(name, tmp_path):
    (tmp_path / name / "method").mkdir(parents=True)
    shutil.copy(conf_dir() / "method" / "stbp.yaml", tmp_path / name / "method" / "mine.yaml")
    assert compose(["method=mine", "data=digits"], tmp_path / name).choices["method"] == "mine"


def test_the_folder_of_a_sweep(tmp_path, monkeypatch):
    seen = []

    class Ended:
        def lines(self):
            return []

    def compose(job, config_dir):
        config = SimpleNamespace(paths=SimpleNamespace(output="outputs"))
        return SimpleNamespace(job=job, config_dir=config_dir, config=config)

    monkeypatch.setattr(room, "compose", compose)
    monkeypatch.setattr(room.wiring, "run", lambda made, sweep: seen.append((made, sweep)) or Ended())
    for name in NAMES:
        folder = tmp_path / name / "sweep-x"
        room.launch({"a": ["seed=0"]}, name, Sweep("sweep-x", folder, {}, False), [])
        made, of = seen.pop()
        assert (made.job, made.config_dir, of) == (["seed=0"], name, "sweep-x")
        assert made.config.paths.output == str(folder.parent)
        assert (tmp_path / name / "sweep-x").is_dir()
    assert sorted(os.listdir(tmp_path)) == sorted(NAMES)


def test_a_stored_run_is_scored_asked_and_tabled_under_any_name(run_command, tmp_path, capsys):
    from snnlab.evaluate.__main__ import main as evaluate
    from snnlab.tables.__main__ import main as tables

    code, _, error = run_command(*QUICK)
    assert code == 0, error
    (made,) = [path.parent for path in Path("outputs").glob("*/run.json") if not path.parent.is_symlink()]
    for number, name in enumerate(NAMES):
        folder = Path("./" + name)
        shutil.copytree(made, folder)
        typed = f"./{name}"
        capsys.readouterr()
        assert tables([typed, "--json"]) == 0, capsys.readouterr().err
        assert len(json.loads(capsys.readouterr().out)) == 1
        if number % 3 == 0:
            assert evaluate([typed]) == 0, capsys.readouterr().err
            assert list(folder.glob("evaluations/*/evaluation.json"))
