"""Events in HDF5 files, in the layouts that are found.

Format: ``CD/events``, a table with x, y, t, p (Metavision, whose attribute ``geometry`` names the sensor);
``events/x``, ``/y``, ``/t``, ``/p`` (DSEC) or ``xs``, ``ys``, ``ts``, ``ps``; the same at the top; ``events``, a table
or [N, 4]. Compressed with a filter that this HDF5 does not have (ECF, Blosc), a file cannot be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data import limits
from snnlab.data.files import open_file
from snnlab.data.formats.event_array import events_of
from snnlab.data.formats.event_columns import from_columns, named
from snnlab.data.formats.prophesee_raw import sensor_of
from snnlab.data.recordings import Recorded
from snnlab.errors import InputError, one_line

PLACES = ("CD", "events", "CD/events", "/")
FILTERS = {36559: "Prophesee's ECF", 32001: "Blosc", 32026: "Blosc 2", 32015: "Zstandard", 32004: "LZ4"}


def read_hdf5(path: Path, order: str | None = None, unit: str | None = None) -> Recorded:
    """Return the recording in the HDF5 file at ``path``; arguments as ``parse_table``.

    A file that nobody has read yet may hang HDF5: ``apart.read_apart`` comes first.

    Raises: InputError: missing or damaged, no events where they are sought, a compression that is not there, values in
        other files, too many events, and as ``from_columns``.
    """
    import h5py

    with open_file(path):  # HDF5 itself waits for a pipe
        pass
    try:
        with h5py.File(path, "r") as file:
            sensor = sensor_of(" ".join(f"{name} {value}" for name, value in file.attrs.items()))
            for place in PLACES:
                node = _node(file, place)
                if isinstance(node, h5py.Dataset):
                    return events_of(_array(node, path), path, order, unit)._replace(sensor=sensor)
                found = named(list(node)) if node is not None else {}
                if {"x", "y", "t"} <= set(found):
                    names = list(node)
                    columns = {name: _array(_node(node, names[where]), path) for name, (where, _) in found.items()}
                    return Recorded(from_columns(columns, unit or found["t"][1], path), sensor)
            holds = ", ".join(file) or "nothing"
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, MemoryError) as error:
        raise InputError(
            f"{path} cannot be read ({one_line(error)[:120]}); it is no HDF5 file or damaged: copy it again"
        ) from error
    raise InputError(f"{path} holds {holds[:80]}; needed are CD/events, events, or events/x, y, t and p")


def _node(file: Any, place: str) -> Any:
    """Return what lies at ``place``, None where nothing does; a link out of the file is not followed."""
    import h5py

    node = file
    for part in place.strip("/").split("/") if place != "/" else ():
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            return None
        node = node[part]
    return node


def _array(node: Any, path: Path) -> np.ndarray:
    """Return the values of a dataset of events, once it is known that they fit."""
    import h5py

    if not isinstance(node, h5py.Dataset):
        raise InputError(f"{path}: x, y, t or p is a link or a group, not an array in this file")
    if node.is_virtual or node.external:
        raise InputError(f"{path}: {node.name} lies in another file, which is not read")
    if node.dtype.hasobject:
        raise InputError(f"{path}: {node.name} holds text or lists, not numbers")
    limits.check_events(f"{path}: {node.name}", node.shape[0] if node.shape else 0)
    limits.check_bytes(f"{path}: {node.name}", node.size * node.dtype.itemsize)
    if node.chunks is not None:
        chunk = int(np.prod(node.chunks, dtype=object)) * node.dtype.itemsize
        limits.check_bytes(f"{path}: {node.name}", chunk, what="a piece")
    filters = node.id.get_create_plist()
    for i in range(filters.get_nfilters()):
        number = filters.get_filter(i)[0]
        if not h5py.h5z.filter_avail(number):
            raise InputError(
                f"{path}: {node.name} is compressed with {FILTERS.get(number, f'filter {number}')}, which this HDF5 "
                "does not have; write it without, e.g. with h5repack -f GZIP=4, where that plugin is"
            )
    return np.asarray(node[()])
