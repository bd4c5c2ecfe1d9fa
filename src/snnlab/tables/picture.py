"""Rows as a picture: accuracy against the bits of a weight, and against the energy of an inference with its front.

A row is on the front where no other has both a higher mean accuracy and a lower mean energy.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snnlab import style
from snnlab.atomic import write_bytes
from snnlab.errors import InputError
from snnlab.hardware.target import weight_bits
from snnlab.tables.rows import Run, named, rows_of

SHAPES = "osD^vPX<>*hpd"
FREE = 32  # bits of a weight that nothing limits


class Point(NamedTuple):
    """A row: what it is called, its bits, and the mean and spread of its accuracy; joules None where unknown.

    started: whether its weights are those of a run that was trained without the limit.
    """

    name: str
    hardware: str
    series: str
    bits: int
    accuracy: float
    spread: float
    joule: float | None
    started: bool = False


def points_of(runs: Sequence[Run]) -> list[Point]:
    """One for each row that has an accuracy.

    Raises:
        InputError: when there is none.
    """
    rows, points = rows_of(runs), []
    for name, row in zip(named(rows), rows.values(), strict=True):
        accuracy, joules = row.values("test/accuracy"), row.values("test/energy_joule")
        if not accuracy:
            continue
        first = row.runs[0]
        series = f"{first['method']} on {first['data']}"
        spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
        joule = statistics.fmean(joules) if joules else None
        mean, started = statistics.fmean(accuracy), bool((first["config"].get("hardware") or {}).get("start"))
        points.append(Point(name.strip("`"), first["hardware"], series, bits_of(first), mean, spread, joule, started))
    if not points:
        raise InputError("no run has a test/accuracy, which the picture is about")
    return points


def bits_of(run: Run) -> int:
    """Bits of a weight under a run's target."""
    return weight_bits(run["config"].get("hardware") or {}) or FREE


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both accuracy and energy, by energy."""
    known = sorted((p for p in points if p.joule is not None), key=lambda p: (p.joule, -p.accuracy))
    found: list[Point] = []
    for point in known:
        if not found or point.accuracy > found[-1].accuracy:
            found.append(point)
    return found


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write the picture of ``runs`` to ``path``."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(style.STYLE):
        figure = figure_of(points_of(runs))
        style.heading(figure, "accuracy against bits and energy", "bars: one standard deviation over seeds")
        file = io.BytesIO()
        figure.savefig(file, format=path.suffix.lstrip(".") or "png")
        plt.close(figure)
    write_bytes(path, file.getvalue())


def figure_of(points: Sequence[Point]) -> Any:
    """Two panels; one colour a method and data set, one shape a target, hollow what was limited after training."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    colours = dict(zip(dict.fromkeys(p.series for p in points), itertools.cycle(style.CYCLE), strict=False))
    shapes = dict(zip(dict.fromkeys(p.hardware for p in points), itertools.cycle(SHAPES), strict=False))
    places = {series: 1.06 ** (i - (len(colours) - 1) / 2) for i, series in enumerate(colours)}  # beside each other
    for point in points:
        look = {"color": colours[point.series], "marker": shapes[point.hardware], "markersize": 4.5, "capsize": 2}
        look |= {"elinewidth": 0.8, "markerfacecolor": "white" if point.started else colours[point.series]}
        height, bar = 100 * point.accuracy, 100 * point.spread
        left.errorbar(point.bits * places[point.series], height, bar, **look)
        if point.joule is not None:
            right.errorbar(point.joule, height, bar, **look)
    edge = front(points)
    right.step([p.joule for p in edge], [100 * p.accuracy for p in edge], where="post", color=style.PALE, zorder=0)
    left.set(xscale="log", xlabel="bits of a weight", ylabel="test accuracy (%)")
    ticks = sorted({point.bits for point in points})
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    right.set(xscale="log" if edge else "linear", xlabel="energy of an inference, line: Pareto front")
    if edge:
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter(EngFormatter("J"))
        right.xaxis.set_minor_formatter(NullFormatter())
    keys = [Line2D([], [], color=colour, linewidth=4, label=series) for series, colour in colours.items()]
    ink: Any = {"color": style.INK, "linestyle": "none", "markersize": 4.5}
    keys += [Line2D([], [], marker=shape, label=hardware, **ink) for hardware, shape in shapes.items()]
    if any(point.started for point in points):
        keys.append(Line2D([], [], marker="o", markerfacecolor="white", label="hollow: after training", **ink))
    figure.legend(handles=keys, loc="outside right upper")
    return figure
