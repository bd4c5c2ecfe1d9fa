"""Files that appear complete or not at all, and one-line errors where a folder cannot be written."""

from __future__ import annotations

import errno
import os
import tempfile
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
