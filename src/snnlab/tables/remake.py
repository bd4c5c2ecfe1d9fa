"""``python -m snnlab.tables NAME ...``: the papers' tables, made or shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from snnlab.atomic import write_text
from snnlab.callbacks.progress import duration
from snnlab.command import Line, config_dir_of, set_up_logging
from snnlab.errors import InputError, RunFailure, nearest, plain
from snnlab.tables import filled as fills
from snnlab.tables import sheet
from snnlab.tables.filled import Filled
from snnlab.tables.make import Maker, folder_of, keep, stores
from snnlab.tables.papers import BUDGETS, EVERY, PaperTable, names, read

FORMS: dict[str, Callable[[Filled], str]] = {
    "markdown": sheet.page,
    "csv": sheet.as_csv,
    "latex": sheet.as_latex,
    "json": fills.as_json,
}
OWN = ("paths.output",)


def asked(line: Line) -> list[str]:
    """The tables that a line names; none where it names folders of runs."""
    known = names(config_dir_of(line))
    if not line.words:
        return known if "list" in line.flags else []
    if EVERY in line.words:
        return known
    found = [word for word in line.words if word in known]
    if found and len(found) < len(line.words):
        other = next(word for word in line.words if word not in known)
        raise InputError(f"table {other}: there is no such table; nearest: {nearest(other, known)}")
    return found


def tables_of(line: Line) -> list[PaperTable]:
    """The tables that a line names, read.

    Raises:
        InputError: as ``papers.read``.
    """
    return [read(name, config_dir_of(line)) for name in asked(line)]


def budget_of(line: Line) -> str:
    """The budget that a line asks for.

    Raises:
        InputError: when there is none of this name.
    """
    budget = line.values.get("budget", BUDGETS[0])
    if budget not in BUDGETS:
        raise InputError(f"--budget {budget}: there is no such budget; there are {' and '.join(BUDGETS)}")
    return budget


def places(line: Line, base: Path) -> tuple[Path, list[Path]]:
    """Where runs are written, and where they are looked for.

    Raises:
        InputError: for an override that is no setting of a table.
    """
    from snnlab.config.compose import compose

    own = [word for word in line.overrides if word.partition("=")[0].lstrip("+") in OWN]
    if other := [word for word in line.overrides if word not in own and not word.lstrip("+").startswith("hydra")]:
        raise InputError(f"{other[0]}: what a table's rows are run with stands in its file; of one's own: paths.output")
    output = Path(compose(own).config.paths.output).expanduser().resolve()
    given = line.values.get("results")
    results = None if given is None else [Path(folder).expanduser() for folder in given.split(",")]
    return output, stores(results, base, output)


def remake(line: Line) -> int:
    """Make the tables that a line names, or show or list them.

    Returns:
        1 where a run failed, else 0.

    Raises:
        InputError: as ``papers.read``, ``places`` and ``budget_of``.
    """
    budget = budget_of(line)
    tables, config_dir = tables_of(line), config_dir_of(line)
    forms = sorted(line.flags & set(FORMS))
    if len(forms) > 1:
        raise InputError(f"--{forms[0]} stands alone; leave out --{forms[1]}")
    output, results = places(line, Path())
    launcher: list[str] = []
    if "stored" not in line.flags and "list" not in line.flags:
        from snnlab.runs.sweep import of_launcher

        launcher = of_launcher(line.overrides)
        set_up_logging()
    failed: list[str] = []
    runs = None
    for table in tables:
        maker = Maker(table, budget, results, output, config_dir)
        if "list" in line.flags:
            print(listed(maker.fill(runs)))
            runs = maker.runs
            continue
        if "stored" in line.flags:
            done = maker.fill(runs)
            runs = maker.runs
        else:
            done = maker.make(launcher)
            failed += maker.failed
            results = [*dict.fromkeys([*results, maker.folder])] if maker.folder.is_dir() else results
        print(FORMS[forms[0]](done) if forms else sheet.in_columns(done), flush=True)
        if "stored" not in line.flags:
            print(files(done, folder_of(table, budget, output)), flush=True)
        if "keep" in line.values:
            made = keep(done, Path(line.values["keep"]).expanduser())
            print(f"kept     {len(made)} runs below {plain(line.values['keep'])}")
    if failed:
        raise RunFailure(f"{'; '.join(failed)}")
    return 0


def files(done: Filled, folder: Path) -> str:
    """Write a table's page, its numbers and its picture into its folder; say where."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", sheet.page(done))
    write_text(folder / "table.csv", sheet.as_csv(done))
    write_text(folder / "table.tex", sheet.as_latex(done))
    drawn = ["png"] if sheet.picture(done, folder / "table.png") else []
    return f"files    {plain(folder)}/table.{{{','.join(['md', 'csv', 'tex', *drawn])}}}"


def listed(done: Filled) -> str:
    """One line for a table: how many of its runs there are, and what they took."""
    rows = [row for row in done.rows if not row.why]
    there, all_of = sum(len(row.runs) for row in rows), sum(len(row.seeds) for row in rows)
    seconds = [run["timing"].get("fit_seconds", 0.0) for row in rows for run in row.runs]
    mean = statistics.fmean(seconds) if seconds else 0.0
    words = [f"{len(done.rows)} rows", f"{there} of {all_of} runs stored"]
    words += [f"which took {duration(sum(seconds))}"] if seconds else []
    words += [f"about {duration(mean * (all_of - there))} left"] if seconds and there < all_of else []
    counts = [f"{number} {kind}" for kind, number in done.counts().items() if number]
    return f"{done.table.name:24} {', '.join([*words, *counts])}\n{'':24} {plain(done.table.title)}"


def shown(line: Line, base: Path) -> str:
    """Tables from stored runs alone, for a page whose folder is ``base``."""
    output, results = base / "outputs", stores(None, base, base / "nowhere")
    forms = sorted(line.flags & set(FORMS))
    form = FORMS[forms[0]] if forms else sheet.markdown
    done: Sequence[Filled] = [
        Maker(table, budget_of(line), results, output, config_dir_of(line)).fill() for table in tables_of(line)
    ]
    return "\n".join(form(each) for each in done)
