"""Accuracy when parts of a chip break: bits of weights, neurons, conductances, events of the input.

    bit_flips       each bit of each stored weight is turned over with probability p
    stuck_at_zero   each neuron is dead with probability p
    stuck_at_one    each neuron fires at every step with probability p
    event_loss      each event of the input is lost with probability p
    drift           weights t seconds after they were written, W (t / 1 s)^-nu
    read_noise      weights with noise of sigma times a layer's largest, drawn anew for every batch

Every point is the mean of ``repetitions`` draws of what breaks, on the same samples with the same spikes of the
encoder; its interval is Student's t of these draws, 95 %. A score that is not finite is a wrong answer. What each of
them does to the bit stands in hardware/faults.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from snnlab import kernels, style
from snnlab.callbacks.reproducible import derived_seed, reseed
from snnlab.errors import InputError
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.hardware import faults
from snnlab.layers.spike_time_network import SpikeTimeNetwork
from snnlab.weights.devices import devices_inside

Kind = Literal["bit_flips", "stuck_at_zero", "stuck_at_one", "event_loss", "drift", "read_noise"]
RATES = ("bit_flips", "stuck_at_zero", "stuck_at_one", "event_loss")
Curve = dict[str, list[float]]


def analyse(
    run: Stored,
    kinds: tuple[Kind, ...] = get_args(Kind),
    rates: tuple[float, ...] = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    seconds: tuple[float, ...] = (1.0, 1e2, 1e4, 1e6, 1e8),
    exponent: float = 0.05,
    exponent_spread: float = 0.5,
    sigmas: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.2),
    repetitions: int = 10,
    samples: int = 1000,
    split: Literal["val", "test"] = "val",
) -> Analysis:
    """The accuracy of the run under each kind of fault, with intervals.

    Args:
        kinds: which of them; what the run has no place for is left out, and said.
        rates: probabilities p.
        seconds: since the weights were written, >= 1.
        exponent: mean nu of the drift, > 0; 0.05 is usual for phase change memory.
        exponent_spread: of nu between weights, relative, >= 0.
        sigmas: of the read noise, in units of a layer's largest weight, >= 0.
        repetitions: draws of each point, at least 2.
        samples: at most so many, the first ones of the split.
        split: val, or test.

    Raises:
        InputError: when an option leaves its range, or the data has no classes.
    """
    for name, given in {"kinds": kinds, "rates": rates, "seconds": seconds, "sigmas": sigmas}.items():
        if not given:
            raise InputError(f"faults: {name} = [] leaves nothing to break; kinds=[...] says what is broken")
    check(run, rates, seconds, exponent, exponent_spread, sigmas, repetitions, samples, split)
    values: dict[str, Any] = {"split": split, "repetitions": repetitions}
    right = Scorer(run, split, samples)
    curves: dict[str, Curve] = {}
    for kind in dict.fromkeys(kinds):
        if reason := missing(run, kind):
            values[f"without {kind}"] = reason
            continue
        points = rates if kind in RATES else seconds if kind == "drift" else sigmas
        curves[kind] = curve(right, kind, points, (exponent, exponent_spread), repetitions)
    values["accuracy"] = right.accuracy()
    values["samples"] = right.seen
    for named, found in curves.items():
        values |= {f"{named} {name}": numbers for name, numbers in found.items()}
    return Analysis(values, {"faults": figure(curves, values["accuracy"], split)} if curves else {})


def check(
    run: Stored,
    rates: tuple[float, ...],
    seconds: tuple[float, ...],
    exponent: float,
    spread: float,
    sigmas: tuple[float, ...],
    repetitions: int,
    samples: int,
    split: str,
) -> None:
    """Raise InputError where an option leaves its range, or the run has nothing to be right or wrong about."""
    if not all(0 <= rate <= 1 for rate in rates):
        raise InputError(f"faults: rates = {list(rates)} are probabilities, in [0, 1]")
    if not all(1 <= second < float("inf") for second in seconds):
        raise InputError(f"faults: seconds = {list(seconds)} must be at least 1, when the weights were read first")
    if not 0 < exponent < 10:
        raise InputError(f"faults: exponent = {exponent} must lie in (0, 10); 0.05 is usual")
    if not 0 <= spread < 10:
        raise InputError(f"faults: exponent_spread = {spread} must lie in [0, 10); 0.5 is usual")
    if not all(0 <= sigma < float("inf") for sigma in sigmas):
        raise InputError(f"faults: sigmas = {list(sigmas)} must be 0 or more, in units of the largest weight")
    if repetitions < 2:
        raise InputError(f"faults: repetitions = {repetitions} must be at least 2, or there is no interval")
    if samples < 1:
        raise InputError(f"faults: samples = {samples} must be at least 1; 1000 is the default")
    if not run.data.spec.question.has_classes:
        raise InputError(
            f"{run.folder}: data={run.data.spec.name} asks for {run.data.spec.question.sentence}, and faults is for "
            "classes, which are right or wrong"
        )
    if split == "val" and run.data.spec.sizes.get("val") == 0:
        raise InputError(f"{run.folder}: there is no validation split to break it on; split=test takes the test's")


def missing(run: Stored, kind: str) -> str:
    """Why the run has no place for this kind of fault; empty where it has."""
    network, exact = run.method.network, isinstance(run.method.network, SpikeTimeNetwork)
    if kind == "event_loss" and not (run.method.spiking_input or exact):
        return "the network's input is numbers, and no events"
    if kind.startswith("stuck") and (exact or not network.neurons()):
        return "there are no neurons with time steps"
    if kind == "bit_flips" and any(True for _ in devices_inside(network)):
        return "conductances have no bits"
    return ""


class Scorer:
    """Scores the first samples of a split, always on the same spikes of the encoder."""

    def __init__(self, run: Stored, split: str, samples: int) -> None:
        self.run, self.split, self.samples, self.seen = run, split, samples, 0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Frames [T, B, ...] and labels [B], or [T, B] where each step has one."""
        reseed(self.run.config["seed"], self.split)
        loader = self.run.data.val_dataloader() if self.split == "val" else self.run.data.test_dataloader()
        left = self.samples
        for batch in map(self.run.method.here, loader):
            yield self.run.method.frames(batch)[:, :left], batch.labels[..., :left]
            left -= batch.labels.shape[-1]
            if left <= 0:
                return

    @torch.no_grad()
    def scores(self, break_batch: Callable[[Tensor], Any] = nullcontext) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores [B, K] or [T, B, K], and labels; ``break_batch(frames)`` is open around a batch, and gives frames."""
        for frames, labels in self.batches():
            with break_batch(frames) as broken, kernels.watching(None):
                yield self.run.method.scores(broken), labels

    def accuracy(self, break_batch: Callable[[Tensor], Any] = nullcontext) -> float:
        """Share of right answers; a score that is not finite is a wrong one."""
        right = answers = self.seen = 0
        for scores, labels in self.scores(break_batch):
            hits = (self.run.data.spec.question.answer(scores) == labels) & torch.isfinite(scores).all(-1)
            right += int(hits.sum())
            answers, self.seen = answers + labels.numel(), self.seen + labels.shape[-1]
        return right / answers


def curve(right: Scorer, kind: str, points: tuple[float, ...], drift: tuple[float, float], repetitions: int) -> Curve:
    """Mean accuracy and the ends of its interval at each point."""
    found: Curve = {"at": list(points), "accuracy": [], "low": [], "high": []}
    for point in points:
        draws = []
        for repetition in range(repetitions if point else 1):  # nothing is drawn where nothing breaks
            generator = torch.Generator().manual_seed(derived_seed(right.run.config["seed"], kind, point, repetition))
            with broken(right.run, kind, point, drift, generator) as break_batch:
                draws.append(right.accuracy(break_batch))
        for name, value in zip(("accuracy", "low", "high"), interval(draws), strict=True):
            found[name].append(value)
    return found


@contextmanager
def broken(
    run: Stored, kind: str, point: float, drift: tuple[float, float], generator: torch.Generator
) -> Iterator[Callable[[Tensor], Any]]:
    """Break the run while the context is open; what it gives is open around each batch, and gives its frames."""
    network = run.method.network
    if kind == "bit_flips":
        with faults.changed(network, lambda weight: faults.flipped(weight, point, generator)):
            yield nullcontext
    elif kind == "drift":
        with faults.changed(network, lambda weight: faults.drifted(weight, point, *drift, generator)):
            yield nullcontext
    elif kind == "read_noise":

        @contextmanager
        def read_anew(frames: Tensor) -> Iterator[Tensor]:
            with faults.changed(network, lambda weight: faults.read_with_noise(weight, point, generator)):
                yield frames

        yield read_anew
    elif kind == "event_loss":
        lose = faults.without if isinstance(network, SpikeTimeNetwork) else faults.thinned
        yield lambda frames: nullcontext(lose(frames, point, generator))
    else:
        with faults.stuck(network, float(kind == "stuck_at_one"), point, generator):
            yield nullcontext


def interval(draws: list[float]) -> tuple[float, float, float]:
    """The mean of shares, and the ends of its interval of 95 %, Student's t, in [0, 1]; of a single one, itself."""
    from scipy.stats import t

    numbers = torch.tensor(draws, dtype=torch.float64)
    mean = float(numbers.mean())
    if len(draws) < 2:
        return mean, mean, mean
    half = float(t.ppf(0.975, len(draws) - 1)) * float(numbers.std()) / len(draws) ** 0.5
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)


