"""``python -m snnlab.report FOLDER ... -o SITE``: stored runs as a static site, and what they rest on as BibTeX."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from snnlab.command import parse, run
from snnlab.errors import InputError, plain

HELP = """usage: python -m snnlab.report FOLDER ... [-o SITE] [--title TEXT]
       python -m snnlab.report FOLDER ... --cite [-o SITE]

A site of the run.json files below each FOLDER, for a browser or a web server: an overview, a page for each table (the
runs of one folder) and for each run, runs side by side, and the references. It needs no network, and neither a server:
open SITE/index.html. The same runs make the same files; paths of this machine are left out of them.
  -o SITE         the folder of the site, made anew as a whole; default site. One that holds anything else is left alone
  --title TEXT    of the site; default: the names of the folders
  --cite          print the BibTeX of what the runs used: methods, data sets, snnlab; no site unless -o asks for one
  --debug         show tracebacks
"""
DEFAULT = "site"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.report`` and return its exit code."""
    return run("snnlab.report", report, arguments, interrupted="interrupted; the site is as it was")


def report(arguments: list[str]) -> int:
    """Write the site, or print the BibTeX, that the command line asks for.

    Raises:
        InputError: for a folder without runs, or a place where no site may be put.
    """
    line = parse(arguments, ("-h --help", "--cite"), ("-o --output", "--title"))
    folders = [*line.words, *line.overrides]  # a folder's name may hold an equals sign
    if "help" in line.flags or not arguments:
        print(HELP, end="")
        return 0 if "help" in line.flags else 2
    if not folders:
        raise InputError("give folders of runs, e.g. python -m snnlab.report outputs -o site")
    from snnlab.report.site import check_place, publish

    wanted = "cite" not in line.flags or "output" in line.values
    place = check_place(Path(line.values.get("output", DEFAULT))) if wanted else Path()
    from snnlab.runs.latest import run_folder
    from snnlab.tables.rows import read_runs

    runs = read_runs(folders)
    if "cite" in line.flags:
        from snnlab.report.cite import bibtex

        print(bibtex(runs), end="")
    if not wanted:
        return 0
    from snnlab.report.pages import Site
    from snnlab.report.runs import tables_of

    there = len({path for folder in folders for path in run_folder(folder).rglob("run.json")})
    tables = tables_of(folders, runs)
    title = line.values.get("title") or ", ".join(
        dict.fromkeys(run_folder(folder).resolve().name for folder in folders)
    )
    site = Site(tables, title, missing=max(there - len(runs), 0))
    count, size = publish(site.files(), place)
    told = f"site     {plain(place / 'index.html')}\nfiles    {count:,}, {size / 1e6:.1f} MB; {len(site.runs):,} runs"
    print(told, file=sys.stderr if "cite" in line.flags else sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
