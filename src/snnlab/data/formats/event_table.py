"""Events as text: a table of numbers, one event a line (.csv, .tsv, .txt).

Format: columns parted by commas, semicolons, tabs or blanks; lines that start with ``#`` are comments; a first line of
names says which column is which, else ``data.order`` does. See ``event_columns``.
"""

from __future__ import annotations

import io
import re
from itertools import chain
from pathlib import Path

import numpy as np

from snnlab.data import limits
from snnlab.data.files import is_html
from snnlab.data.formats.event_columns import from_columns, named, ordered
from snnlab.data.recordings import Recorded
from snnlab.errors import InputError


def parse_table(content: bytes, path: Path, order: str | None = None, unit: str | None = None) -> Recorded:
    """Return the recording in ``content``, the bytes of a table, which does not name its sensor.

    Args:
        order: of columns that have no names, as ``xytp``.
        unit: of the times; None takes that of their name, else microseconds.

    Raises: InputError: no text or no table of numbers, too many lines, unnamed columns without an order, and as
        ``from_columns``.
    """
    if is_html(content[:512]):
        raise InputError(f"{path} is an HTML page, not a table of events; copy it again")
    if (zero := content.find(0)) >= 0:
        raise InputError(f"{path} is no text (byte {zero} is zero); save it as a table of numbers")
    limits.check_events(path, content.count(b"\n") - 1)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 (byte {error.start}); save it as a table of numbers") from error
    content = re.sub(rb"(?i)\btrue\b", b"1", re.sub(rb"(?i)\bfalse\b", b"0", content))
    rows = (row for row in io.TextIOWrapper(io.BytesIO(content), "utf-8-sig") if row.strip() and row[0] != "#")
    nothing = InputError(f"{path} holds no event; take it out, or record it again")
    if not (head := next(rows, "")):
        raise nothing
    parting = next((mark for mark in ",;\t" if mark in head), None)
    cells = re.split(re.escape(parting) if parting else r"\s+", head.strip())
    names = named(cells) if re.search("[A-Za-z]", re.sub(r"(?i)nan|inf|\de[-+]?\d", "", head)) else None
    places = names if names is not None else ordered(order, len(cells), path)
    if names is not None and not {"x", "y", "t"} <= set(names):
        raise InputError(f"{path}: the first line names {', '.join(cells)[:80]}; needed are x, y, t and perhaps p")
    if not (first := head if names is None else next(rows, "")):
        raise nothing
    try:
        values = np.loadtxt(
            chain([first], rows),
            delimiter=parting,
            usecols=[place for place, _ in places.values()],
            ndmin=2,
            dtype=np.float64,
        )
    except (ValueError, IndexError) as error:
        why = re.sub(r"; use `?usecols.*", "", " ".join(str(error).split()))[:120]
        raise InputError(f"{path} is no table of numbers ({why})") from error
    columns = {name: values[:, column] for column, name in enumerate(places)}
    said = places["t"][1] if "t" in places else None
    return Recorded(from_columns(columns, unit or said, path), None)
