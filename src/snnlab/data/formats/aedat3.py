"""AEDAT 3.1 files, the format of the DVS128 Gesture recordings: a stretch of time is read without reading the rest.

Format: header lines that start with ``#``, the first ``#!AER-DAT3.1``, the last ``#!END-HEADER``; then packets of a
28-byte little-endian header (type uint16, source uint16, event size, offset of the time stamp, time stamp overflow,
capacity, number, valid number: uint32 each) and ``number`` events. A polarity event (type 1) is 8 bytes:
    data uint32: bit 0 valid, bit 1 polarity (1 is ON), bits 2 to 16 y, bits 17 to 31 x
    time uint32: microseconds; the overflow of its packet counts as bit 31 and above
Source: inilabs, "AEDAT file formats", section AEDAT 3.1.
"""

from __future__ import annotations

import re
import struct
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data import limits
from snnlab.data.files import open_file
from snnlab.data.formats.aedat import SENSORS
from snnlab.data.recordings import Events, Recorded, tidy
from snnlab.errors import InputError

MAGIC = b"#!AER-DAT3.1"
END = b"#!END-HEADER"
POLARITY = 1
PACKET = struct.Struct("<HHIIIIII")
RECORD = np.dtype([("data", "<u4"), ("time", "<u4")])
SOURCE = re.compile(rb"^#Source \d+:\s*(?:DVS|DAVIS)\w*?(128|208|240|346|640)", re.MULTILINE)


class Index(NamedTuple):
    """Where the polarity packets of a file lie; each [packets], int64."""

    start: np.ndarray  # first byte of the events
    number: np.ndarray
    overflow: np.ndarray
    first: np.ndarray  # microseconds
    last: np.ndarray


class Aedat3File:
    """The polarity events of one AEDAT 3.1 file; its packets are indexed once, its events read when asked for.

    Args:
        path: of the file.
        side: x and y must be below it; None lets them be.

    Raises:
        InputError: missing, another format, cut short, or a pixel outside of the sensor.
    """

    def __init__(self, path: Path, side: int | None = 128) -> None:
        self.path, self.side = path, side

    @cached_property
    def index(self) -> Index:
        content, rows = self._map(), list[tuple[int, int, int, int, int]]()
        head = bytes(content[: len(MAGIC)])
        if head != MAGIC:
            raise InputError(f"{self.path} is no AEDAT 3.1 file: it starts with {head!r}, needed is {MAGIC.decode()!r}")
        at = _header_end(bytes(content[:65536]))
        while at < len(content):
            if at + PACKET.size > len(content):
                raise self._cut(len(content))
            kind, _, size, _, overflow, _, number, _ = PACKET.unpack(content[at : at + PACKET.size].tobytes())
            if size == 0:
                raise InputError(
                    f"{self.path} has a packet without a size at byte {at:,}; it is damaged: copy it again"
                )
            start, at = at + PACKET.size, at + PACKET.size + size * number
            if at > len(content):
                raise self._cut(len(content))
            if number == 0:
                raise InputError(f"{self.path}: a packet declares 0 events of {size} bytes; copy it again")
            if kind == POLARITY:
                if size != RECORD.itemsize:
                    raise InputError(f"{self.path}: a packet has events of {size} bytes, 8 are needed; copy it again")
                ends = [int.from_bytes(content[place - 4 : place].tobytes(), "little") for place in (start + 8, at)]
                rows.append((start, number, overflow, *(end | overflow << 31 for end in ends)))  # type: ignore[arg-type]
        if not rows:
            raise InputError(f"{self.path} holds no event; copy it again")
        return Index(*np.array(rows, np.int64).T)

    def events(self, start_us: int, stop_us: int) -> Events:
        """Return the events with start_us <= t < stop_us, t counted from the first of them."""
        index, content = self.index, self._map()
        parts, chosen = [], np.flatnonzero((index.last >= start_us) & (index.first < stop_us))
        limits.check_events(self.path, int(index.number[chosen].sum()))
        for i in chosen:
            stop = index.start[i] + index.number[i] * RECORD.itemsize
            records = content[index.start[i] : stop].view(RECORD)
            time = records["time"].astype(np.int64) | index.overflow[i] << 31
            keep = (time >= start_us) & (time < stop_us) & (records["data"] & 1 == 1)
            parts.append((records["data"][keep], time[keep]))
        data = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.uint32)
        time = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.int64)
        if len(data) == 0:
            raise InputError(f"{self.path} holds no event from {start_us} to {stop_us} us; copy it again")
        x, y, p = data >> 17 & 0x7FFF, data >> 2 & 0x7FFF, data >> 1 & 1
        largest = max(int(x.max()), int(y.max()))
        if self.side is not None and largest >= self.side:
            raise InputError(
                f"{self.path} has an event at x or y = {largest}, the sensor has 0 to {self.side - 1}; it is corrupt"
            )
        return tidy(x, y, time, p, self.path)

    def _map(self) -> np.ndarray:
        with open_file(self.path) as file:
            try:
                return np.memmap(file, np.uint8, "r").view(np.ndarray)
            except (OSError, ValueError) as error:  # ValueError: an empty file
                why = getattr(error, "strerror", None) or "it is empty"
                raise InputError(f"{self.path} cannot be read ({why}); check the file and its permissions") from error

    def _cut(self, length: int) -> InputError:
        return InputError(f"{self.path} is truncated: {length} bytes end within a packet of events; copy it again")


def read_aedat3(path: Path) -> Recorded:
    """Return the whole recording at ``path`` and the sensor that its header names; raises as ``Aedat3File``."""
    file = Aedat3File(path, None)
    events, head = file.events(0, 2**62), bytes(file._map()[:65536])
    source = SOURCE.search(head[: _header_end(head)])
    return Recorded(events, SENSORS[source[1].decode()] if source else None)


def _header_end(content: bytes) -> int:
    """Return the first byte after the header lines."""
    at = 0
    while content[at : at + 1] == b"#":
        line_end = content.find(b"\n", at)
        last = content.startswith(END, at)
        at = len(content) if line_end < 0 else line_end + 1
        if last:
            break
    return at
