"""Pictures of PAL: how the feedback turns towards the forward weights while samples are shown."""

from __future__ import annotations

from typing import Any

from snnlab import style


def alignment_figure(history: list[dict[str, float]]) -> Any:
    """Angle of each B_l to W_{l+1}^T against the presentations."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.6, 2.8))
    shown = [row["presentations"] for row in history]
    for name in [name for name in history[0] if name != "presentations"]:
        axis.plot(shown, [row[name] for row in history], linewidth=1.2, label=f"feedback of {name}")
    axis.axhline(90, color=style.MUTED, linewidth=0.7, linestyle=":")
    highest = max(value for row in history for name, value in row.items() if name != "presentations")
    axis.set(xlabel="presentations", ylabel="angle of B to the\nforward weights (degrees)", ylim=(0, max(100, highest)))
    axis.legend(frameon=False, fontsize=style.SMALL)
    return figure
