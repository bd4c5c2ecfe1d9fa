"""The one installer: published archives are fetched, unpacked once, and asked to vouch for files that lie unpacked.

A file's SHA-256 is that of its content: of a gzipped one, what it holds.

Large data sets stay on disk. What is known of their files (SHA-256, whether they can be read) is worked out once and
remembered in the cache by name, size and time of change, so that the next run does not read gigabytes again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, cast

from snnlab.atomic import alone
from snnlab.data.files import atomic, cannot_read, cannot_write, open_file, progress, read_text, remember, sha256_of
from snnlab.data.publish.downloads import CHUNK
from snnlab.data.publish.downloads import download as fetch
from snnlab.errors import InputError

MARKER = "snnlab-download.json"
BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)
Place = Callable[[str], str | None]  # name inside an archive -> path below the folder, None: not wanted


class Archive(NamedTuple):
    """One published archive: its name, its MD5, where it can be fetched (nowhere: by hand only), its size."""

    name: str
    md5: str
    urls: tuple[str, ...] = ()
    size: str = ""  # as a reader writes it, "536 MiB"

    def find(self, folder: Path) -> Path | None:
        """Return where the archive lies, in ``folder`` or beside it, or None."""
        return next((path for f in (folder, folder.parent) if (path := f / self.name).is_file()), None)


class Vouched(NamedTuple):
    """The files whose content a published archive holds, and the MD5 of those archives."""

    names: set[str]
    md5: list[str]


class Checked(NamedTuple):
    """What a provenance says of the files of a data set."""

    hash: str
    altered: bool
    verified: str | None
    notes: list[str]


def install(
    archives: Sequence[Archive],
    folder: Path,
    place: Place,
    allowed: bool,
    title: str,
    missing: str,
    needed: Sequence[str] = (),
) -> None:
    """Unpack into ``folder`` the archives that lie in it or beside it, fetching the others if that is ``allowed``.

    An archive must meet its MD5; its files appear in ``folder`` whole, and a marker there keeps their SHA-256.

    Args:
        place: which files of an archive are wanted, and where they go below ``folder``.
        title: of the data set, for errors.
        missing: what was sought and where, for the error where nothing may be fetched.
        needed: files that each archive must hold.

    Raises:
        InputError: nothing to unpack and not allowed to fetch, a wrong checksum, a corrupt archive or one without the
            files, a folder that cannot be written.
        RunFailure: the disk is full.
    """
    before, there = _marker(folder), allowed or all(archive.find(folder) for archive in archives)
    with alone(folder.parent / f".{folder.name}.lock") if there else nullcontext():  # of several processes one does it
        now = _marker(folder)
        left = [archive for archive in archives if now.get(archive.md5) == before.get(archive.md5)]
        for archive in left:
            path = archive.find(folder)
            if path is None:
                if not allowed:
                    size = f" ({archive.size})" if archive.size else ""
                    raise InputError(
                        f"data.{title}: {missing}; put {archive.name} there, or data.download=true fetches it{size}"
                    )
                path = fetch(archive.urls, folder / archive.name, f"md5:{archive.md5}")
            unpack(path, archive.md5, folder, place, title, needed)


def unpack(path: Path, md5: str, folder: Path, place: Place, title: str, needed: Sequence[str] = ()) -> None:
    """Unpack the wanted files of the archive at ``path`` into ``folder``, and note their SHA-256 in its marker."""
    check_md5(path, md5)
    base = folder if folder.is_dir() else folder.parent
    try:
        base.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=base))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        hashes = {}
        for name, file in _members(path, place):
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                digest = _sha256(file, copy)
            hashes[name] = _of_content(target) if name.endswith(".gz") else digest
        if lacking := [name for name in needed if name not in hashes]:
            raise InputError(
                f"{path} is no {title} archive (it holds no {lacking[0]}); delete it and download it again"
            )
        if not hashes:
            raise InputError(f"{path} holds none of the files sought; delete it and download it again")
        for name in hashes:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / name, folder / name)
        marker = _marker(folder)
        marker[md5] = marker.get(md5, {}) | hashes  # another choice of files may have come from it before
        with atomic(folder / MARKER) as out:
            out.write(json.dumps(marker, indent=1).encode())
    except BROKEN as error:
        raise InputError(f"{path} is a corrupt archive ({error}); delete it and download it again") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_md5(path: Path, md5: str) -> None:
    """Raise InputError unless the file at ``path`` has the published checksum."""
    if (digest := _md5(path)) != md5:
        raise InputError(f"{path} has MD5 {digest}, published is {md5}; delete it and download it again")


def vouch(folder: Path, hashes: Mapping[str, str], archives: Sequence[Archive], place: Place, cache: Path) -> Vouched:
    """Return which files below ``folder``, given with the SHA-256 of their content, a published archive vouches for.

    It does so by the marker that it left when it was unpacked, else where it lies in or beside the folder.
    """
    marker, known, vouching = _marker(folder), dict[str, str](), list[str]()

    def unknown() -> bool:
        return any(known.get(name) != digest for name, digest in hashes.items())

    for archive in archives:
        if archive.md5 in marker:
            known |= marker[archive.md5]
            vouching.append(archive.md5)
    for archive in archives if unknown() else ():
        path = archive.find(folder)
        if path is not None and archive.md5 not in vouching:
            inside = remember(cache, f"inside {archive.md5}", [path], partial(_inside, path, archive.md5, place))
            known |= inside
            vouching += [archive.md5] if inside else []
    return Vouched({name for name, digest in hashes.items() if known.get(name) == digest}, vouching)


def check(
    title: str,
    folder: Path,
    names: Sequence[str],
    archives: Sequence[Archive],
    place: Place,
    parse: Callable[[Path], object],
    cache: Path,
    unverified: bool,
) -> Checked:
    """Return what is known of the files ``names`` in ``folder``; refuse unknown content unless ``unverified``.

    A file that nothing vouches for is parsed before it is judged, so that a broken file is told as broken.

    Raises: InputError: a missing, broken or unknown file, in one line.
    """
    paths = [folder / name for name in names]
    digests: list[str] = remember(
        cache, "sha256", paths, lambda: [sha256_of(path) for path in progress(paths, "checking files")]
    )
    hashes = dict(zip(names, digests, strict=True))
    vouched = vouch(folder, hashes, archives, place, cache)
    unknown = [name for name in names if name not in vouched.names]
    digest = hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in names).encode()).hexdigest()
    notes = ["hash: of the names and SHA-256 of all files in order"]
    if not unknown:
        return Checked(digest, False, f"the publisher's archive checksums (MD5 {', '.join(vouched.md5)})", notes)
    if not unverified:
        parse(folder / unknown[0])
        raise InputError(
            f"data.{title}: {folder / unknown[0]} matches no published checksum (SHA-256 "
            f"{hashes[unknown[0]][:12]}...); put {_archive_of(archives, unknown[0])} beside it, which vouches for it, "
            "or data.unverified=true uses it and flags the results as altered"
        )
    doubtful = [folder / name for name in unknown]
    remember(cache, "parsed", doubtful, lambda: _parsed(doubtful, parse))
    return Checked(digest, True, None, [*notes, f"{len(unknown)} of {len(names)} files match no published checksum"])


def _parsed(paths: Sequence[Path], parse: Callable[[Path], object]) -> int:
    for path in progress(paths, "checking files"):
        parse(path)
    return len(paths)


def _archive_of(archives: Sequence[Archive], name: str) -> str:
    """The archive that is named like the file, or all of them."""
    like = [a.name for a in archives if a.name.split(".")[0] in name.replace("/", ".").split(".")]
    return " or ".join(like or [a.name for a in archives])


def _md5(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise cannot_read(path, error) from error


def _inside(path: Path, md5: str, place: Place) -> dict[str, str]:
    """SHA-256 of the wanted files in an archive; none where it is not the published one, which vouches for nothing."""
    if _md5(path) != md5:
        return {}
    return {
        name: _sha256(cast(IO[bytes], gzip.GzipFile(fileobj=file)) if name.endswith(".gz") else file)
        for name, file in _members(path, place)
    }


def _members(path: Path, place: Place) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the wanted files of a zip or a gzipped tar, those of zips within it included, with their places."""
    if path.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                name = place(member.name) if member.isfile() else None
                if name is not None:
                    yield name, cast(IO[bytes], tar.extractfile(member))
        return
    with zipfile.ZipFile(path) as archive:
        yield from _zip_members(archive, place)


