"""Memory of one training step against the number of time steps, for any method: does it grow with T?

bytes[T]      most live tensor bytes of one training step above those before it (on a GPU: allocated bytes)
growth        bytes at the largest T / bytes at the smallest; 1 means that memory does not depend on T

``twin`` names one override of the run's config whose method is measured as well, e.g. ``twin=method.gradient=bptt``.
A step is a real one, taken by a trainer of its own on a method made anew; nothing of the stored run is trained.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from snnlab.callbacks.memory import PeakMemory
from snnlab.data.contract import Batch
from snnlab.errors import InputError
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.questions.question import Question

STEPS = [2, 8, 32, 64]


def analyse(run: Stored, steps: list[int] = STEPS, twin: str | None = None) -> Analysis:
    """Measure the run's method, and its twin, at every T of ``steps``.

    Args:
        steps: numbers of time steps T, each at least 1.
        twin: an override of the run's config whose method is measured too, e.g. method.gradient=bptt.

    Raises:
        InputError: when a T is below 1.
    """
    if not steps or min(steps) < 1:
        raise InputError(f"memory_over_time: steps = {steps} must name numbers of at least 1; {STEPS} is usual")
    batch = next(iter(run.data.train_dataloader()))
    methods: dict[str, list[str]] = {run.config["method"]["_target_"].rpartition(".")[2]: []} | (
        {twin: [twin]} if twin else {}
    )
    curves = {name: [training_bytes(run, change, batch, t) for t in steps] for name, change in methods.items()}
    values: dict[str, Any] = {"steps": steps, "bytes": curves}
    values |= {f"growth of {name}": max(peaks) / max(min(peaks), 1) for name, peaks in curves.items()}
    return Analysis(values, {"memory_over_time": figure(steps, curves)})


def training_bytes(run: Stored, change: list[str], batch: Batch, steps: int) -> int:
    """Return the bytes that one training step of the changed run needs on ``batch`` with ``steps`` time steps."""
    encoded = run.method.encoder is not None
    method = run.rebuild([*change, f"encoder.time_steps={steps}"] if encoded else change)
    method.prepare(run.data)
    if not encoded:
        batch = resized(batch, steps, run.data.spec.question)
    memory = PeakMemory()
    arguments = {"max_epochs": 1, "limit_train_batches": None, "limit_val_batches": 0, "enable_progress_bar": False}
    trainer = run.trainer(arguments, [memory])
    trainer.fit(method, datamodule=Twice(batch))
    assert memory.peak_bytes is not None
    return memory.peak_bytes


class Twice(L.LightningDataModule):
    """One batch, twice an epoch: what is first used is there at the second."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.batch = batch

    def train_dataloader(self) -> Any:
        return DataLoader([self.batch, self.batch], batch_size=None)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def resized(batch: Batch, steps: int, question: Question) -> Batch:
    """Return a batch [T, B, ...] of ``steps`` time steps: its first ones, repeated where it is too short."""
    at = torch.arange(steps) % len(batch.inputs)
    return Batch(batch.inputs[at], question.resized(batch.labels, at), batch.signals)


def figure(steps: list[int], curves: dict[str, list[int]]) -> Any:
    """Mebibytes against T, one curve each."""
    import matplotlib.pyplot as plt

    picture, axis = plt.subplots(figsize=(4.6, 3.0))
    for name, peaks in curves.items():
        axis.plot(steps, [peak / 2**20 for peak in peaks], marker="o", markersize=3, label=name)
    axis.set(xlabel="time steps T", ylabel="MiB above those before the step", ylim=(0, None))
    axis.legend(frameon=False)
    return picture
