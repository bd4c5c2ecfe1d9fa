"""AEDAT 2.0 files of a DVS128, the format of the MNIST-DVS recordings, and of the DAVIS sensors.

Format: header lines that start with ``#``, the first being ``#!AER-DAT2.0``, then records of 8 bytes: a big-endian
uint32 address and a big-endian uint32 time stamp in microseconds.
    DVS128  x = 127 - bits 1 to 7    y = bits 8 to 14      polarity = bit 0 (1 is ON)    bit 15: an external trigger
    DAVIS   x = bits 12 to 21        y = bits 22 to 30     polarity = bit 11             bit 10: an external trigger,
            bit 31: a sample of a frame or of the inertial sensor
Triggers and samples are no pixels and are left out. The header line ``# AEChip:`` names the sensor. The time stamp
wraps at 2^32, in some recordings at 2^31.
Source: iniVation, "AEDAT 2.0"; address layout of the DVS128 as in jAER.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data import limits
from snnlab.data.files import atomic, is_html, read_bytes
from snnlab.data.recordings import Events, Recorded, check_zeros, tidy, unwrapped32
from snnlab.errors import InputError

MAGIC = b"#!AER-DAT2.0"
SIDE = 128
# columns and rows by the number in a chip's name
SENSORS = {"128": (128, 128), "208": (208, 192), "240": (240, 180), "346": (346, 260), "640": (640, 480)}
RECORD = np.dtype([("address", ">u4"), ("time", ">u4")])


class AedatRecording(NamedTuple):
    """Events of one file, its header lines, and notes on what was dropped."""

    events: Events  # in the order of the file; t is int64 microseconds, unwrapped
    header: str
    notes: list[str]  # what had to be mended, e.g. a partial record at the end


def parse_aedat(content: bytes, path: Path) -> AedatRecording:
    """Return the events in ``content``, the bytes of a DVS128's AEDAT 2.0 file; ``path`` names it in errors.

    A partial record at the end is dropped and noted. Steps back of the time, which recordings have, are left as they
    are, but for those of a counter that was full.

    Raises:
        InputError: empty, an HTML page, another format or version, no complete record, addresses of no DVS128.
    """
    header, records, notes = _parts(content, path)
    address = records["address"].astype(np.uint32)
    if address.max() > 0xFFFF:
        where = int(np.argmax(address > 0xFFFF))
        raise InputError(
            f"{path}: event {where} has address {address[where]:#x}, a DVS128 uses 16 bits; the file is corrupt or of "
            "another sensor"
        )
    return AedatRecording(_of_dvs128(address, unwrapped32(records["time"].astype(np.int64))), header, notes)


def parse_aedat2(content: bytes, path: Path) -> Recorded:
    """Return the recording in ``content``, the bytes of an AEDAT 2.0 file of the sensor that its header names.

    A file that names none is of a DVS128 where its addresses have 16 bits, else of a DAVIS.

    Raises: InputError: as ``parse_aedat``; a partial record at the end, a run of zeros, no event of a pixel.
    """
    header, records, notes = _parts(content, path)
    if notes:
        raise InputError(f"{path} is truncated: it ends with a partial record; copy it again")
    check_zeros(content, len(header), path)
    address, chip = records["address"].astype(np.uint32), _chip(header)
    if (chip is None and address.max() <= 0xFFFF) or chip == "dvs128":
        events, sensor = parse_aedat(content, path).events, SENSORS.get("128")
    else:
        pixels = (address & 0x80000400) == 0
        address = address[pixels]
        x, y = (address >> 12 & 0x3FF).astype(np.int64), (address >> 22 & 0x1FF).astype(np.int64)
        events = Events(
            x, y, unwrapped32(records["time"].astype(np.int64))[pixels], (address >> 11 & 1).astype(np.uint8)
        )
        sensor = SENSORS.get(chip or "")
    if len(events.t) == 0:
        raise InputError(f"{path} holds no event of a pixel; record it again")
    return Recorded(tidy(*events, path), sensor)


def _parts(content: bytes, path: Path) -> tuple[str, np.ndarray, list[str]]:
    """Return the header, the records, and a note where a partial one was dropped."""
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
    limits.check_events(path, count)
    notes = [f"{path.name}: dropped a partial record of {rest} bytes at the end"] if rest else []
    return content[:start].decode("latin-1"), np.frombuffer(content, RECORD, count, offset=start), notes


def _of_dvs128(address: np.ndarray, time: np.ndarray) -> Events:
    events = Events(
        (127 - ((address & 0x00FE) >> 1)).astype(np.uint8),
        ((address & 0x7F00) >> 8).astype(np.uint8),
        time,
        (address & 1).astype(np.uint8),
    )
    pixels = (address & 0x8000) == 0
    return events if pixels.all() else events.select(pixels)


def _chip(header: str) -> str | None:
    """Return ``dvs128``, the number of a DAVIS, ``davis`` for another of them, None where the header names no chip."""
    line = re.search(r"AEChip:\s*(?:\w+\.)*(\w+)", header)
    if line is None or not (match := re.match(r"(dvs128)|davis\w*?(128|208|240|346|640)|(davis)", line[1].lower())):
        return None
    return match[1] or match[2] or "davis"


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
