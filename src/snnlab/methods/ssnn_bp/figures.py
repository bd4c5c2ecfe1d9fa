"""Picture of SSNN-BP (reconstruction): the error streams of one presentation."""

from __future__ import annotations

from typing import Any

from snnlab import style


def streams_figure(signals: Any, label: int, classes: int) -> Any:
    """Winners and both error streams of the output and hidden layers, step by step, for the first sample of signals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(7, 4.4), sharex=True, height_ratios=(1, 2))
    rows = (
        (axes[0], f"output, label {label}", signals.d2_plus, signals.d2_minus),
        (axes[1], f"{signals.hidden.shape[-1]} hidden units", signals.d1_plus, signals.d1_minus),
    )
    winners = signals.winners[:, 0].argmax(-1).cpu()
    axes[0].plot(winners, "o", color=style.MUTED, markerfacecolor="none", markersize=5, linewidth=0, label="winner")
    for axis, title, plus, minus in rows:
        for stream, colour, name in ((plus, style.RED, "positive"), (minus, style.BLUE, "negative")):
            times, units = stream[:, 0].cpu().nonzero(as_tuple=True)
            axis.scatter(times, units, s=12, marker="|", color=colour, linewidths=0.9, label=name)
        axis.set(ylabel="unit", title=title, xlim=(-0.5, len(signals.hidden) - 0.5))
    axes[0].set(ylim=(-0.7, classes - 0.3))
    axes[0].yaxis.get_major_locator().set_params(integer=True)
    axes[0].legend(frameon=False, fontsize=style.SMALL, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    axes[1].set_xlabel("time step")
    return figure
