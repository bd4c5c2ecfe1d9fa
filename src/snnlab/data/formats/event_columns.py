"""Events in columns, as tables, arrays and HDF5 files hold them: which column is which, in what unit, of what numbers.

x, y    columns and rows: whole numbers from 0
t       time stamps in microseconds, or in the unit that is given or that the name says (``t_us``, ``time [ms]``)
p       polarities 0 and 1, or -1 and 1, or false and true; where there are none, all events are ON
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from snnlab.data import limits
from snnlab.data.recordings import Events, tidy, unwrapped32
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
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "biuf":
            raise InputError(f"{where}: column {name} is {column.dtype} of shape {list(column.shape)}, not numbers [N]")
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
        if column.dtype.kind == "f":
            _check_each(column, np.isfinite(column), f"{where}: {name}", "a number")
            if name in "xy":
                _check_each(column, column == np.floor(column), f"{where}: {name}", "the number of a pixel")
    p = columns.get("p", np.ones(count, np.uint8))
    return tidy(columns["x"], columns["y"], _microseconds(columns["t"], unit, where), p, where)


def _check_each(column: np.ndarray, sound: np.ndarray, where: str, what: str) -> None:
    if not sound.all():
        first = int(np.argmin(sound))
        raise InputError(f"{where} of event {first + 1:,} is {column[first]}, not {what}")


def _microseconds(t: np.ndarray, unit: str | None, where: object) -> np.ndarray:
    scale = UNITS[unit or "us"]
    farthest = max((t.min(), t.max()), key=lambda stamp: abs(float(stamp)))
    if abs(float(farthest)) * scale > 2**62:
        raise InputError(f"{where}: a time of {farthest:g} is no time stamp; the file is damaged")
    if t.dtype.kind == "f":
        whole = t == np.floor(t)
        if unit is None and not whole.all():
            raise InputError(
                f"{where}: the times are fractions ({t[np.argmin(whole)]:g}) of an unknown unit; "
                "data.time_unit=s says it"
            )
        return np.rint(t.astype(np.float64) * scale).astype(np.int64)
    ticks = t.astype(np.int64)
    if t.dtype.itemsize == 4:
        ticks = unwrapped32(ticks & 0xFFFFFFFF)
    return ticks * int(scale) if scale >= 1 else ticks // round(1 / scale)