def figure(curves: dict[str, Curve], whole: float, split: str) -> Any:
    """Accuracy against probability, seconds and sigma, a band for each interval, the unbroken run as a line."""
    import matplotlib.pyplot as plt

    kinds: list[tuple[str, tuple[str, ...]]] = [
        ("probability p", RATES),
        ("seconds since written", ("drift",)),
        ("read noise, sigma / largest weight", ("read_noise",)),
    ]
    shown = [(label, [kind for kind in group if kind in curves]) for label, group in kinds]
    shown = [(label, group) for label, group in shown if group]
    picture, axes = plt.subplots(1, len(shown), figsize=(1.6 + 2.8 * len(shown), 2.8), sharey=True, squeeze=False)
    for axis, (label, group) in zip(axes[0], shown, strict=True):
        axis.axhline(100 * whole, color=style.MUTED, linewidth=0.8)
        for kind in group:
            found = curves[kind]
            (line,) = axis.plot(
                found["at"],
                [100 * a for a in found["accuracy"]],
                marker="o",
                markersize=2.5,
                label=kind.replace("_", " "),
            )
            low, high = ([100 * a for a in found[end]] for end in ("low", "high"))
            axis.fill_between(found["at"], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        positive = [at for kind in group for at in curves[kind]["at"] if at > 0]
        if label == "probability p" and positive:
            axis.set_xscale("symlog", linthresh=min(positive))
        elif "seconds" in label:
            axis.set_xscale("log")
        axis.set(xlabel=label, ylim=(0, 102))
        axis.legend(frameon=False, fontsize=style.SMALL)
    axes[0][0].set_ylabel(f"{split} accuracy (%)")
    return picture
