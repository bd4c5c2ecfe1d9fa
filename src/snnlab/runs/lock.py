"""Who writes into a run's folder: one process at a time, until the run ends or its process does, however that comes."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnlab import atomic
from snnlab.atomic import Lock
from snnlab.errors import InputError


def take(folder: Path) -> Lock | None:
    """Lock a run's folder; None where another process, or another run of this one, has it.

    The system gives the lock back when the process is gone, and keeps it over most shared file systems; on one that has
    no locks everybody gets it, and ``is_alive`` tells.

    Raises:
        InputError: when the folder cannot be written.
    """
    try:
        return atomic.take(folder / ".lock")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                f"{folder} cannot be written: {error.strerror}; copy the run to a folder of yours"
            ) from None
        raise


def process() -> dict[str, Any]:
    """This process as a record names it: a number alone is given again, to another program, sooner or later."""
    return {"id": os.getpid(), "host": platform.node(), "started": started(os.getpid())}


def started(number: int) -> str | None:
    """When a process of this machine started: a boot and the ticks since; None where it has ended, or none can tell."""
    try:
        state, *numbers = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if state in "ZX" else f"{boot} {numbers[18]}"
    except (OSError, IndexError):
        return None


def is_alive(content: Mapping[str, Any]) -> bool:
    """Whether another process of this machine still runs the run with this record, as far as that names it."""
    named = content.get("process")
    if content["status"] != "running" or not isinstance(named, Mapping) or named.get("host") != platform.node():
        return False
    number, since = named.get("id"), named.get("started")
    return isinstance(number, int) and number != os.getpid() and since is not None and started(number) == since
