"""Tables over run.json files: runs that differ in their seed alone are one row, mean and spread over seeds.

What is the same run, and the same row, is decided in runs/identity.py. Runs of one recipe on other data (films of
digits, films of MNIST) are rows of their own. Of several runs with one seed the newest counts, and the row says so; one
that is completed never gives way to one that is not.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnlab.checkpoint import read_text
from snnlab.errors import InputError, nearest, plain
from snnlab.runs.identity import digest, less_seed, recorded
from snnlab.runs.latest import STARTED, run_folder
from snnlab.runs.record import RunRecord, flags_of, flat, label_of
from snnlab.runs.units import is_small, unit_of, with_unit
from snnlab.tables.names import names

Run = dict[str, Any]  # the content of a run.json, and its folder
MATTER = ("test/accuracy", "test/judge_accuracy", "test/loss", "test/spikes_per_inference", "test/energy_joule", "fit")
HUGE = 1e9  # from here on, as the loss of a run that diverged, three digits and an exponent
FIT = "fit"  # whether the network fits the run's target, from its report


@dataclass
class Row:
    """The runs of one recipe on the same data, one a seed in the order of the seeds."""

    runs: list[Run]
    left: dict[str, Any]  # what decides their numbers, less the seed
    several: dict[int, int]  # by seed, how many runs there were where there was more than one; the newest is kept

    def values(self, metric: str) -> list[float]:
        """The metric of each run that has it."""
        return [value for run in self.runs if (value := look_up(run, metric)) is not None]


def read_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Return the content of every run.json below ``folders``, in the order of their names.

    Raises:
        InputError: when a folder holds no run.json.
    """
    runs = []
    for folder in folders:
        found = sorted(run_folder(folder).rglob("run.json"))
        if not found:
            raise InputError(f"{folder} holds no run.json; give folders of runs, e.g. outputs or results")
        runs += read_all(found)
        for path in sorted(run_folder(folder).rglob("*.failed")):  # of a sweep: jobs that have come to no record
            if not path.with_suffix("").joinpath("run.json").exists():
                print(f"left out: {path.stem} failed: {why(path)}", file=sys.stderr)
    return runs


def why(path: Path) -> str:
    """What the file of a failed job says."""
    try:
        return plain(read_text(path, 10_000).strip())
    except InputError as error:
        return str(error)


def read_all(paths: Sequence[Path]) -> list[Run]:
    """The runs that can be read, and are worth a row; each of the others is told in one line on stderr.

    Raises:
        InputError: when none of them can be.
    """
    runs: list[Run] = []
    refused = list[InputError]()
    for path in paths:
        try:
            content = RunRecord.read(path.parent).content
            recorded(content)
            runs.append(content | {"folder": str(path.parent)})
        except InputError as error:
            refused.append(error)
    if refused and not runs:
        raise refused[0]
    for broken in refused:
        print(f"left out: {broken}", file=sys.stderr)
    return sorted(runs, key=order)


def order(run: Run) -> tuple[str, str, str]:
    """Runs of a folder as they were started: by their names, or by their records in a sweep, whose are not dated."""
    folder = Path(run["folder"])
    return str(folder.parent), folder.name if STARTED.match(folder.name) else str(run["started"]), folder.name


def rows_of(runs: Iterable[Run]) -> dict[tuple[str, str], Row]:
    """Group runs by what decides their numbers and by the data they saw, in the order in which they come."""
    groups: dict[tuple[str, str], list[Run]] = {}
    left: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        deciding = less_seed(recorded(run))
        key = digest(deciding), str(run["provenance"].get("hash"))
        groups.setdefault(key, []).append(run)
        left.setdefault(key, deciding)
    rows = {}
    for key, group in groups.items():
        newest: dict[int, Run] = {}
        for run in sorted(group, key=lambda run: (run["status"] == "completed", run["started"])):
            newest[run["seed"]] = run
        kept = [newest[seed] for seed in sorted(newest)]
        counts = Counter(run["seed"] for run in group)
        rows[key] = Row(kept, left[key], {seed: counts[seed] for seed in sorted(counts) if counts[seed] > 1})
    return rows


def key_of(run: Run) -> tuple[str, str]:
    """The key of the row of ``rows_of`` that a run is in."""
    return digest(less_seed(recorded(run))), str(run["provenance"].get("hash"))


def named(rows: dict[tuple[str, str], Row]) -> list[str]:
    """Name every row: overrides that tell it from its neighbours, a label that says more, the flags of its data."""
    parts = list(rows.values())
    told = names([(row.runs[0], row.left) for row in parts])
    for i, row in enumerate(parts):
        run = row.runs[0]
        if label_of(run) != run["method"]:
            told[i] += f" {label_of(run)}"
        told[i] += "".join(f" ({flag})" for flag in flags_of(run["provenance"]))
    data = [key[1] for key in rows]
    return [f"{name} (data {data[i][:8]})" if told.count(name) > 1 else name for i, name in enumerate(told)]


