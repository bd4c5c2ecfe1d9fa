"""A callback that only looks must not end a run: what goes wrong in it is told once, and it looks no more."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import lightning as L

from snnlab.errors import RunFailure, one_line

log = logging.getLogger("snnlab")
Any_Callback = TypeVar("Any_Callback", bound=L.Callback)


def harmless(callback: Any_Callback) -> Any_Callback:
    """Guard every hook of ``callback``; a RunFailure, an interrupt and a reader that went away still end the run."""
    broken: list[str] = []

    def guarded(hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def call(*args: Any, **kwargs: Any) -> Any:
            if broken:
                return None
            try:
                return hook(*args, **kwargs)
            except (RunFailure, BrokenPipeError):
                raise
            except Exception as error:
                broken.append(hook.__name__)
                log.warning("%s stopped (%s); the run goes on without it", type(callback).__name__, one_line(error))

        return call

    for name in [name for name in dir(L.Callback) if name.startswith("on_")]:
        setattr(callback, name, guarded(getattr(callback, name)))
    return callback
