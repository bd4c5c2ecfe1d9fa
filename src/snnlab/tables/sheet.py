"""A filled table on paper: in columns for a terminal, as Markdown, LaTeX, or CSV with all digits."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from snnlab.errors import InputError, plain
from snnlab.runs.units import unit_of
from snnlab.tables.filled import Filled, FilledRow
from snnlab.tables.papers import PaperTable, is_accuracy, references
from snnlab.tables.rows import cell
from snnlab.tables.statistics import latex

SHORT = {  # heads of columns
    "test/spikes_per_inference": "spikes",
    "test/synaptic_operations": "synaptic operations",
    "test/energy_joule": "energy",
    "fit_seconds": "training, s",
    "peak_bytes": "memory",
}


@dataclass(frozen=True)
class Line:
    """A line of a table: the row and figure it tells of, and its cells."""

    row: FilledRow
    figure: str
    cells: list[str]


def head_of(figure: str, heads: Mapping[str, str] = MappingProxyType({})) -> str:
    """A figure's name above its column: as its table calls it, or short."""
    short = heads.get(figure) or SHORT.get(figure, figure.removeprefix("test/").replace("_", " "))
    return f"{short}, %" if is_accuracy(figure) else short


def spelled(values: Sequence[float], figure: str) -> str:
    """Mean ± standard deviation: accuracies in percent, seconds and counts from 10 on whole.

    Of joules and bytes a spread below half a percent is left out.
    """
    if not values:
        return ""
    unit, mean = unit_of(figure), statistics.fmean(values)
    spread = [] if len(values) == 1 else [statistics.stdev(values)]
    if is_accuracy(figure):
        return " ± ".join(f"{100 * number:.2f}" for number in (mean, *spread))
    if figure == "fit_seconds" or unit not in ("", "J", "J s", "B"):
        return " ± ".join(f"{number:,.0f}" if mean >= 10 else f"{number:.1f}" for number in (mean, *spread))
    exact = unit in ("B", "J", "J s") and spread and spread[0] < 0.005 * mean  # less than three digits show
    return cell([mean] if exact else values, figure)


def apart(difference: float | None, figure: str) -> str:
    """A difference with its sign; of accuracies in points."""
    if difference is None:
        return ""
    return f"{100 * difference:+.2f}" if is_accuracy(figure) else f"{difference:+.3g}"


def theirs(row: FilledRow, figure: str) -> str:
    """The paper's figure and how well it is known; what was read in the paper itself needs no word."""
    if (paper := row.plan.paper.get(figure)) is None:
        return ""
    numbers = [number for number in (paper.value, paper.std) if number is not None]
    values = " ± ".join(spelled([number], figure) if is_accuracy(figure) else f"{number:g}" for number in numbers)
    return values if paper.status == "paper" else f"{values} ({paper.status})"


def against(row: FilledRow) -> str:
    """The mean difference to the row compared with and half its 95 % interval; of accuracies in points."""
    if row.versus is None:
        return ""
    n, mean, _, half = row.versus
    around = "" if half is None else f" ± {apart(half, row.metric).lstrip('+')}"
    return f"{apart(mean, row.metric)}{around} ({n} pair{'s' if n > 1 else ''})"


def sheet(filled: Filled) -> tuple[list[str], list[Line]]:
    """The heads and lines of a table; columns that would be empty are left out."""
    table = filled.table
    several = len({figure for row in filled.rows for figure in row.figures()}) > 1
    heads = ["row", *(["figure", "ours"] if several else [head_of(table.metric, table.heads)])]
    heads += [
        "n",
        "paper",
        "difference",
        "verdict",
        "paired difference",
        *(head_of(column, table.heads) for column in table.columns),
        "marks",
    ]
    lines = []
    for row in filled.rows:
        for figure in row.figures():
            first, values = figure == row.metric, row.values(figure)
            columns = [spelled(row.values(column), column) if first else "" for column in table.columns]
            missing = f" of {len(row.seeds)}" if values and row.missing else ""
            cells = [row.title, *([head_of(figure, table.heads)] if several else []), spelled(values, figure)]
            cells += [f"{len(values)}{missing}" if values else "", theirs(row, figure)]
            cells += [apart(row.difference(figure), figure), filled.verdict(row, figure)]
            cells += [against(row) if first else "", *columns, ", ".join(row.marks())]
            lines.append(Line(row, figure, cells))
    kept = [i for i in range(len(heads)) if i < 2 or any(line.cells[i] for line in lines)]
    return [heads[i] for i in kept], [Line(each.row, each.figure, [each.cells[i] for i in kept]) for each in lines]


