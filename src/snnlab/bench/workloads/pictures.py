"""The picture of any workload: what each competitor took over the reference, one panel a case."""

from __future__ import annotations

from typing import Any

from snnlab.bench.workloads.workload import Case, spell
from snnlab.style import INK, RED, STYLE

OURS = ("snnlab", "forward", "trainer", "loader")  # drawn in colour


def bars(cases: list[Case], heading: str) -> Any:
    """Horizontal bars of the median ratios, the quartiles as whiskers, the medians as text."""
    import matplotlib.pyplot as plt

    heights = [0.26 * len(case.rounds) + 0.55 for case in cases]
    with plt.rc_context(STYLE):
        picture, axes = plt.subplots(
            len(cases), 1, figsize=(6.4, sum(heights) + 0.3), height_ratios=heights, squeeze=False
        )
        for case, axis in zip(cases, axes[:, 0], strict=True):
            names = list(case.rounds)
            ratios = [case.ratio(name) for name in names]
            colours = [RED if name in OURS else "#a8a29e" for name in names]
            spread = [[r.median - r.lower for r in ratios], [r.upper - r.median for r in ratios]]
            axis.barh(names, [r.median for r in ratios], xerr=spread, color=colours, ecolor=INK, height=0.7)
            for row, (name, ratio) in enumerate(zip(names, ratios, strict=True)):
                text = f" {ratio.median:.2f}   {spell(case.median(name), case.unit)}"
                axis.text(max(ratio.upper, ratio.median), row, text, va="center", fontsize=7, color=INK)
            axis.invert_yaxis()
            axis.margins(x=0.28)
            axis.set_xlim(left=0)
            axis.tick_params(labelsize=7)
            axis.set_title(f"{case.name}: {case.unit} / {case.reference}", fontsize=8)
        picture.suptitle(heading, fontsize=9, x=0.01, ha="left", color=INK)
    return picture
