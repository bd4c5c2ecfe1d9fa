"""The fit report as a picture: how much of each limit every layer needs, and the cores that it takes."""

from __future__ import annotations

from typing import Any

from snnlab import style
from snnlab.hardware.fit import Fit, Need, number

MOST = 24  # bars
PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}


def fit_figure(fit: Fit) -> Any | None:
    """A bar for each need, what passes its limit first, and one for the cores of each layer; None for a format."""
    import matplotlib.pyplot as plt

    needs = [need for need in fit.needs if need.share is not None]
    if not needs:
        return None
    needs.sort(key=lambda need: -(need.share or 0))
    shown, cores = needs[:MOST], fit.cores
    height = 0.9 + 0.19 * max(len(shown), len(cores))
    figure, axes = plt.subplots(1, 2 if cores else 1, figsize=(7, height), width_ratios=[3, 1] if cores else [1])
    axis = axes[0] if cores else axes
    shares = [max(need.share or 0, 1e-4) for need in shown]
    axis.barh(range(len(shown)), shares, color=[style.BLUE if need.fits else style.RED for need in shown], height=0.7)
    axis.set_yticks(range(len(shown)), [f"{need.layer}: {need.what}" for need in shown], fontsize=style.SMALL)
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="needed, of what there is", xlim=(min(shares) / 2, max(10.0, 30 * max(shares))))
    axis.axvline(1, color=style.INK, linewidth=0.8)
    for row, need in enumerate(shown):
        axis.text(shares[row] * 1.15, row, words(need), va="center", fontsize=style.SMALL, bbox=PLATE)
    if cores:
        axes[1].barh(list(cores), list(cores.values()), color=style.SKY, height=0.5)
        axes[1].invert_yaxis()
        axes[1].set(xlabel="cores", xlim=(0, 1.4 * max(cores.values())), ylim=(len(shown) / 2, -0.7), xticks=[])
        for row, count in enumerate(cores.values()):
            axes[1].text(count, row, f" {count:,}", va="center", fontsize=style.SMALL)
    return figure


def words(need: Need) -> str:
    """What is needed and what there is; an assumed limit is marked."""
    return f"{number(need.need):,} of {need.limit:,}" + (" assumed" if need.assumed else "")
