"""Put a site where it belongs: whole or not at all, and never over what is not a site of ours."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from snnlab.atomic import PART, alone
from snnlab.checkpoint import read_record
from snnlab.errors import InputError

LISTING = "report.json"  # names the files of a site, so that a folder can be told from somebody's own
MAKER = "snnlab.report"


def check_place(folder: Path) -> Path:
    """Return the folder that ``folder`` means, links followed, once it is sure that a site may be put there.

    Raises:
        InputError: it is no folder, lies in none, or holds what no report has written.
    """
    place = folder.expanduser().resolve()
    if not place.parent.is_dir():
        raise InputError(f"-o {folder}: there is no folder {place.parent} for it; make it, or choose another place")
    if not place.exists():
        return place
    if not place.is_dir():
        raise InputError(f"-o {folder} is a file; give a folder for the site")
    if (place / LISTING).is_file():
        files = (path for path in place.rglob("*") if path.is_symlink() or not path.is_dir())
        foreign = sorted({path.relative_to(place).as_posix() for path in files} - {LISTING, *_listed(place)})
    else:
        foreign = sorted(os.listdir(place))  # a home, or a whole disk, is not walked through
    if foreign:
        held = f"it holds {foreign[0]!r:.80}" + (f" and {len(foreign) - 1} more" if len(foreign) > 1 else "")
        raise InputError(
            f"-o {folder} is no site that snnlab.report wrote: {held}; choose another folder, or move them"
        )
    return place


def _listed(place: Path) -> list[str]:
    try:
        listing = read_record(place / LISTING)
    except InputError:
        return []
    files = listing.get("files") if isinstance(listing, dict) and listing.get("made_by") == MAKER else None
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def publish(files: Iterable[tuple[str, bytes]], folder: Path) -> tuple[int, int]:
    """Write ``files`` into a new folder beside ``folder`` and put it in its place once all are there.

    A command that is stopped on the way leaves the site as it was; what it had written is removed, at the latest by
    the next one. Returns how many files there are, and their bytes.

    Raises:
        InputError: as ``check_place``.
        OSError: where it cannot be written.
    """
    with alone(folder.parent / f".{folder.name}.lock"):
        _tidy(folder)
        new = folder.parent / f".{folder.name}-{secrets.token_hex(8)}{PART}"
        names, size = [], 0
        try:
            new.mkdir()
            for name, content in files:
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                names.append(name)
                size += len(content)
            listing = json.dumps({"made_by": MAKER, "files": sorted(names)}, indent=1) + "\n"
            (new / LISTING).write_text(listing, encoding="utf-8")
            check_place(folder)
            _exchange(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return len(names) + 1, size + len(listing)


def _old(folder: Path) -> Path:
    return folder.parent / f".{folder.name}-old{PART}"


def _exchange(new: Path, folder: Path) -> None:
    """Move ``new`` to ``folder``; what was there comes back where that fails."""
    old = _old(folder)
    try:
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
    finally:
        if old.exists() and not folder.exists():
            os.rename(old, folder)
    shutil.rmtree(old, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Remove what a killed command has left, and put back the site that it had moved away."""
    if _old(folder).exists() and not folder.exists():
        os.rename(_old(folder), folder)
    for path in folder.parent.glob(f".{_literal(folder.name)}-*{PART}"):
        shutil.rmtree(path, ignore_errors=True)


def _literal(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)
