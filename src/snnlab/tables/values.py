"""Two columns of an evaluation.json: what was asked of a run, beside another value of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snnlab.checkpoint import read_record
from snnlab.errors import InputError, nearest, plain
from snnlab.tables.rows import cell


def pairs(path: Path, keys: Sequence[str]) -> str:
    """Return a markdown table with a row for each ``KEY`` or ``KEY:OTHER`` of the answer's ``values``.

    Raises:
        InputError: when the file is none, or a key names no number in it.
    """
    try:
        values = dict(read_record(path)["values"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no answer of python -m snnlab.evaluate ({type(error).__name__})") from error
    numbers = {key: value for key, value in values.items() if type(value) in (int, float)}
    lines = ["| value | this run | the other |", "| --- | ---: | ---: |"]
    for word in keys or numbers:
        key, _, other = word.partition(":")
        for name in filter(None, (key, other)):
            if name not in numbers:
                raise InputError(f"{path} holds no number {name}; nearest: {nearest(name, numbers)}")
        beside = spelled(other, numbers[other]) if other else ""
        lines.append(f"| {word.replace(':', ', ')} | {spelled(key, numbers[key])} | {beside} |")
    return "\n".join(map(plain, lines)) + "\n"


def spelled(key: str, number: float) -> str:
    """A whole number as it is, another as in every table."""
    return str(number) if isinstance(number, int) else cell([number], key)
