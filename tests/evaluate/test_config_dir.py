"""A question is asked with configs of one's own: ``evaluate RUN QUESTION --config-dir DIR``."""

import json

import pytest

from snnlab.config.compose import compose
from snnlab.evaluate.__main__ import main
from snnlab.runs.wiring import run

LINE = ["method=stbp", "logger=none", "callbacks.figures=false", "model.hidden=[4]", "trainer.max_epochs=1"]
LINE += ["data.batch_size=50", *(f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test"))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of configs beside which the run of one of its data sets lies."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "conf"
    for place, text in {
        "data/mine.yaml": "defaults: [digits]\n",
        "encoder/few.yaml": "_target_: snnlab.data.encoders.Rate\ntime_steps: 3\nrandom_bits: null\n",
    }.items():
        (own / place).parent.mkdir(parents=True)
        (own / place).write_text(text)
    return own


@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_the_choices_of_the_folder_may_be_made(place, folder, capsys):
    stored = str(run(compose([*LINE, "data=mine"], folder)).folder)
    flag = [f"--config-dir={folder}"]
    words = {
        "before": [stored, *flag, "accuracy_over_time", "encoder=few"],
        "between": [stored, "accuracy_over_time", "--config-dir", str(folder), "encoder=few"],
        "after": [stored, "accuracy_over_time", "encoder=few", *flag],
    }[place]
    assert main(words) == 0
    (answer,) = folder.parent.glob("outputs/*/evaluations/*/evaluation.json")
    content = json.loads(answer.read_text())
    assert content["question"] == "accuracy_over_time" and len(content["values"]["accuracy"]) == 3
    capsys.readouterr()
    assert main([stored, "accuracy_over_time", "encoder=few"]) == 2
    told = capsys.readouterr().err
    assert "few" in told and told.count("\n") == 1
    assert main([stored, "accuracy_over_time", "--config-dir", "nowhere"]) == 2
    assert "--config-dir nowhere: there is no such folder" in capsys.readouterr().err
