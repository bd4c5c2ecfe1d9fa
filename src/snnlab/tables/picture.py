"""Rows as a picture: accuracy against the bits of a weight, and against the energy of an inference with its front.

A row is on the front where no other has both a higher mean accuracy and a lower mean energy.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snnlab import style
from snnlab.atomic import write_bytes
from snnlab.errors import InputError
from snnlab.hardware.target import weight_bits
from snnlab.tables.rows import Run, named, rows_of

FREE = 32  # bits of a weight that nothing limits


class Point(NamedTuple):
    """A row: what it is called, its bits, and the mean and spread of its accuracy; joules None where unknown."""

    name: str
    hardware: str
    series: str
    bits: int
    accuracy: float
    spread: float
    joule: float | None


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
        points.append(
            Point(name.strip("`"), first["hardware"], series, bits_of(first), statistics.fmean(accuracy), spread, joule)
        )
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
    """Two panels; one colour a method and data set."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3), sharey=True)
    for series in dict.fromkeys(point.series for point in points):
        here = sorted((p for p in points if p.series == series), key=lambda p: p.bits)
        left.errorbar(
            *([p.bits for p in here], [100 * p.accuracy for p in here], [100 * p.spread for p in here]),
            marker="o", markersize=3.5, linestyle="none", capsize=2, label=series,
        )  # fmt: skip
        with_joules = [p for p in here if p.joule is not None]
        right.errorbar(
            *([p.joule for p in with_joules], [100 * p.accuracy for p in with_joules]),
            [100 * p.spread for p in with_joules], marker="o", markersize=3.5, linestyle="none", capsize=2,
        )  # fmt: skip
    edge = front(points)
    right.step([p.joule for p in edge], [100 * p.accuracy for p in edge], where="post", color=style.MUTED, zorder=0)
    for axis, of in ((left, lambda p: p.bits), (right, lambda p: p.joule)):
        for point in points:
            if of(point) is not None:
                place = (of(point), 100 * point.accuracy)
                axis.annotate(point.hardware, place, (3, -8), textcoords="offset points", fontsize=style.SMALL)
    left.set(xscale="log", xlabel="bits of a weight", ylabel="test accuracy (%)")
    ticks = sorted({point.bits for point in points})
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    right.set(xscale="log" if edge else "linear", xlabel="energy of an inference (J), line: Pareto front")
    left.legend(loc="lower right")
    return figure
