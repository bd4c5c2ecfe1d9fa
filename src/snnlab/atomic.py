"""Write a file whole or not at all; be the one process that makes something."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a Unix: there are no locks
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("snnlab")

PART = ".part"  # ends the name of what is still being written
BUSY = (errno.EWOULDBLOCK, errno.EACCES)
PATIENCE, TOLD = 1800.0, 10.0  # seconds that another process is waited for, and after which it is said
held: set[int] = set()  # handles of the locks of this process
FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or one's share of it, that is full


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace ``path`` by ``content`` in one move; a crash, a full disk or a power cut leaves the old file as it was.

    It is written beside ``path``, whatever TMPDIR says, and is on the disk before it takes the name.
    """
    try:
        handle, temporary = open_beside(path)
    except OSError as error:  # it names the file that was asked for, and not the one beside it
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def open_beside(path: Path) -> tuple[int, Path]:
    """Open a new file beside ``path``, of a name of its own; who may read it is what the umask says."""
    temporary = path.parent / f".{path.name}-{secrets.token_hex(8)}{PART}"
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), temporary


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` of a text."""
    write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def clear(folder: Path) -> None:
    """Remove what a killed process had not written to its end; nobody else may be writing into ``folder``."""
    for path in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            path.unlink()


class Lock:
    """What a lock stands for is ours until ``release``."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        held.add(handle)

    def release(self) -> None:
        if self.handle in held:
            held.discard(self.handle)
            os.close(self.handle)


def take(path: Path) -> Lock | None:
    """Lock the file ``path``, made where it is not there; None where another process, or another part of this, has it.

    The system gives the lock back when the process is gone, and keeps it over most shared file systems; on one that has
    no locks everybody gets it. The file names its owner. Raises OSError where it cannot be written.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            os.close(handle)
            return None
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
    return Lock(handle)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the one process that makes something, by the lock on the file ``path``; look again whether it is there.

    Another one is waited for as long as it lives, half an hour at most: then, or where the file cannot be
    written, or the system has no locks, several may make it, each whole or not at all.
    """
    lock, since, told = None, time.monotonic(), False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (lock := _taken(path)) is None and (waited := time.monotonic() - since) < PATIENCE:
            if waited > TOLD and not told:
                told = True
                log.info("waiting for %s, which makes what belongs to %s", path.read_text().strip()[:100], path)
            time.sleep(0.02)
    except (OSError, ValueError):
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            path.unlink(missing_ok=True)
            lock.release()


def _taken(path: Path) -> Lock | None:
    """``take``, but None too where whoever had it has just removed the file: another one bears its name by now."""
    if (lock := take(path)) is not None:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.handle), os.stat(path)):
                return lock
        lock.release()
    return None


def _let_go() -> None:
    """A forked child, such as a loader's worker, outlives its parent for a while and must not keep its locks."""
    for handle in held:
        with contextlib.suppress(OSError):
            os.close(handle)
    held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