def _zip_members(archive: zipfile.ZipFile, place: Place) -> Iterator[tuple[str, IO[bytes]]]:
    for inner in archive.namelist():
        name = place(inner)
        if name is not None:
            with archive.open(inner) as file:
                yield name, file
        elif inner.endswith(".zip") and not Path(inner).name.startswith("."):
            with tempfile.TemporaryFile() as copy, archive.open(inner) as file:
                shutil.copyfileobj(file, copy, CHUNK)
                with zipfile.ZipFile(copy) as within:
                    yield from _zip_members(within, place)


def _sha256(file: IO[bytes], copy: IO[bytes] | None = None) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        if copy is not None:
            copy.write(chunk)
    return digest.hexdigest()


def _of_content(path: Path) -> str:
    """SHA-256 of what a gzipped file holds."""
    with gzip.open(path) as file:
        return _sha256(cast(IO[bytes], file))


def _marker(folder: Path) -> dict[str, dict[str, str]]:
    """Return what the archives unpacked in ``folder`` left there: by MD5 of the archive, name -> SHA-256; or nothing.

    Markers of earlier versions, by which some folders of data are still vouched for, are read too.
    """
    try:
        marker = json.loads(read_text(folder / MARKER))
        if "archive_md5" in marker:
            return {marker["archive_md5"]: dict(marker["sha256"])}
        return {entry.get("md5", key): dict(entry.get("sha256", entry)) for key, entry in marker.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
