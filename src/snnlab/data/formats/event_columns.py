"""Events in columns, as tables, arrays and HDF5 files hold them: which column is which, in what unit, of what numbers.

x, y    columns and rows: whole numbers from 0
t       time stamps in microseconds, or in the unit that is given or that the name says (``t_us``, ``time [ms]``)
p       polarities 0 and 1, or -1 and 1, or false and true; where there are none, all events are ON
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from snnlab.data.files import limits
from snnlab.data.recordings import Events, tidy, unwrapped
from snnlab.errors import InputError

UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}  # microseconds
NAMES = {
    "x": ("x", "xs", "col", "column", "x_pos", "xpos"),
    "y": ("y", "ys", "row", "y_pos", "ypos"),
    "t": ("t", "ts", "time", "timestamp", "timestamps", "times", "time_stamp"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
UNIT = re.compile(r"^(.*?)[ _\[\(]+(s|sec|seconds|ms|us|µs|ns)[\]\)]?$")


def named(names: Sequence[str]) -> dict[str, tuple[int, str | None]]:
    """Return which of ``names`` are x, y, t and p, as their places, and the unit that the name of t says."""
    found: dict[str, tuple[int, str | None]] = {}
    for place, name in enumerate(names):
        plain, unit = name.strip().strip('"').lower(), None
        if match := UNIT.fullmatch(plain):
            plain, unit = match[1].strip(), {"sec": "s", "seconds": "s", "µs": "us"}.get(match[2], match[2])
        for column, known in NAMES.items():
            if plain in known and column not in found:
                found[column] = place, unit if column == "t" else None
    return found


def ordered(order: str | None, columns: int, where: object) -> dict[str, tuple[int, str | None]]:
    """Return the places of the columns of a table without names, in the order that is given, as ``xytp``.

    Raises: InputError: no order is given, or one of another number of columns.
    """
    if order is None or len(order) > columns:
        have = "does not name its columns" if order is None else f"has {columns} columns, and data.order = {order}"
        raise InputError(
            f"{where} {have}; data.order=xytp would say that they are x, y, time and polarity, in this order"
        )
    return {name: (place, None) for place, name in enumerate(order)}


def from_columns(columns: dict[str, np.ndarray], unit: str | None, where: object) -> Events:
    """Return the events of columns x, y, t and perhaps p, each [N], sorted by time, from t = 0.

    Args:
        unit: of t, s, ms, us or ns; None: microseconds, which are whole numbers.
        where: names the recording in errors.

    Raises: InputError: a column that is missing, empty, of another length or kind of numbers, times that are fractions
        of an unknown unit, and as ``tidy``.
    """
    missing = [name for name in "xyt" if name not in columns]
    if missing:
        raise InputError(f"{where} has no column {missing[0]}; x, y and t are needed, p (polarity) may be there")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"{where} has columns of different lengths: {', '.join(f'{k} {n:,}' for k, n in lengths.items())}"
        )
    count = lengths["t"]
    limits.check_events(where, count)
    if count == 0:
        raise InputError(f"{where} holds no event; take it out, or record it again")
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "biuf":
            raise InputError(f"{where}: column {name} is {column.dtype} of shape {list(column.shape)}, not numbers [N]")
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            first = int(np.argmin(np.isfinite(column)))
            raise InputError(f"{where}: {name} of event {first + 1:,} is {column[first]}, not a number")
    x, y = (_whole(columns[name], name, where) for name in "xy")
    p = columns.get("p", np.ones(count, np.uint8))
    return tidy(x, y, _microseconds(columns["t"], unit, where), p, where)


def _whole(column: np.ndarray, name: str, where: object) -> np.ndarray:
    if column.dtype.kind == "f":
        whole = column == np.floor(column)
        if not whole.all():
            first = int(np.argmin(whole))
            raise InputError(f"{where}: {name} of event {first + 1:,} is {column[first]}, not the number of a pixel")
    elif column.dtype == np.uint64 and column.max() > 2**62:
        raise InputError(f"{where}: {name} reaches {column.max()}, which is not the number of a pixel")
    return column.astype(np.int64)


def _microseconds(t: np.ndarray, unit: str | None, where: object) -> np.ndarray:
    if t.dtype.kind == "f":
        if unit is None and not (t == np.floor(t)).all():
            first = int(np.argmin(t == np.floor(t)))
            raise InputError(
                f"{where}: the times are fractions ({t[first]:g}) of an unknown unit; data.time_unit=s says it"
            )
        if np.abs(t).max() * UNITS[unit or "us"] > 2**62:
            raise InputError(f"{where}: a time of {np.abs(t).max():g} is no time stamp; the file is damaged")
        return np.rint(t.astype(np.float64) * UNITS[unit or "us"]).astype(np.int64)
    bits = {(4, "i"): 32, (4, "u"): 32}.get((t.dtype.itemsize, t.dtype.kind))
    if t.dtype == np.uint64 and t.max() > 2**62:
        raise InputError(f"{where}: a time of {t.max()} is no time stamp; the file is damaged")
    whole = t.astype(np.int64)
    if bits:  # of a counter of 32 bits, or of 31 in signed numbers
        whole = unwrapped(unwrapped(whole & 0xFFFFFFFF, 31), 32)
    scale = UNITS[unit or "us"]
    return whole * int(scale) if scale >= 1 else whole // round(1 / scale)
