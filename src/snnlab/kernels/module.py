"""Generated source made a module: a file in the cache folder, so that compilers find what they kept of it."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

from snnlab.atomic import write_text
from snnlab.kernels.compiled import folder


@cache
def load(text: str) -> Any:
    """Return the module made of this source; safe when several processes write it.

    Its file is for compilers and people to look at: what runs is ``text``.
    """
    name = "kernel_" + hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder() / f"{name}.py"
    with suppress(OSError):  # where it cannot be written, nothing of it is kept
        path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have cleared the cache
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where a compiler looks for what it kept
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module
