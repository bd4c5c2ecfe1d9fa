"""Import torch and lightning in less time than a plain ``import`` takes (docs/speed.md has the figures)."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from types import ModuleType
from typing import Any


def load() -> None:
    """Import torch and lightning; nothing happens where they are imported already.

    Without garbage collection on the way: the collector would walk half a million new objects, all of which stay, again
    and again. They are then frozen, so that no later collection walks them either. And without scipy.signal, which
    torchmetrics imports only to look whether an old name in it needs a patch.
    """
    if "lightning" in sys.modules:
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        sys.modules.setdefault("scipy.signal", StandIn("scipy.signal"))
        importlib.import_module("lightning")
    finally:
        if isinstance(sys.modules.get("scipy.signal"), StandIn):
            del sys.modules["scipy.signal"]
        gc.freeze()
        atexit.register(gc.unfreeze)  # some extensions complain of leaks when their objects outlive the interpreter
        if collecting:
            gc.enable()


class StandIn(ModuleType):
    """Lies in ``sys.modules`` for a module that is looked at and not used; the real one is imported once it is used."""

    hamming = None  # the name that torchmetrics looks for

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)
