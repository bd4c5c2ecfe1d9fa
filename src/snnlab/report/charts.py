"""The charts of the pages, as plotly.js takes them: mappings of ``data`` and ``layout``, made of the figures of runs.

Colours are those of every picture of the house (``snnlab.style``); letters, lines and grounds follow the page, by day
and by night (static/report.css). plotly reads a text as a little HTML, so what a record says is escaped here.
"""

from __future__ import annotations

import html
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from snnlab import style
from snnlab.report.text import figure, told, word
from snnlab.runs.units import unit_of
from snnlab.tables.front import DECADE, SMALLER, best

Chart = dict[str, Any]
Curve = Mapping[int, float]  # a value by epoch
MOST_POINTS, MOST_LINES = 400, 12
DASHES = ("solid", "dash", "dot")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', sans-serif"


class Point(NamedTuple):
    """A row of a table: its number there, its name with its marks, and a metric's value of each seed."""

    number: int
    name: str
    values: Sequence[float]


def layout(height: int, **more: Any) -> dict[str, Any]:
    """What all charts share."""
    axis = {"automargin": True, "zeroline": False, "ticks": "outside", "ticklen": 4, "title": {"standoff": 10}}
    base: dict[str, Any] = {
        "height": height,
        "font": {"family": FONT, "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 12, "t": 12, "b": 12},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "colorway": list(style.CYCLE),
        "hoverlabel": {"align": "left", "namelength": -1},
    }
    axes = {name: axis | more.pop(name, {}) for name in ("xaxis", "yaxis")}
    return base | axes | more


def letters(text: object) -> str:
    """A text that plotly shows letter by letter."""
    return "<br>".join(html.escape(told(line), quote=False) for line in str(text).split("\n"))


def scaled(metric: str, values: Sequence[float] = ()) -> dict[str, Any]:
    """The axis of a metric: its name, and its unit with the prefixes of powers of 1,000."""
    unit = "s" if metric.endswith("seconds") and not unit_of(metric) else unit_of(metric)
    known: dict[str, Any] = {"title": {"text": letters(word(metric)) + (f" ({unit})" if unit else ""), "standoff": 10}}
    if unit.startswith(("J", "B")):
        return known | {"tickformat": "~s", "ticksuffix": unit[0], "title": {"text": letters(word(metric))}}
    if unit or max(map(abs, values), default=0) >= 10_000:
        known["tickformat"] = "~s"
    return known


def over_cost(costs: Sequence[float]) -> dict[str, Any]:
    """An axis is logarithmic where its values span much."""
    if min(costs) > 0 and max(costs) / min(costs) > DECADE:
        return {"type": "log", "dtick": "D2" if max(costs) / min(costs) < 300 else 1}
    return {}


def dots(points: Sequence[Point], metric: str) -> Chart:
    """A line for each row: its seeds, their mean, a bar of one standard deviation each way, and its name above it."""
    places = list(range(len(points), 0, -1))
    means = [statistics.fmean(point.values) for point in points]
    bars = [statistics.stdev(point.values) if len(point.values) > 1 else 0.0 for point in points]
    seeds = [(value, y) for point, y in zip(points, places, strict=True) for value in point.values]
    told_means = [f"{letters(p.name)}<br>{letters(figure(metric, p.values))}, n = {len(p.values)}" for p in points]
    names = [above(f"{p.number}  {p.name}", y) for p, y in zip(points, places, strict=True)]
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x for x, _ in seeds],
            "y": [y for _, y in seeds],
            "marker": {"size": 6, "color": style.SKY, "opacity": 0.6},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": means,
            "y": places,
            "text": told_means,
            "hoverinfo": "text",
            "marker": {"size": 9, "color": style.BLUE},
            "error_x": {"type": "data", "array": bars, "color": style.BLUE, "thickness": 1.5, "width": 4},
        },
    ]
    look = {
        "visible": True,
        "showticklabels": False,
        "ticks": "",
        "range": [0.4, len(points) + 0.95],
        "fixedrange": True,
    }
    return {
        "data": data,
        "layout": layout(72 + 40 * len(points), xaxis=scaled(metric, means), yaxis=look, annotations=names),
    }


