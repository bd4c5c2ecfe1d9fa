"""Tables over run.json files: runs that differ in their seed alone become one row, mean and spread over seeds."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from snnlab.errors import InputError
from snnlab.runs.record import RunRecord, flags_of, label_of


def read_runs(folders: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return the content of every run.json below ``folders``, in the order of their names.

    Raises:
        InputError: when a folder holds no run.json.
    """
    runs = []
    for folder in folders:
        found = sorted(Path(folder).expanduser().rglob("run.json"))
        if not found:
            raise InputError(f"{folder} holds no run.json; give folders of runs, e.g. outputs or results")
        runs += [RunRecord.read(path.parent).content for path in found]
    return runs


def markdown(runs: Sequence[dict[str, Any]], metrics: Sequence[str]) -> str:
    """Return a markdown table: what was run, seeds, and each metric as mean ± standard deviation over the seeds.

    Args:
        runs: contents of run.json files.
        metrics: paths such as ``test/accuracy``; one that a run lacks is left blank.
    """
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        same = rows[row_name(run)]
        same[:] = [other for other in same if other["seed"] != run["seed"]]  # a seed counts once: its newest run
        same.append(run)
    lines = ["| run | seeds | " + " | ".join(metrics) + " | status |", "| --- " * (len(metrics) + 3) + "|"]
    for name, group in rows.items():
        seeds = ", ".join(str(run["seed"]) for run in sorted(group, key=lambda run: run["seed"]))
        cells = [cell([value for run in group if (value := look_up(run, metric)) is not None]) for metric in metrics]
        status = ", ".join(sorted({run["status"] for run in group}))
        lines.append(f"| {name} | {seeds} | {' | '.join(cells)} | {status} |")
    return "\n".join(lines) + "\n"


def row_name(run: dict[str, Any]) -> str:
    """The overrides that made the run, less seed and paths, a label that says more, and the flags of its data."""
    skipped = ("seed=", "paths.", "logger", "callbacks.", "resume=", "debug=")
    words = [override for override in run["overrides"] if not override.startswith(skipped)]
    name = f"`{' '.join(words)}`" if words else f"`method={run['method']} data={run['data']}`"
    name += f" {label_of(run)}" if label_of(run) != run["method"] else ""
    return name + "".join(f" ({flag})" for flag in flags_of(run["provenance"]))


def look_up(run: dict[str, Any], metric: str) -> float | None:
    """Value of ``test/accuracy`` (or ``fit_seconds``) in a run, None where it has none."""
    if metric in run["timing"]:
        return float(run["timing"][metric])
    node: Any = run["metrics"]
    for key in metric.split("/"):
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return float(node) if not isinstance(node, dict) else None


def cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    digits = 0 if max(map(abs, values)) >= 100 else 4
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def as_json(runs: Sequence[dict[str, Any]], metrics: Sequence[str]) -> str:
    """The same rows for machines: one object per run."""
    rows = [{"run": row_name(run), "seed": run["seed"], **{m: look_up(run, m) for m in metrics}} for run in runs]
    return json.dumps(rows, indent=2) + "\n"
