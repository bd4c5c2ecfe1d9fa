"""The .bin files of an ATIS sensor, the format of N-MNIST.

Format: events of 5 bytes: x, y, a bit of polarity and 23 bits of microseconds; read by ``tonic.io.read_mnist_file``.
Source: Orchard, Jayawant, Cohen, Thakor 2015, doi 10.3389/fnins.2015.00437.
"""

from __future__ import annotations

import io

import numpy as np
from tonic.io import read_mnist_file

from snnlab.data.limits import check_events
from snnlab.data.recordings import EVENT, Events
from snnlab.errors import InputError


def parse_atis(content: bytes, where: str, side: int) -> Events:
    """Return the events of one recording of ``side`` x ``side`` pixels, sorted by time; ``where`` names it in errors.

    Raises: InputError: empty, not whole events of 5 bytes, or x or y outside of the sensor.
    """
    if not content or len(content) % 5:
        raise InputError(
            f"{where} is truncated: {len(content)} bytes are no whole number of 5-byte events; copy it again"
        )
    check_events(where, len(content) // 5)
    events = Events.from_structured(read_mnist_file(io.BytesIO(content), EVENT, is_stream=True))
    if len(events.t) == 0:
        raise InputError(f"{where} holds no event; copy it again")
    largest = max(int(events.x.max()), int(events.y.max()))
    if largest >= side:
        raise InputError(
            f"{where} has an event at x or y = {largest}, N-MNIST lies in 0 to {side - 1}; the file is corrupt"
        )
    if np.any(events.t[1:] < events.t[:-1]):
        events = events.select(np.argsort(events.t, kind="stable"))
    return events
