"""Pictures of every run: input, spikes and membranes of one sample that is named, examples, learning curves, rates of
the layers over the epochs, and those of the question, the data set and the method."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnlab import style
from snnlab.atomic import FULL, write_bytes
from snnlab.data.contract import Batch, DataModule
from snnlab.layers.observe import observe
from snnlab.methods.base.method import Method
from snnlab.questions.question import Question

log = logging.getLogger("snnlab")
SHOWN = 6  # samples of the input; the first one is that of all other pictures
EXAMPLES = 8  # right ones, and as many wrong ones
MOST_STEPS = 100  # of a membrane
LEAST_ANSWERED = 500  # samples among which they are sought, where no other picture has asked for more


class Figures:
    """Draw into ``figures/`` of a run's folder once the test is done.

    Args:
        folder: of the run.
        title: heading of every picture, after its name.
        history: of the epochs.
        rates: spikes per neuron and step of each layer, as pairs (epochs so far, rate).
        more: further pictures of the run, by name; what makes one may give None.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        history: Any,
        rates: Mapping[str, Sequence[tuple[float, float]]] | None = None,
        more: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.folder, self.title, self.history, self.rates = folder, title, history, rates or {}
        self.more = more or {}

    def draw(self, method: Method, data: DataModule) -> list[Path]:
        """Return the paths of the pictures made; one that fails is reported and does not lose the run."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        paths: list[Path] = []

        def keep(name: str, make: Callable[[], Any], note: str = "") -> None:
            try:
                if (figure := make()) is not None:
                    paths.append(self.save(name, figure, note))
            except Exception as error:  # a picture is not worth a run
                raise_if_full(error)
                log.warning("figure %s could not be drawn: %s", name, error)

        def keep_all(of: str, make: Callable[[], Mapping[str, Any]]) -> None:
            try:
                for name, figure in make().items():
                    keep(name, figure if callable(figure) else functools.partial(noted, figure))
            except Exception as error:
                raise_if_full(error)
                log.warning("the %s's own figures could not be drawn: %s", of, error)

        with plt.rc_context(style.STYLE), torch.no_grad():
            method.eval()
            question, classes = data.spec.question, data.spec.classes
            found = Found(method, data)
            keep_all("run", lambda: self.of_samples(method, data, found))
            keep("learning_curves", lambda: curves_figure(self.history, method.monitor[0]))
            keep(
                "layer_rates",
                lambda: rates_figure(self.rates, method.counted()),
                "in training, at four batches of every epoch",
            )
            keep_all("run", lambda: self.more)
            keep_all("question", lambda: question.pictures(found.answered, classes))
            if question.has_classes and not question.per_step and min(data.spec.input_shape[1:], default=1) > 1:
                note = "" if data.spec.time_steps is None else "the eighth of the time that has the most events"
                keep("examples", lambda: examples_figure(*found.examples(), question), note)
            keep_all("data set", lambda: data.pictures(lambda batch: method.predictions(batch).to(batch.inputs.device)))
            keep_all("method", lambda: method.figures(data))
        return paths

    def of_samples(self, method: Method, data: DataModule, found: Found) -> dict[str, Any]:
        """Pictures of the first samples of the test split, and of what goes on in the network at the very first.

        What was answered to them is told to ``found``: a network that draws may answer otherwise when asked again.
        """
        question = data.spec.question
        batch = method.here(first_samples(next(iter(data.test_dataloader())), 8, question))
        with torch.random.fork_rng():  # the spikes that an encoder draws here, it draws again for the frames
            encoded = method.encoded(batch)
        with torch.random.fork_rng():
            found.first = method.predictions(batch)
        labels, told = batch.labels.cpu(), Told(question, found.first.cpu())
        seen = observe(method.network, method.frames(batch))
        note = f"test sample {told.caption(labels, 0)}"
        return {
            "input": lambda: noted(input_figure(encoded, labels, told), "the first samples of the test split"),
            "spikes": lambda: noted(spikes_figure(seen.record, method), note),
            "membranes": lambda: noted(membranes_figure(seen.record, seen.distances, method), note),
        }

    def save(self, name: str, figure: Any, note: str = "") -> Path:
        import matplotlib.pyplot as plt

        style.heading(figure, f"{name.replace('_', ' ')}: {self.title}", note or getattr(figure, "note", ""))
        path = self.folder / "figures" / f"{name}.png"
        drawn = style.drawn(figure)
        plt.close(figure)
        write_bytes(path, drawn)
        return path


def raise_if_full(error: Exception) -> None:
    """A disk that is full stops the pictures: they are drawn when the run is resumed."""
    if isinstance(error, OSError) and error.errno in FULL:
        raise error


def noted(figure: Any, note: str = "") -> Any:
    """The figure, with a note for below its heading."""
    if figure is not None and note:
        figure.note = note
    return figure


class Told:
    """What is written beside a sample: its number in the test split, its target, and what was answered."""

    def __init__(self, question: Question, answers: Tensor) -> None:
        self.question, self.answers = question, answers

    def caption(self, targets: Tensor, sample: int) -> str:
        return f"{sample}: {self.question.verdict(targets, self.answers, sample)}"


class Found:
    """The answers on the test split, and among them samples that were right and wrong."""

    def __init__(self, method: Method, data: DataModule) -> None:
        self.method, self.data = method, data
        self.kept: list[tuple[Tensor, Tensor]] = []  # answers and targets of every batch so far
        self.first: Tensor | None = None  # the answers to the first samples that other pictures tell

    def answered(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Answers and targets on the CPU, batch by batch; a device is read for as many batches as came before."""
        loader, given = iter(self.data.test_dataloader()), 0
        while found := [(self.method.predictions(b), b.labels) for b in islice(loader, max(given, 1))]:
            answers, targets = map(list, zip(*found, strict=True))
            if given == 0 and self.first is not None and answers[0].dim() == self.first.dim() == 1:
                answers[0] = torch.cat([self.first, answers[0][len(self.first) :]])
            read = torch.cat([part.flatten() for part in answers]).cpu().split([part.numel() for part in answers])
            for values, like, target in zip(read, answers, targets, strict=True):
                given += 1
                if given > len(self.kept):
                    self.kept.append((values.view(like.shape), target))
                yield values.view(like.shape), target

    def examples(self) -> tuple[list[Any], list[Any]]:
        """Right and wrong samples: number in the split, picture, target [1] and answer [1]."""
        for _ in self.answered() if not self.kept else ():
            if sum(len(labels) for _, labels in self.kept) >= LEAST_ANSWERED:
                break
        answers, labels = (torch.cat(part) for part in zip(*self.kept, strict=True))
        splits: Any = self.data.splits
        found: list[list[Any]] = []
        for which in (answers == labels, answers != labels):
            places = which.nonzero()[:EXAMPLES, 0].tolist()
            inputs: Any = splits.test.batch(places).inputs if places else None
            pictures = [inputs[i] if inputs.dim() == 4 else busiest(inputs[:, i].float()) for i in range(len(places))]
            parts = zip(places, pictures, strict=True)
            found.append([(place, image, labels[place, None], answers[place, None]) for place, image in parts])
        return found[0], found[1]


