"""Unpack a published archive once, with a marker that says which checksum its files came from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from snnlab.data.files import cannot_write, read_content
from snnlab.errors import InputError

MARKER = "snnlab-download.json"


def check_md5(path: Path, md5: str) -> None:
    """Raise InputError unless the file at ``path`` has the published checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != md5:
        raise InputError(f"{path} has MD5 {digest}, published is {md5}; delete it and download it again")


def unpack(archive: Path, folder: Path, md5: str, members: Mapping[str, str], what: str) -> Path:
    """Unpack files of ``archive`` (tar or zip) into ``folder``, with a marker of the SHA-256 of their content.

    Args:
        md5: of the archive, as published.
        members: by name in the folder, the name in the archive.
        what: the data set, for errors.

    A folder that did not exist appears whole; into one that did, file after file, the marker last.
    Raises: InputError: the archive does not meet ``md5``, or lacks a file. RunFailure: the disk is full.
    """
    check_md5(archive, md5)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        hashes = vouched(folder, md5)
        for name, content in _contents(archive, members):
            (temporary / name).write_bytes(content)
            hashes[name] = hashlib.sha256(read_content(temporary / name)).hexdigest()
        (temporary / MARKER).write_text(json.dumps({"archive_md5": md5, "sha256": hashes}, indent=1))
        temporary.chmod(0o755)
        if folder.is_dir():  # some of the files lie there, or the archive itself
            for name in (*members, MARKER):
                os.replace(temporary / name, folder / name)
        else:
            os.replace(temporary, folder)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive} is no {what} archive ({error}); delete it and download it again") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _contents(archive: Path, members: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name in the folder, bytes) of each member."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for name, member in members.items():
                yield name, zipped.read(member)
        return
    with tarfile.open(archive) as tar:
        for name, member in members.items():
            file = tar.extractfile(member)
            if file is None:
                raise KeyError(f"{member} is no file")
            yield name, file.read()


def vouched(folder: Path, md5: str) -> dict[str, str]:
    """Return the SHA-256 of the files that an archive of checksum ``md5`` left in ``folder``, or none."""
    try:
        marker = json.loads((folder / MARKER).read_text())
        return dict(marker["sha256"]) if marker["archive_md5"] == md5 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
