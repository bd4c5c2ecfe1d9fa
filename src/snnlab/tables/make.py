"""Make a paper's table: run what is missing, ask what its rows ask, keep its records."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnlab.atomic import write_text
from snnlab.checkpoint import read_record
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, RunFailure, one_line
from snnlab.runs.plan import Sweep, plan_jobs
from snnlab.runs.record import seal
from snnlab.runs.sweep import run_all
from snnlab.tables.filled import Filled, FilledRow, Known, fill, known, overrides_of, row_of
from snnlab.tables.papers import PaperTable, question_of, references, resolved
from snnlab.tables.rows import Run, read_all

PLACES = {"data": "data", "cache": "cache", "output": "outputs"}  # the paths of a config, and a word for each
ABSOLUTE = re.compile(r"(?<![\w./:~])(?:/[\w.+@~-]+){2,}/?")
QUIET = ("callbacks.figures=false", "callbacks.progress=false")  # of many runs: neither decides a number


def folder_of(table: PaperTable, budget: str, output: Path) -> Path:
    """Where a table's runs and files are written."""
    return output / f"table-{table.name}-{budget}"


def stores(results: Sequence[Path] | None, base: Path, output: Path) -> list[Path]:
    """The folders in which runs of tables are looked for.

    Args:
        results: as the user named them; None: ``results`` below ``base``, else that of the checkout.
        base: where the user stands, or the page that a table is for.
        output: of runs; the folders of tables in it are looked through.

    Raises:
        InputError: for a folder that is not there.
    """
    if results is None:
        beside = [base / "results", conf_dir().parent / "results"]
        results = [next(folder for folder in beside if folder.is_dir())] if any(map(Path.is_dir, beside)) else []
    for folder in results:
        if not folder.is_dir():
            raise InputError(f"--results {folder}: there is no such folder")
    return [*results, *sorted(output.glob("table-*/"))]


def stored(folders: Sequence[Path]) -> Known:
    """The completed runs below some folders, by row; read again only where a record has changed."""
    paths = sorted({path for folder in folders for path in folder.rglob("run.json")})
    return _stored(tuple((path, path.stat().st_mtime_ns) for path in paths))


@functools.lru_cache(2)
def _stored(records: tuple[tuple[Path, int], ...]) -> Known:
    try:
        return known(read_all([path for path, _ in records])) if records else {}
    except InputError as error:  # none of them can be read
        print(f"left out: {error}", file=sys.stderr)
        return {}


class Maker:
    """Fills a table and makes what is missing of it."""

    def __init__(
        self, table: PaperTable, budget: str, results: Sequence[Path], output: Path, config_dir: Path | None = None
    ) -> None:
        self.table, self.budget, self.config_dir = table, budget, config_dir
        self.results, self.output = results, output
        self.folder = folder_of(table, budget, output)
        self.runs: Known = {}
        self.tried = set[str]()  # jobs and questions, each once
        self.why: dict[tuple[str, str], str] = {}  # of rows that cannot be run, by group and name
        self.failed: list[str] = []

    def fill(self) -> Filled:
        """The table with the runs there are now."""
        self.runs = stored([*self.results, *([self.folder] if self.folder.is_dir() else [])])
        filled = fill(self.table, self.budget, self.runs, self.config_dir)
        for each in filled.rows:
            if not each.runs and not each.why:
                each.why = self.why.get(each.place, "")
        return filled

    def refuse(self, filled: Filled) -> Filled:
        """Say of rows without a run whether they could be run at all."""
        for each in filled.rows:
            if not each.runs and not each.why and (line := overrides_of(each, each.seeds[0], {})) is not None:
                try:
                    plan_jobs([line], self.config_dir)
                except InputError as error:
                    each.why = one_line(error)
        return filled

    def make(self, launcher: list[str]) -> Filled:
        """Run and ask until nothing is left that has not been tried.

        Args:
            launcher: words of the command line for Hydra's launcher.

        Raises:
            KeyboardInterrupt: where it was stopped; the same command goes on.
        """
        while True:
            filled = self.fill()
            if self.ask(filled):
                continue
            jobs = self.jobs(filled)
            if not jobs:
                return filled
            self.tried |= set(jobs)
            try:
                run_all(Sweep(self.folder.name, self.folder, jobs, False), self.config_dir, launcher, lambda _: None)
            except RunFailure as error:
                self.failed.append(str(error))

    def jobs(self, filled: Filled) -> dict[str, list[str]]:
        """The jobs of seeds that are missing, and of runs that others begin from or are compared with.

        A row that is refused keeps the reason.
        """
        folders = self.folders(filled)
        needed = {
            (key, seed)
            for each in filled.rows
            if not each.why
            for key in references([*each.overrides, *each.plan.ask])
            for seed in each.missing
        }
        found: dict[str, list[str]] = {}
        for each in filled.rows:
            if each.why:
                continue
            lacking = {seed for key, seed in needed if key == each.plan.key and (key, seed) not in folders}
            seeds = sorted({*each.missing, *lacking})
            lines = [line for seed in seeds if (line := overrides_of(each, seed, folders)) is not None]
            own = [f"paths.output={self.output}", *QUIET, "resume=auto"]
            lines = [[*line, *(word for word in own if not _has(line, word))] for line in lines]
            if not lines:
                continue
            try:
                jobs = plan_jobs(lines, self.config_dir, self.folder.name).jobs
                if each.plan.ask and (changes := question_of(each.plan).changes):  # refused before it is trained
                    plan_jobs([[*lines[0], *changes]], self.config_dir)
            except InputError as error:
                self.why[each.place] = each.why = re.sub(r"^job [^:]*: ", "", one_line(error))
                continue
            found |= {name: job for name, job in jobs.items() if name not in self.tried}
        return found

    def folders(self, filled: Filled) -> dict[tuple[str, int], str]:
        """Runs that others may begin from, by key and seed: those whose checkpoints are there."""
        found: dict[tuple[str, int], str] = {}
        for each in filled.rows:
            for seed in each.seeds if each.plan.key and not each.why else ():
                if (run := self.with_weights(each, seed, found)) is not None:
                    found[each.plan.key, seed] = run["folder"]
        return found

    def with_weights(self, each: FilledRow, seed: int, folders: Mapping[tuple[str, int], str]) -> Run | None:
        """A run of a row that has its checkpoints."""
        if (words := overrides_of(each, seed, folders)) is None:
            return None
        runs = self.runs.get(row_of(tuple(words), self.config_dir), ())
        return next((run for run in runs if run["seed"] == seed and _has_weights(run)), None)

    def ask(self, filled: Filled) -> bool:
        """Ask runs that are there what their rows ask; whether anything was asked."""
        from snnlab.evaluate.__main__ import score

        asked, folders = False, self.folders(filled)
        for each, seed in self.unanswered(filled):
            run = self.with_weights(each, seed, folders)
            keys = references(each.plan.ask)
            if run is None or any((key, seed) not in folders for key in keys):
                continue
            words = [run["folder"], *resolved(each.plan.ask, {key: folders[key, seed] for key in keys})]
            if " ".join(words) in self.tried:
                continue
            self.tried.add(" ".join(words))
            print(f"{self.folder.name}: {each.plan.name}, seed {seed}: {' '.join(each.plan.ask)}", flush=True)
            try:
                score(words)
                asked = True
            except (InputError, RunFailure) as error:
                self.why[each.place] = one_line(error)
        return asked

    def unanswered(self, filled: Filled) -> Iterator[tuple[FilledRow, int]]:
        """Rows that ask something, with each seed that has not answered."""
        for each in filled.rows:
            if each.plan.ask and not each.why:
                yield from ((each, seed) for seed in each.missing)


