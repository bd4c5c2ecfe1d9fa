"""numba's ``njit`` with its machine code kept in the cache folder, wherever the package itself lies."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir


@cache
def folder() -> Path:
    """Where compiled code is kept; a folder of this process alone where the cache cannot be written."""
    path = Path(os.environ.get("SNNLAB_CACHE") or user_cache_dir("snnlab")) / "kernels"
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="snnlab-kernels-"))
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def njit(**options: Any) -> Any:
    """A decorator that compiles a function when it is first called; numba is imported here, as it takes 0.7 s."""
    import numba

    settings: Any = numba.config
    settings.CACHE_DIR = str(folder())
    return numba.njit(cache=True, nogil=True, **options)
