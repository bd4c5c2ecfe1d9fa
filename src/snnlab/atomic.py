"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

PART = ".part"  # ends the name of what is still being written
FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or one's share of it, that is full


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Replace ``path`` by ``content`` in one move; a crash, a full disk or a power cut leaves the old file as it was.

    It is written beside ``path``, whatever TMPDIR says, and is on the disk before it takes the name.
    """
    handle, temporary = open_beside(path)
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
