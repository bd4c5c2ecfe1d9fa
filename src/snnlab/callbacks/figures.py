"""Pictures of every run: input, spikes of each layer, membrane traces, learning curves, and those of the question."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnlab.atomic import FULL, write_bytes
from snnlab.data.contract import Batch, DataModule
from snnlab.methods.base.method import Method
from snnlab.questions.question import Question

log = logging.getLogger("snnlab")
INK, ACCENT, SECOND = "#1b1b1f", "#c2410c", "#0f766e"
STYLE: Any = {
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.prop_cycle": "cycler('color', ['#c2410c', '#0f766e', '#4338ca', '#a16207', '#be185d', '#525252'])",
}


class Figures:
    """Draw into ``figures/`` of a run's folder once the test is done.

    Args:
        folder: of the run.
        title: heading of every picture, after its name.
        history: of the epochs.
    """

    def __init__(self, folder: Path, title: str, history: Any) -> None:
        self.folder, self.title, self.history = folder, title, history

    def draw(self, method: Method, data: DataModule) -> list[Path]:
        """Return the paths of the pictures made; one that fails is reported and does not lose the run."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        paths: list[Path] = []
        with plt.rc_context(STYLE), torch.no_grad():
            method.eval()
            question, classes = data.spec.question, data.spec.classes
            batch = first_samples(next(iter(data.test_dataloader())), 8, question)
            with torch.random.fork_rng():  # the spikes that an encoder draws here, it draws again for the frames
                encoded = method.encoded(batch)
            frames = method.frames(batch)
            _, states = method.network.unroll(frames)

            def answered() -> Iterator[tuple[Tensor, Tensor]]:
                for batch in data.test_dataloader():
                    yield method.predictions(batch), batch.labels

            makers = {
                "input": lambda: input_figure(encoded, batch.labels, question),
                "spikes": lambda: spikes_figure(states, method),
                "membranes": lambda: membranes_figure(states),
                "learning_curves": lambda: curves_figure(self.history.rows),
            }
            makers |= question.pictures(answered, classes) | data.pictures(method.predictions)
            for name, make in makers.items():
                try:
                    if (figure := make()) is not None:
                        paths.append(self.save(name, figure))
                except Exception as error:  # a picture is not worth a run
                    raise_if_full(error)
                    log.warning("figure %s could not be drawn: %s", name, error)
            try:
                paths += [self.save(name, figure) for name, figure in method.figures(data).items()]
            except Exception as error:
                raise_if_full(error)
                log.warning("the method's own figures could not be drawn: %s", error)
        return paths

    def save(self, name: str, figure: Any) -> Path:
        import matplotlib.pyplot as plt

        figure.suptitle(f"{name.replace('_', ' ')}: {self.title}", fontsize=9, x=0.01, ha="left", color=INK)
        path = self.folder / "figures" / f"{name}.png"
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        plt.close(figure)
        write_bytes(path, drawn.getbuffer())
        return path


def raise_if_full(error: Exception) -> None:
    """A disk that is full stops the pictures: they are drawn when the run is resumed."""
    if isinstance(error, OSError) and error.errno in FULL:
        raise error


def first_samples(batch: Batch, count: int, question: Question) -> Batch:
    """The first samples of a batch, whatever the axis of its batch."""
    still = batch.inputs.dim() == 4  # [B, C, H, W]; all that has a time axis is [T, B, P, H, W] or [T, B, N]
    inputs = batch.inputs[:count] if still else batch.inputs[:, :count]
    signals = None if batch.signals is None else batch.signals[:count]
    return Batch(inputs, question.first(batch.labels, count), signals)


def input_figure(frames: Tensor, labels: Tensor, question: Question) -> Any:
    """The input of up to 8 samples [T, B, ...]: time steps side by side for pictures, a raster for vectors."""
    import matplotlib.pyplot as plt

    steps, samples = frames.shape[0], min(frames.shape[1], 6)
    if frames.dim() != 5 or frames.shape[-2] == 1:  # a line of sensors is no picture
        figure, axes = plt.subplots(1, samples, figsize=(2.2 * samples, 2.4), sharey=True, squeeze=False)
        for sample, axis in enumerate(axes[0]):
            axis.imshow(frames[:, sample].flatten(1).T.cpu(), aspect="auto", cmap="Greys", interpolation="nearest")
            axis.set(xlabel="time step", title=f"sample {sample}")
        axes[0][0].set_ylabel("input unit")
        whole_units(axes[0][0])
        return figure
    shown = np.unique(np.linspace(0, steps - 1, min(steps, 8)).astype(int))
    figure, axes = plt.subplots(
        samples, len(shown) + 1, figsize=(1.1 * (len(shown) + 1), 1.15 * samples), squeeze=False
    )
    edges = np.linspace(0, steps, len(shown) + 1).astype(int)
    for sample in range(samples):
        for column in range(len(shown)):
            first, last = edges[column], max(edges[column + 1], edges[column] + 1)
            show_frame(axes[sample][column], frames[first:last, sample].mean(0))
            if sample == 0:
                axes[sample][column].set_title(
                    f"t={first}" if last - first == 1 else f"t={first}-{last - 1}", fontsize=7
                )
        show_frame(axes[sample][-1], frames[:, sample].mean(0))
        axes[sample][0].set_ylabel(question.caption(labels, sample), fontsize=7)
    axes[0][-1].set_title("mean over t", fontsize=7)
    return figure


