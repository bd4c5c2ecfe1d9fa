"""``python -m snnlab.tables FOLDER ...``: a table over stored runs, seeds aggregated."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snnlab.command import CONFIG_DIR, config_dir_of, parse, run
from snnlab.errors import InputError

HELP = """usage: python -m snnlab.tables FOLDER ... [--metrics A,B] [--before FOLDER] [--json]
       python -m snnlab.tables FOLDER ... --statistics | --csv | --latex [--metrics A,B]
       python -m snnlab.tables FOLDER ... --picture FILE | --curves FILE | --axes FILE | --front FILE
       python -m snnlab.tables --values FILE KEY[:OTHER] ...
       python -m snnlab.tables --page FILE [--check]
       python -m snnlab.tables NAME ... | all [--budget small|full] [--stored | --list] [--results FOLDER,...]

Papers' tables, by name (conf/table/): what is missing of one is run, in a sweep that goes on when its command is
repeated; then ours stand beside the paper's, with how far they are apart, verdict, cost and what the data is.
  --list            the tables there are, how many of their runs are stored, and about how long the rest takes
  --budget NAME     small (two cores; the default) or full
  --stored          run nothing: show what there is
  --results FOLDER  where runs lie, beside those of tables below paths.output; default: results
  --markdown --csv --latex --json    in place of columns; all but the last are files of the table's folder, too
  --keep FOLDER     copy the records below FOLDER/NAME, without what tells of this machine
  --config-dir DIR  one more folder of configs, with a folder table/
  paths.output=DIR hydra/launcher=joblib|...    as for a sweep

A table over the run.json files below each FOLDER: runs that differ in their seed alone are one row. A row is named by
the shortest overrides that tell it from the others of its table; of several runs with one seed the newest counts.
  --metrics A,B     the columns, e.g. test/accuracy,test/loss,fit_seconds; default test/accuracy
  --before FOLDER   a column more for each metric: the same rows as they were in FOLDER
  --json            one object per run instead of a markdown table
  --statistics      of each metric mean, standard deviation, 95 % interval, rank and paired differences to the best row
  --csv             the same with all digits, a line for each row and metric
  --latex           mean ± standard deviation, the best in bold (package booktabs)
  --curves FILE     learning curves of all rows: the validation figure, or a --metrics val/loss, over the epochs
  --axes FILE       the first of the metrics over each axis in which the rows differ
  --picture FILE    accuracy against the bits of a weight and the energy of an inference (png, svg or pdf)
  --front FILE      the first of the metrics against the second, a cost, with the rows that no other beats in both
  --values FILE     two columns of an evaluation.json instead: each KEY, and the OTHER beside it
  --page FILE       make every table of a page again that stands below a line <!-- table: ARGUMENTS -->; folders are
                    looked up from the page's own
  --check           write nothing; 1 when a table of the page is not what its runs make
  --debug           show tracebacks
"""
FLAGS = ("-h --help", "--list", "--stored", "--markdown", "--json", "--csv", "--latex", "--statistics", "--check")
PICTURES = ("picture", "curves", "axes", "front")
OF_PAPERS = ("--budget", "--results", "--keep", CONFIG_DIR)
VALUED = (*OF_PAPERS, "--metrics", "--before", "--values", "--page", *(f"--{name}" for name in PICTURES))
ENDINGS = (".png", ".svg", ".pdf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.tables`` and return its exit code."""
    return run("snnlab.tables", tables, arguments)


def tables(arguments: list[str]) -> int:
    """Print the table that the command line asks for, or make those of a page again.

    Raises:
        InputError: for a folder without runs, or a line that cannot be read.
        RunFailure: for --check, when a table differs.
    """
    line = parse(arguments, FLAGS, VALUED)
    if "help" in line.flags or not arguments:
        print(HELP, end="")
        return 0 if "help" in line.flags else 2
    if "check" in line.flags and "page" not in line.values:
        raise InputError("--check needs a --page FILE to check")
    from snnlab.tables.remake import asked, remake

    if "page" not in line.values and asked(line):
        return remake(line)
    if "page" not in line.values:
        print(table(arguments, Path()), end="")
        return 0
    from snnlab.tables.page import check, rewrite

    page = Path(line.values["page"]).expanduser()
    if "check" in line.flags:
        check(page, table)
    else:
        for different in rewrite(page, table):
            print(f"made again: {different}")
    return 0