def first_samples(batch: Batch, count: int, question: Question) -> Batch:
    """The first samples of a batch, whatever the axis of its batch."""
    still = batch.inputs.dim() == 4  # [B, C, H, W]; all that has a time axis is [T, B, P, H, W] or [T, B, N]
    inputs = batch.inputs[:count] if still else batch.inputs[:, :count]
    signals = None if batch.signals is None else batch.signals[:count]
    return Batch(inputs, question.first(batch.labels, count), signals)


def busiest(frames: Tensor) -> Tensor:
    """The mean over that eighth of the steps of a sample [T, ...] that has most in it: what moves is not blurred."""
    parts = torch.stack([part.mean(0) for part in frames.tensor_split(min(len(frames), 8))])
    return parts[parts.flatten(1).sum(1).argmax()]


def input_figure(frames: Tensor, labels: Tensor, question: Any) -> Any:
    """The input of up to 6 samples [T, B, ...]: time steps side by side for pictures, a raster for vectors.

    ``question.caption(labels, sample)`` is written beside each.
    """
    import matplotlib.pyplot as plt

    frames = frames[:, :SHOWN].cpu()
    steps, samples = frames.shape[:2]
    if frames.dim() != 5 or frames.shape[-2] == 1:  # a line of sensors is no picture
        columns = min(samples, 3)
        rows = -(-samples // columns)
        figure, axes = plt.subplots(rows, columns, figsize=(max(2.8 * columns, 4.5), 2.3 * rows), squeeze=False)
        for axis in axes.flat[samples:]:
            axis.set_visible(False)
        for sample, axis in zip(range(samples), axes.flat, strict=False):
            values = frames[:, sample].flatten(1)
            few = values.unique().numel() <= 2
            shown = style.raster(axis, values) if few else heat(axis, values)
            axis.set_title(style.broken(question.caption(labels, sample), 36, 3), fontsize=style.SMALL)
            axis.set(xlabel="time step", ylabel=f"input ({shown})")
        return figure
    count = min(steps, 8)
    edges = np.linspace(0, steps, count + 1).astype(int)
    columns = count + (steps > 1)
    figure, axes = plt.subplots(
        samples, columns, figsize=(max(1.05 * columns + 1.4, 4.0), 1.1 * samples + 0.5), squeeze=False
    )
    for sample in range(samples):
        for column in range(count):
            first, last = edges[column], max(edges[column + 1], edges[column] + 1)
            style.frame(axes[sample][column], frames[first:last, sample].mean(0))
            if sample == 0:
                words = f"step {first}" if last - first == 1 else f"steps {first} to {last - 1}"
                axes[sample][column].set_title(words, fontsize=style.SMALL, loc="center")
        if steps > 1:
            style.frame(axes[sample][-1], frames[:, sample].mean(0))
        caption = style.broken(question.caption(labels, sample), 22, 4)
        axes[sample][0].set_ylabel(caption, fontsize=style.SMALL, rotation=0, ha="right", va="center")
    if steps > 1:
        axes[0][-1].set_title("mean", fontsize=style.SMALL, loc="center")
    if frames.shape[2] == 2:
        style.polarity_legend(figure)
    return figure


def heat(axis: Any, values: Tensor) -> str:
    """Values [T, N] as an image with its scale; returns how many units there are."""
    image = axis.imshow(values.float().T, aspect="auto", origin="lower", cmap="Greys", interpolation="antialiased")
    axis.figure.colorbar(image, ax=axis)
    style.whole_numbers(axis.yaxis)
    style.whole_numbers(axis.xaxis)
    return f"{values.shape[1]:,} units"


def spread(names: list[str], most: int = 12) -> list[str]:
    """At most ``most`` of the layers, first and last included, evenly spread over a deep network."""
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(len(names), most)).astype(int))]


