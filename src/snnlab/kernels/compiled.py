"""numba's ``njit`` with its machine code kept in the cache folder, wherever the package itself lies.

What is kept are pickles, and to load one is to run it. So the folder is used only where nobody else can write to it or
to a folder above it. A file in it that is cut short is made again; where nothing can be kept, code is compiled anew.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import logging
import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from snnlab.atomic import alone

log = logging.getLogger("snnlab")


@cache
def folder() -> Path:
    """Where compiled code is kept; one of this process alone where the cache cannot be written, or others can."""
    path = Path(os.environ.get("SNNLAB_CACHE") or user_cache_dir("snnlab")).expanduser() / "kernels"
    try:
        path.mkdir(parents=True, exist_ok=True)
        if (why := open_to_others(path)) is None:
            path.chmod(0o700)
            tempfile.TemporaryFile(dir=path).close()
            return path
        log.warning("kernels: %s, so the code kept in %s is not run but compiled anew", why, path)
    except OSError:
        pass
    path = Path(tempfile.mkdtemp(prefix="snnlab-kernels-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def open_to_others(path: Path) -> str | None:
    """Return what lets another user write to ``path``, to what lies below it or to a folder above it; else None."""
    if path.is_symlink():
        return f"{path} is a link; make it a folder"
    real = path.resolve()
    above, closed = {*path.absolute().parents, *real.parents}, real.stat().st_mode & 0o077 == 0
    for place in (*above, real, *walk(real)):
        found = place.lstat()
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to another user; set SNNLAB_CACHE to a folder of your own"
        if stat.S_ISLNK(found.st_mode) and place in above:
            continue  # what it leads to is among the others
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            return f"{place} is neither a file nor a folder; remove it"
        group = found.st_mode & stat.S_IWGRP and not is_own_group(found.st_gid) and (place in above or not closed)
        shared = found.st_mode & stat.S_IWOTH or group
        if shared and not (found.st_mode & stat.S_ISVTX and place in above):  # as /tmp, where each keeps his own
            return f"{place} can be written by others; chmod go-w {place}"
    return None


def walk(path: Path) -> Iterator[Path]:
    """Every file and folder below ``path``; links are not followed."""
    for root, folders, files in os.walk(path):
        yield from (Path(root) / name for name in (*folders, *files))


def is_own_group(number: int) -> bool:
    """Whether a group is the user's private one, which many systems make: it bears his name and has nobody else."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}


def njit(**options: Any) -> Any:
    """A decorator that compiles a function when it is first called; numba is imported here, as it takes 0.7 s."""
    import numba

    settings: Any = numba.config
    settings.CACHE_DIR = str(folder())

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(nogil=True, **options)(function)
        with suppress(RuntimeError):  # nothing can be kept there any more
            dispatcher._cache = kept = _kept()(function)  # what cache=True does, with another class
            compiled = dispatcher.compile

            def once(signature: Any) -> Any:
                with alone(Path(kept.cache_path) / f".{kept._impl.filename_base}.lock"):  # of several processes one
                    return compiled(signature)

            dispatcher.compile = once
        return dispatcher

    return decorate


@cache
def _kept() -> type:
    """numba's cache of a function, which is gone without where a file in it cannot be read or written."""
    from numba.core.caching import (
        CompileResultCacheImpl,
        FunctionCache,
        IndexDataCacheFile,
        UserProvidedCacheLocator,
    )

    class Sealed(IndexDataCacheFile):  # type: ignore[misc]
        """Files that begin with the SHA-256 of the rest, which is held against it before anything of it is run."""

        @contextmanager
        def _open_for_write(self, filepath: str) -> Iterator[Any]:
            content = io.BytesIO()
            yield content
            with super()._open_for_write(filepath) as file:
                file.write(hashlib.sha256(content.getbuffer()).digest() + content.getvalue())

        def _load_index(self) -> Any:
            if not Path(self._index_path).exists():
                return {}
            content = io.BytesIO(unsealed(self._index_path))
            if pickle.load(content) != self._version:
                return {}
            stamp, overloads = pickle.load(content)
            return overloads if stamp == self._source_stamp else {}

        def _load_data(self, name: str) -> Any:
            return pickle.loads(unsealed(self._data_path(name)))

    def unsealed(path: str) -> bytes:
        content = Path(path).read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            raise ValueError(f"{path} is damaged")
        return content[32:]

    class InFolder(CompileResultCacheImpl):  # type: ignore[misc]
        _locator_classes = [UserProvidedCacheLocator]  # noqa: RUF012  # numba would look for pickles in other places, too

    class Kept(FunctionCache):  # type: ignore[misc]
        _impl_class = InFolder

        def __init__(self, function: Any) -> None:
            super().__init__(function)
            self._cache_file.__class__ = Sealed

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except Exception:  # a pickle that is cut short raises nearly anything
                with suppress(Exception):
                    self.flush()
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            with suppress(OSError):
                super().save_overload(sig, data)

    return Kept
