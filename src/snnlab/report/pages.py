"""The pages of a site: what stands on which, and the files they need, one after the other."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from snnlab import style
from snnlab.errors import InputError
from snnlab.report import charts, cite
from snnlab.report.papers import papers_of
from snnlab.report.runs import MARKS, Table, Told, marks_of, pictures_of, told_of
from snnlab.report.text import MOST_BLOCK, figure, told, word
from snnlab.runs.record import label_of
from snnlab.tables.curves import histories
from snnlab.tables.rows import Run, look_up
from snnlab.tables.statistics import HEAD, statistics_of
from snnlab.tables.statistics import cells as statistics_cells

HERE = Path(__file__).resolve().parent
COSTS = ("test/spikes_per_inference", "test/energy_joule")
ACCURACIES = ("test/accuracy", "test/judge_accuracy")
OF_LISTING = ("test/accuracy", "test/judge_accuracy", "test/loss", *COSTS, "fit_seconds")
MOST_CURVES = 8  # charts of curves on the page of a run
LAYERS = "firing_rate/"


class Site:
    """All that pages share: the tables and runs, the templates, how a page is rendered.

    Args:
        tables: of runs, as ``tables_of`` gives them.
        title: of the site.
        missing: how many folders held a run.json that could not be read.
    """

    def __init__(self, tables: Sequence[Table], title: str, missing: int = 0) -> None:
        try:
            import jinja2
        except ImportError as error:
            raise InputError("a report needs the package jinja2: pip install jinja2") from error
        self.tables, self.title, self.missing = tables, told(title, 120), missing
        self.runs = told_of(tables)
        self.papers = list(papers_of(self.runs))
        loader = jinja2.FileSystemLoader(HERE / "templates")
        policy: Any = {"autoescape": True, "undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
        self.templates = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, **policy)
        self.templates.globals |= {
            "site": self,
            "marks": MARKS,
            "word": word,
            "entry_text": cite.as_text,
            "link": cite.link,
        }

    def render(self, template: str, root: str, page: str, **values: Any) -> bytes:
        """One page; ``root`` is the way to the site's own folder, ``page`` the name of the part it belongs to."""
        return self.templates.get_template(template).render(root=root, page=page, **values).encode()

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Every file of the site: its name and content."""
        yield "assets/plotly.min.js", plotly()
        yield "assets/report.js", (HERE / "static/report.js").read_bytes()
        look = (HERE / "static/report.css").read_text(encoding="utf-8")
        yield "assets/report.css", self.templates.from_string(look).render(c=style).encode()
        yield "index.html", self.render("index.html", "", "overview", **self.overview())
        yield "runs.html", self.render("runs.html", "", "runs", columns=self.columns(), rows=self.listing())
        layout = charts.lines({"": [{0: 0.0}], " ": [{0: 0.0}]}, "")["layout"]
        colours = {"cycle": style.CYCLE, "dashes": charts.DASHES}
        yield (
            "compare.html",
            self.render(
                "compare.html", "", "compare", layout=layout | {"yaxis": {"automargin": True}}, colours=colours
            ),
        )
        every = [run for table in self.tables for run in table.runs]
        references: dict[str, Any] = {
            "entries": cite.used(every),
            "without": cite.unpublished(every),
            "bibtex": cite.bibtex(every),
        }
        yield "references.html", self.render("references.html", "", "references", **references)
        yield "references.bib", references["bibtex"].encode()
        for paper in self.papers:
            every = [run for part in paper.parts for row in part.filled.rows for run in row.runs]
            page = self.render("paper.html", "../", "papers", paper=paper, entries=cite.used(every))
            yield f"papers/{paper.table.name}.html", page
        for table in self.tables:
            runs = [each for each in self.runs if each.table is table]
            yield f"tables/{table.slug}.html", self.render("table.html", "../", "tables", **self.table(table, runs))
            for i, each in enumerate(runs):
                around = {"before": runs[i - 1] if i else None, "after": runs[i + 1] if i + 1 < len(runs) else None}
                yield from self.run(each, runs, around)

    def overview(self) -> dict[str, Any]:
        every = [each.run for each in self.runs]
        started = sorted(each.started[:10] for each in self.runs if each.started)
        seconds = sum(run["timing"].get("fit_seconds", 0.0) for run in every)
        counts = {
            "runs": f"{len(every):,}",
            **{name: len({run[key] for run in every}) for name, key in (("methods", "method"), ("data sets", "data"))},
            "tables": len(self.tables),
            "of training": f"{seconds / 3600:,.1f} h"
            if seconds >= 3600
            else f"{seconds / 60:.1f} min"
            if seconds
            else "",
            "started": started[0] + (f" to {started[-1]}" if started[-1] != started[0] else "") if started else "",
        }
        status = Counter(told(run["status"], 30) for run in every)
        flagged = Counter(mark for run in every for mark in marks_of(run))
        return {
            "counts": {key: value for key, value in counts.items() if value},
            "status": sorted(status.items()),
            "flagged": sorted(flagged.items()),
            "lines": [self.line(table) for table in self.tables],
            "charts": self.overview_charts(),
        }

    def line(self, table: Table) -> dict[str, Any]:
        """A table on the overview: what it is about, and its best row."""
        first = {key: sorted({told(run[key], 40) for run in table.runs}) for key in ("method", "data")}
        found: dict[str, Any] = {
            "table": table,
            **first,
            "best": None,
            "marks": sorted({m for run in table.runs for m in marks_of(run)}),
        }
        if table.main:
            ranked = {row.rank: row.name for row in reversed(statistics_of(table.runs, table.main))}
            number = next((i for i, name in enumerate(table.names) if name == told(ranked[1], 400)), 0)
            row = list(table.rows.values())[number]
            values = row.values(table.main)
            found["best"] = figure(table.main, values) if values else ""
            found["sort"] = statistics.fmean(values) if values else ""
            found["best_row"], found["best_marks"] = table.shown[number], marks_of(row.runs[0])
        return found

    def overview_charts(self) -> list[dict[str, Any]]:
        found = []
        for metric in ACCURACIES:
            points: dict[str, list[tuple[str, str, float]]] = {}
            for table in self.tables:
                for name, row in zip(table.names, table.rows.values(), strict=True):
                    if values := row.values(metric):
                        flags = "".join(f" ({mark})" for mark in marks_of(row.runs[0]) if mark != "reconstruction")
                        key = told(row.runs[0]["data"], 40) + flags
                        points.setdefault(key, []).append((method_of(row.runs[0]), name, statistics.fmean(values)))
            if points:
                title = f"Every row, by data set: {word(metric)}"
                note = "A dot is a row: the mean over its seeds. Marks of the data stand beside its name."
                found.append(
                    {"title": title, "note": note, "chart": charts.by_data(dict(sorted(points.items())), metric)}
                )
        return found

    def columns(self) -> list[str]:
        return [metric for metric in OF_LISTING if any(look_up(each.run, metric) is not None for each in self.runs)]

    def listing(self) -> list[dict[str, Any]]:
        """Every run with its figures."""
        return [{"told": each, "figures": self.cells(each.run, self.columns())} for each in self.runs]

    @staticmethod
    def cells(run: Run, metrics: Sequence[str]) -> list[tuple[str, Any]]:
        """A run's figures as (text, number to sort by)."""
        values = [(metric, look_up(run, metric)) for metric in metrics]
        return [("", "") if value is None else (figure(metric, [value]), value) for metric, value in values]

    def table(self, table: Table, runs: Sequence[Told]) -> dict[str, Any]:
        rows, main = list(table.rows.values()), table.main
        lines = []
        for i, row in enumerate(rows):
            cells = [(figure(m, v), statistics.fmean(v)) if (v := row.values(m)) else ("", "") for m in table.metrics]
            members = [each for each in runs if each.number == i + 1]
            lines.append(
                {
                    "number": i + 1,
                    "name": table.shown[i],
                    "cells": cells,
                    "runs": members,
                    "marks": marks_of(row.runs[0]),
                    "status": table.status(row),
                }
            )
        spread = []
        if main and len(rows) > 1 and any(len(row.runs) > 1 for row in rows):
            spread = [statistics_cells(row) for row in statistics_of(table.runs, main)]
            spread = [[told(cell, 400) for cell in row] for row in spread]
        return {
            "table": table,
            "lines": lines,
            "spread": spread,
            "head": HEAD[1:],
            "charts": self.table_charts(table),
            "entries": cite.used(table.runs),
        }

    def table_charts(self, table: Table) -> list[dict[str, Any]]:
        if not (main := table.main):
            return []
        rows = [(i + 1, name, row) for i, (name, row) in enumerate(zip(table.names, table.rows.values(), strict=True))]
        points = [charts.Point(number, name, values) for number, name, row in rows if (values := row.values(main))]
        found = [
            {
                "title": f"{word(main).capitalize()} of each row",
                "chart": charts.dots(points, main),
                "note": "Small dots are seeds, the large one their mean, the bar one standard deviation each way."
                + said(table, [point.number for point in points]),
            }
        ]
        for cost in COSTS:
            both = [
                (p, row.values(cost))
                for p in points
                for number, _, row in rows
                if number == p.number and row.values(cost)
            ]
            if len(both) > 1:
                chosen, costs = zip(*both, strict=True)
                title = f"{word(main).capitalize()} against {word(cost)}"
                note = "Numbers are those of the rows; the dotted line joins rows that no other beats in both."
                chart = charts.front(chosen, costs, main, cost)
                found.append({"title": title, "chart": chart, "note": note + said(table, [p.number for p in chosen])})
        curves = {name: [h for run in row.runs if (h := histories(run).get(validated(main)))] for _, name, row in rows}
        curves = {f"{i}  {name}": each for i, (name, each) in enumerate(curves.items(), 1) if each}
        if curves:
            more = len(curves) - charts.MOST_LINES
            note = "Mean over the seeds; the band is one standard deviation each way."
            note += f" The first {charts.MOST_LINES} rows; {more} more are not drawn." if more > 0 else ""
            chart = charts.lines(curves, validated(main))
            found.append(
                {"title": "Learning curves", "chart": chart, "note": note + said(table, range(1, len(rows) + 1))}
            )
        return found

    def run(self, each: Told, runs: Sequence[Told], around: dict[str, Told | None]) -> Iterator[tuple[str, bytes]]:
        """The page of a run, its pictures, and what the page of comparisons loads of it."""
        pictures: list[dict[str, Any]] = []
        for name, content, width, height in pictures_of(each.run):
            file = f"runs/{each.slug}/{len(pictures) + 1:02d}.png"
            yield file, content
            pictures.append({"name": word(name), "file": file, "width": width, "height": height})
        curves = each.curves()
        seeds = [other for other in runs if other.number == each.number and other is not each]
        contrast, row = each.table.contrast, each.number - 1
        near = [
            (other + 1, next(run for run in runs if run.number == other + 1), pairs)
            for other, pairs in contrast.nearest(row)
        ]
        block = yaml.safe_dump(each.config(), sort_keys=False, allow_unicode=True, width=100)
        yield (
            f"runs/{each.slug}.html",
            self.render(
                "run.html",
                "../",
                "runs",
                each=each,
                figures=by_split(each.figures()),
                seeds=seeds,
                pictures=pictures,
                charts=run_charts(curves, seeds, "events" if "(values" in label_of(each.run) else "spikes"),
                varied=contrast.varied(row),
                near=near,
                config=block
                if len(block) <= MOST_BLOCK
                else f"{block[:MOST_BLOCK]}\n… cut: {len(block):,} letters in all",
                entries=cite.used([each.run]),
                **around,
            ),
        )
        said = {
            "title": each.title,
            "name": each.shown,
            "table": each.table.name,
            "marks": each.marks,
            "figures": each.figures(),
            "settings": each.settings(),
            "facts": each.facts(),
            "curves": {told(metric, 80): points(curve) for metric, curve in list(curves.items())[:60]},
        }
        yield f"runs/{each.slug}.js", f"report.take({json.dumps(each.slug)}, {json.dumps(said)});\n".encode()