def markdown(runs: Sequence[Run], metrics: Sequence[str], before: Sequence[Run] = ()) -> str:
    """Return a markdown table: what was run, seeds, and each metric as mean ± standard deviation over the seeds.

    A row's seeds are those that have one of the metrics; a cell that rests on fewer of them says so, and the status
    tells which seeds are in none.

    Args:
        runs: contents of run.json files.
        metrics: paths such as ``test/accuracy``; one that a run lacks is left blank.
        before: other runs, or more; the same rows of those that are no ``runs`` get a column beside each metric.

    Raises:
        InputError: for a metric that no run has.
    """
    check_metrics(metrics, [*runs, *before])
    rows, old = rows_of(runs), rows_of(run for run in before if run not in runs)
    heads = [head for metric in metrics for head in ([f"{metric} before", metric] if before else [metric])]
    lines = ["| run | seeds | " + " | ".join(heads) + " | status |", "| --- " * (len(heads) + 3) + "|"]
    for (key, row), name in zip(rows.items(), named(rows), strict=True):
        scored = [run for run in row.runs if any(look_up(run, metric) is not None for metric in metrics)]
        cells = []
        for metric in metrics:
            for values in ([old[key].values(metric) if key in old else []] if before else []) + [row.values(metric)]:
                cells.append(
                    cell(values, metric) + (f" ({len(values)} seeds)" if 1 <= len(values) != len(scored) else "")
                )
        seeds = ", ".join(str(run["seed"]) for run in scored)
        lines.append(f"| {name} | {seeds} | {' | '.join(cells)} | {status_of(row, scored)} |")
    return "\n".join(map(plain, lines)) + "\n"


def status_of(row: Row, scored: Sequence[Run]) -> str:
    """How the runs of a row ended; what was scored several times, in none of the means, or with other threads."""
    words = [", ".join(sorted({run["status"] for run in scored}))] if scored else []
    for status in sorted({run["status"] for run in row.runs if run not in scored}):
        left = [str(run["seed"]) for run in row.runs if run not in scored and run["status"] == status]
        words.append(f"{status} (seed{'s' if len(left) > 1 else ''} {', '.join(left)})")
    words += [f"newest of {count} with seed {seed}" for seed, count in row.several.items()]
    threads = sorted({number for run in scored if (number := threads_of(run)) is not None})
    if len(threads) > 1:
        words.append(f"with {' and '.join(map(str, threads))} threads, whose last digits differ")
    return ", ".join(words)


def threads_of(run: Run) -> int | None:
    """Threads that a run was made with; None for a record that does not say it."""
    machine = run.get("machine")
    number = machine.get("threads") if isinstance(machine, dict) else None
    return number if isinstance(number, int) else None


def check_metrics(metrics: Sequence[str], runs: Sequence[Run]) -> None:
    """Refuse a column that nobody would fill.

    Raises:
        InputError: naming the metrics that the runs have.
    """
    known = {key for run in runs for key in [*run["timing"], *run["memory"], *flat(run["metrics"], between="/")]}
    known |= {FIT} if any(look_up(run, FIT) is not None for run in runs) else set()
    if not known:
        return  # runs that have nothing yet: their status is the table
    for metric in metrics:
        if metric not in known:
            raise InputError(f"--metrics {metric}: no run has it; nearest: {nearest(metric, known)}")


def in_columns(runs: Sequence[Run]) -> str:
    """The same table for a terminal, in columns, with the figures of the test that matter where a run has them."""
    some = [metric for metric in MATTER if any(look_up(run, metric) is not None for run in runs)]
    lines = [line.strip("| ").split(" | ") for line in markdown(runs, some).replace("`", "").splitlines()]
    cells = [[cell.strip() for cell in line] for line in (lines[0], *lines[2:])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in cells
    )


def look_up(run: Run, metric: str) -> float | None:
    """Value of ``test/accuracy`` (or ``fit_seconds``) in a run, None where it has none."""
    if metric == FIT:
        report = run.get("fit_report")
        return float(bool(report["fits"])) if isinstance(report, dict) and "fits" in report else None
    for part in ("timing", "memory"):
        if metric in run[part]:
            return float(run[part][metric])
    node: Any = run["metrics"]
    for key in metric.split("/"):
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return float(node) if not isinstance(node, dict) else None


def cell(values: Sequence[float], metric: str = "") -> str:
    """Mean ± standard deviation with four decimals, none from 100 on; one value alone; small ones as 4.84e-08.

    Joules and bytes have their unit: 48.4 ± 0.3 nJ.
    """
    if not values:
        return ""
    if metric == FIT:
        return "fits" if all(values) else "does not fit"
    mean, largest = statistics.fmean(values), max(map(abs, values))
    spread = [] if len(values) == 1 else [statistics.stdev(values)]
    if (unit := unit_of(metric)).startswith(("J", "B")):
        return with_unit(mean, unit, *spread)
    form = ".3g" if is_small(largest) or largest >= HUGE else ".0f" if largest >= 100 else ".4f"
    return " ± ".join(f"{number:{form}}" for number in (mean, *spread))


def as_json(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """The same rows for machines: one object per run that counts."""
    check_metrics(metrics, runs)
    rows = rows_of(runs)
    told = [
        {"run": name, "seed": run["seed"], **{metric: look_up(run, metric) for metric in metrics}}
        for name, row in zip(named(rows), rows.values(), strict=True)
        for run in row.runs
    ]
    return json.dumps(told, indent=2) + "\n"
