"""Generated source made a module: a file in the cache folder, so that compilers find what they kept of it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir


@cache
def folder() -> Path:
    """Where kernels are kept; a folder of this process alone where the cache cannot be written."""
    path = Path(os.environ.get("SNNLAB_CACHE") or user_cache_dir("snnlab")) / "kernels"
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="snnlab-kernels-"))
    return path


@cache
def load(text: str) -> Any:
    """Return the module made of this source; safe when several processes write it."""
    name = "kernel_" + hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder() / f"{name}.py"
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