def run_charts(curves: dict[str, dict[int, float]], seeds: Sequence[Told], counted: str) -> list[dict[str, Any]]:
    """The curves of a run: training and validation of a figure in a chart, other seeds pale behind; rates of layers."""
    found = []
    kinds = list(dict.fromkeys(metric.partition("/")[2] for metric in curves if LAYERS not in metric))
    kinds.sort(key=lambda kind: ("accuracy" not in kind, kind != "loss"))
    others = [other.curves() for other in seeds if other.counts][:8]
    for kind in kinds[:MOST_CURVES]:
        parts = {
            told(split, 20): [curves[f"{split}/{kind}"]]
            for split in ("train", "val", "test")
            if f"{split}/{kind}" in curves
        }
        if not parts:
            continue
        pale = [curve for other in others if (curve := other.get(f"val/{kind}"))]
        note = (
            f"Grey: validation of {'the other seed' if len(pale) == 1 else f'{len(pale)} other seeds'}." if pale else ""
        )
        found.append({"title": word(kind).capitalize(), "chart": charts.lines(parts, kind, pale), "note": note})
    for split in ("val", "train"):
        rates = {
            metric.partition(LAYERS)[2]: [values]
            for metric, values in curves.items()
            if metric.startswith(f"{split}/{LAYERS}")
        }
        if rates:
            title = f"Firing rates of the layers, {split}"
            found.append(
                {
                    "title": title,
                    "chart": charts.lines({told(k, 40): v for k, v in rates.items()}, f"{counted} per neuron and step"),
                    "note": "",
                }
            )
            break
    return found


