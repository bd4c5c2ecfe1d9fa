"""What a benchmark is: one file of this room per workload, each with a function ``measure``.

``python -m snnlab.bench WORKLOAD [key=value ...]`` calls ``measure(bench, ...)`` of the file WORKLOAD.py; its keyword
arguments are the workload's options. A workload hands its jobs to ``bench.compare``, which times them in turns, or adds
cases that it has measured itself; what cannot be measured here is skipped by name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from snnlab.bench.workloads.rounds import Job, Quartiles, interleave, median, pairwise
from snnlab.errors import InputError, nearest

if TYPE_CHECKING:
    from snnlab import kernels

ROOM = Path(__file__).parent


@dataclass
class Case:
    """One table: what each competitor took in each round, and what it is measured against.

    Args:
        name: of the table.
        reference: the competitor that ratios divide by.
        rounds: by competitor, one number per round: seconds, or what ``unit`` says.
        notes: by competitor, a few words for the last column.
        unit: seconds, bytes or samples.
    """

    name: str
    reference: str
    rounds: dict[str, list[float]]
    notes: dict[str, str] = field(default_factory=dict)
    unit: str = "seconds"

    def median(self, name: str) -> float:
        return median(self.rounds[name])

    def ratio(self, name: str, to: str | None = None) -> Quartiles:
        """Median and quartiles of the ratios of the single rounds."""
        return pairwise(self.rounds[name], self.rounds[self.reference if to is None else to])

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "reference": self.reference,
            "medians": {name: self.median(name) for name in self.rounds},
            "ratios": {name: self.ratio(name)._asdict() for name in self.rounds},
            "notes": self.notes,
            "rounds": self.rounds,
        }


@dataclass
class Bench:
    """The settings of a run of benchmarks, and what one workload has found so far.

    Args:
        rounds: of each case; fewer where the time limit comes first.
        threads: of torch and of the kernels.
        seconds: time limit of the workload; a competitor too slow for it is left out by name.
        seed: of weights and inputs.
        peers: names of the libraries to measure against.
        device: of nets and frames, cpu or cuda; compare_nets heeds it.
        paths: of ``kernels`` that our nets take, each a competitor.
        largest: seconds for the largest batch of each net, beside its live memory; 0 measures neither.
        say: takes each line of the report while it goes.
    """

    rounds: int = 15
    threads: int = 1
    seconds: float = 120.0
    seed: int = 0
    peers: Sequence[str] = ()
    device: str = "cpu"
    paths: Sequence[kernels.Choice] = ("auto",)
    largest: float = 0.0
    say: Callable[[str], None] = print
    cases: list[Case] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def compare(
        self,
        name: str,
        jobs: Mapping[str, Job],
        reference: str,
        notes: Mapping[str, str] | None = None,
        share: float = 1.0,
        keep: Collection[str] = ("snnlab",),
    ) -> Case:
        """Time ``jobs`` in turns and add the case; ``share`` is its part of the workload's seconds."""
        keep = {reference, *keep}
        rounds = interleave(jobs, self.rounds, self.seconds * share, keep, lambda line: self.skip(f"{name}: {line}"))
        return self.add(Case(name, reference, rounds, {k: v for k, v in (notes or {}).items() if k in rounds}))

    def add(self, case: Case) -> Case:
        """Keep a case and tell it."""
        self.cases.append(case)
        for line in table(case):
            self.say(line)
        return case

    def skip(self, line: str) -> None:
        """Tell, and record, what was left out and why."""
        self.skipped.append(line)
        self.say(f"  {line}")

    def find_peers(self) -> dict[str, ModuleType]:
        """The peers that are installed; the others are skipped by name."""
        from snnlab.bench.workloads.peers.peer import load

        found = {}
        for name in self.peers:
            try:
                found[name] = load(name)
            except ImportError as error:
                self.skip(f"{name}: skipped, it cannot be imported ({error}); make bench installs it")
        return found


class Report(NamedTuple):
    """What a workload returns beside its cases: ``values`` for the JSON file and matplotlib ``figures`` by name."""

    values: dict[str, Any] = {}  # noqa: RUF012
    figures: dict[str, Any] = {}  # noqa: RUF012


class Outline(NamedTuple):
    """What can be told of a workload without importing it: its first line and its options with their defaults."""

    summary: str
    options: dict[str, str]


def outlines() -> dict[str, Outline]:
    """The workloads by name: the files of this room that hold a ``measure``."""
    found = {}
    for path in sorted(ROOM.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "measure":
                names = [argument.arg for argument in node.args.args[1:]]
                defaults = [ast.unparse(default) for default in node.args.defaults]
                summary = (ast.get_docstring(tree) or "").split("\n")[0]
                found[path.stem] = Outline(summary, dict(zip(names, defaults, strict=True)))
    return found


def find(name: str) -> Callable[..., Report]:
    """Return ``measure`` of the workload ``name``.

    Raises:
        InputError: when there is no such workload.
    """
    known = outlines()
    if name not in known:
        raise InputError(f"{name!r} is no workload; nearest: {nearest(name, known)}")
    return importlib.import_module(f"snnlab.bench.workloads.{name}").measure  # type: ignore[no-any-return]


def options(measure: Callable[..., Report]) -> dict[str, inspect.Parameter]:
    """The keyword arguments of a workload, by name; the first parameter is the bench."""
    return dict(list(inspect.signature(measure).parameters.items())[1:])


def table(case: Case) -> list[str]:
    """The lines of a case: one a competitor, its median, its ratio to the reference with quartiles, its note."""
    width = max(12, *map(len, case.rounds))
    most = max(len(rounds) for rounds in case.rounds.values())
    rounds = f", {most} rounds" if most > 1 else ""
    lines = ["", f"{case.name}{rounds}", f"  {'':{width}}  {'median':>10}  {'/ ' + case.reference:>10}  quartiles"]
    for name in case.rounds:
        ratio = case.ratio(name)
        spread = f"{ratio.lower:.2f} to {ratio.upper:.2f}" if name != case.reference else ""
        line = f"  {name:{width}}  {spell(case.median(name), case.unit):>10}  {ratio.median:>10.3g}  {spread:16}"
        lines.append(f"{line}  {case.notes.get(name, '')}".rstrip())
    return lines


def spell(value: float, unit: str) -> str:
    """A number of seconds, bytes or samples for people."""
    if unit == "samples":
        return f"{value:,.0f}"
    if unit == "bytes":
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:.2f} s" if value >= 10 else f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
