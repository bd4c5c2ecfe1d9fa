"""A recording of events in any of the formats that are read here, told by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from snnlab.data.files import read_bytes
from snnlab.data.formats import aedat, aedat3, aedat4
from snnlab.data.formats.atis import parse_bin
from snnlab.data.formats.event_array import parse_array, read_arrays
from snnlab.data.formats.event_hdf5 import read_hdf5
from snnlab.data.formats.event_table import parse_table
from snnlab.data.formats.prophesee_dat import parse_dat
from snnlab.data.formats.prophesee_raw import parse_raw
from snnlab.data.recordings import Recorded
from snnlab.errors import InputError


def read_aedat(path: Path) -> Recorded:
    """Return the recording in an AEDAT file, whose first line says its version: 2.0, 3.1 or 4.0."""
    content = read_bytes(path)
    if content.startswith(aedat3.MAGIC):
        return aedat3.read_aedat3(path)
    if content.startswith(aedat4.MAGIC[:11]):
        return aedat4.parse_recorded(content, path)
    if content.startswith((b"#!AER-DAT1", b"#!AER-DAT3.0")):
        raise InputError(f"{path} is {content[2:12].decode()}; AEDAT 2.0, 3.1 and 4.0 are read")
    return aedat.parse_aedat2(content, path)


Parse = Callable[[bytes, Path], Recorded]
PLAIN: dict[str, Parse] = {".raw": parse_raw, ".dat": parse_dat, ".bin": parse_bin}
TABLES = {".csv": parse_table, ".tsv": parse_table, ".txt": parse_table, ".npy": parse_array}
FILES = {".npz": read_arrays, ".h5": read_hdf5, ".hdf5": read_hdf5}
ENDINGS = (".aedat", ".aedat2", ".aedat3", ".aedat4", *PLAIN, *TABLES, *FILES)


def read_recording(path: Path, order: str | None = None, unit: str | None = None) -> Recorded:
    """Return the recording at ``path``: its events, sorted by time from t = 0, and its sensor where the file names it.

    Args:
        order: of the columns of tables and arrays that do not name them, as ``xytp``.
        unit: of the times of tables, arrays and HDF5 files: s, ms, us or ns; None takes what the file says, else us.

    Raises: InputError: a file that cannot be read, in one line.
    """
    ending = path.suffix.lower()
    if ending in PLAIN:
        return PLAIN[ending](read_bytes(path), path)
    if ending in TABLES:
        return TABLES[ending](read_bytes(path), path, order, unit)
    if ending in FILES:
        return FILES[ending](path, order, unit)
    return read_aedat(path)