def method_of(run: Run) -> str:
    """Its name, with the mark that it may have."""
    return told(run["method"], 40) + (" (reconstruction)" if "reconstruction" in marks_of(run) else "")


def by_split(figures: Sequence[tuple[str, str, str, float]]) -> list[tuple[str, dict[str, str]]]:
    """Figures as lines of a table: what it is, and its value in each split."""
    lines: dict[str, dict[str, str]] = {}
    for split, name, text, _ in figures:
        lines.setdefault(name, {"test": "", "val": "", "train": ""})[split] = text
    return list(lines.items())


def validated(metric: str) -> str:
    """The figure of validation for one of the test."""
    return f"val/{metric.partition('/')[2]}" if metric.startswith("test/") else metric


def points(curve: dict[int, float]) -> list[list[float]]:
    epochs = charts.thinned(sorted(curve))
    return [[epoch + 1 for epoch in epochs], [charts.brief(curve[epoch]) for epoch in epochs]]


def said(table: Table, numbers: Sequence[int]) -> str:
    """The marks of the rows that a chart shows, in a sentence; nothing where there are none."""
    rows = list(table.rows.values())
    marked: dict[str, list[str]] = {}
    for number in numbers:
        for mark in marks_of(rows[number - 1].runs[0]):
            marked.setdefault(mark, []).append(str(number))
    which = {
        mark: "all rows" if len(all_) == len(numbers) else f"rows {', '.join(all_)}" for mark, all_ in marked.items()
    }
    return "".join(f" {mark.capitalize()}: {words}." for mark, words in which.items())


def plotly() -> bytes:
    """The charting library, as its Python package brings it.

    Raises:
        InputError: where the package is not there.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError("a report needs the package plotly: pip install plotly") from error
    return get_plotlyjs().encode()
