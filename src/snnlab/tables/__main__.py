"""``python -m snnlab.tables FOLDER ...``: a table over stored runs, seeds aggregated."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from snnlab.command import parse, run
from snnlab.errors import InputError

HELP = """usage: python -m snnlab.tables FOLDER ... [--metrics A,B] [--json]

A table over the run.json files below each FOLDER: runs that differ in their seed alone are one row.
  --metrics A,B   the columns, e.g. test/accuracy,test/loss,fit_seconds; default test/accuracy
  --json          one object per run instead of a markdown table
  --debug         show tracebacks
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.tables`` and return its exit code."""
    return run("snnlab.tables", table, arguments)


def table(arguments: list[str]) -> int:
    """Print the table that the command line asks for.

    Raises:
        InputError: for a folder without runs, or a line that cannot be read.
    """
    line = parse(arguments, ("-h --help", "--json"), ("--metrics",))
    folders = [*line.words, *line.overrides]  # a folder's name may hold an equals sign
    if "help" in line.flags or not folders:
        print(HELP, end="")
        return 0 if "help" in line.flags else 2
    from snnlab.tables.rows import as_json, markdown, read_runs

    metrics = [metric.strip() for metric in line.values.get("metrics", "test/accuracy").split(",") if metric.strip()]
    if not metrics:
        raise InputError("--metrics names no metric; test/accuracy is the default")
    print((as_json if "json" in line.flags else markdown)(read_runs(folders), metrics), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
