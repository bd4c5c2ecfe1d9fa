"""The .bin files of an ATIS sensor, the format of N-MNIST.

Format: events of 5 bytes: x, y, a bit of polarity and 23 bits of microseconds; read by ``tonic.io.read_mnist_file``.
Source: Orchard, Jayawant, Cohen, Thakor 2015, doi 10.3389/fnins.2015.00437.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from tonic.io import read_mnist_file

from snnlab.data import limits
from snnlab.data.recordings import EVENT, Events, Recorded, check_times, tidy, unwrapped
from snnlab.errors import InputError


def parse_atis(content: bytes, where: str, side: int | None = None) -> Events:
    """Return the events of one recording of ``side`` x ``side`` pixels, sorted by time; ``where`` names it in errors.

    Raises: InputError: empty, not whole events of 5 bytes, zeros in place of events, times of no one recording (see
        ``check_times``), or x or y outside of the sensor, where ``side`` is given.
    """
    if not content or len(content) % 5:
        raise InputError(
            f"{where} is truncated: {len(content)} bytes are no whole number of 5-byte events; copy it again"
        )
    limits.check_events(where, len(content) // 5)
    records = np.frombuffer(content, np.uint8).reshape(-1, 5)
    started = np.maximum.accumulate(records[:, 2:].any(1))  # an event at time 0 may stand at the beginning
    zeros = np.flatnonzero(started & ~records.any(1))
    if len(zeros):
        raise InputError(
            f"{where}: event {zeros[0] + 1:,} of {len(records):,} is zeros, as a copy that was cut short leaves them; "
            "copy it again"
        )
    events = Events.from_structured(read_mnist_file(io.BytesIO(content), EVENT, is_stream=True))
    if len(events.t) == 0:
        raise InputError(f"{where} holds no event; copy it again")
    largest = max(int(events.x.max()), int(events.y.max()))
    if side is not None and largest >= side:
        raise InputError(
            f"{where} has an event at x or y = {largest}, N-MNIST lies in 0 to {side - 1}; the file is corrupt"
        )
    time = unwrapped(events.t.astype(np.int64), 23)
    check_times(time, where)
    events = events._replace(t=time.astype(events.t.dtype))
    if np.any(events.t[1:] < events.t[:-1]):
        events = events.select(np.argsort(events.t, kind="stable"))
    return events


def parse_bin(content: bytes, path: Path) -> Recorded:
    """Return the recording in the bytes of a .bin file, which does not name its sensor; raises as ``parse_atis``."""
    return Recorded(tidy(*parse_atis(content, str(path)), path), None)
