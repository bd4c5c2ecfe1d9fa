"""Where a study is kept: a file to which every worker appends, on one machine or on many that share the folder.

A worker may be killed at any moment. The lock is the system's, so that it goes with the process that had it; a line
that was not written to its end is taken away by whoever writes next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import BaseJournalFileLock

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]


def open_journal(path: Path) -> Any:
    """Optuna's storage on the file at ``path``."""
    lock = SystemLock(path) if system_locks(path.parent) else JournalFileSymlinkLock(str(path))
    return JournalStorage(JournalFileBackend(str(path), lock))


def system_locks(folder: Path) -> bool:
    """Whether the file system of a folder has locks."""
    if fcntl is None:
        return False
    try:
        with alone(folder / ".try"):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``, waiting for it; it is gone with the process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class SystemLock(BaseJournalFileLock):
    """A lock of the journal at ``path`` that no dead worker can hold; who gets it finds whole lines."""

    def __init__(self, path: Path) -> None:
        self.path, self.held = path, contextlib.ExitStack()

    def acquire(self) -> bool:
        self.held.enter_context(alone(self.path.with_suffix(".lock")))
        with self.path.open("rb+") as file:
            whole = whole_lines(file)
            if whole < file.seek(0, os.SEEK_END):
                file.truncate(whole)
        return True

    def release(self) -> None:
        self.held.close()


def whole_lines(file: Any) -> int:
    """How many bytes of a file are lines with an end."""
    at = file.seek(0, os.SEEK_END)
    while at:
        start = max(at - 65536, 0)
        file.seek(start)
        if (end := file.read(at - start).rfind(b"\n")) >= 0:
            return int(start + end + 1)
        at = start
    return 0
