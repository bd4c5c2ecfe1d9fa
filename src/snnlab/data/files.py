"""Files: read with one-line errors, written complete or not at all.

A file that is read may be gzipped (told by its content, not by its name) or a web page under another name, as a broken
link or a login page leaves.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import logging
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from rich.console import Console

from snnlab.atomic import FULL, alone, open_beside
from snnlab.data import limits
from snnlab.errors import InputError, RunFailure

Item = TypeVar("Item")

log = logging.getLogger("snnlab")
TOLD: set[Path] = set()  # folders of which this process has said that nothing can be kept there
TERMINAL = Console(stderr=True)  # progress bars: only where somebody looks, never in a file or a pipe


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Yield ``items``, with a progress bar named ``what`` where somebody looks."""
    from rich.progress import track

    return track(items, what, console=TERMINAL, disable=not TERMINAL.is_terminal, transient=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the bytes of ``path``; raise InputError as ``open_file``."""
    with open_file(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise cannot_read(path, error) from error


def cannot_write(target: Path, error: OSError) -> InputError | RunFailure:
    """Return the error to raise when writing ``target`` failed with ``error``."""
    if error.errno in FULL:
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
        handle, temporary = open_beside(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            os.replace(temporary, target)
        except OSError as error:
            raise cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def keep(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write what can be made again to ``target``, in the cache; where it cannot be written it is gone without."""
    try:
        with atomic(target) as file:
            write(file)
    except (InputError, RunFailure) as error:
        if target.parent not in TOLD:
            TOLD.add(target.parent)
            log.warning("cache: %s", error)


def made_once(lock: Path, look: Callable[[], Item | None], make: Callable[[], Item]) -> Item:
    """Return what ``look`` finds in the cache, or ``make()``, which puts it there: by one process of all that ask.

    The others wait at the file ``lock`` and find it; where the one dies, the next makes it.
    """
    found = look()
    if found is None:
        with alone(lock):
            found = look()
            found = make() if found is None else found
    return found


def open_file(path: Path, most: int = limits.ON_DISK) -> io.BufferedReader:
    """Open the file ``path`` for reading; a pipe or a device under its name is refused, not waited for.

    Raises: InputError: missing, not readable, no file, or of more than ``most`` bytes.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise cannot_read(path, error) from error
    found = os.fstat(handle)
    try:
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} cannot be read (it is a {kind_of(found.st_mode)}); put the file there")
        limits.check_bytes(path, found.st_size, most)
    except InputError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def kind_of(mode: int) -> str:
    """What lies under a name, in a word, by its ``st_mode``."""
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFREG: "file"}
    return kinds.get(stat.S_IFMT(mode), "device")


def read_bytes(path: Path, most: int = limits.FILE) -> bytes:
    """Return the bytes of ``path``; raise InputError as ``open_file``."""
    with open_file(path, most) as file:
        try:
            return file.read()
        except OSError as error:
            raise cannot_read(path, error) from error


def read_text(path: Path, most: int = limits.TABLE) -> str:
    """Return the text of ``path``; raise InputError as ``open_file``, and where it is not UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 (byte {error.start}); it is corrupt: copy it again") from error


def cannot_read(path: Path, error: OSError) -> InputError:
    """Return the error to raise when reading ``path`` failed with ``error``."""
    return InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions")


def is_html(head: bytes) -> bool:
    """Tell whether ``head``, the first bytes of a file, begin a web page, as a broken link or a login page gives."""
    return head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def read_content(path: Path, most: int = limits.FILE) -> bytes:
    """Return the bytes of ``path``, at most ``most``, decompressed when they are gzip (told by content, not by name).

    Raises:
        InputError: missing, empty, an HTML page, a gzip file that is corrupt or cut short, or too large.
    """
    content = read_bytes(path, most)
    if not content:
        raise InputError(f"{path} is empty (0 bytes); delete it and download it again")
    if is_html(content[:512]):
        raise InputError(f"{path} is an HTML page, not the file it is named for; delete it and download it again")
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(most + 1)
            limits.check_bytes(path, len(content), most, "gzip content")
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is a corrupt gzip file ({error}); delete it and download it again") from error
    return content


def remember(cache: Path, what: str, paths: Sequence[Path], make: Callable[[], Any]) -> Any:
    """Return ``make()``, or what it returned when the files were last as they are now (path, size, time of change).

    It lies in the cache with a checksum, of which files it is of included: what does not fit that is made again.
    """
    try:
        real = functools.cache(os.path.realpath)  # of a folder: 100,000 files lie in few of them
        stats = [(f"{real(path.parent)}/{path.name}", (s := path.stat()).st_size, s.st_mtime_ns) for path in paths]
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    key = hashlib.sha256(json.dumps([what, stats]).encode()).hexdigest()[:32]
    target = cache / "checked" / f"{key}.json"

    def look() -> tuple[Any] | None:
        with suppress(ValueError, LookupError, TypeError, RecursionError):  # not there, or not as it was written
            stored = json.loads(read_text(target))
            if stored["seal"] == seal(key, what, stored["value"]):
                return (stored["value"],)
        return None

    def make_and_keep() -> tuple[Any]:
        value = make()
        content = json.dumps({"what": what, "value": value, "seal": seal(key, what, value)})
        keep(target, lambda file: file.write(content.encode()))
        return (value,)

    return made_once(target.with_name(f".{key}.lock"), look, make_and_keep)[0]


def seal(*words: Any) -> str:
    """A checksum of what JSON has a form for."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]
