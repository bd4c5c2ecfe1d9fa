"""Which forms of its neurons and layers a network takes, and which it took: a setting of the network alone.

A ``Network`` that was given a ``Path`` computes in it (``using``); networks inside it, and what is called outside of
any, take the ``current`` one. Two networks of one process, a run and the one it is compared with, keep their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

Choice = Literal["auto", "half", "step"]


class Path:
    """The config's ``kernels``.

    Args:
        choice: auto takes the fused forms of neurons and layers where there are any; half is as auto, and what the
            backward needs of the forward is kept in half the bits; step advances one time step at a time.

    Raises:
        ValueError: when there is no such choice.
    """

    __slots__ = ("choice", "enabled", "fused", "half", "looped")

    def __init__(self, choice: Choice = "auto") -> None:
        if choice not in get_args(Choice):
            raise ValueError(f"kernels = {choice}: choose one of {', '.join(get_args(Choice))}")
        self.choice, self.enabled, self.half = choice, choice != "step", choice == "half"
        self.fused: set[str] = set()  # classes that ran fused
        self.looped: set[str] = set()  # classes that ran step by step

    def forget(self) -> None:
        """Forget which classes ran how."""
        self.fused.clear()
        self.looped.clear()

    def taken(self) -> dict[str, list[str]]:
        """Which way each class went, for run.json."""
        return {"fused": sorted(self.fused), "step": sorted(self.looped)}


_current: ContextVar[Path] = ContextVar("path", default=Path())  # noqa: B039  nothing of it that counts can be set


def current() -> Path:
    """The path of the network that computes now; outside of any, that of a plain call: auto."""
    return _current.get()


@contextmanager
def using(path: Path | None) -> Iterator[None]:
    """Compute along ``path`` while the context is open; None stays on the one that is taken."""
    if path is None:
        yield
        return
    token = _current.set(path)
    try:
        yield
    finally:
        _current.reset(token)