def caption(filled: Filled) -> str:
    """What a table is: its title, the paper, the budget, and what its verdicts come to."""
    table = filled.table
    counts = [f"{number} {kind}" for kind, number in filled.counts().items() if number]
    return f"{table.title}. {table.cite}. Budget: {filled.budget}. Verdicts: {', '.join(counts) or 'none'}."


def escaped(cell: str) -> str:
    """A cell of a Markdown table, which ends at a bar that is not escaped."""
    return cell.replace("\\", "\\\\").replace("|", "\\|")


def markdown(filled: Filled) -> str:
    """The table in Markdown, its notes below."""
    heads, lines = sheet(filled)
    text = ["| " + " | ".join(map(escaped, heads)) + " |", "| --- " * len(heads) + "|"]
    text += ["| " + " | ".join(map(escaped, line.cells)) + " |" for line in lines]
    return "\n".join(map(plain, text)) + "\n"


def page(filled: Filled) -> str:
    """A whole page in Markdown: title, the table, what to know of it, the command of every row."""
    table, command = filled.table, f"python -m snnlab.tables {filled.table.name} --budget {filled.budget}"
    parts = [f"# {table.title}", f"{caption(filled)} Made by `{command}`.", table.about.strip(), markdown(filled)]
    notes = [f"- **{row.plan.name}**: {row.plan.note.strip()}" for row in filled.rows if row.plan.note]
    known = [
        f"- {row.plan.name}, {head_of(figure, table.heads)}: {spelled([paper.value], figure)}, {paper.status}"
        f"{f', {paper.source}' if paper.source else ''}; tolerance {apart(filled.tolerance(paper), figure).lstrip('+')}"
        for row in filled.rows
        for figure, paper in row.plan.paper.items()
    ]
    commands = [f"- {row.plan.name}: {line}" for row in filled.rows if (line := command_of(row, table))]
    for title, listed in (("Notes", notes), ("The paper's figures", known), ("What was run", commands)):
        parts += [f"## {title}", "\n".join(map(plain, listed))] if listed else []
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def command_of(row: FilledRow, table: PaperTable) -> str:
    """What a row was run with and what it was asked, as commands, and the rows whose runs it names; "" for none."""
    if not row.overrides:
        return ""
    lines = [f"`python -m snnlab {' '.join(row.overrides)}`"]
    if row.plan.ask:
        lines.append(f"`python -m snnlab.evaluate RUN {' '.join(row.plan.ask)}`")
    named = [
        f"@{key}: a run of {table.by_key(key).name!r}"
        for key in dict.fromkeys(references([*row.overrides, *row.plan.ask]))
    ]
    return ", then ".join(lines) + (f" ({'; '.join(named)})" if named else "")


def compact(filled: Filled) -> str:
    """In Markdown a line for each name that rows of several groups share, a column for each group; costs of the first.

    Raises:
        InputError: for a table without groups.
    """
    table, rows = filled.table, filled.rows
    groups = list(dict.fromkeys(row.plan.group for row in rows))
    if len(groups) < 2:
        raise InputError(f"--compact: the rows of table {table.name} are in no groups")
    by_place = {(row.plan.group, row.plan.name): row for row in rows}
    shared = {group: _shared([row for row in rows if row.plan.group == group and row.runs]) for group in groups}
    heads = ["", *(f"{group}{in_brackets(sorted(shared[group]))}, %" for group in groups)]
    lines = [heads + [f"{head_of(column, table.heads)}, {groups[0]}" for column in table.columns]]
    lines.append(["---"] * len(lines[0]))
    for name in dict.fromkeys(row.plan.name for row in rows):
        cells = []
        for group in groups:
            row = by_place.get((group, name))
            values = row.values(row.metric) if row else []
            own = sorted(set(row.marks()) - shared[group]) if row else []
            cells.append(f"{spelled(values, row.metric)}{in_brackets(own)}" if row and values else "-")
        first = by_place.get((groups[0], name))
        costs = [spelled(first.values(column), column) if first else "" for column in table.columns]
        lines.append([name, *cells, *costs])
    return "".join(f"| {' | '.join(plain(escaped(cell)) for cell in line)} |\n" for line in lines)


