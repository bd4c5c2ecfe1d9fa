"""Accuracy and spikes when inference stops after each step, on the test split.

accuracy[t]   share of samples whose class has the highest score after step t
spikes[t]     spikes of all layers up to and with step t, per sample
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from snnlab.callbacks.reproducible import reseed
from snnlab.data.contract import DataModule
from snnlab.errors import InputError
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.methods.base.method import Method
from snnlab.questions.question import running_sum


class Curve:
    """accuracy [T] and cumulative spikes per sample [T] of a method on one split, those of each layer too.

    Args:
        accuracy: [T].
        layers: cumulative spikes per sample [T] of each spiking layer.
        neurons: of each spiking layer.
    """

    def __init__(self, accuracy: Tensor, layers: dict[str, Tensor], neurons: dict[str, int]) -> None:
        self.accuracy, self.layers, self.neurons = accuracy, layers, neurons
        self.spikes = torch.stack(list(layers.values())).sum(0)


@torch.no_grad()
def curve(method: Method, data: DataModule, split: Literal["val", "test"] = "test") -> Curve:
    """Score every step of every sample of a split.

    Raises:
        InputError: when the method scores no classes.
    """
    if not method.names_classes:
        raise InputError(
            f"{type(method).__name__} gives no class scores that could stop early: data={data.spec.name} asks for "
            f"{data.spec.question.sentence}"
        )
    if not method.network.neurons():
        raise InputError(f"{type(method).__name__} has no spiking layer, and takes one step")
    method.eval()
    right, samples = torch.zeros((), dtype=torch.float64, device=method.device), 0
    spikes: dict[str, Tensor] = {}
    neurons: dict[str, int] = {}
    for batch in map(method.here, data.test_dataloader() if split == "test" else data.val_dataloader()):
        with method.network.observe() as seen:
            scores = method.scores_over_time(method.frames(batch))  # [T, B, K]
        right = right + (data.spec.question.answer(scores) == batch.labels).double().sum(1)
        for name, fired in seen.items():
            counts = fired.flatten(1).sum(1, dtype=torch.float64)
            spikes[name] = spikes[name] + counts if name in spikes else counts
            neurons[name] = fired[0, 0].numel()
        samples += len(batch.labels)
    found = torch.stack([right, *map(running_sum, spikes.values())]).cpu() / samples  # read once, at the end
    return Curve(found[0], dict(zip(spikes, found[1:], strict=True)), neurons)


def analyse(run: Stored) -> Analysis:
    """The curve of the test split, with the spikes that the encoder drew for the test: it ends at its accuracy."""
    reseed(run.config["seed"], "test")
    found = curve(run.method, run.data)
    values = {"accuracy": found.accuracy.tolist(), "spikes_per_inference": found.spikes.tolist()}
    return Analysis(values, {"accuracy_over_time": figure(found, run.method.counted())})


def figure(found: Curve, what: str) -> Any:
    """Accuracy against the step at which inference stops, and against the spikes, or ``what`` they are, until then."""
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    steps = range(1, len(found.accuracy) + 1)
    axes[0].plot(steps, 100 * found.accuracy, marker="o", markersize=2.5)
    axes[0].set(xlabel="steps run", ylabel="test accuracy (%)")
    axes[1].plot(found.spikes, 100 * found.accuracy, marker="o", markersize=2.5)
    axes[1].set(xlabel=f"{what} per sample until then")
    return picture
