"""Pictures of many runs: the learning curves of all rows in one, and a figure over each axis in which rows differ."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnlab import style
from snnlab.atomic import write_bytes
from snnlab.checkpoint import inside, read_text
from snnlab.errors import InputError
from snnlab.runs.identity import value_at
from snnlab.runs.record import LARGEST
from snnlab.runs.units import unit_of
from snnlab.tables.names import CHOICES, flatten, word
from snnlab.tables.rows import Row, Run, check_metrics, named, rows_of

ENDINGS = (".png", ".svg", ".pdf")
MOST_LINES, MOST_PANELS = 12, 6
MOST_BYTES = 16 << 20  # of a metrics.csv


def check_picture(option: str, path: Path) -> None:
    """Refuse a file for a picture that cannot be one.

    Raises:
        InputError: for a name with another ending, and a folder that is not there.
    """
    if path.suffix not in ENDINGS:
        raise InputError(f"--{option} {path}: the name ends in {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise InputError(f"--{option} {path}: there is no folder {path.parent}; make it, or choose another")


def curves(runs: Sequence[Run], path: Path, metric: str = "val/accuracy") -> bool:
    """Draw a metric over the epochs, a line for each row: the mean over its seeds, and their spread.

    Returns whether there is any.

    Args:
        runs: as ``read_runs`` gives them, with their folders.
        path: of the picture.
        metric: a column of metrics.csv.
    """
    rows = rows_of(runs)
    lines = {}
    for name, row in zip(named(rows), rows.values(), strict=True):
        found = [values for run in row.runs if (values := history(run, metric))]
        if found:
            lines[name.replace("`", "")] = found
    if not lines:
        return False
    plt = _pyplot()
    with plt.rc_context(style.STYLE):
        shown = list(lines.items())[:MOST_LINES]
        words = shortened([name for name, _ in shown])
        inches = 0.7 + 0.15 * sum(1 + label.count("\n") for label in words)  # of the legend
        figure, axis = plt.subplots(figsize=(7, max(3.4, inches)))
        for number, ((_, found), label) in enumerate(zip(shown, words, strict=True)):
            epochs = sorted({epoch for values in found for epoch in values})
            at = [[values[epoch] for values in found if epoch in values] for epoch in epochs]
            mean = [statistics.fmean(each) for each in at]
            spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in at]
            numbers = [epoch + 1 for epoch in epochs]
            look = {"linestyle": ("-", "--", ":")[number // len(style.CYCLE) % 3], "marker": "o", "markersize": 2}
            if len(numbers) == 1:  # neither a line nor a band has a width
                place = 1 + (number - (len(shown) - 1) / 2) / 40
                axis.errorbar(place, mean, spread, label=label, fmt="o", markersize=4.5, capsize=2)
                continue
            (line,) = axis.plot(numbers, mean, label=label, **look)
            low, high = (
                [m - s for m, s in zip(mean, spread, strict=True)],
                [*map(sum, zip(mean, spread, strict=True))],
            )
            axis.fill_between(numbers, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set(xlabel="epoch", ylabel=metric)
        style.whole_numbers(axis.xaxis)
        figure.legend(loc="outside right upper")
        note = "mean over seeds; bands, bars: one standard deviation"
        more = f"; {len(lines) - len(shown)} more rows are not drawn" if len(lines) > len(shown) else ""
        style.heading(figure, f"learning curves, {metric}", note + more)
        _save(figure, path)
    return True


def history(run: Run, metric: str) -> dict[int, float]:
    """A metric of a run by epoch, from its metrics.csv; empty where there is none, or none that can be read."""
    return histories(run).get(metric, {})


def histories(run: Run) -> dict[str, dict[int, float]]:
    """Every metric of a run by epoch, from its metrics.csv, less those that cannot be read; empty without one."""
    found: dict[str, dict[int, float]] = {}
    broken = set()
    try:
        text = read_text(inside(Path(run["folder"]), "metrics.csv"), MOST_BYTES)
        for row in csv.DictReader(io.StringIO(text, newline="")):
            epoch = row.pop("epoch", None)
            for metric, value in row.items() if epoch else ():
                try:
                    if value and metric:
                        found.setdefault(metric, {})[int(epoch)] = float(value)
                except (TypeError, ValueError):
                    broken.add(metric)
    except (InputError, csv.Error):
        return {}
    kept = {metric: values for metric, values in found.items() if metric not in broken}
    return {
        metric: {at: value for at, value in values.items() if abs(value) < LARGEST} for metric, values in kept.items()
    }


def axes(runs: Sequence[Run], path: Path, metric: str = "test/accuracy") -> bool:
    """Draw a metric over each axis in which rows differ, rows that differ in nothing else joined.

    Returns whether there is any.

    Raises:
        InputError: for a metric that no run has.
    """
    check_metrics([metric], runs)
    rows = [row for row in rows_of(runs).values() if row.values(metric)]
    known = [settings(row) for row in rows]
    keys = varied(known)[:MOST_PANELS]
    if not keys:
        return False
    plt = _pyplot()
    across = min(len(keys), 3)
    down = -(-len(keys) // across)
    with plt.rc_context(style.STYLE):
        figure, panels = plt.subplots(
            down, across, figsize=(3.6 * across + 0.4, 2.6 * down), sharey=True, squeeze=False
        )
        for axis in panels.flat[len(keys) :]:
            axis.set_visible(False)
        for key, axis in zip(keys, panels.flat, strict=False):
            _panel(axis, key, known, rows, metric, keys)
        for axis in panels[:, 0]:
            axis.set_ylabel(metric)
            style.prefixed(axis.yaxis, unit_of(metric))
        joined = "lines join rows that differ in nothing else; bars: one standard deviation over seeds"
        style.heading(figure, f"{metric} over what varies", joined)
        _save(figure, path)
    return True


def settings(row: Row) -> dict[str, Any]:
    """What a row chose and set, by the keys of the command line."""
    first = row.runs[0]
    groups = ("method", "data", "model", "encoder", "hardware")
    chosen: dict[str, Any] = {group: first[group] for group in groups if group in first}
    typed = {word.lstrip("+").partition("=")[0] for word in map(str, first["overrides"])}
    flat = flatten(row.left)
    return {**{key: flat.get(key, value_at(first["config"], key, None)) for key in typed if "." in key}, **chosen}


def varied(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that all rows have and that differ among them; a model that follows from the data is no axis."""
    shared = [key for key in known[0] if all(key in each for each in known)] if known else []
    different = [key for key in shared if len({word(each[key]) for each in known}) > 1]
    first = [key for key in ("method", "data", *CHOICES) if key in different]

    def follows(key: str, other: str) -> bool:
        """Whether a choice is decided by another one, as a method's recipe decides its model."""
        pairs = {(word(each[other]), word(each[key])) for each in known}
        return len(pairs) == len({one for one, _ in pairs})

    kept = [key for key in first if key in ("method", "data") or not any(follows(key, o) for o in ("method", "data"))]
    return [*kept, *sorted(key for key in different if key not in first)]


