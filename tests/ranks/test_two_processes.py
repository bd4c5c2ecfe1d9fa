"""Two processes that share a run: as good as one, and ended as one. compare.py does the same for every method."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ranks.compare import compare
from snnlab import ranks
from snnlab.config.compose import compose
from snnlab.data.loader import EpochBatches
from snnlab.errors import InputError
from snnlab.runs.identity import identity
from snnlab.runs.wiring import run

TINY = ["method=stbp", "data=digits", "encoder=direct", "encoder.time_steps=2", "model.hidden=[8]", "logger=none"]
TINY += ["callbacks.figures=false", "kernels=step"]
SEVERAL = ["trainer=ddp_cpu", *TINY]


def test_two_processes_are_as_good_as_one():
    rows = compare(["bntt", "multispike_fast_deep", "ssnn_bp", "vdsp"])
    assert [row["case"] for row in rows] == ["bntt", "multispike_fast_deep", "ssnn_bp", "vdsp"]
    assert "one after the other" in rows.pop()["refused"]
    for row in rows:
        assert row["weights"] <= 1e-5 < row["moved"], row
        assert row["accuracy"][0] == row["accuracy"][1] and row["metrics"] < 1e-5, row


def test_a_command_of_two_processes_is_interrupted_as_one(tmp_path):
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "snnlab", *SEVERAL, "trainer.max_epochs=1000"],
            cwd=tmp_path,
            stdout=file,
            stderr=file,
        )
    while "epoch 2/" not in said.read_text() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 130, said.read_text()
    lines = said.read_text().splitlines()
    assert sum(line.startswith("run: ") for line in lines) == 1
    assert lines[-1] == "snnlab: interrupted; go on with the same command and resume=auto"
    (record,) = tmp_path.glob("outputs/*/run.json")
    content = json.loads(record.read_text())
    assert content["status"] == "interrupted" and content["machine"]["processes"] == 2
    assert not list(record.parent.glob(".rank*")) and list(record.parent.glob("checkpoints/epoch*.ckpt"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "the other processes are started by repeating a command line"),
        (["trainer.devices=0"], "trainer.devices = 0 leaves no device to train on"),
        (["trainer=gpu"], "trainer: "),
        (["trainer.num_nodes=2"], "trainer.num_nodes = 2 is not for a recorded run"),
    ],
)
def test_what_cannot_be_shared(monkeypatch, tmp_path, overrides, said):
    monkeypatch.chdir(tmp_path)
    if torch.cuda.is_available() and overrides == ["trainer=gpu"]:
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError) as error:
        run(compose([*SEVERAL, *overrides]))
    assert said in str(error.value) and not Path("outputs").exists()


def test_a_sweep_does_not_share(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the jobs of a sweep use one device each"):
        run(compose(SEVERAL), sweep="sweep-1")


def test_each_sample_is_taken_once():
    for size, batch, number in ((1297, 65, 2), (10, 4, 3), (7, 7, 2)):
        alone = list(EpochBatches(size, batch, shuffle=True, seed=3))
        parts = [EpochBatches(size, batch, shuffle=True, seed=3) for _ in range(number)]
        for rank, sampler in enumerate(parts):
            sampler.share(rank, number, True, None)
        together = zip(*parts, strict=True)
        assert [[i for part in batch for i in part] for batch in together] == alone
        for rank, sampler in enumerate(parts):
            sampler.share(rank, number, False, 2)
        taken = [batch for sampler in parts for batch in sampler]
        few = min(len(alone), 2) < number
        assert sorted(map(tuple, taken)) == sorted(map(tuple, alone[:2] * (number if few else 1)))


def test_one_process_is_left_as_it_is():
    values = torch.randn(3, 2)
    torch.manual_seed(1)
    drawn = ranks.of_whole(torch.rand_like, values, 0)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand_like(values)) and ranks.total(values) is values and ranks.share() == 1


def test_how_the_processes_are_named_decides_nothing():
    two = compose([*TINY, "trainer.accelerator=cpu", "trainer.devices=2"]).plain()
    assert identity(two) == identity(compose(SEVERAL).plain()) != identity(compose(TINY).plain())
