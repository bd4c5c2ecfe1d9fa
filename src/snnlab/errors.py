"""What a user did, told apart from what snnlab did wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def plain(text: object) -> str:
    """Return ``text`` for a terminal: what is no letter, sign or space (escape codes, line breaks) as ``\\x1b``.

    Whatever a file or its name says goes through here before it is printed.
    """
    words = str(text)
    return words if words.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


class InputError(ValueError):
    """Something given to snnlab (a config, a file, a value) cannot be used.

    The message is one line: the object, the value, the limit and the way out. The commands print it
    without a traceback and exit with 2.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(plain(message))


class RunFailure(RuntimeError):
    """A run that started well and could not go on (NaN loss, full disk): one line, exit code 1."""

    def __init__(self, message: object = "") -> None:
        super().__init__(plain(message))


class TimeOver(KeyboardInterrupt):
    """``trainer.max_time`` ended a run before its last epoch: it is interrupted, and the next job of a sweep begins."""


class Held(InputError):
    """A run that another process is making."""


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Return the choices most like ``name`` for an error message, or all of them when none is like it."""
    choices = sorted(set(choices))
    close = difflib.get_close_matches(name, choices, n=count, cutoff=0.5)
    return ", ".join(close or choices)


def one_line(error: BaseException) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())