def beside(rows: Sequence[tuple[int, str, Sequence[float], float | None, float]], metric: str, title: str) -> Chart:
    """Ours and the paper's, a line a row: number, name, our values, the paper's value or None, its standard deviation.

    Accuracies are in percent. Ours is a dot with a bar of one standard deviation each way, the paper's a diamond.
    """
    scale = 100 if "accuracy" in metric else 1
    places = dict(zip((number for number, *_ in rows), range(len(rows), 0, -1), strict=True))
    ours = [(number, name, [scale * value for value in values]) for number, name, values, *_ in rows if values]
    paper = [(number, name, scale * value, scale * std) for number, name, _, value, std in rows if value is not None]
    means = [statistics.fmean(values) for _, _, values in ours]
    bars = [statistics.stdev(values) if len(values) > 1 else 0.0 for _, _, values in ours]
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "ours",
            "x": means,
            "y": [places[number] for number, *_ in ours],
            "text": [
                f"{letters(name)}<br>ours {mean:.4g}, n = {len(v)}"
                for (_, name, v), mean in zip(ours, means, strict=True)
            ],
            "hoverinfo": "text",
            "marker": {"size": 9, "color": style.BLUE},
            "error_x": {"type": "data", "array": bars, "color": style.BLUE, "thickness": 1.5, "width": 4},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "paper",
            "x": [value for _, _, value, _ in paper],
            "y": [places[number] for number, *_ in paper],
            "text": [f"{letters(name)}<br>paper {value:.4g}" for _, name, value, _ in paper],
            "hoverinfo": "text",
            "marker": {"size": 10, "color": style.RED, "symbol": "diamond-open", "line": {"width": 2}},
            "error_x": {
                "type": "data",
                "array": [s for *_, s in paper],
                "color": style.RED,
                "thickness": 1,
                "width": 4,
            },
        },
    ]
    names = [above(f"{number}  {name}", places[number]) for number, name, *_ in rows]
    look = {"showticklabels": False, "ticks": "", "range": [0.4, len(rows) + 0.95], "fixedrange": True}
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}}
    x = {"title": {"text": letters(title), "standoff": 10}}
    more: dict[str, Any] = {"annotations": names, "showlegend": True, "legend": legend}
    return {"data": data, "layout": layout(110 + 40 * len(rows), xaxis=x, yaxis=look, **more)}


def above(name: str, place: int) -> dict[str, Any]:
    """The name of a row above its line."""
    words = {"text": letters(style.broken(name, 58, 1)), "showarrow": False, "font": {"size": 11}}
    return {"x": 0, "xref": "paper", "xanchor": "left", "y": place, "yanchor": "bottom", "yshift": 5, **words}


def front(points: Sequence[Point], costs: Sequence[Sequence[float]], metric: str, cost: str) -> Chart:
    """A metric against a cost, a point a row, by its number; a line joins those that no other row beats in both."""
    means = [(statistics.fmean(p.values), statistics.fmean(c)) for p, c in zip(points, costs, strict=True)]
    edge = [means[i] for i in best(means, metric.split("/")[-1].endswith(SMALLER))]
    texts = [
        f"{letters(p.name)}<br>{letters(word(metric))} {letters(figure(metric, p.values))}"
        f"<br>{letters(word(cost))} {letters(figure(cost, c))}"
        for p, c in zip(points, costs, strict=True)
    ]
    bar = {"type": "data", "color": style.SKY, "thickness": 1, "width": 3}
    spread = [
        [statistics.stdev(v) if len(v) > 1 else 0.0 for v in each] for each in ([p.values for p in points], costs)
    ]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for _, x in edge],
            "y": [y for y, _ in edge],
            "line": {"color": style.MUTED, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [x for _, x in means],
            "y": [y for y, _ in means],
            "text": [str(p.number) for p in points],
            "textposition": "top right",
            "textfont": {"size": 11},
            "hovertext": texts,
            "hoverinfo": "text",
            "marker": {"size": 8, "color": style.BLUE},
            "error_y": bar | {"array": spread[0]},
            "error_x": bar | {"array": spread[1]},
        },
    ]
    spent, reached = [x for _, x in means], [y for y, _ in means]
    return {
        "data": data,
        "layout": layout(380, xaxis=scaled(cost, spent) | over_cost(spent), yaxis=scaled(metric, reached)),
    }