def _has(line: Sequence[str], word: str) -> bool:
    """Whether a line gives a value to the key of a word."""
    key = word.partition("=")[0]
    return any(other.partition("=")[0].lstrip("+") == key for other in line)


def _has_weights(run: Run) -> bool:
    return any(Path(run["folder"]).glob("checkpoints/*.ckpt"))


def keep(filled: Filled, into: Path) -> list[Path]:
    """Copy the records of a table's runs that do not lie below a folder yet, and what they have answered.

    What tells of the machine, its folders and the process, is taken out.

    Returns:
        the folders that were made, ``into/table/run``.
    """
    made = []
    for each in filled.rows:
        for run in each.runs:
            folder = Path(run["folder"])
            if folder.resolve().is_relative_to(into.resolve()):
                continue
            target, record = into / filled.table.name / folder.name, read_record(folder / "run.json")
            records = {target / "run.json": without_machine(record, folder)}
            for path in sorted(folder.glob("evaluations/*/evaluation.json")):
                answer = without_paths(read_record(path), _places(record, folder))
                records[target / "evaluations" / path.parent.name / path.name] = answer
            for path, content in records.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, json.dumps(content, indent=2) + "\n")
            made.append(target)
    return made


def without_machine(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A record without the folders of the machine that made it: ``data``, ``cache``, ``outputs`` stand for them."""
    cleaned: dict[str, Any] = without_paths(content, _places(content, folder))
    cleaned.pop("process", None)
    return cleaned | ({"seal": seal(cleaned)} if "seal" in cleaned else {})


def without_paths(node: Any, places: Mapping[str, str]) -> Any:
    """A tree with a word in place of every folder that is named, and of other paths their last name alone."""
    if isinstance(node, dict):
        return {key: without_paths(value, places) for key, value in node.items()}
    if isinstance(node, list):
        return [without_paths(value, places) for value in node]
    if not isinstance(node, str):
        return node
    for place, word in places.items():
        node = re.sub(rf"(?<![\w.-]){re.escape(place)}(?![\w.-])", word, node)
    key, equals, value = node.partition("=") if re.match(r"[+~]*[\w./@]+=", node) else ("", "", node)
    if os.path.isabs(bare := value.strip("'\"")):  # the whole of it, which may hold spaces
        return f"{key}{equals}{Path(bare).name}"
    return ABSOLUTE.sub(lambda match: Path(match[0]).name, node)


def _places(content: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Folders of the machine that a record may name, and what is said in their place; the longest first."""
    paths = content.get("config", {}).get("paths", {})
    found = {str(paths[name]): word for name, word in PLACES.items() if name in paths}
    found |= {os.path.abspath(place): word for place, word in found.items()} | {str(folder.parent): PLACES["output"]}
    known = [place for place in found if os.path.isabs(place) and len(Path(place).parts) > 1]
    return {place: found[place] for place in sorted(known, key=len, reverse=True)}
