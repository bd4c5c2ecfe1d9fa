"""Zip archives whose files are read one by one, each no larger than it may be, whatever the archive declares."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO

from snnlab.data import limits
from snnlab.data.files import open_file
from snnlab.errors import InputError

BROKEN = (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
OTHERS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard"}
CHUNK = 1 << 20  # bytes: a decompressor is asked for no more at once, as what an archive declares may be less


def open_zip(path: Path, file: IO[bytes] | None = None) -> zipfile.ZipFile:
    """Open the zip at ``path``, or the one that ``file`` holds, which ``path`` then names.

    Raises: InputError: no readable file, no zip, or a list of files that would fill the memory.
    """
    file = open_file(path) if file is None else file
    try:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # the library's own reading of it
        limits.check_bytes(path, end[zipfile._ECD_SIZE] if end else 0, limits.DIRECTORY, "a list of files")  # type: ignore[attr-defined]
        return zipfile.ZipFile(file)
    except BROKEN as error:
        file.close()
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is a corrupt zip ({error}); delete it and download it again") from error


def read_member(archive: zipfile.ZipFile, name: str, path: Path, most: int = limits.MEMBER) -> bytes:
    """Return one file of ``archive``, the zip at ``path``.

    Raises:
        InputError: not there, encrypted, of a compression that is not read here, of more than ``most`` bytes, corrupt.
    """
    where = f"{path}: {name}"
    try:
        info = archive.getinfo(name)
    except KeyError as error:
        raise InputError(f"{path} holds no {name}; download it again") from error
    check_member(info, where)
    limits.check_bytes(where, info.file_size, most)
    parts = []
    try:
        with archive.open(info) as file:
            while part := file.read(CHUNK):
                parts.append(part)
    except BROKEN as error:
        raise InputError(f"{path} is a corrupt zip ({name}: {error}); delete it and download it again") from error
    content = b"".join(parts)
    if len(content) != info.file_size:
        raise InputError(f"{path} is a corrupt zip ({name} is cut short); delete it and download it again")
    return content


def check_member(info: zipfile.ZipInfo, where: str) -> None:
    """Raise InputError for a file that is encrypted or compressed in another way than stored or deflated."""
    if info.flag_bits & 0x1:
        raise InputError(f"{where} is encrypted; unpack the archive with its password and put the files in its place")
    if info.compress_type not in READ:
        how = OTHERS.get(info.compress_type, f"method {info.compress_type}")
        raise InputError(f"{where} is compressed with {how}, which is not read here; unpack it with 7z or unzip")