def lines(curves: Mapping[str, Sequence[Curve]], metric: str, pale: Sequence[Curve] = ()) -> Chart:
    """A value over the epochs, a line a name: the mean over seeds, with a band of one standard deviation each way.

    pale: curves drawn behind, without a name: those of other seeds.
    """
    data: list[Any] = []
    for curve in pale:
        epochs = thinned(sorted(curve))
        look = {"line": {"color": style.MUTED, "width": 1}, "opacity": 0.45, "hoverinfo": "skip", "showlegend": False}
        data.append({**_line(epochs, [curve[e] for e in epochs]), **look})
    for i, (name, found) in enumerate(list(curves.items())[:MOST_LINES]):
        epochs = thinned(sorted({epoch for values in found for epoch in values}))
        at = [[values[epoch] for values in found if epoch in values] for epoch in epochs]
        mean = [statistics.fmean(each) for each in at]
        colour, dash = style.CYCLE[i % len(style.CYCLE)], DASHES[i // len(style.CYCLE) % len(DASHES)]
        if any(len(each) > 1 for each in at):
            spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in at]
            low, high = ([m + sign * s for m, s in zip(mean, spread, strict=True)] for sign in (-1, 1))
            band = {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": str(i)}
            data.append({**_line(epochs, low), **band})
            data.append({**_line(epochs, high), **band, "fill": "tonexty", "fillcolor": _through(colour)})
        look = {
            "line": {"color": colour, "dash": dash, "width": 2},
            "name": letters(style.broken(name, 60)),
            "legendgroup": str(i),
        }
        if len(epochs) <= 30:
            look |= {"mode": "lines+markers", "marker": {"size": 5, "color": colour}}
        data.append({**_line(epochs, mean), **look})
    legend = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "yref": "paper", "font": {"size": 11}}
    shown = min(len(curves), MOST_LINES)
    more = {"showlegend": True, "legend": legend, "hovermode": "x unified" if shown < 5 else "closest"}
    values = [value for found in curves.values() for curve in found for value in curve.values()]
    axes = {"xaxis": {"title": {"text": "epoch", "standoff": 6}, "tickformat": "~d"}, "yaxis": scaled(metric, values)}
    return {"data": data, "layout": layout(330 + 20 * max(shown - 2, 0), **axes, **more)}


def _line(epochs: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "x": [epoch + 1 for epoch in epochs], "y": [brief(v) for v in values]}


def brief(value: float) -> float:
    """Six digits, which is more than a chart shows."""
    return float(f"{value:.6g}")


def thinned(epochs: Sequence[int]) -> list[int]:
    """At most so many of them, evenly spread, the last one among them."""
    if len(epochs) <= MOST_POINTS:
        return list(epochs)
    return [epochs[round(i * (len(epochs) - 1) / (MOST_POINTS - 1))] for i in range(MOST_POINTS)]


def _through(colour: str) -> str:
    """A colour that lets most of the ground through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"


def by_data(points: Mapping[str, Sequence[tuple[str, str, float]]], metric: str) -> Chart:
    """A line for each data set, a dot for each row on it (method, name, mean), coloured by method."""
    methods = sorted({method for rows in points.values() for method, _, _ in rows})
    looks = {
        method: {"color": style.CYCLE[i % len(style.CYCLE)], "symbol": SYMBOLS[i // len(style.CYCLE) % len(SYMBOLS)]}
        for i, method in enumerate(methods)
    }
    names = list(points)
    data = []
    for method in methods:
        found = [
            (mean, len(names) - i, name) for i, d in enumerate(names) for m, name, mean in points[d] if m == method
        ]
        texts = [f"{letters(name)}<br>{letters(figure(metric, [mean]))}" for mean, _, name in found]
        where = {"x": [x for x, _, _ in found], "y": [y for _, y, _ in found], "text": texts, "hoverinfo": "text"}
        look = {"size": 9, "opacity": 0.8, **looks[method]}
        data.append({"type": "scatter", "mode": "markers", "name": letters(method), "marker": look, **where})
    labels = {
        "tickvals": list(range(len(names), 0, -1)),
        "ticktext": [letters(style.broken(n, 22)) for n in names],
        "range": [0.4, len(names) + 0.6],
        "ticks": "",
        "fixedrange": True,
    }
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}}
    return {
        "data": data,
        "layout": layout(120 + 34 * len(names), xaxis=scaled(metric), yaxis=labels, showlegend=True, legend=legend),
    }


SYMBOLS = ("circle", "diamond", "square", "triangle-up")
