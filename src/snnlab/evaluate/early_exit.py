"""How many steps a BNTT network needs, read from its gammas (Kim, Panda 2021, doi 10.3389/fnins.2021.773954).

    g_i[t] = mean over channels of gamma[t] of norm layer i
    exit(threshold) = first step after the latest peak of any g_i where g_i[t] < threshold for every i

Inference ends with that step and divides the summed current by the steps run; nothing is trained again. Steps are
counted from 1, so that step 20 is the 20th of T. The paper's threshold is 0.1 (from memory, unverified), which gammas
of small networks never reach; a gamma that still rises at step T allows no exit at any threshold. Here the threshold
is chosen on validation images: the one with the fewest steps whose accuracy stays within ``tolerance`` of all T steps.
The test split is scored once, with the threshold so chosen. ``step_without_gamma`` stands beside it: the fewest steps
that keep the tolerance on validation images, whatever gamma.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnlab import style
from snnlab.errors import InputError
from snnlab.evaluate.accuracy_over_time import Curve, curve
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.layers.batch_norm_through_time import gamma_over_time

PAPER_THRESHOLD = 0.1


def exit_step(gammas: Tensor, threshold: float) -> int | None:
    """Return the exit step, 1 to T, of mean gammas [layers, T]; None where the threshold is never reached."""
    peak = int(gammas.argmax(1).max())
    below = (gammas < threshold).all(0)
    below[: peak + 1] = False
    return int(below.nonzero()[0]) + 1 if bool(below.any()) else None


def threshold_grid(gammas: Tensor, count: int) -> list[float]:
    """Evenly spaced thresholds [count], from where the exit fires latest to where it fires right after the peak."""
    after = gammas.amax(0)[int(gammas.argmax(1).max()) + 1 :]
    if len(after) == 0:
        return []
    low, high = float(after.min()), float(after.max())
    return [low + (high - low) * (i + 1) / count + 1e-6 for i in range(count)]


def choose(gammas: Tensor, accuracy: Tensor, tolerance: float, count: int) -> tuple[float | None, int]:
    """Return the threshold and the exit step with the fewest steps whose accuracy [T] drops by at most ``tolerance``.

    The tolerance is in percentage points. Where no threshold of the grid keeps it: (None, T).
    """
    best: tuple[float | None, int] = (None, len(accuracy))
    for threshold in threshold_grid(gammas, count):
        step = exit_step(gammas, threshold)
        if step is not None and step < best[1] and drop(accuracy, step) <= tolerance + 1e-9:
            best = (threshold, step)
    return best


def drop(accuracy: Tensor, step: int) -> float:
    """Percentage points lost by stopping after ``step`` of accuracy [T]; negative where stopping gains."""
    return 100 * float(accuracy[-1] - accuracy[step - 1])


def fewest_steps(accuracy: Tensor, tolerance: float) -> int:
    """Return the first step, 1 to T, whose accuracy is within ``tolerance`` percentage points of that of step T."""
    return next(step for step in range(1, len(accuracy) + 1) if drop(accuracy, step) <= tolerance + 1e-9)


def analyse(run: Stored, tolerance: float = 0.3, thresholds: int = 100) -> Analysis:
    """Choose the exit on validation data, then score it on the test split.

    Args:
        tolerance: most percentage points of validation accuracy that may be lost, >= 0.
        thresholds: how many are tried.

    Raises:
        InputError: when an option leaves its range, or the run has no gamma that changes over time.
    """
    if tolerance < 0:
        raise InputError(f"early_exit: tolerance = {tolerance} must be 0 percentage points or more; 0.3 is the default")
    if thresholds < 1:
        raise InputError(f"early_exit: thresholds = {thresholds} must be at least 1; 100 is the default")
    layers = gamma_over_time(run.method.network)
    if not layers:
        raise InputError(
            f"{run.folder}: {type(run.method).__name__} here has no gamma of each time step to exit by; early_exit is "
            "for runs whose network has a batch norm of every time step"
        )
    validation = curve(run.method, run.data, "val")
    steps = len(validation.accuracy)
    gammas = torch.stack(list(layers.values())).double().cpu()[:, :steps]
    threshold, step = choose(gammas, validation.accuracy, tolerance, thresholds)
    test = curve(run.method, run.data, "test")
    paper_step = exit_step(gammas, PAPER_THRESHOLD)
    free_step = fewest_steps(validation.accuracy, tolerance)
    values = {
        "threshold": "none keeps the tolerance" if threshold is None else threshold,
        "exit_step": step,
        "steps_saved": steps - step,
        "validation_drop": drop(validation.accuracy, step),
        "accuracy_at_exit": float(test.accuracy[step - 1]),
        "accuracy_at_end": float(test.accuracy[-1]),
        "test_drop": drop(test.accuracy, step),
        "spikes_at_exit": float(test.spikes[step - 1]),
        "spikes_at_end": float(test.spikes[-1]),
        f"exit_step_at_{PAPER_THRESHOLD}": "does not fire" if paper_step is None else paper_step,
        "step_without_gamma": free_step,
        "accuracy_without_gamma": float(test.accuracy[free_step - 1]),
        "accuracy": test.accuracy.tolist(),
        "validation_accuracy": validation.accuracy.tolist(),
        "gamma": {name: gamma.tolist() for name, gamma in zip(layers, gammas, strict=True)},
    }
    return Analysis(values, {"early_exit": figure(dict(zip(layers, gammas, strict=True)), threshold, step, test)})


def figure(gammas: dict[str, Tensor], threshold: float | None, step: int, test: Curve) -> Any:
    """Gammas with the threshold, and test accuracy with the exit, against the step."""
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharex=True)
    steps = range(1, len(test.accuracy) + 1)
    for name, gamma in gammas.items():
        axes[0].plot(steps, gamma, marker="o", markersize=2.5, label=name)
    if threshold is not None:
        axes[0].axhline(threshold, color=style.MUTED, linewidth=0.8, linestyle="--")
    axes[0].set(xlabel="time step", ylabel="gamma, mean over channels")
    axes[0].legend(frameon=False)
    axes[1].plot(steps, 100 * test.accuracy, marker="o", markersize=2.5)
    axes[1].set(xlabel="steps run", ylabel="test accuracy (%)", title=f"exit after {step} of {len(steps)}")
    for axis in axes:
        axis.axvline(step, color=style.MUTED, linewidth=0.8, linestyle=":")
    return picture
