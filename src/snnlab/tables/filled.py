"""A paper's table filled with runs: of each row those that are it, our figures, the paper's, and how far apart.

A run is a row's when it *is* that row (runs/identity.py): whoever made it, wherever it lies.
"""

from __future__ import annotations

import functools
import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnlab.checkpoint import inside, read_record
from snnlab.config.compose import compose
from snnlab.errors import InputError, one_line
from snnlab.runs.identity import digest, less_seed, recorded, row
from snnlab.runs.record import flags_of, label_of
from snnlab.tables.papers import BEST, PaperTable, PaperValue, RowPlan, is_accuracy, is_alike, references, resolved
from snnlab.tables.rows import Run, look_up
from snnlab.tables.statistics import Spread, spread_of

WITHIN, OUTSIDE, KEPT, MISSED = "within", "outside", "own bound kept", "own bound missed"
Known = Mapping[str, Sequence[Run]]  # runs by the row that they are of


@dataclass
class FilledRow:
    """A row with its runs, one a seed; ``why`` says why there are none."""

    plan: RowPlan
    metric: str
    overrides: list[str]
    seeds: list[int]
    runs: list[Run] = field(default_factory=list)
    why: str = ""
    versus: Spread | None = None  # the difference to the row that the table compares with, seed by seed

    @property
    def place(self) -> tuple[str, str]:
        """What tells the row from all others of its table."""
        return self.plan.group, self.plan.name

    @property
    def title(self) -> str:
        """The row as people read it."""
        return ": ".join(filter(None, self.place))

    @property
    def missing(self) -> list[int]:
        """Seeds that have no run, or none that was asked what the row asks."""
        there = {run["seed"] for run in self.runs}
        return [seed for seed in self.seeds if seed not in there]

    def by_seed(self, figure: str) -> dict[int, float]:
        """A figure of each run that has it."""
        found = {run["seed"]: figure_of(run, figure) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def values(self, figure: str) -> list[float]:
        """A figure of each run that has it, in the order of the seeds."""
        return list(self.by_seed(figure).values())

    def figures(self) -> list[str]:
        """The figure that counts, and every other that something is known of: of a row without runs, by the paper."""
        more = [*self.plan.bound, *self.plan.also] if self.runs else []
        return list(dict.fromkeys([self.metric, *self.plan.paper, *more]))

    def marks(self) -> list[str]:
        """What a reader has to know of the data and the method before the figure."""
        words = [flag for run in self.runs for flag in flags_of(run["provenance"])]
        words += [word for run in self.runs for word in re.findall(r"\(([^)]+)\)", label_of(run))]
        return list(dict.fromkeys(words))

    def difference(self, figure: str) -> float | None:
        """Ours less theirs; None where one of them is not known."""
        values, paper = self.values(figure), self.plan.paper.get(figure)
        return statistics.fmean(values) - paper.value if values and paper else None


@dataclass
class Filled:
    """A table at one budget."""

    table: PaperTable
    budget: str
    rows: list[FilledRow]

    def tolerance(self, paper: PaperValue) -> float:
        """How far ours may lie from a figure of the paper."""
        return self.table.tolerance if paper.tolerance is None else paper.tolerance

    def verdict(self, each: FilledRow, figure: str) -> str:
        """within, outside (better or not), own bound kept or missed, none, not run and why; "" if nothing is known."""
        values = each.values(figure)
        if not values:
            if each.runs:
                return f"none: its runs have no {figure}"
            return f"not run: {each.why}" if each.why else "not run"
        if (difference := each.difference(figure)) is not None:
            if abs(difference) <= self.tolerance(each.plan.paper[figure]) + 1e-12:
                return WITHIN
            better = (difference > 0) == is_higher_better(figure)
            return f"{OUTSIDE} (better)" if better else OUTSIDE
        if figure in each.plan.bound:
            sign, _, bound = each.plan.bound[figure].partition(" ")
            mean = statistics.fmean(values)
            kept = mean >= float(bound) if sign == ">=" else mean <= float(bound)
            return f"{KEPT if kept else MISSED} ({sign} {bound})"
        return ""

    def counts(self) -> dict[str, int]:
        """How many verdicts of each kind."""
        found = dict.fromkeys((WITHIN, OUTSIDE, KEPT, MISSED, "not run"), 0)
        for each in self.rows:
            for figure in each.figures():
                verdict = self.verdict(each, figure)
                if kind := next((kind for kind in found if verdict.startswith(kind)), None):
                    found[kind] += 1
        return found


def is_higher_better(figure: str) -> bool:
    """Whether a figure is better the higher; of all others less is better."""
    return is_accuracy(figure) or figure.endswith(("speed_up", "steps_saved", "spike_ratio"))


def known(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs that are completed, by the row that they are of."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run["status"] == "completed":
            found.setdefault(digest(less_seed(recorded(run))), []).append(run)
    return found


def fill(table: PaperTable, budget: str, runs: Known, config_dir: Path | None = None) -> Filled:
    """Give every row of a table its runs.

    Args:
        table: as ``papers.read`` gives it.
        budget: whose overrides and seeds count.
        runs: as ``known`` sorts them.
        config_dir: one more folder of configs.
    """
    filled = Filled(table, budget, [])
    folders: dict[tuple[str, int], str] = {}
    alike: dict[str, list[Run]] = {}
    for plan in table.rows:
        each = FilledRow(plan, table.metric_of(plan), [], table.seeds(plan, budget))
        filled.rows.append(each)
        if why := table.why_not(plan, budget):
            each.why = why
            continue
        each.overrides = table.overrides(plan, budget)
        try:
            found = _find(each, runs, folders, alike, config_dir)
        except InputError as error:
            each.why = one_line(error)
            continue
        if plan.key:
            alike[plan.key] = found
            folders |= {(plan.key, run["seed"]): run["folder"] for run in each.runs}
    _compare(filled)
    return filled


def _find(
    each: FilledRow,
    runs: Known,
    folders: dict[tuple[str, int], str],
    alike: Mapping[str, Sequence[Run]],
    config_dir: Path | None,
) -> list[Run]:
    """Give a row its runs: of each seed the newest that has answered what the row asks; return all that are the row."""
    lines = {seed: line for seed in each.seeds if (line := overrides_of(each, seed, folders)) is not None}
    first = next(iter(lines.values()), [])
    if not lines or not _may_be_among(first, runs):
        return []
    key = row_of(tuple(first), config_dir)  # the same for every seed
    of_row = [run for run in runs.get(key, ()) if _is_of(run, each.plan.hash)]
    for seed in lines:
        found = [run for run in of_row if run["seed"] == seed]
        others = {
            name: {Path(run["folder"]).name for run in there if run["seed"] == seed} for name, there in alike.items()
        }
        for run in sorted(found, key=lambda run: str(run["started"]), reverse=True):
            if each.plan.ask and (answer := answer_of(run, each.plan.ask, others)) is None:
                continue
            each.runs.append(run | {"answer": {each.plan.ask[0]: answer}} if each.plan.ask else run)
            break
        else:
            if hashes := {str(run["provenance"].get("hash"))[:8] for run in runs.get(key, ())} - {each.plan.hash}:
                wanted = f"the row is of data {each.plan.hash}, the runs there are of {', '.join(sorted(hashes))}"
                each.why = wanted if each.plan.hash and not found else each.why
    return of_row


@functools.cache
def row_of(words: tuple[str, ...], config_dir: Path | None) -> str:
    """The row of what a line composes, which takes a while and is asked again whenever a table is filled."""
    return row(compose(words, config_dir).plain())


def _may_be_among(words: Sequence[str], runs: Known) -> bool:
    """Whether any run is of the method and the data that a line names; composing it takes a while."""
    named = dict(word.split("=", 1) for word in words if word.startswith(("method=", "data=")))
    return any(all(run[group] == name for group, name in named.items()) for found in runs.values() for run in found[:1])


def overrides_of(each: FilledRow, seed: int, folders: Mapping[tuple[str, int], str]) -> list[str] | None:
    """The line of one run; None as long as a run that it begins from is not there."""
    keys = references(each.overrides)
    if any((key, seed) not in folders for key in keys):
        return None
    return [*resolved(each.overrides, {key: folders[key, seed] for key in keys}), f"seed={seed}"]


def _is_of(run: Run, beginning: str) -> bool:
    return str(run["provenance"].get("hash", "")).startswith(beginning)


def answer_of(run: Run, ask: Sequence[str], others: Mapping[str, set[str]]) -> dict[str, Any] | None:
    """The values of the newest evaluation.json of a run that answers a question, with these options; else None.

    Args:
        run: as ``read_all`` gives it.
        ask: the question and its options.
        others: the names of the folders of runs, which lie elsewhere on each machine, that each @KEY may stand for.
    """
    keys = dict(word.split("=@", 1) for word in ask if "=@" in word)
    wanted = sorted(word for word in ask if "=@" not in word)
    folder = Path(run["folder"])
    for path in sorted(folder.glob("evaluations/*/evaluation.json"), reverse=True):
        try:
            content = read_record(inside(folder, str(path.relative_to(folder))))
            asked, values = content["overrides"], content["values"]
        except (InputError, LookupError, TypeError):
            continue
        named = dict(word.split("=", 1) for word in asked if word.partition("=")[0] in keys)
        right = all(Path(named.get(word, "")).name in others.get(key, ()) for word, key in keys.items())
        rest = sorted({*asked} - {f"{word}={name}" for word, name in named.items()})
        if right and rest == wanted and isinstance(values, dict):
            return values
    return None


def figure_of(run: Run, figure: str) -> float | None:
    """A metric of a run, or a number of what it has answered, as ``early_exit/steps_saved``."""
    asked, _, key = figure.partition("/")
    if asked in run.get("answer", {}):
        value: Any = run["answer"][asked]
        for part in key.split("/"):  # of a list by its place
            if isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
                value = value[int(part)]
            else:
                value = value.get(part) if isinstance(value, dict) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return look_up(run, figure)


def _compare(filled: Filled) -> None:
    """Give every row its difference to the one that it is compared with."""
    for each in filled.rows:
        name = each.plan.versus or filled.table.versus
        if not name or not each.values(each.metric):
            continue
        if name == BEST:
            beside = [row for row in filled.rows if row.plan.group == each.plan.group and row.values(row.metric)]
            beside = [row for row in beside if is_alike(row.metric, each.metric)]
            sign = 1 if is_higher_better(each.metric) else -1
            other = max(beside, key=lambda one: sign * statistics.fmean(one.values(one.metric)))
        else:
            other = next(one for one in filled.rows if one.plan.key == name)
        if other is each or not is_alike(other.metric, each.metric):
            continue
        ours, theirs = each.by_seed(each.metric), other.by_seed(other.metric)
        pairs = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        each.versus = spread_of(pairs) if pairs else None


def as_json(filled: Filled) -> str:
    """A table for machines: one object a row."""
    told = [
        {
            "table": filled.table.name,
            "budget": filled.budget,
            "group": each.plan.group,
            "row": each.plan.name,
            "overrides": each.overrides,
            "marks": each.marks(),
            "figures": {
                figure: {
                    "ours": each.by_seed(figure),
                    "paper": paper.model_dump() if (paper := each.plan.paper.get(figure)) else None,
                    "difference": each.difference(figure),
                    "verdict": filled.verdict(each, figure),
                }
                for figure in each.figures()
            },
        }
        for each in filled.rows
    ]
    return json.dumps(told, indent=2) + "\n"
