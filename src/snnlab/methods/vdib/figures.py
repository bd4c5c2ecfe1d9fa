"""Pictures of a trained VDIB: what the encoder sends and found, what is decoded of it, also as time passes."""

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
NEIGHBOURS = 10  # that vote
MOMENTS = 8  # of a reconstruction in time
UNITS, LAGS = 8, (0, 2, 5, 10, 20, 30)  # hidden units shown, and steps before their spikes


def all_figures(method: Autoencoder, data: DataModule) -> dict[str, Figure]:
    """Figures of test samples, by file name. The random numbers drawn here leave torch's generator as it was."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return _figures(method, data)


def _figures(method: Autoencoder, data: DataModule) -> dict[str, Figure]:
    inputs, spikes, logits, labels, targets = [], [], [], [], []
    seen, fields = 0, None
    for batch in map(method.here, data.test_dataloader()):
        frames = method.frames(batch)
        y = method.network(frames)
        if fields is None and method.hidden_neurons:
            fields = receptive_fields(frames, method.encode(frames).hidden[method.hidden_neurons[0]].flatten(2))
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
    if fields is not None:
        found["receptive_fields"] = fields
    if method.task:
        found["decoded"] = decoded(torch.cat(logits, 1)[:, 0].cpu(), torch.cat(labels, 1)[:, 0].cpu())
        return found
    classes = torch.cat(labels).cpu()
    images = method.reconstructions(torch.cat(logits)).cpu()
    found["reconstructions"] = reconstructions(torch.cat(targets).cpu(), images, classes)
    found["reconstructions_in_time"] = reconstructions_in_time(method, torch.cat(spikes, 1), classes)
    found["class_averages"] = class_averages(y, classes[:MOST_POINTS])
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


def reconstructions_in_time(method: Autoencoder, y: Tensor, labels: Tensor) -> Figure:
    """What is decoded of the first spikes only, from few to all of them; spikes y [T, samples, N_out]."""
    classes, steps = labels.unique()[:10], len(y)
    moments = sorted({max(1, round(steps * (i + 1) / MOMENTS)) for i in range(MOMENTS)})
    first = [int((labels == label).nonzero()[0]) for label in classes]
    figure: Any = Figure(figsize=(0.8 * len(moments) + 0.9, 0.85 * len(classes) + 0.5), layout="constrained")
    axes = figure.subplots(len(classes), len(moments), squeeze=False)
    for column, moment in enumerate(moments):
        known = y[:, first].clone()
        known[moment:] = 0
        images = method.reconstructions(method.decode(known)).cpu()
        axes[0, column].set_title(f"{moment} steps", fontsize=style.SMALL, loc="center")
        for row, image in enumerate(images):
            style.frame(axes[row, column], image, 0, 1)
    for row, label in enumerate(classes):
        axes[row, 0].set_ylabel(f"class {int(label)}", fontsize=style.SMALL)
    figure.note = "the first test sample of each class as time passes: what is decoded of its first spikes alone"
    return figure


def class_averages(y: Tensor, labels: Tensor) -> Figure:
    """Mean spikes over the samples of each class, y [T, samples, N_out]: time across, readout neurons up."""
    classes = labels.unique()[:10]
    columns = min(5, len(classes))
    rows = -(-len(classes) // columns)
    means = [y[:, labels == label].mean(1) for label in classes]
    highest = max(float(mean.max()) for mean in means)
    figure: Any = Figure(figsize=(1.7 * columns + 0.8, 1.7 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, (label, mean) in enumerate(zip(classes, means, strict=True)):
        axis = axes[place // columns, place % columns]
        drawn = axis.imshow(mean.T, aspect="auto", origin="lower", cmap=style.SHARES, vmin=0, vmax=highest)
        axis.set_title(f"class {int(label)} ({int((labels == label).sum())})", fontsize=style.SMALL, loc="center")
    for axis in axes.flat[len(classes) :]:
        axis.axis("off")
    figure.supxlabel("time step", fontsize=style.SMALL)
    figure.supylabel("readout neuron", fontsize=style.SMALL)
    figure.colorbar(drawn, ax=axes, label="spikes per step")
    figure.note = "what the encoder sends on average for a class (its number of test samples in brackets)"
    return figure


def receptive_fields(frames: Tensor, spikes: Tensor) -> Figure:
    """Mean input [T, B, ...] some steps before a spike, less the mean input, for some hidden units [T, B, N].

    Those whose spikes vary most over the samples: one that fires always has no field.
    """
    counts = spikes.sum(0)
    units = counts.var(0).topk(min(UNITS, counts.shape[1])).indices.sort().values.tolist()
    lags = [lag for lag in LAGS if lag < len(frames)]
    figure: Any = Figure(figsize=(0.8 * len(units) + 0.9, 0.85 * len(lags) + 0.7), layout="constrained")
    axes = figure.subplots(len(lags), len(units), squeeze=False)
    mean = frames.mean((0, 1))
    for column, unit in enumerate(units):
        fires = spikes[..., unit]
        axes[0, column].set_title(f"unit {unit}", fontsize=style.SMALL, loc="center")
        for row, lag in enumerate(lags):
            weight = fires[lag:]
            average = torch.tensordot(weight, frames[: len(weight)], 2) / weight.sum().clamp(min=1)
            style.frame(axes[row, column], as_picture(average - mean))
    for row, lag in enumerate(lags):
        axes[row, 0].set_ylabel(f"{lag} before", fontsize=style.SMALL)
    if frames.ndim == 5 and frames.shape[2] == 2:
        style.polarity_legend(figure)
    figure.note = "first hidden layer: mean input so many steps before a spike, less the mean input of all steps"
    return figure


def as_picture(values: Tensor) -> Tensor:
    """A picture [C, H, W] of what came as such, a row of pixels [1, 1, N] of anything else."""
    return values if values.ndim == 3 else values.flatten().view(1, 1, -1)


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
        f"{len(spikes)} test samples by the encoder's spikes (t-SNE: the axes mean nothing). In the spikes themselves "
        f"{NEIGHBOURS} nearest neighbours name {neighbours(spikes, labels):.0%} of the classes, and "
        f"{between(spikes, labels):.1%} of the variance lies between classes"
    )
    return figure


def neighbours(spikes: Tensor, labels: Tensor) -> float:
    """Share of samples whose class is that of most of their nearest neighbours, themselves left out."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(spikes) - 1)).fit(spikes.numpy()).kneighbors()[1]
    return float((labels[torch.from_numpy(found)].mode(-1).values == labels).float().mean())


def between(spikes: Tensor, labels: Tensor) -> float:
    """Share of the variance of spike trains [samples, T * N_out] between the means of the classes, in [0, 1]."""
    centred = spikes - spikes.mean(0)
    means = torch.stack([centred[labels == label].mean(0) for label in labels.unique()])
    sizes = torch.stack([(labels == label).sum() for label in labels.unique()])
    return float((sizes * means.square().sum(1)).sum() / centred.square().sum().clamp(min=1e-12))


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
