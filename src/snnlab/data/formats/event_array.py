"""Events in NumPy's files: .npy of a structured array or of [N, columns], .npz of one such array or of columns.

Format: a structured array has fields x, y, t and perhaps p, in any order and of any numbers; the columns of a plain
array are in the order of ``data.order``; an .npz may hold arrays x, y, t, p, or one array. See ``event_columns``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnlab.data.formats.event_columns import from_columns, named, ordered
from snnlab.data.formats.npy import parse_npy, read_npz
from snnlab.data.formats.zipped import open_zip
from snnlab.data.recordings import Recorded
from snnlab.errors import InputError


def parse_array(content: bytes, path: Path, order: str | None = None, unit: str | None = None) -> Recorded:
    """Return the recording in the bytes of an .npy file; arguments and errors as ``parse_table``, and ``parse_npy``."""
    return events_of(parse_npy(content, path), path, order, unit)


def read_arrays(path: Path, order: str | None = None, unit: str | None = None) -> Recorded:
    """Return the recording in the .npz file at ``path``; arguments and errors as ``parse_table``, and ``read_npz``."""
    with open_zip(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    found = named(names)
    if {"x", "y", "t"} <= set(found):
        arrays = read_npz(path, [names[place] for place, _ in found.values()])
        columns = {name: np.atleast_1d(np.squeeze(array)) for name, array in zip(found, arrays, strict=True)}
        return Recorded(from_columns(columns, unit or found["t"][1], path), None)
    if len(names) != 1:
        raise InputError(
            f"{path} holds arrays {', '.join(names)[:80] or '(none)'}; needed are x, y, t, p, or one array"
        )
    return events_of(read_npz(path, names)[0], path, order, unit)


def events_of(array: np.ndarray, where: object, order: str | None, unit: str | None) -> Recorded:
    """Return the recording in a structured array [N], or a plain one [N, columns]."""
    if array.dtype.names:
        found = named(array.dtype.names)
        columns = {name: array[array.dtype.names[place]] for name, (place, _) in found.items()}
        return Recorded(from_columns(columns, unit or found.get("t", (0, None))[1], where), None)
    if array.ndim != 2 or not 3 <= array.shape[1] <= 16:
        raise InputError(f"{where} holds {array.dtype} {list(array.shape)}; needed are [N, 4], or fields x, y, t, p")
    places = ordered(order, array.shape[1], where)
    return Recorded(from_columns({name: array[:, place] for name, (place, _) in places.items()}, unit, where), None)
