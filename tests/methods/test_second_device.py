"""Each method trains, is tested, drawn and asked on a second device as on the CPU: nothing is mixed, little is read.

What it does there is also held against torch's list of operations that have no deterministic form on a GPU.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from second_device import DEVICE, Mixed, TrainerThere, second_device, without_form
from small_runs import METHODS, small_run
from snnlab.callbacks.figures import Figures
from snnlab.config.compose import compose
from snnlab.data.contract import Checked
from snnlab.evaluate.ask import ask
from snnlab.runs import wiring

# reads of one training, validation and test step that the rule needs, as many as there are, and why
NEEDED: dict[str, tuple[int, int, int]] = {
    "vdsp": (10 * 4, 0, 0),  # who won a step decides which row of the weight is moved, sample by sample
    "biolcnet": (12, 6, 0),  # an image is simulated on the CPU: its frames, weights, thresholds and counts
    # sampled on the CPU: starts, and the weight twice; exactly at the end
    "variational_spin": (1 + 2, 1 + 2, 1 + 2 + 1),
    "ssnn_bp": (1, 0, 2),  # inputs that are silent in the whole batch are left out of the counts; the rest as below
    "vdib": (0, 0, 2),  # which fields of a first state are infinite, once a layer where it is first unrolled
    "blitnet": (0, 2, 0),  # which fields of a first state are infinite, once a layer where the network first runs
    "conversion": (0, 0, 1),  # which fields of the neurons' first state are infinite, which others learn in training
    **dict.fromkeys(("ann", "burstccn"), (0, 0, 1)),  # their multiply-accumulates, once a test
    # the circuit runs on the CPU: input, target, both weights, its state; the angle reads both weights and it again
    "pal": (7, 0, 1 + 3),
    # spike times are simulated on the CPU: input, both weights and, of training, the errors of the output
    "multispike_fast_deep": (1 + 2 + 1, 1 + 2, 1 + 2),
    "multispike_timing": (1 + 2 + 1, 1 + 2, 1 + 2),
    "eventprop": (1 + 2 + 1 + 2, 1 + 2 + 1, 1 + 2 + 1),  # and the readout's largest potential, with the errors of both
}
WATCHED = 1  # whether all was finite is asked at the end of an epoch, which is the one batch of validation and test
SIZES = 1  # of the network, looked at once a test: what an inference costs
SAMPLES = 30  # of each split, in batches of ten
ASKED, DRAWN = 12, 20  # reads of a question and of all pictures together, whatever the number of batches
SPIKE_TIMES = 1 + SAMPLES // 10  # times that they are simulated on the CPU for the pictures
# on the CPU as well: weight, grid, input and own spikes of each layer; of eventprop the readout's largest potential
POTENTIALS = {"multispike_timing": 2 * 4, "eventprop": 2 * 4}
POTENTIALS["variational_spin"] = 3 * SPIKE_TIMES  # sampled on the CPU: starts, and the weight twice, batch by batch
QUESTIONS = {
    "ann": "robustness samples=20",
    "bntt": "early_exit tolerance=100 thresholds=5",
    "burstccn": "robustness samples=20",
    "conversion": "comparison",
    "multispike_fast_deep": "convergence_map points=2 repeats=2 epochs=2",
    "pal": "robustness samples=20",
    "ottt": "memory_over_time steps=[2,3]",
    "spike_bp": "robustness samples=20",
    "vdib": "spikes_over_time",
    "variational_spin": "spikes_over_time",
}  # the others are asked for their accuracy over time


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


def told(figure: Any) -> list[Any]:
    """What a figure shows: its words, and the numbers of its curves, images, points and bars."""
    found: list[Any] = []
    for axes in figure.axes:
        found += [text.get_text() for text in (*axes.texts, axes.title, axes._left_title, axes.xaxis.label)]
        found += [np.asarray(line.get_xydata(), float).tobytes() for line in axes.lines]
        found += [np.ma.filled(np.ma.asarray(image.get_array(), float), -1).tobytes() for image in axes.images]
        found += [np.ma.filled(points.get_offsets(), -1).tobytes() for points in axes.collections]
        found += [patch.get_path().vertices.tobytes() + str(patch.get_extents()).encode() for patch in axes.patches]
    plt.close(figure)
    return found


class Side:
    """One run and what it is asked, on the CPU or there."""

    def __init__(self, overrides: list[str], question: str, patch: pytest.MonkeyPatch, reads: list[str]) -> None:
        self.pictures: dict[str, list[Any]] = {}
        self.drawing: list[str] = []  # the reads
        draw = Figures.draw

        def counted(figures: Figures, *parts: Any) -> Any:
            before = len(reads)
            paths = draw(figures, *parts)
            self.drawing = reads[before:]
            return paths

        patch.setattr(Figures, "draw", counted)
        patch.setattr(Figures, "save", self.keep)
        self.folder = wiring.run(compose(overrides)).folder
        self.metrics = numbers(self.folder)
        name, *options = question.split()
        options += [f"against={self.folder}"] if name == "comparison" else []
        patch.setattr(Figures, "draw", draw)
        before = len(reads)
        content, figures = ask(self.folder, name, options)
        self.asking = reads[before:]
        self.values = {key: value for key, value in content["values"].items() if key != "against"}  # of a folder
        self.pictures |= {name: told(figure) for name, figure in figures.items()}

    def keep(self, name: str, figure: Any, note: str = "") -> Path:
        self.pictures[name] = told(figure)
        return Path(name)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_on_a_second_device(method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Checked, "__len__", lambda self: min(len(self.dataset), SAMPLES))
    overrides = [*small_run(method), "callbacks.figures=true"]
    question = QUESTIONS.get(method, "accuracy_over_time")
    here = Side(overrides, question, monkeypatch, [])
    monkeypatch.setattr(L, "Trainer", TrainerThere)
    with second_device() as reads:
        steps, wire = SecondStep(reads), wiring.wire

        def add(parts: Any, folder: Any, loggers: Any = (), more: Any = (), *given: Any, **arguments: Any) -> Any:
            return wire(parts, folder, loggers, [steps, *more], *given, **arguments)

        monkeypatch.setattr(wiring, "wire", add)
        there = Side(overrides, question, monkeypatch, reads)
    assert here.metrics == there.metrics
    train, val, test = NEEDED.get(method, (0, 0, 0))
    most = {"train": train, "val": val + WATCHED, "test": test + WATCHED + SIZES}
    assert steps.found.keys() == most.keys()
    for split, found in steps.found.items():
        assert len(found) <= most[split], (split, found)
    assert not without_form
    if not question.startswith("memory_over_time"):  # it trains, and what is trained is moved and moved back
        assert len(there.asking) <= ASKED + POTENTIALS.get(method, 0), there.asking
    drawn = DRAWN + 2 * SPIKE_TIMES * method.startswith(("multispike_", "eventprop")) + POTENTIALS.get(method, 0)
    assert len(there.drawing) <= drawn, there.drawing
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert here.values == there.values
    assert here.pictures.keys() == there.pictures.keys()
    for name, shown in here.pictures.items():
        assert there.pictures[name] == shown, name


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
            *(there.sum().item, lambda: torch.zeros(2, 3).copy_(there), there[0].int().bincount),
        )
        for count, ask_it in enumerate(asked, 1):
            ask_it()
            assert len(reads) == count, ask_it
        assert not without_form
        there.cumsum(0)
        there.long().cumsum(0)
        assert [line.split()[0] for line in without_form] == ["cumsum"]