def _shared(rows: Sequence[FilledRow]) -> set[str]:
    """The marks that all of some rows have."""
    return set(rows[0].marks()).intersection(*(row.marks() for row in rows)) if rows else set()


def in_brackets(words: Sequence[str]) -> str:
    """`` (simulated, subset)``; "" for no words."""
    return f" ({', '.join(words)})" if words else ""


def in_columns(filled: Filled) -> str:
    """The table for a terminal."""
    heads, lines = sheet(filled)
    cells = [heads, *(line.cells for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rows = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)
    return "\n".join([plain(caption(filled)), "", *map(plain, rows)]) + "\n"


def as_latex(filled: Filled) -> str:
    """The table in LaTeX (package booktabs)."""
    heads, lines = sheet(filled)
    rows = [" & ".join(latex(word).replace("±", r"$\pm$") for word in line.cells) + r" \\" for line in lines]
    top = [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule", " & ".join(map(latex, heads)) + r" \\"]
    return "\n".join([*top, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_csv(filled: Filled) -> str:
    """A line for each row and figure, with all digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    head = ["table", "budget", "group", "row", "figure", "seeds", "n", "mean", "std", "paper", "status", "tolerance"]
    writer.writerow([*head, "difference", "verdict", *filled.table.columns, "marks", "overrides"])
    for row in filled.rows:
        for figure in row.figures():
            values, paper = row.by_seed(figure), row.plan.paper.get(figure)
            numbers = list(values.values())
            mean = repr(statistics.fmean(numbers)) if numbers else ""
            std = repr(statistics.stdev(numbers)) if len(numbers) > 1 else ""
            known = ["", "", ""] if paper is None else [repr(paper.value), paper.status, repr(filled.tolerance(paper))]
            difference = "" if (far := row.difference(figure)) is None else repr(far)
            columns = [repr(statistics.fmean(found)) if (found := row.values(c)) else "" for c in filled.table.columns]
            words = [
                filled.table.name,
                filled.budget,
                row.plan.group,
                row.plan.name,
                figure,
                " ".join(map(str, values)),
            ]
            words += [str(len(numbers)), mean, std, *known, difference, filled.verdict(row, figure), *columns]
            writer.writerow([*words, ", ".join(row.marks()), " ".join(row.overrides)])
    return file.getvalue()


def picture(filled: Filled, path: Path) -> bool:
    """Draw ours (mean, standard deviation) and the paper's of every row that has either; whether there is any."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from snnlab import style
    from snnlab.atomic import write_bytes

    shown = [row for row in filled.rows if row.values(row.metric) or row.metric in row.plan.paper]
    shown = [row for row in shown if is_accuracy(row.metric) == is_accuracy(shown[0].metric)]  # one axis
    if not shown:
        return False
    scale = 100 if is_accuracy(shown[0].metric) else 1
    with plt.rc_context(style.STYLE):
        figure, axis = plt.subplots(figsize=(7, 1.2 + 0.24 * len(shown)))
        for place, row in enumerate(reversed(shown)):
            values, paper = [scale * value for value in row.values(row.metric)], row.plan.paper.get(row.metric)
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                look: Any = {"fmt": "o", "color": style.BLUE, "capsize": 2, "markersize": 4}
                axis.errorbar(statistics.fmean(values), place, xerr=spread, **look)
            if paper:
                axis.plot(scale * paper.value, place, "D", color=style.RED, fillstyle="none", markersize=5)
        axis.set_yticks(
            range(len(shown)),
            [style.broken(f"{row.title}{in_brackets(row.marks())}", 52, 2) for row in reversed(shown)],
        )
        axis.set(xlabel=head_of(shown[0].metric, filled.table.heads), ylim=(-0.7, len(shown) - 0.3))
        axis.grid(axis="y", color=style.PALE, linewidth=0.5)
        style.heading(
            figure,
            filled.table.title,
            f"budget {filled.budget}; dots: ours, bars one standard deviation; diamonds: the paper's",
        )
        write_bytes(path, bytes(style.drawn(figure, path.suffix.lstrip("."))))
        plt.close(figure)
    return True