def table(arguments: list[str], base: Path) -> str:
    """The text of one table; folders are looked up from ``base``.

    Raises:
        InputError: for a folder without runs, or arguments that cannot be read.
    """
    line = parse(arguments, FLAGS, VALUED)
    from snnlab.tables.papers import names
    from snnlab.tables.remake import asked, shown

    if "values" not in line.values and asked(line):
        return shown(line, base)
    if needless := sorted(
        {"list", "stored", "markdown"} & line.flags | {"budget", "results", "keep"} & set(line.values)
    ):
        raise InputError(f"--{needless[0]} is of a paper's table; name one: {', '.join(names(config_dir_of(line)))}")
    words = [*line.words, *line.overrides]  # a folder's name may hold an equals sign
    if "values" in line.values:
        from snnlab.tables.values import pairs

        return pairs(base / Path(line.values["values"]).expanduser(), words)
    from snnlab.tables.rows import as_json, markdown, read_runs

    metrics = [metric.strip() for metric in line.values.get("metrics", "test/accuracy").split(",") if metric.strip()]
    if not metrics or not words:
        raise InputError("give folders of runs, and --metrics such as test/accuracy,test/loss")
    runs = read_runs(base / Path(folder).expanduser() for folder in words)
    if drawn := [name for name in PICTURES if name in line.values]:
        given = metrics if "metrics" in line.values else []
        return "".join(draw(name, base / Path(line.values[name]).expanduser(), runs, given) for name in drawn)
    if forms := sorted(line.flags & {"json", "csv", "latex", "statistics"}):
        if len(forms) > 1 or "before" in line.values:
            raise InputError(f"--{forms[0]} stands alone; leave out --{(forms[1:] or ['before'])[0]}")
        from snnlab.tables import statistics

        known = {"csv": statistics.as_csv, "latex": statistics.as_latex, "statistics": statistics.markdown}
        return (known | {"json": as_json})[forms[0]](runs, metrics)
    before = read_runs([base / Path(line.values["before"]).expanduser()]) if "before" in line.values else []
    return markdown(runs, metrics, before)


def draw(kind: str, path: Path, runs: list[Any], metrics: Sequence[str]) -> str:
    """Draw one of the pictures of some runs, of the metrics that are asked for, and say where it is.

    Raises:
        InputError: for a name that is of no picture, a folder that is none, and runs that leave nothing to draw.
    """
    from snnlab.tables import curves, front, picture
    from snnlab.tables.report import VALIDATION

    if path.suffix not in ENDINGS:
        raise InputError(f"--{kind} {path}: the name ends in {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise InputError(f"--{kind} {path}: there is no folder {path.parent}; make it, or choose another")
    metric = metrics[0] if metrics else None
    validated = [metric] if metric and not metric.startswith("test/") else VALIDATION
    if kind == "picture":
        picture.draw(runs, path)
    elif kind == "curves" and not any(curves.curves(runs, path, of) for of in validated):
        raise InputError(f"--curves: no run has a metrics.csv with {' or '.join(validated)}")
    elif kind == "axes" and not curves.axes(runs, path, metric or "test/accuracy"):
        raise InputError("--axes: there are no two rows, or they differ in no key of the command line")
    elif kind == "front":
        if len(metrics) != 2:
            raise InputError("--front takes two --metrics, e.g. test/accuracy,test/spikes_per_inference")
        if not front.front(runs, path, *metrics):
            raise InputError(f"--front: no row has both {metrics[0]} and {metrics[1]}")
    return f"picture  {path}\n"


if __name__ == "__main__":
    sys.exit(main())
