"""``python -m snnlab.tables FOLDER ...``: a table over stored runs, seeds aggregated."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from snnlab.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; ends the process with 0 or 2 (bad input)."""
    parser = argparse.ArgumentParser("python -m snnlab.tables", description=__doc__)
    parser.add_argument("folders", nargs="+", help="folders with run.json files, at any depth")
    parser.add_argument("--metrics", default="test/accuracy", help="comma-separated, e.g. test/accuracy,test/loss")
    parser.add_argument("--json", action="store_true", help="one object per run instead of a markdown table")
    arguments = parser.parse_args(argv)
    from snnlab.tables.rows import as_json, markdown, read_runs

    metrics = [metric.strip() for metric in arguments.metrics.split(",") if metric.strip()]
    try:
        runs = read_runs(arguments.folders)
    except InputError as error:
        print(f"snnlab.tables: {error}", file=sys.stderr)
        sys.exit(2)
    print((as_json if arguments.json else markdown)(runs, metrics), end="")


if __name__ == "__main__":
    main()
