"""Pictures of a variational state: its distribution beside the exact one, and correlations of the spins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnlab import style

MOST = 24  # states that are shown


def distribution_figure(shares: dict[str, Tensor], kets: list[str]) -> Any:
    """Probabilities [2^N] of the states that the ground state has most of; the ground state is the first of them."""
    import matplotlib.pyplot as plt

    order = torch.argsort(next(iter(shares.values())), descending=True, stable=True)[:MOST]
    figure, axis = plt.subplots(figsize=(6.8, 3.0))
    width = 0.84 / len(shares)
    for number, ((name, values), colour) in enumerate(zip(shares.items(), style.CYCLE, strict=False)):
        axis.bar(np.arange(len(order)) + number * width, values[order].numpy(), width, color=colour, label=name)
    ticks = np.arange(len(order)) + 0.42 - width / 2
    axis.set_xticks(ticks, [kets[i] for i in order.tolist()], rotation=90)
    axis.set(xlabel="basis state v", ylabel="probability")
    axis.legend()
    return figure


def correlations_figure(shares: dict[str, Tensor], signs: Tensor) -> Any:
    """<s_i s_j> over the distance of j from spin 0, of each distribution."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.8, 3.0))
    for (name, values), colour, marker in zip(shares.items(), style.CYCLE, "os^d", strict=False):
        correlations = (values[:, None] * signs[:, :1] * signs).sum(0)
        axis.plot(correlations.numpy(), marker=marker, markersize=4, color=colour, label=name)
    axis.axhline(0, color=style.MUTED, linewidth=0.7)
    axis.set(xlabel="spin j", ylabel="correlation of spins 0 and j", ylim=(-1.08, 1.08))
    style.whole_numbers(axis.xaxis)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
