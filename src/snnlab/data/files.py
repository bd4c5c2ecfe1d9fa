"""Files: read with one-line errors, written complete or not at all.

A file that is read may be gzipped (told by its content, not by its name) or a web page under another name, as a broken
link or a login page leaves.
"""

from __future__ import annotations

import errno
import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console

from snnlab.errors import InputError, RunFailure

TERMINAL = Console(stderr=True)  # progress bars: only where somebody looks, never in a file or a pipe


def cannot_write(target: Path, error: OSError) -> InputError | RunFailure:
    """Return the error to raise when writing ``target`` failed with ``error``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFailure(f"{target}: the disk is full; free some space and start again (nothing half-written is left)")
    return InputError(
        f"{target} cannot be written ({error.strerror}); "
        "choose a writable folder with SNNLAB_DATA, SNNLAB_CACHE or paths.*"
    )


@contextmanager
def atomic(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``target`` that replaces it at the end of the block; any exception removes it.

    Safe when several processes write the same target: each has a file of its own and the last one stays.

    Raises:
        InputError: the folder cannot be written.
        RunFailure: the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.chmod(name, 0o644)  # mkstemp's files are private
            os.replace(name, target)
        except OSError as error:
            raise cannot_write(target, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of ``path``; raise InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from error


def cannot_read(path: Path, error: OSError) -> InputError:
    """Return the error to raise when reading ``path`` failed with ``error``."""
    return InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions")


def is_html(head: bytes) -> bool:
    """Tell whether ``head``, the first bytes of a file, begin a web page, as a broken link or a login page gives."""
    return head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def read_content(path: Path) -> bytes:
    """Return the bytes of ``path``, decompressed when they are gzip (told by content, not by name).

    Raises:
        InputError: missing, empty, an HTML page, or a gzip file that is corrupt or cut short.
    """
    content = read_bytes(path)
    if not content:
        raise InputError(f"{path} is empty (0 bytes); delete it and download it again")
    if is_html(content[:512]):
        raise InputError(f"{path} is an HTML page, not the file it is named for; delete it and download it again")
    if content[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is a corrupt gzip file ({error}); delete it and download it again") from error
    return content
