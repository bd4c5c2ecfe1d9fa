"""Pictures of BLiTNet: what neurons weigh, and how often each fires beside its target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from snnlab import style
from snnlab.methods.base.local_figures import picture

SHOWN = 36  # receptive fields


def fields_figure(weight: Tensor) -> Any:
    """W+ - W- [N, *window] of some neurons as pictures; red excites, blue inhibits."""
    import matplotlib.pyplot as plt

    weight = weight[:: max(1, len(weight) // SHOWN)][:SHOWN].float().cpu()
    columns = math.ceil(math.sqrt(len(weight)))
    rows = -(-len(weight) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(0.8 * columns + 0.3, 0.8 * rows + 0.3), squeeze=False)
    most = float(weight.abs().max())
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, field in zip(axes.flat, weight, strict=False):
        shown = picture(field.flatten(), tuple(field.shape))
        axis.imshow(shown, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    return figure


def rates_figure(rates: Mapping[str, tuple[Tensor, Tensor]]) -> Any:
    """Target and measured firing rate of every neuron, a panel for each layer."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rates), figsize=(3.1 * len(rates) + 0.4, 3.2), squeeze=False, sharey=True)
    high = max(float(part.max()) for pair in rates.values() for part in pair)
    for axis, (name, (target, measured)) in zip(axes[0], rates.items(), strict=True):
        axis.plot([0, high], [0, high], color=style.WRONG, linewidth=1)
        axis.scatter(target.cpu(), measured.cpu(), s=4, color=style.INK, linewidths=0, alpha=0.5)
        axis.set(xlabel="target rate", title=name)
    axes[0, 0].set(ylabel="share of test samples in which it fires")
    return figure
