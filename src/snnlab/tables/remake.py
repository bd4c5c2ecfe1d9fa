"""``python -m snnlab.tables NAME ...``: the papers' tables, made or shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from snnlab.atomic import write_text
from snnlab.callbacks.progress import duration
from snnlab.command import Line, config_dir_of, set_up_logging
from snnlab.errors import InputError, RunFailure, nearest, plain
from snnlab.tables import filled as fills
from snnlab.tables import sheet
from snnlab.tables.curves import check_picture
from snnlab.tables.filled import Filled
from snnlab.tables.make import Maker, folder_of, keep, stores
from snnlab.tables.papers import BUDGETS, EVERY, PaperTable, names, read

FORMS: dict[str, Callable[[Filled], str]] = {
    "markdown": sheet.page,
    "compact": sheet.compact,
    "csv": sheet.as_csv,
    "latex": sheet.as_latex,
    "json": fills.as_json,
}
OWN = ("paths.output",)
NOT_OF_PAPERS = ("statistics", "check", "before", "values", "picture", "curves", "axes")


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


def check_options(line: Line) -> None:
    """Refuse options that say nothing of a paper's table, or not together.

    Raises:
        InputError: naming the first.
    """
    given = {*line.flags, *line.values}
    if other := next((name for name in NOT_OF_PAPERS if name in given), None):
        raise InputError(
            f"--{other} is of folders of runs, and {(name := asked(line)[0])} is a paper's table; a folder is ./{name}"
        )
    if "metrics" in given and "front" not in given:
        raise InputError(
            "--metrics: the figures of a paper's table stand in its file; it is the cost of a --front FILE"
        )
    alone = sorted(line.flags & set(FORMS))
    alone = ["list", *sorted({*alone, "stored", "keep", "front"} & given)] if "list" in given else alone
    if len(alone) > 1:
        raise InputError(f"--{alone[0]} stands alone; leave out --{alone[1]}")


def remake(line: Line) -> int:
    """Make the tables that a line names, or show or list them.

    Returns:
        1 where a run failed, else 0.

    Raises:
        InputError: as ``papers.read``, ``places`` and ``budget_of``.
    """
    check_options(line)
    budget = budget_of(line)
    tables, config_dir = tables_of(line), config_dir_of(line)
    forms = sorted(line.flags & set(FORMS))
    output, results = places(line, Path())
    launcher: list[str] = []
    if "stored" not in line.flags and "list" not in line.flags:
        from snnlab.runs.sweep import of_launcher

        launcher = of_launcher(line.overrides)
        set_up_logging()
    failed: list[str] = []
    for table in tables:
        maker = Maker(table, budget, results, output, config_dir)
        if "list" in line.flags:
            print(listed(maker.fill()))
            continue
        if "stored" in line.flags:
            done = maker.refuse(maker.fill())
        else:
            done = maker.make(launcher)
            failed += maker.failed
            results = [*dict.fromkeys([*results, maker.folder])] if maker.folder.is_dir() else results
        print(FORMS[forms[0]](done) if forms else sheet.in_columns(done), flush=True)
        if "front" in line.values:
            draw(done, Path(line.values["front"]).expanduser(), line.values.get("metrics", "test/energy_joule"))
        if "stored" not in line.flags:
            print(files(done, folder_of(table, budget, output)), flush=True)
        if "keep" in line.values:
            made = keep(done, Path(line.values["keep"]).expanduser())
            print(f"kept     {len(made)} runs below {plain(line.values['keep'])}")
    if failed:
        raise RunFailure(f"{'; '.join(failed)}")
    return 0


def draw(done: Filled, path: Path, cost: str) -> None:
    """Draw the figure of a table over a cost.

    Raises:
        InputError: for a name that is of no picture, a folder that is none, and rows that leave nothing to draw.
    """
    from snnlab.tables.front import of_table

    check_picture("front", path)
    if not of_table(done, path, cost):
        raise InputError(f"--front: no row of {done.table.name} has both its figure and {cost}")
    print(f"picture  {plain(path)}")


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
    check_options(line)
    forms = sorted(line.flags & set(FORMS))
    form = FORMS[forms[0]] if forms else sheet.markdown
    makers = [Maker(table, budget_of(line), results, output, config_dir_of(line)) for table in tables_of(line)]
    return "\n".join(form(maker.refuse(maker.fill())) for maker in makers)
