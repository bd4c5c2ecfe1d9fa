"""The .dat files of Prophesee's sensors, the form of N-CARS and of the automotive data sets.

Format: header lines that start with ``%``, among them ``% Width 304`` and ``% Height 240``; a byte with the kind of
event (0 or 12: changes of contrast) and one with its size (8); then little-endian events: time uint32 in microseconds,
which wraps, and a word with x (bits 0 to 13), y (bits 14 to 27) and polarity (bits 28 to 31).
Source: Prophesee, "DAT file format", version 2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnlab.data import limits
from snnlab.data.formats.prophesee_raw import header, sensor_of
from snnlab.data.recordings import Recorded, check_zeros, tidy, unwrapped
from snnlab.errors import InputError

RECORD = np.dtype([("t", "<u4"), ("place", "<u4")])
CHANGES = (0, 12)  # kinds of event that are changes of contrast


def parse_dat(content: bytes, path: Path) -> Recorded:
    """Return the recording in ``content``, the bytes of a .dat file; ``path`` names it in errors.

    Raises: InputError: another kind of event, cut short, zeros, too many events or none, times of no recording.
    """
    text, start = header(content)
    kind, size = content[start : start + 2] if len(content) >= start + 2 else (0, 0)
    if start == 0 or kind not in CHANGES or size != RECORD.itemsize:
        raise InputError(
            f"{path} is no .dat file of events: needed are header lines of '%', then the bytes 0 or 12, and 8; it has "
            f"{len(text.splitlines())} such lines, then {kind} and {size}"
        )
    count, rest = divmod(len(content) - start - 2, RECORD.itemsize)
    if rest or count == 0:
        what = "is truncated within an event" if rest else "holds no event"
        raise InputError(f"{path} {what}: {len(content) - start - 2:,} bytes after its header; copy it again")
    limits.check_events(path, count)
    check_zeros(content, start, path)
    records = np.frombuffer(content, RECORD, count, start + 2)
    place = records["place"].astype(np.int64)
    t = unwrapped(records["t"].astype(np.int64), 32)
    return Recorded(tidy(place & 0x3FFF, place >> 14 & 0x3FFF, t, place >> 28, path), sensor_of(text))
