"""The path of kernels that everything takes while a test runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from snnlab import kernels


def take(monkeypatch: Any, choice: str | bool = "auto") -> kernels.Path:
    """Let every call of a network without a path of its own take ``choice`` (true: auto, false: step); return it."""
    path = kernels.Path({True: "auto", False: "step"}.get(choice, choice))
    monkeypatch.setattr(kernels.path, "_current", ContextVar("path", default=path))
    return path
