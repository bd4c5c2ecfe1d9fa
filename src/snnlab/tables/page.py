"""Pages of tables: each stands below a comment with the arguments that make it, so that it can be made again.

    <!-- table: main_films --metrics test/judge_accuracy,fit_seconds -->

    | run | seeds | ...

Folders and files are looked up from the page's own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from snnlab.atomic import write_text
from snnlab.errors import InputError, RunFailure

TABLE = re.compile(r"^<!-- table: (?P<arguments>.*?) -->(?:\n|\Z)(?:\n*(?P<table>(?:\|.*\n?)+))?", re.MULTILINE)
Render = Callable[[list[str], Path], str]


def rendered(path: Path, render: Render) -> tuple[str, str, list[str]]:
    """Return the text of a page, the text with every table made again, and the arguments of tables that differ.

    Args:
        render: makes a table from its arguments and the folder of the page.

    Raises:
        InputError: when the page cannot be read, holds no such comment, or a table cannot be made.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--page {path} cannot be read ({error}); give a markdown file") from error
    if not TABLE.search(text):
        raise InputError(f"--page {path} holds no line <!-- table: FOLDER --metrics A,B -->; put one above each table")
    different = []

    def again(match: re.Match[str]) -> str:
        arguments = match["arguments"]
        try:
            table = render(shlex.split(arguments), path.parent)
        except InputError as error:
            raise InputError(f"{path}, table {arguments}: {error}") from error
        if (match["table"] or "").rstrip("\n") != table.rstrip("\n"):
            different.append(arguments)
        tail = "\n" if not match["table"] or match["table"].endswith("\n") else ""
        return f"<!-- table: {arguments} -->\n\n{table.rstrip(chr(10))}{tail}"

    return text, TABLE.sub(again, text), different


def rewrite(path: Path, render: Render) -> list[str]:
    """Make every table of the page again, in place; return the arguments of those that were different."""
    text, now, different = rendered(path, render)
    if now != text:
        write_text(path, now)
    return different


def check(path: Path, render: Render) -> None:
    """Hold every table of the page against what its arguments make.

    Raises:
        RunFailure: naming the first that differs.
    """
    _, _, different = rendered(path, render)
    if different:
        raise RunFailure(
            f"{path}: the table {different[0]} is not what its runs make; python -m snnlab.tables --page {path}"
        )