def show_frame(axis: Any, frame: Tensor) -> None:
    """One picture: grey or RGB images, or ON (first colour) against OFF events."""
    picture = frame.float().cpu().numpy()
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if picture.shape[0] == 2:
        limit = max(float(np.abs(picture[1] - picture[0]).max()), 1e-6)
        axis.imshow(picture[1] - picture[0], cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
    elif picture.shape[0] == 3:
        axis.imshow(np.clip(picture.transpose(1, 2, 0), 0, 1), interpolation="nearest")
    else:
        axis.imshow(picture[0], cmap="Greys", interpolation="nearest")


def whole_units(axis: Any) -> None:
    """Let the vertical axis count in whole numbers, as units do."""
    axis.yaxis.get_major_locator().set_params(integer=True)


def spread(names: list[str], most: int = 12) -> list[str]:
    """At most ``most`` of the layers, first and last included, evenly spread over a deep network."""
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(len(names), most)).astype(int))]


def spikes_figure(states: dict[str, Any], method: Method) -> Any:
    """A raster of the first sample's spikes in every spiking layer."""
    import matplotlib.pyplot as plt

    layers = spread([name for name in method.network.neurons() if name in states])
    if not layers:
        return None
    figure, axes = plt.subplots(len(layers), 1, figsize=(7, 1.6 * len(layers) + 0.4), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], layers, strict=True):
        spikes = states[name][0][:, 0].flatten(1)  # [T, N]
        times, units = spikes.nonzero(as_tuple=True)
        axis.scatter(
            times.cpu(), units.cpu(), s=max(3, min(60, 900 / spikes.shape[1])), marker="|", color=INK, linewidths=0.9
        )
        axis.set(
            ylabel="unit",
            title=f"{name}: {spikes.mean():.3f} spikes per neuron and step",
            xlim=(-0.5, len(spikes) - 0.5),
            ylim=(-0.5, spikes.shape[1] - 0.5),
        )
        whole_units(axis)
    axes[-1, 0].set_xlabel("time step")
    return figure


def membranes_figure(states: dict[str, Any]) -> Any:
    """Membrane potentials after the reset of four units of middling activity in every layer that has one."""
    import matplotlib.pyplot as plt

    with_v = spread([name for name, (_, state) in states.items() if hasattr(state, "v")])
    layers = {name: states[name] for name in with_v}
    if not layers:
        return None
    figure, axes = plt.subplots(len(layers), 1, figsize=(7, 1.6 * len(layers) + 0.4), sharex=True, squeeze=False)
    for axis, (name, (spikes, state)) in zip(axes[:, 0], layers.items(), strict=True):
        v = state.v[:, 0].flatten(1)  # [T, N]
        counts = spikes[:, 0].flatten(1).sum(0)
        typical = counts[counts > 0].mean() if bool((counts > 0).any()) else 0.0
        busy = (counts - typical).abs().argsort(stable=True)[:4]
        axis.plot(v[:, busy].cpu(), linewidth=1, drawstyle="steps-mid")
        axis.set(ylabel="v", title=f"{name}: units {', '.join(str(int(i)) for i in busy)}")
    axes[-1, 0].set_xlabel("time step")
    return figure


def curves_figure(rows: list[dict[str, float]]) -> Any:
    """Every metric that has a training or validation curve, against the epoch."""
    import matplotlib.pyplot as plt

    names = sorted({key.split("/", 1)[1] for row in rows for key in row if key.count("/") == 1})
    if not names:
        return None
    figure, axes = plt.subplots(1, len(names), figsize=(3 * len(names), 2.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for split, colour in (("train", SECOND), ("val", ACCENT)):
            points = [(row["epoch"] + 1, row[f"{split}/{name}"]) for row in rows if f"{split}/{name}" in row]
            if points:
                axis.plot(
                    *zip(*points, strict=True), color=colour, marker="o", markersize=2.5, linewidth=1, label=split
                )
        axis.set(xlabel="epoch", title=name.replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].legend(frameon=False)
    return figure
