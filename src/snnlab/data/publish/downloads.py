"""Download one published file: progress, checksum, mirrors, and never a half-written file."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from snnlab.atomic import alone
from snnlab.data import limits
from snnlab.data.files import TERMINAL, atomic, cannot_write, is_html
from snnlab.errors import InputError

CHUNK = 1 << 20  # bytes


class _Failed(Exception):
    """One mirror did not deliver the published file."""


def download(urls: Sequence[str], target: Path, checksum: str, timeout: float = 30.0) -> Path:
    """Write the file at the first of ``urls`` that delivers it to ``target`` and return ``target``.

    Args:
        urls: mirrors, tried in order.
        target: appears only when complete and verified; a temporary file beside it is removed on failure. Of several
            processes one fetches it, and the others wait for that.
        checksum: the publisher's, as ``"md5:..."`` or ``"sha256:..."``.
        timeout: seconds without an answer before the next mirror is tried.

    Raises:
        InputError: no mirror delivers the published file, or the folder cannot be written.
        RunFailure: the disk is full.
    """
    if not target.exists():
        with alone(target.with_name(f".{target.name}.lock")):
            return target if target.is_file() else _from_first(urls, target, checksum, timeout)
    return _from_first(urls, target, checksum, timeout)


def _from_first(urls: Sequence[str], target: Path, checksum: str, timeout: float) -> Path:
    failures: list[str] = []
    for url in urls:
        try:
            with atomic(target) as file:
                _fetch(url, file, target, checksum, timeout)
            return target
        except _Failed as failure:
            failures.append(f"{url}: {failure}")
    raise InputError(
        f"{target.name} could not be downloaded ({'; '.join(failures)}); get it by hand and put it at {target}"
    )


def _fetch(url: str, file: IO[bytes], target: Path, checksum: str, timeout: float) -> None:
    """Stream ``url`` into ``file``; raise _Failed unless it is the published file."""
    method, expected = checksum.split(":")
    digest, head, taken = hashlib.new(method), b"", 0
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown: dict[str, Any] = {"console": TERMINAL, "disable": not TERMINAL.is_terminal, "transient": True}
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, Progress(*columns, **shown) as progress:
            size = answer.headers.get("Content-Length")
            task = progress.add_task(f"downloading {target.name}", total=int(size) if size else None)
            while chunk := answer.read(CHUNK):
                head = head or chunk[:512]
                digest.update(chunk)
                if (taken := taken + len(chunk)) > limits.ON_DISK:
                    raise _Failed(f"sends more than {limits.ON_DISK:,} bytes")
                try:
                    file.write(chunk)
                    file.flush()
                except OSError as error:
                    raise cannot_write(target, error) from error
                progress.advance(task, len(chunk))
    except OSError as error:  # URLError, timeouts and broken connections are OSErrors
        raise _Failed(f"no answer ({getattr(error, 'reason', error)})") from error
    if is_html(head):
        raise _Failed("answered with an HTML page instead of the file")
    if digest.hexdigest() != expected:
        raise _Failed(f"{method} {digest.hexdigest()} is not the published {expected}")