def _panel(
    axis: Any, key: str, known: Sequence[Mapping[str, Any]], rows: Sequence[Row], metric: str, keys: Sequence[str]
) -> None:
    """One axis: numbers at their place, names side by side."""
    values = [each[key] for each in known]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    names = list(dict.fromkeys(map(word, values))) if not numbers else []
    groups: dict[tuple[str, ...], list[tuple[float, Row]]] = {}
    for each, row in zip(known, rows, strict=True):
        rest = tuple(word(each[other]) for other in keys if other != key)
        place = float(each[key]) if numbers else float(names.index(word(each[key])))
        groups.setdefault(rest, []).append((place, row))
    alone = all(len(points) == 1 for points in groups.values())  # as in a study, where all keys vary at once
    if alone:
        groups = {(): [point for points in groups.values() for point in points]}
    look: Any = {"marker": "o", "markersize": 3, "capsize": 2, "linewidth": 0 if alone else 1, "elinewidth": 1}
    for rest, points in list(groups.items())[: 2 * MOST_LINES]:
        points.sort(key=lambda point: point[0])
        found = [row.values(metric) for _, row in points]
        axis.errorbar(
            [place for place, _ in points],
            [statistics.fmean(each) for each in found],
            [statistics.stdev(each) if len(each) > 1 else 0.0 for each in found],
            label=" ".join(rest),
            **look,
        )
    if numbers:
        positive = [float(value) for value in values if float(value) > 0]
        if len(positive) == len(values) and max(positive) / min(positive) > 20:
            axis.set_xscale("log")
    else:
        long = max(map(len, names)) * len(names) > 24
        axis.set_xticks(range(len(names)), [style.broken(name, 16) for name in names], rotation=45 if long else 0)
        axis.margins(x=0.15)
    axis.set_xlabel(key)
    if 1 < len(groups) <= 6:
        others = ", ".join(other.rpartition(".")[2] for other in keys if other != key)
        beside: Any = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.0}  # not over the points
        axis.legend(title=others, fontsize=style.SMALL, title_fontsize=style.SMALL, **beside)


def shortened(names: Sequence[str]) -> list[str]:
    """The words of each name that not all of them have; the whole where that is nothing."""
    words = [name.split() for name in names]
    told = [" ".join(word for word in each if not all(word in other for other in words)) for each in words]
    return [style.broken(short or name, 34) for short, name in zip(told, names, strict=True)]


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    write_bytes(path, bytes(style.drawn(figure, path.suffix.lstrip(".") or "png")))
    plt.close(figure)
