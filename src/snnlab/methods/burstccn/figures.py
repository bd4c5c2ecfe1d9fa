"""Pictures of BurstCCN: angles to backpropagation over the epochs, burst probabilities and apical potentials."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnlab import style


def angles_figure(history: list[dict[str, float]]) -> Any:
    """Mean angle of every layer's updates to those of backpropagation, against the epoch."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.6, 2.8))
    epochs = range(1, len(history) + 1)
    for name in history[-1]:
        values = [row.get(name, float("nan")) for row in history]
        axis.plot(epochs, values, marker="o", markersize=2.5, linewidth=1, label=name)
    axis.axhline(90, color=style.MUTED, linewidth=0.7, linestyle=":")
    axis.set(xlabel="epoch", ylabel="angle to backpropagation (degrees)", ylim=(0, None))
    style.whole_numbers(axis.xaxis)
    axis.legend(frameon=False, fontsize=style.SMALL)
    return figure


def apical_figure(probabilities: dict[str, Tensor], apical: list[Tensor], p0: float) -> Any:
    """Histograms over units and samples of a batch with its teacher: p by layer, v of the hidden ones; p0 is rest."""
    import matplotlib.pyplot as plt

    names = list(probabilities)
    figure, axes = plt.subplots(2, len(names), figsize=(2.3 * len(names), 3.6), squeeze=False, sharey="row")
    for column, name in enumerate(names):
        rows = [(probabilities[name], "burst probability p", style.RED)]
        if column < len(apical):
            rows.append((apical[column], "apical potential v", style.BLUE))
        else:
            axes[1][column].set_visible(False)
        for row, (values, label, colour) in enumerate(rows):
            flat = values.flatten().cpu()
            axes[row][column].hist(flat.numpy(), bins=60, weights=torch.full_like(flat, 1 / len(flat)), color=colour)
            axes[row][column].set(xlabel=label)
            axes[row][column].set_yscale("log")
        axes[0][column].axvline(p0, color=style.INK, linewidth=0.7, linestyle=":")
        axes[0][column].set_title(name)
    for row in range(2):
        axes[row][0].set_ylabel("share of units")
    return figure
