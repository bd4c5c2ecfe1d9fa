"""Pictures of a trained VDIB: reconstruction grid, encoder raster, t-SNE of the encoder's spikes, decoded task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from snnlab import style
from snnlab.data.contract import DataModule
from snnlab.methods.vdib.autoencoder import Autoencoder

MOST_POINTS, FEWEST_POINTS = 400, 10  # of the t-SNE
MARKERS = "ox^s"  # where there are more classes than colours


def all_figures(method: Autoencoder, data: DataModule) -> dict[str, Figure]:
    """Figures of test samples, by file name. The random numbers drawn here leave torch's generator as it was."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return _figures(method, data)


def _figures(method: Autoencoder, data: DataModule) -> dict[str, Figure]:
    inputs, spikes, logits, labels, targets = [], [], [], [], []
    seen = 0
    for batch in map(method.here, data.test_dataloader()):
        frames = method.frames(batch)
        y = method.network(frames)
        inputs.append(frames.flatten(2)[:, :1])
        spikes.append(y)
        logits.append(method.decode(y))
        labels.append(batch.labels)
        if not method.task:
            targets.append(method.targets(batch))
        seen += y.shape[1]
        if seen >= MOST_POINTS:
            break
    y = torch.cat(spikes, 1)[:, :MOST_POINTS].cpu()
    found = {"encoder_raster": raster(inputs[0][:, 0], y[:, 0])}
    if method.task:
        found["decoded"] = decoded(torch.cat(logits, 1)[:, 0].cpu(), torch.cat(labels, 1)[:, 0].cpu())
        return found
    classes = torch.cat(labels).cpu()
    images = method.reconstructions(torch.cat(logits)).cpu()
    found["reconstructions"] = reconstructions(torch.cat(targets).cpu(), images, classes)
    if y.shape[1] >= FEWEST_POINTS:
        trains = y.movedim(0, 1).flatten(1)  # [samples, T * N_out]
        found["tsne"] = tsne(trains, classes[:MOST_POINTS])
    return found


def reconstructions(targets: Tensor, images: Tensor, labels: Tensor) -> Figure:
    """First test sample of each class: the target above, what the decoder made of it below."""
    classes = labels.unique()[:10]
    figure: Any = Figure(figsize=(1.1 * len(classes) + 0.6, 3.0), layout="constrained")
    axes = np.atleast_2d(figure.subplots(2, len(classes)))
    axes = axes.reshape(2, len(classes))
    for column, label in enumerate(classes):
        first = int((labels == label).nonzero()[0])
        for row, signal in enumerate((targets[first], images[first])):
            style.frame(axes[row, column], signal, 0, 1)
        axes[0, column].set_title(f"{first}: class {int(label)}", fontsize=style.SMALL, loc="center")
    axes[0, 0].set_ylabel("target")
    axes[1, 0].set_ylabel("decoded")
    figure.note = "the first test sample of each class: its number, the target, what is decoded of it"
    return figure


def raster(inputs: Tensor, y: Tensor) -> Figure:
    """Input spikes [T, N_in] above, encoder spikes [T, N_out] below."""
    figure: Any = Figure(figsize=(7, 6), layout="constrained")
    parts = ((inputs, "input unit"), (y, "readout neuron"))
    for axis, (spikes, name) in zip(figure.subplots(2, 1, sharex=True), parts, strict=True):
        axis.set_ylabel(f"{name} ({style.raster(axis, spikes)})")
    axis.set_xlabel("time step")
    figure.note = "test sample 0: its input above, what the encoder sends to the decoder below"
    return figure


def tsne(spikes: Tensor, labels: Tensor) -> Figure:
    """Spike trains [samples, T * N_out] in two dimensions, coloured by class."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(spikes) - 1) / 3)
    points = TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(spikes.numpy())
    figure: Any = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    for number, label in enumerate(labels.unique().tolist()):
        mine, turn = (labels == label).numpy(), len(style.CYCLE)
        colour, marker = style.CYCLE[number % turn], MARKERS[number // turn % len(MARKERS)]
        axis.scatter(points[mine, 0], points[mine, 1], s=14, color=colour, marker=marker, linewidths=0.9, label=label)
    axis.legend(title="class", loc="upper left", bbox_to_anchor=(1.0, 1.0), title_fontsize=style.SMALL)
    axis.set_xticks([])
    axis.set_yticks([])
    figure.note = (
        f"{len(spikes)} test samples: near each other where the encoder's spikes are alike (t-SNE, an embedding in the "
        "plane, whose axes mean nothing)"
    )
    return figure


def decoded(logits: Tensor, labels: Tensor) -> Figure:
    """Probability of each class over time [T, classes], the true class as dots."""
    figure: Any = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(torch.softmax(logits, -1).T, aspect="auto", origin="lower", cmap="Greys", vmin=0, vmax=1)
    axis.scatter(range(len(labels)), labels, s=6, color=style.RED, label="true")
    figure.colorbar(drawn, ax=axis, label="probability")
    axis.set_xlabel("time step")
    axis.set_ylabel("class")
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    figure.note = "test sample 0: what is decoded from the encoder's spikes, step by step"
    return figure
