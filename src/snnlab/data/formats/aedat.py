"""AEDAT 2.0 files of a DVS128, the format of the MNIST-DVS recordings.

Format: header lines that start with ``#``, the first being ``#!AER-DAT2.0``, then records of 8 bytes: a big-endian
uint32 address and a big-endian uint32 time stamp in microseconds.
    x = 127 - ((address & 0x00FE) >> 1)     y = (address & 0x7F00) >> 8     polarity = address & 1 (1 is ON)
Records with bit 15 set are external triggers, not pixels. The time stamp wraps at 2^32.
Source: inilabs, "AEDAT file formats"; address layout of the DVS128 as in jAER.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.files import atomic, is_html, read_bytes
from snnlab.data.limits import check_events
from snnlab.data.recordings import Events
from snnlab.errors import InputError

MAGIC = b"#!AER-DAT2.0"
SIDE = 128
RECORD = np.dtype([("address", ">u4"), ("time", ">u4")])


class AedatRecording(NamedTuple):
    """Events of one file, its header lines, and notes on what was dropped."""

    events: Events  # in the order of the file; t is int64 microseconds, unwrapped
    header: str
    notes: list[str]  # what had to be mended, e.g. a partial record at the end


def parse_aedat(content: bytes, path: Path) -> AedatRecording:
    """Return the events in ``content``, the bytes of an AEDAT 2.0 file; ``path`` names it in errors.

    A partial record at the end is dropped and noted. A step back of the time by more than 2^31 is a wrap; smaller
    ones, which recordings have, are left as they are.

    Raises:
        InputError: empty, an HTML page, another format or version, no complete record, addresses of no DVS128.
    """
    if not content:
        raise InputError(f"{path} is empty (0 bytes); copy or download it again")
    if is_html(content[:512]):
        raise InputError(f"{path} is an HTML page, not a recording; delete it and download it again")
    if not content.startswith(MAGIC):
        first = content[:32].split(b"\n")[0].strip()
        raise InputError(f"{path} is no AEDAT 2.0 file: it starts with {first!r}, needed is {MAGIC.decode()!r}")
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start)
        start = len(content) if end < 0 else end + 1
    count, rest = divmod(len(content) - start, RECORD.itemsize)
    if count == 0:
        raise InputError(f"{path} is truncated: {len(content)} bytes, a header and no complete event; copy it again")
    check_events(path, count)
    notes = [f"{path.name}: dropped a partial record of {rest} bytes at the end"] if rest else []

    records = np.frombuffer(content, RECORD, count, offset=start)
    address = records["address"].astype(np.uint32)
    if address.max() > 0xFFFF:
        where = int(np.argmax(address > 0xFFFF))
        raise InputError(
            f"{path}: event {where} has address {address[where]:#x}, a DVS128 uses 16 bits; the file is corrupt or of "
            "another sensor"
        )
    time = records["time"].astype(np.int64)
    time[1:] += np.cumsum(np.diff(time) < -(1 << 31)) << 32
    events = Events(
        (127 - ((address & 0x00FE) >> 1)).astype(np.uint8),
        ((address & 0x7F00) >> 8).astype(np.uint8),
        time,
        (address & 1).astype(np.uint8),
    )
    pixels = (address & 0x8000) == 0
    events = events if pixels.all() else events.select(pixels)
    return AedatRecording(events, content[:start].decode("latin-1"), notes)


def read_aedat(path: Path) -> AedatRecording:
    """Read an AEDAT 2.0 file; see ``parse_aedat``."""
    return parse_aedat(read_bytes(path), path)


def write_aedat(path: Path, events: Events, comments: tuple[str, ...] = ()) -> None:
    """Write ``events`` (x, y in 0 to 127, t in microseconds, wrapped to 32 bits) as AEDAT 2.0, atomically.

    Args:
        comments: further header lines, without the ``#``.

    Raises:
        InputError: a pixel outside of the sensor, or a folder that cannot be written.
    """
    if len(events.t) and max(events.x.max(), events.y.max()) >= SIDE:
        raise InputError(f"{path}: x, y up to {max(events.x.max(), events.y.max())} must lie in 0 to 127 for a DVS128")
    records = np.empty(len(events.t), RECORD)
    x, y = events.x.astype(np.uint32), events.y.astype(np.uint32)
    records["address"] = (127 - x) << 1 | y << 8 | events.p
    records["time"] = events.t.astype(np.int64) & 0xFFFFFFFF
    header = b"".join(line.encode() + b"\r\n" for line in (MAGIC.decode(), *(f"# {comment}" for comment in comments)))
    with atomic(path) as file:
        file.write(header + records.tobytes())
