"""Pictures of a trained VDIB: reconstruction grid, encoder raster, t-SNE of the encoder's spikes, decoded task."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from snnlab import style
from snnlab.data.contract import Batch, DataModule
from snnlab.methods.vdib.autoencoder import Autoencoder

MOST_POINTS, FEWEST_POINTS = 400, 10  # of the t-SNE


def all_figures(method: Autoencoder, data: DataModule) -> dict[str, Figure]:
    """Figures of test samples, by file name. The random numbers drawn here leave torch's generator as it was."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return _figures(method, data)


def _figures(method: Autoencoder, data: DataModule) -> dict[str, Figure]:
    inputs, spikes, logits, labels, targets = [], [], [], [], []
    seen = 0
    for batch in data.test_dataloader():
        signals = None if batch.signals is None else batch.signals.to(method.device)
        batch = Batch(batch.inputs.to(method.device), batch.labels.to(method.device), signals)
        frames = method.frames(batch)
        y = method.network(frames)
        inputs.append(frames.flatten(2)[:, :1].cpu())
        spikes.append(y.cpu())
        logits.append(method.decode(y).cpu())
        labels.append(batch.labels.cpu())
        if not method.task:
            targets.append(method.targets(batch).cpu())
        seen += y.shape[1]
        if seen >= MOST_POINTS:
            break
    flags = data.provenance.flags()
    suffix = f" [{', '.join(flags)}]" if flags else ""
    y = torch.cat(spikes, 1)[:, :MOST_POINTS]
    found = {"encoder_raster": raster(inputs[0][:, 0], y[:, 0], f"Encoder spikes of the first test sample{suffix}")}
    if method.task:
        found["decoded"] = decoded(torch.cat(logits, 1)[:, 0], torch.cat(labels, 1)[:, 0], f"Decoded pair{suffix}")
        return found
    classes = torch.cat(labels)
    images = method.reconstructions(torch.cat(logits))
    title = f"Target and reconstruction{suffix}"
    found["reconstructions"] = reconstructions(torch.cat(targets), images, classes, title)
    if y.shape[1] >= FEWEST_POINTS:
        trains = y.movedim(0, 1).flatten(1)  # [samples, T * N_out]
        found["tsne"] = tsne(trains, classes[:MOST_POINTS], f"t-SNE of the encoder's spikes{suffix}")
    return found


def reconstructions(targets: Tensor, images: Tensor, labels: Tensor, title: str) -> Figure:
    """First test sample of each class: the target above, what the decoder made of it below."""
    classes = labels.unique()[:10]
    figure = Figure(figsize=(1.1 * len(classes) + 0.6, 3.0), layout="constrained")
    axes = np.atleast_2d(figure.subplots(2, len(classes)))
    axes = axes.reshape(2, len(classes))
    for column, label in enumerate(classes):
        first = int((labels == label).nonzero()[0])
        for row, signal in enumerate((targets[first], images[first])):
            picture = signal.movedim(0, -1).squeeze(-1)  # [H, W] or [H, W, C]
            axes[row, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes[row, column].set_xticks([])
            axes[row, column].set_yticks([])
        axes[0, column].set_title(f"{int(label)}")
    axes[0, 0].set_ylabel("target")
    axes[1, 0].set_ylabel("decoded")
    figure.suptitle(title)
    return figure


def raster(inputs: Tensor, y: Tensor, title: str) -> Figure:
    """Input spikes [T, N_in] above, encoder spikes [T, N_out] below."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    parts = ((inputs, "input unit"), (y, "readout neuron"))
    for axis, (spikes, name) in zip(figure.subplots(2, 1, sharex=True), parts, strict=True):
        axis.set_ylabel(f"{name} ({style.raster(axis, spikes)})")
    axis.set_xlabel("time step")
    figure.suptitle(title)
    return figure


def tsne(spikes: Tensor, labels: Tensor, title: str) -> Figure:
    """Spike trains [samples, T * N_out] in two dimensions, coloured by class."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(spikes) - 1) / 3)
    points = TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(spikes.numpy())
    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    drawn = axis.scatter(points[:, 0], points[:, 1], c=labels, cmap="tab10", s=12)
    figure.colorbar(drawn, ax=axis, label="class")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title)
    return figure


def decoded(logits: Tensor, labels: Tensor, title: str) -> Figure:
    """Probability of each class over time [T, classes], the true class as dots."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(torch.softmax(logits, -1).T, aspect="auto", origin="lower", cmap="gray_r", vmin=0, vmax=1)
    axis.scatter(range(len(labels)), labels, s=6, color=style.RED, label="true")
    figure.colorbar(drawn, ax=axis, label="probability")
    axis.set_xlabel("time step")
    axis.set_ylabel("class")
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    axis.set_title(title)
    return figure
