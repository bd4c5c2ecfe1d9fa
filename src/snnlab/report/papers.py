"""The papers' tables (conf/table) on pages: our figures beside the paper's, with the runs that they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.report import charts
from snnlab.report.runs import Told
from snnlab.report.text import told
from snnlab.tables import papers
from snnlab.tables.filled import KEPT, WITHIN, Filled, FilledRow, fill
from snnlab.tables.rows import Run
from snnlab.tables.sheet import apart, head_of, sheet, spelled


class Part(NamedTuple):
    """A paper's table at one budget."""

    filled: Filled
    heads: list[str]
    lines: list[dict[str, Any]]
    charts: list[dict[str, Any]]
    known: list[str]  # the paper's figures, and where each was read
    counts: str  # of verdicts


class Paper(NamedTuple):
    """A paper's table with the budgets of which there are runs."""

    table: papers.PaperTable
    parts: list[Part]


def papers_of(runs: Sequence[Told]) -> Iterator[Paper]:
    """The tables of which some row was run, each at the budgets at which it was."""
    rows: dict[str, list[Run]] = {}
    for each in runs:
        if each.run["status"] == "completed":
            rows.setdefault(each.key, []).append(each.run)
    pages = {Path(each.run["folder"]): each for each in runs}
    for name in papers.names():
        table = read(name)
        filled = [fill(table, budget, rows) for budget in papers.BUDGETS if budget in table.budgets]
        parts = [part_of(each, pages) for each in filled if any(row.runs for row in each.rows)]
        if parts:
            yield Paper(table, parts)


read = cache(papers.read)


def part_of(filled: Filled, pages: Mapping[Path, Told]) -> Part:
    heads, lines = sheet(filled)
    numbers = {id(row): number for number, row in enumerate(filled.rows, 1)}
    found = [
        {
            "number": numbers[id(line.row)],
            "cells": [told(cell, 200) for cell in line.cells],
            "verdict": kind_of(filled.verdict(line.row, line.figure)),
            "runs": [pages[Path(run["folder"])] for run in line.row.runs],
            "marks": [told(mark, 60) for mark in line.row.marks()],
            "note": line.row.plan.note.strip(),
            "command": told(" ".join(line.row.overrides), 600),
            "first": line.figure == line.row.metric,
        }
        for line in lines
    ]
    known = [
        f"{row.plan.name}, {head_of(figure, filled.table.heads)}: {spelled([paper.value], figure)}; {paper.status}"
        f"{f', {paper.source}' if paper.source else ''}; tolerance {apart(filled.tolerance(paper), figure).lstrip('+')}"
        for row in filled.rows
        for figure, paper in row.plan.paper.items()
    ]
    counts = ", ".join(f"{number} {kind}" for kind, number in filled.counts().items() if number)
    return Part(filled, heads, found, list(charts_of(filled, numbers)), known, counts)


def kind_of(verdict: str) -> str:
    """yes, no, or neither: how a verdict is coloured."""
    if not verdict or verdict.startswith("not run"):
        return ""
    return "yes" if verdict.startswith((WITHIN, KEPT)) or "better" in verdict else "no"


def charts_of(filled: Filled, numbers: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    """Ours against the paper's, a chart for each figure that rows are told apart by."""
    for metric in dict.fromkeys(row.metric for row in filled.rows):
        rows = [row for row in filled.rows if row.metric == metric and (row.values(metric) or metric in row.plan.paper)]
        if any(row.values(metric) for row in rows):
            marks = [f"{mark} (row {numbers[id(row)]})" for row in rows if row.runs for mark in row.marks()]
            both = any(metric in row.plan.paper for row in rows)
            note = f"Dots: ours, the bar one standard deviation each way{'; diamonds: the paper’s' if both else ''}."
            note += f" Marks: {', '.join(marks)}." if marks else ""
            title = head_of(metric, filled.table.heads)
            points = [(numbers[id(row)], name_of(row), row.values(metric), *theirs(row, metric)) for row in rows]
            chart = charts.beside(points, metric, title)
            yield {
                "title": f"{title.capitalize()}{': ours and the paper’s' if both else ''}",
                "chart": chart,
                "note": note,
            }


def theirs(row: FilledRow, metric: str) -> tuple[float | None, float]:
    """The paper's value of a figure, and its standard deviation."""
    paper = row.plan.paper.get(metric)
    return (None, 0.0) if paper is None else (paper.value, paper.std or 0.0)


def name_of(row: FilledRow) -> str:
    return f"{row.plan.group}: {row.plan.name}" if row.plan.group else row.plan.name
