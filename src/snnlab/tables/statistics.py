"""What seeds tell of rows: mean, standard deviation, 95 % interval, rank, and paired differences to the best row.

The interval is that of the mean by Student's t. A difference is taken seed by seed between two rows, which share what a
seed decides (splits, initial weights, order of the samples), so its interval is narrower than the two together.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from snnlab.errors import plain
from snnlab.runs.units import is_small
from snnlab.tables.rows import HUGE, Run, check_metrics, look_up, named, rows_of

HIGHER = "accuracy"  # metrics whose name ends so are better the higher; of all others less is better
PERCENT = 0.95


class Spread(NamedTuple):
    """Of some values: how many, mean, standard deviation and half the 95 % interval of the mean; None of one value."""

    n: int
    mean: float
    std: float | None
    half: float | None


class Statistics(NamedTuple):
    """A row of a table: its name, seeds, figures, rank (1 is best) and difference to the best; None for that itself."""

    name: str
    seeds: list[int]
    spread: Spread
    rank: int
    difference: Spread | None


def spread_of(values: Sequence[float]) -> Spread:
    """The figures of some values, of which there is one at least."""
    from scipy.stats import t

    n, mean = len(values), statistics.fmean(values)
    if n == 1:
        return Spread(1, mean, None, None)
    std = statistics.stdev(values)
    return Spread(n, mean, std, float(t.ppf((1 + PERCENT) / 2, n - 1)) * std / math.sqrt(n))


def statistics_of(runs: Sequence[Run], metric: str) -> list[Statistics]:
    """One for each row that has the metric, in the order of the rows.

    Raises:
        InputError: for a metric that no run has.
    """
    check_metrics([metric], runs)
    rows = rows_of(runs)
    scored = []
    for name, row in zip(named(rows), rows.values(), strict=True):
        values = {run["seed"]: value for run in row.runs if (value := look_up(run, metric)) is not None}
        if values:
            scored.append((name.replace("`", ""), values))
    means = [
        float(f"{statistics.fmean(values.values()):.12g}") for _, values in scored
    ]  # equal but for rounding: a tie
    order = sorted(means, reverse=metric.endswith(HIGHER))
    found = []
    for (name, values), mean in zip(scored, means, strict=True):
        best = scored[means.index(order[0])][1]
        pairs = [values[seed] - best[seed] for seed in values if seed in best]
        difference = spread_of(pairs) if pairs and best is not values else None
        found.append(
            Statistics(name, sorted(values), spread_of(list(values.values())), order.index(mean) + 1, difference)
        )
    return found


HEAD = ("run", "n", "mean", "standard deviation", "95 % interval", "rank", "to the best, paired")


def cells(row: Statistics) -> list[str]:
    """A row as people read it."""
    n, mean, std, half = row.spread
    interval = "" if half is None else f"{told(mean - half, mean)} to {told(mean + half, mean)}"
    return [
        *(row.name, str(n), told(mean, mean), "" if std is None else told(std, mean), interval, str(row.rank)),
        "" if row.difference is None else paired(row.difference),
    ]


def told(number: float, beside: float) -> str:
    """A number as one of the size of ``beside`` is spelled."""
    small, large = is_small(beside), abs(beside) >= 100
    return f"{number:.3g}" if small or abs(beside) >= HUGE else f"{number:,.0f}" if large else f"{number:.4f}"


def paired(difference: Spread) -> str:
    """A difference over seeds that two rows share, with half its 95 % interval: -0.0120 ± 0.0040 (3 pairs)."""
    largest = max(abs(difference.mean), difference.half or 0.0)
    around = "" if difference.half is None else f" ± {told(difference.half, largest)}"
    pairs = "1 pair" if difference.n == 1 else f"{difference.n} pairs"
    return f"{'+' if difference.mean > 0 else ''}{told(difference.mean, largest)}{around} ({pairs})"


def columns(runs: Sequence[Run], metric: str) -> str:
    """The statistics of a metric in columns, for a terminal."""
    lines = [list(HEAD), *(cells(row) for row in statistics_of(runs, metric))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return f"{metric}\n" + "".join(f"{plain(line)}\n" for line in told)


def markdown(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """A markdown table of the statistics of each metric."""
    parts = []
    for metric in metrics:
        lines = ["| " + " | ".join((metric, *HEAD[1:])) + " |", "| --- |" + " ---: |" * (len(HEAD) - 1)]
        for row in statistics_of(runs, metric):
            name, *rest = cells(row)
            lines.append("| " + " | ".join((f"`{name}`", *rest)) + " |")
        parts.append("\n".join(map(plain, lines)) + "\n")
    return "\n".join(parts)


def as_csv(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """A line for each row and metric, with all digits, for other programs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["run", "metric", "seeds", "n", "mean", "std", "interval_low", "interval_high", "rank"]
    writer.writerow([*head, "difference", "difference_low", "difference_high", "pairs"])
    for metric in metrics:
        for row in statistics_of(runs, metric):
            n, mean, std, _ = row.spread
            seeds, pairs = " ".join(map(str, row.seeds)), row.difference.n if row.difference else ""
            words = [row.name, metric, seeds, n, repr(mean), "" if std is None else repr(std), *ends(row.spread)]
            middle = "" if row.difference is None else repr(row.difference.mean)
            writer.writerow([*words, row.rank, middle, *ends(row.difference), pairs])
    return file.getvalue()


def ends(spread: Spread | None) -> tuple[str, str]:
    """The ends of an interval; empty where there is none."""
    if spread is None or spread.half is None:
        return "", ""
    return repr(spread.mean - spread.half), repr(spread.mean + spread.half)


def as_latex(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """A LaTeX table (package booktabs): mean ± standard deviation of each metric, the best of each in bold."""
    found = {metric: {row.name: row for row in statistics_of(runs, metric)} for metric in metrics}
    names = list(dict.fromkeys(name for rows in found.values() for name in rows))
    heads = " & ".join(["run", "n", *map(latex, metrics)])
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(metrics) + 1)}}}", r"\toprule", rf"{heads} \\", r"\midrule"]
    for name in names:
        rows = [found[metric].get(name) for metric in metrics]
        most = max(row.spread.n for row in rows if row)
        lines.append(rf"{' & '.join([latex(name), str(most), *map(latex_cell, rows)])} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex_cell(row: Statistics | None) -> str:
    """The figures of a row in LaTeX."""
    if row is None:
        return ""
    _, mean, std, _ = row.spread
    words = told(mean, mean) + ("" if std is None else rf" \pm {told(std, mean)}")
    return rf"$\mathbf{{{words}}}$" if row.rank == 1 else f"${words}$"


def latex(text: str) -> str:
    """A text whose signs LaTeX would read as its own."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, f"\\{sign}" if sign in "&%$#_{}" else sign) for sign in plain(text))
