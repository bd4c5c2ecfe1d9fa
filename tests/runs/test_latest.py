"""``outputs/latest`` is the run that was started last, wherever a run is named."""

import os
from datetime import datetime

import pytest

from snnlab.errors import InputError
from snnlab.evaluate.__main__ import main as evaluate
from snnlab.runs.latest import run_folder
from snnlab.runs.record import RunRecord
from snnlab.tables.__main__ import main as tables

QUICK = ["method=stbp", "data=digits", "model.hidden=[4]", "encoder.time_steps=2", "trainer.max_epochs=1"]
QUICK += ["logger=none", "callbacks.figures=false", "trainer.limit_train_batches=2"]


def made(folder, at=0.0):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "config.yaml").write_text("")
    os.utime(folder / "config.yaml", (at, at))
    return folder


def test_it_is_the_one_that_was_started_last_among_runs_and_sweeps(tmp_path):
    with pytest.raises(InputError, match=r"there is no run below .* yet"):
        run_folder(tmp_path / "latest")
    made(tmp_path / "a_folder_of_mine", 9e9)
    assert run_folder(tmp_path / "latest").name == "a_folder_of_mine"
    made(tmp_path / "2026-01-02_10-00-00_stbp_digits_seed0", 3.0)
    second = made(tmp_path / "sweep-0123456789" / "2026-01-02_10-00-01_stbp_digits_seed0", 1.0)
    assert run_folder(tmp_path / "latest") == second
    beside = made(tmp_path / "2026-01-02_10-00-01_ann_digits_seed0", 2.0)  # in the same second
    assert run_folder(tmp_path / "latest") == beside
    at = datetime(2026, 1, 2, 10, 0, 2).timestamp()
    swept = made(tmp_path / "sweep-0123456789" / "stbp_digits_seed0_0123456789ab", at)  # a sweep's have no date
    assert run_folder(tmp_path / "latest") == swept
    os.utime(swept / "config.yaml", (at - 5, at - 5))
    os.symlink(beside, tmp_path / "2027-01-02_10-00-01_ann_digits_seed0")
    assert run_folder(tmp_path / "latest") == beside


def test_other_names_and_a_real_folder_of_that_name_are_themselves(tmp_path):
    made(tmp_path / "2026-01-02_10-00-00_stbp_digits_seed0")
    assert run_folder(tmp_path / "earliest") == tmp_path / "earliest"
    assert run_folder(tmp_path / "nowhere" / "latest") == tmp_path / "nowhere" / "latest"
    assert run_folder(made(tmp_path / "latest")) == tmp_path / "latest"


def test_every_command_takes_it_and_a_sweep_ends_with_its_table(run_command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, error = run_command("-m", *QUICK, "seed=1,2")
    assert code == 0, error
    run, seeds, _, last, files = out.splitlines()[-5:]
    assert run.split()[:2] == ["run", "seeds"] and "test/accuracy" in run and "judge" not in run
    assert seeds.startswith("method=stbp data=digits  1, 2   0.") and "±" in seeds
    assert last.startswith("table    python -m snnlab.tables ") and files.startswith("files    ")
    assert evaluate(["outputs/latest"]) == 0
    assert "stbp_digits_seed2_" in capsys.readouterr().out
    assert tables(["outputs/latest"]) == 0
    assert "| `method=stbp data=digits` | 2 |" in capsys.readouterr().out
    code, out, error = run_command(*QUICK, "seed=2", "resume=outputs/latest")
    assert code == 0 and "completed already" in out, error
    assert RunRecord.read("outputs/latest").folder.name.startswith("stbp_digits_seed2_")
