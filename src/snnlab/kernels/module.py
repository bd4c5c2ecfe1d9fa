"""Generated source made a module: a file in the cache folder, so that compilers find what they kept of it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from typing import Any

from snnlab.kernels.compiled import folder


@cache
def load(text: str) -> Any:
    """Return the module made of this source; safe when several processes write it."""
    name = "kernel_" + hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder() / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have cleared the cache
    if not path.is_file() or path.read_text() != text:
        handle, part = tempfile.mkstemp(suffix=".py", dir=folder())
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(part, path)
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a compiler looks for what it kept
    spec.loader.exec_module(module)
    return module
