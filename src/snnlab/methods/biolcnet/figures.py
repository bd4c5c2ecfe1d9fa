"""Picture of the rewards of a training, episode by episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnlab import style

WINDOW = 20  # episodes that a point of the curve looks back on


def reward_figure(rewards: Sequence[float], switches: Sequence[int]) -> Any:
    """Share of rewarded ones among the last episodes; lines where the rewarded response was switched."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 2.8))
    window = max(WINDOW, len(rewards) // 100)
    sums = np.concatenate([[0.0], np.cumsum(rewards)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - window, 0)
    axis.plot(ends, (sums[ends] - sums[starts]) / (ends - starts), color=style.INK, label=f"last {window} episodes")
    for number, switch in enumerate(switch for switch in switches if switch < len(rewards)):
        label = None if number else "the rewarded response is switched"
        axis.axvline(switch, color=style.WRONG, linestyle="--", linewidth=1, label=label)
    axis.set(xlabel="episode", ylabel="share that was rewarded", ylim=(-0.03, 1.03))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
