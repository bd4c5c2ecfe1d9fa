"""Two figures of rows against each other, and which rows no other beats in both: the Pareto front.

The first figure is better when larger, unless it is a loss; the second, a cost, when smaller.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snnlab import style
from snnlab.atomic import write_bytes
from snnlab.runs.units import unit_of
from snnlab.tables.curves import shortened
from snnlab.tables.filled import Filled
from snnlab.tables.papers import is_accuracy
from snnlab.tables.rows import Row, Run, check_metrics, named, rows_of
from snnlab.tables.sheet import head_of, in_brackets

SMALLER = ("loss", "bound", "kl", "error")  # ends of the names of figures that are better when smaller
MARKERS = "osD^vP"
DECADE = 8.0  # costs that span more are drawn on a logarithmic axis
WIDE = 40  # from which on powers of ten are ticks enough


def best(points: Sequence[tuple[float, float]], smaller: bool = False) -> list[int]:
    """Places of the points (figure, cost) that no other beats in both, by cost."""
    sign = -1 if smaller else 1
    order = sorted(range(len(points)), key=lambda i: (points[i][1], -sign * points[i][0]))
    found: list[int] = []
    for i in order:
        if not found or sign * points[i][0] > sign * points[found[-1]][0]:
            found.append(i)
    return found


def front(runs: Sequence[Run], path: Path, figure: str, cost: str) -> bool:
    """Draw ``figure`` over ``cost``, a point a row, and write it to ``path``; whether any row has both.

    Raises:
        InputError: for a figure or a cost that no run has.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    check_metrics([figure, cost], runs)
    rows = rows_of(runs)
    known = [(n.replace("`", ""), r) for n, r in zip(named(rows), rows.values(), strict=True) if _both(r, figure, cost)]
    if not known:
        return False
    looks: Iterator[dict[str, Any]] = itertools.cycle([{"marker": m, "color": c} for m in MARKERS for c in style.CYCLE])
    means = [(statistics.fmean(row.values(figure)), statistics.fmean(row.values(cost))) for _, row in known]
    with plt.rc_context(style.STYLE):
        drawn, axis = plt.subplots(figsize=(7, 0.8 + max(3.0, 0.2 * len(known))))
        for name, (_, row), (y, x), look in zip(shortened([n for n, _ in known]), known, means, looks, strict=False):
            bars: dict[str, Any] = {"yerr": _spread(row.values(figure)), "xerr": _spread(row.values(cost))}
            axis.errorbar(x, y, **bars, **look, markersize=5, capsize=2, elinewidth=0.8, linestyle="none", label=name)
        edge = [means[i] for i in best(means, figure.split("/")[-1].endswith(SMALLER))]
        axis.plot([x for _, x in edge], [y for y, _ in edge], color=style.PALE, zorder=0, label="front")
        _scale(axis, [x for _, x in means], EngFormatter())
        axis.set(xlabel=cost, ylabel=figure)
        drawn.legend(loc="outside right upper", fontsize=style.SMALL)
        style.heading(drawn, f"{figure} against {cost}", "bars: one standard deviation over seeds")
        write_bytes(path, bytes(style.drawn(drawn, path.suffix.lstrip("."))))
        plt.close(drawn)
    return True


def _scale(axis: Any, costs: Sequence[float], formatter: Any) -> None:
    """Make the axis of costs logarithmic where they span more than DECADE; ``formatter`` None: plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if min(costs) > 0 and (span := max(costs) / min(costs)) > DECADE:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < WIDE else (1,)))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(formatter or ScalarFormatter())


def _both(row: Row, figure: str, cost: str) -> bool:
    return bool(row.values(figure) and row.values(cost))


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def of_table(filled: Filled, path: Path, cost: str) -> bool:
    """Draw the figure of a paper's table over a cost, a panel for each group of rows, of two or more where such are.

    Returns whether any row has both.

    Rows of one name look alike in all panels; the line joins those that no other of the panel beats in both.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    shown = [row for row in filled.rows if row.values(row.metric) and row.values(cost)]
    if not shown:
        return False
    sizes = Counter(row.plan.group for row in shown)
    groups = [group for group, size in sizes.items() if size > 1] or list(sizes)  # of one row there is no front
    shown = [row for row in shown if row.plan.group in groups]
    labels = list(dict.fromkeys(row.plan.name for row in shown))
    colours = [
        (i + i // len(MARKERS)) % len(style.CYCLE) for i in range(len(labels))
    ]  # each round of shapes has others
    looks = {
        label: {"marker": MARKERS[i % len(MARKERS)], "color": style.CYCLE[colour], "label": style.literal(label)}
        for i, (label, colour) in enumerate(zip(labels, colours, strict=True))
    }
    heads, unit = filled.table.heads, unit_of(cost)
    with plt.rc_context(style.STYLE):
        drawn, axes = plt.subplots(1, len(groups), figsize=(max(2.7 * len(groups) + 1.8, 7.2), 3.2), squeeze=False)
        for axis, group in zip(axes[0], groups, strict=True):
            rows = [row for row in shown if row.plan.group == group]
            scale = 100 if is_accuracy(rows[0].metric) else 1
            points = []
            for row in rows:
                values, costs = [scale * value for value in row.values(row.metric)], row.values(cost)
                points.append((statistics.fmean(values), statistics.fmean(costs)))
                bars: dict[str, Any] = {"yerr": _spread(values), "xerr": _spread(costs), "elinewidth": 0.8}
                look: dict[str, Any] = looks[row.plan.name]
                axis.errorbar(points[-1][1], points[-1][0], **bars, **look, markersize=5, linestyle="none")
            edge = [points[i] for i in best(points, not is_accuracy(rows[0].metric))]
            axis.plot([x for _, x in edge], [y for y, _ in edge], color=style.PALE, zorder=0)
            plain = not unit and max(x for _, x in points) < 1000
            _scale(axis, [x for _, x in points], None if plain else EngFormatter(unit=unit, sep=" "))
            marks = sorted({mark for row in rows for mark in row.marks() if all(mark in r.marks() for r in rows)})
            axis.set(xlabel=head_of(cost, heads), title=style.broken(f"{group}{in_brackets(marks)}", 26))
            if axis is axes[0][0] or rows[0].metric != shown[0].metric:
                axis.set_ylabel(head_of(rows[0].metric, heads))
        known = {
            label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        drawn.legend(known.values(), known, loc="outside right upper", fontsize=style.SMALL)
        note = f"budget {filled.budget}; bars: one standard deviation over seeds; line: those that none beats"
        style.heading(drawn, filled.table.title, note)
        write_bytes(path, bytes(style.drawn(drawn, path.suffix.lstrip("."))))
        plt.close(drawn)
    return True