def spikes_figure(states: dict[str, Any], method: Method) -> Any:
    """A raster of the first sample's spikes in every spiking layer."""
    import matplotlib.pyplot as plt

    layers = spread([name for name in method.network.neurons() if name in states])
    if not layers:
        return None
    figure, axes = plt.subplots(len(layers), 1, figsize=(7, 1.7 * len(layers) + 0.5), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], layers, strict=True):
        layer = method.network.neurons()[name]
        spikes = layer.events(states[name][0])[:, 0].flatten(1).cpu()  # [T, N]
        shown = style.raster(axis, spikes)
        what = "spikes per neuron and step" if layer.sends == "spikes" else "events (of any value) per neuron and step"
        axis.set(ylabel="unit", title=f"{name}: {shown}, {spikes.float().mean():.3f} {what}")
    axes[-1, 0].set_xlabel("time step")
    return figure


def membranes_figure(states: dict[str, Any], distances: Mapping[str, Tensor], method: Method) -> Any:
    """Membrane potentials of four units of middling activity in every layer that has one, with their spikes.

    Before the reset where the neuron's spike function tells them, with the threshold; else as the state has them.
    """
    import matplotlib.pyplot as plt

    layers = spread([name for name, (_, state) in states.items() if hasattr(state, "v")])
    if not layers:
        return None
    neurons = method.network.neurons()
    figure, axes = plt.subplots(len(layers), 1, figsize=(7, 1.9 * len(layers) + 0.5), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], layers, strict=True):
        spikes, state = states[name]
        spikes = neurons[name].events(spikes) if name in neurons else spikes
        counts = spikes[:, 0].flatten(1).float().cpu()  # [T, N]
        v, words = state.v[:, 0].flatten(1).cpu(), "v after the step"
        threshold = getattr(neurons.get(name), "threshold", None)
        threshold = float(threshold) if isinstance(threshold, int | float) else None
        if name in distances:
            threshold = threshold or 0.0
            v = distances[name][:, 0].flatten(1).cpu() + threshold
            words = "v before the reset" if threshold else "v less the threshold"
        spiking = name in neurons and counts.shape == v.shape
        total = counts.sum(0) if spiking else torch.zeros(v.shape[1])
        typical = total[total > 0].mean() if bool((total > 0).any()) else 0.0
        busy = (total - typical).abs().argsort(stable=True)[:4].tolist()
        for unit, colour in zip(busy, style.CYCLE, strict=False):
            line = v[:MOST_STEPS, unit]
            marker = {"marker": "o", "markersize": 3} if len(line) == 1 else {}
            axis.plot(line, linewidth=1, drawstyle="steps-mid", color=colour, label=f"unit {unit}", **marker)
            if spiking:
                times = counts[:MOST_STEPS, unit].nonzero()[:, 0]
                axis.plot(times, line[times], "^", markersize=4, color=colour)
        if threshold is not None:
            axis.axhline(threshold, color=style.INK, linewidth=0.8, linestyle="--", label="threshold")
        if spiking:
            word = "spike" if neurons[name].sends == "spikes" else "event"
            axis.plot([], [], "^", markersize=4, color=style.MUTED, label=word)
        unit = "" if threshold is None else ", in the unit of its threshold"
        axis.set(ylabel=style.broken(words, 14), title=name + unit)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        style.whole_numbers(axis.xaxis)
    steps = len(states[layers[0]][0])
    axes[-1, 0].set_xlabel(f"time step, the first {MOST_STEPS} of {steps}" if steps > MOST_STEPS else "time step")
    return figure


