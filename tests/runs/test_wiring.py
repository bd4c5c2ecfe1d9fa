"""One wiring: what the bench times is what ``run`` makes; one loader of stored weights."""

import pytest
import torch
from torch import nn

from snnlab.bench.__main__ import main as bench
from snnlab.bench.workloads import training
from snnlab.checkpoint import load_weights
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.runs import wiring

TINY = ["method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "callbacks.progress=false"]
TINY += ["model.hidden=[4]", "encoder.time_steps=2", "trainer.max_epochs=1"]
TINY += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]


def test_a_run_and_both_workloads_of_the_bench_have_the_same_callbacks(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    real, made = wiring.make_trainer, []

    def make_trainer(config, folder, callbacks, loggers, **options):
        if folder is not None:
            made.append([type(callback).__name__ for callback in callbacks])
        return real(config, folder, callbacks, loggers, **options)

    monkeypatch.setattr(wiring, "make_trainer", make_trainer)
    wiring.run(compose(TINY))
    run = made.pop()
    assert {"ReseedEachEpoch", "EpochCheckpoints", "History", "Health", "PeakMemory"} <= set(run)
    assert bench(["overhead", f"run={' '.join(TINY[:2] + TINY[5:7])}", "batches=2", "wandb=false", "rounds=1"]) == 0
    assert made.pop() == [*run, "Turns"]
    clock = training.StepClock()
    parts = training.composed(TINY)
    training.prepare(parts)
    training.train(parts, [clock], limit_train_batches=3)
    assert made.pop() == [*run, "StepClock"] and len(clock.seconds) == 3
    assert not made


def test_the_bench_trains_the_same_numbers_as_a_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = wiring.run(compose(TINY))
    parts = training.composed(TINY)
    training.prepare(parts)
    training.train(parts, [])
    stored = torch.load(next(result.folder.glob("checkpoints/*.ckpt")), weights_only=True)["state_dict"]
    trained = parts.method.state_dict()
    assert all(torch.equal(stored[key], trained[key]) for key in stored if key.startswith("network."))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "w.ckpt is missing"),
        (b"nothing of it", "w.ckpt is no readable checkpoint (UnpicklingError); run the experiment again"),
        ({"weights": {}}, "w.ckpt is no readable checkpoint (KeyError)"),
        ({"state_dict": {"weight": torch.zeros(3, 2)}}, "mine do not fit: "),
        (
            {"state_dict": {"weight": torch.zeros(3, 2), "bias": torch.zeros(4)}},
            "mine do not fit: size mismatch for bias",
        ),
    ],
)
def test_weights_that_cannot_be_loaded_are_told_in_one_line(content, words, tmp_path):
    path = tmp_path / "w.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError) as refusal:
        load_weights(nn.Linear(2, 3), path, "mine do not fit")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_weights_come_by_name(tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(3, 2), "bias": torch.arange(3.0)}}, tmp_path / "w.ckpt")
    layer = nn.Linear(2, 3)
    load_weights(layer, tmp_path / "w.ckpt", "mine")
    assert torch.equal(layer(torch.tensor([1.0, 2.0])), torch.tensor([3.0, 4.0, 5.0]))
