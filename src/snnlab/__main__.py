"""The command ``snnlab``, also ``python -m snnlab``: a word that comes first names another command, all else trains.

``snnlab data list`` is ``python -m snnlab.data list``, likewise for every room that is a command. Light to import.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from snnlab.command import run
from snnlab.errors import InputError, nearest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``snnlab`` and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    word = given[0] if given else ""
    if room := commands().get(word):
        code: int = import_module(f"snnlab.{room}.__main__").main(given[1:])
        return code
    if word[:1].isalpha() and "=" not in word:
        return run("snnlab", refuse, given)
    from snnlab.train import main as train

    return train(given)


def commands() -> dict[str, str]:
    """The words that name a command, each with its room: every room with a ``__main__``, and ``table`` for tables."""
    rooms = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__main__.py"))
    return dict(zip(rooms, rooms, strict=True)) | {"table": "tables"}


def refuse(arguments: list[str]) -> None:
    """Say that the first word is no command.

    Raises:
        InputError: always.
    """
    word = arguments[0]
    raise InputError(f"{word}: there is no such command; nearest: {nearest(word, commands())}; a run takes KEY=VALUE")


if __name__ == "__main__":
    sys.exit(main())
