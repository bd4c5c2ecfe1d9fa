"""What a sweep has come to, at its end: a table on the terminal, the same as files, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snnlab.atomic import write_text
from snnlab.errors import plain
from snnlab.tables import curves, statistics
from snnlab.tables.rows import MATTER, Run, in_columns, look_up, markdown, rows_of

VALIDATION = ("val/accuracy", "val/judge_accuracy", "val/loss")  # the first that runs have is drawn


def report(runs: Sequence[Run], folder: Path) -> str:
    """Write ``table.md``, ``.csv``, ``.tex``, ``curves.png`` and ``axes.png`` into a folder; return what to print.

    Raises:
        InputError: when the runs leave nothing to tell.
    """
    metrics = [metric for metric in MATTER if any(look_up(run, metric) is not None for run in runs)]
    numbers = [metric for metric in metrics if metric != "fit"]
    lines = [f"\n{in_columns(runs)}"]
    rows = rows_of(runs)
    if numbers and len(rows) > 1 and any(len(row.runs) > 1 for row in rows.values()):
        lines.append(statistics.columns(runs, numbers[0]))
    files = [folder / "table.md"]
    write_text(files[0], markdown(runs, metrics) + (f"\n{statistics.markdown(runs, numbers)}" if numbers else ""))
    if numbers:
        write_text(folder / "table.csv", statistics.as_csv(runs, numbers))
        write_text(folder / "table.tex", statistics.as_latex(runs, numbers))
        files += [folder / "table.csv", folder / "table.tex"]
    if any(curves.curves(runs, folder / "curves.png", metric) for metric in VALIDATION):
        files.append(folder / "curves.png")
    if numbers and curves.axes(runs, folder / "axes.png", numbers[0]):
        files.append(folder / "axes.png")
    lines.append(f"table    python -m snnlab.tables {plain(folder)}")
    return "\n".join([*lines, f"files    {plain(folder)}/{{{','.join(file.name for file in files)}}}"])