def curves_figure(history: Any, monitor: str) -> Any:
    """The metrics that matter against the epoch: the monitored one, the loss and four more; the chosen epoch marked."""
    import matplotlib.pyplot as plt

    rows = history.rows
    found = sorted({key.split("/", 1)[1] for row in rows for key in row if key.count("/") == 1})
    leading = [name for name in (monitor.split("/", 1)[-1], "loss") if name in found]
    names = list(dict.fromkeys([*leading, *found]))[:6]
    if not names:
        return None
    chosen = history.best()
    columns = min(len(names), 3)
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(max(2.9 * columns, 4.0), 2.5 * lines + 0.4), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        for split, colour, words in (("train", style.TRAIN, "training"), ("val", style.VALIDATION, "validation")):
            points = [(row["epoch"] + 1, row[f"{split}/{name}"]) for row in rows if f"{split}/{name}" in row]
            if points:
                axis.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=2.5, label=words)
        if chosen is not None:
            axis.axvline(
                chosen + 1, color=style.MUTED, linewidth=0.8, linestyle=":", label=f"chosen: epoch {chosen + 1}"
            )
        axis.set(xlabel="epoch", title=name.replace("_", " "))
        style.whole_numbers(axis.xaxis)
    lines_of = {
        words: line for axis in axes.flat for line, words in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(lines_of.values()), list(lines_of), loc="outside lower left", ncols=3)
    return figure


def rates_figure(rates: Mapping[str, Sequence[tuple[float, float]]], what: str = "spikes") -> Any:
    """How often each layer fires, or sends, over the epochs; a dozen layers at most."""
    import matplotlib.pyplot as plt

    layers = spread([name for name, points in rates.items() if points])
    if not layers:
        return None
    figure, axis = plt.subplots(figsize=(6, 2.8))
    for i, name in enumerate(layers):
        dashes = ("-", "--", ":")[i // len(style.CYCLE) % 3]
        axis.plot(*zip(*rates[name], strict=True), linestyle=dashes, marker="o", markersize=2.5, label=name)
    most = max(rate for name in layers for _, rate in rates[name])
    axis.set(xlabel="epochs", ylabel=f"{what} per neuron and step", ylim=(0, 1.08 * most or 1))
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def examples_figure(right: list[Any], wrong: list[Any], question: Question) -> Any:
    """Samples that were named right, above, and wrong, below: the number, the class and what was answered."""
    import matplotlib.pyplot as plt

    rows = [(name, kept) for name, kept in (("right", right), ("wrong", wrong)) if kept]
    if not rows:
        return None
    columns = max(len(kept) for _, kept in rows)
    figure, axes = plt.subplots(len(rows), columns, figsize=(1.15 * columns + 1, 1.6 * len(rows) + 0.5), squeeze=False)
    for row, (name, kept) in zip(axes, rows, strict=True):
        for axis in row[len(kept) :]:
            axis.set_visible(False)
        for axis, (number, image, label, answer) in zip(row, kept, strict=False):
            if image.dim() == 3 and image.shape[1] > 1:
                style.frame(axis, image)
            else:
                axis.plot(image.flatten(), color=style.INK, linewidth=0.8)
                axis.set(xticks=[], yticks=[])
            said = question.caption(label, 0)
            if name == "wrong":
                said += f", not {question.caption(answer, 0).removeprefix('class ')}"
            words = f"{number}: {said}"
            colour = style.RIGHT if name == "right" else style.WRONG
            axis.set_title(style.broken(words, 18, 3), fontsize=style.SMALL, loc="center", color=colour)
        row[0].set_ylabel(name, fontsize=style.SMALL)
    if right and right[0][1].shape[0] == 2 and right[0][1].dim() == 3:
        style.polarity_legend(figure)
    return figure
