"""Each method trains, validates and tests on a second device as on the CPU: nothing is mixed, little is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from second_device import DEVICE, Mixed, TrainerThere, second_device
from small_runs import METHODS, small_run
from snnlab.config.compose import compose
from snnlab.runs import wiring

# reads of one training, validation and test step that the rule needs, as many as there are, and why
NEEDED: dict[str, tuple[int, int, int]] = {
    "vdsp": (10 * 4, 0, 0),  # who won a step decides which row of the weight is moved, sample by sample
    "ssnn_bp": (1, 0, 0),  # inputs that are silent in the whole batch are left out of the counts
    "conversion": (0, 0, 1),  # which fields of the neurons' first state are infinite, which others learn in training
    **dict.fromkeys(("ann", "burstccn"), (0, 0, 1)),  # their multiply-accumulates, once a test
    # spike times are simulated on the CPU: input, both weights and, of training, the errors of the output
    "multispike_fast_deep": (1 + 2 + 1, 1 + 2, 1 + 2),
}
WATCHED = 1  # whether all was finite is asked at the end of an epoch, which is the one batch of validation and test


class SecondStep(L.Callback):
    """The reads of the second training step, and of the last of validation and test."""

    def __init__(self, reads: list[str]) -> None:
        self.reads, self.since = reads, 0
        self.found: dict[str, list[str]] = {}

    def begin(self, *_: Any) -> None:
        self.since = len(self.reads)

    on_train_batch_start = on_validation_batch_start = on_test_batch_start = begin

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert module.device == DEVICE and batch.inputs.device == DEVICE
        if batch_idx == 1:
            self.found["train"] = self.reads[self.since :]

    def on_validation_batch_end(self, *_: Any) -> None:
        self.found["val"] = self.reads[self.since :]

    def on_test_batch_end(self, *_: Any) -> None:
        self.found["test"] = self.reads[self.since :]


def numbers(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text())["metrics"]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_a_second_device(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    here = numbers(wiring.run(compose(small_run(method))).folder)
    monkeypatch.setattr(L, "Trainer", TrainerThere)
    with second_device() as reads:
        steps, wire = SecondStep(reads), wiring.wire

        def add(parts: Any, folder: Any, logger: Any = None, more: Any = (), **arguments: Any) -> Any:
            return wire(parts, folder, logger, [steps, *more], **arguments)

        monkeypatch.setattr(wiring, "wire", add)
        there = numbers(wiring.run(compose(small_run(method))).folder)
    assert here == there
    train, val, test = NEEDED.get(method, (0, 0, 0))
    most = {"train": train, "val": val + WATCHED, "test": test + WATCHED}
    assert steps.found.keys() == most.keys()
    for split, found in steps.found.items():
        assert len(found) <= most[split], (split, found)


def test_the_device_refuses_and_counts_as_a_gpu() -> None:
    with second_device() as reads:
        there, here = torch.arange(6.0, device=DEVICE).view(2, 3), torch.ones(3)
        for mixed in (lambda: there + here, lambda: here.add_(there[0]), lambda: torch.cat([there, here[None]])):
            with pytest.raises(Mixed):
                mixed()
        with pytest.raises(RuntimeError):
            np.asarray(there)
        assert (there + torch.tensor(1.0) + 2).new_zeros(2).device == torch.zeros_like(there).device == DEVICE
        assert not reads
        asked = (
            *(lambda: float(there.sum()), lambda: bool(there[0, 0] > 0), lambda: int(there[0, 1]), there.tolist),
            *(there.nonzero, there.unique, there.cpu, lambda: there[there > 0], lambda: torch.equal(there, there)),
            *(there.sum().item, lambda: torch.zeros(2, 3).copy_(there)),
        )
        for count, ask in enumerate(asked, 1):
            ask()
            assert len(reads) == count, ask
