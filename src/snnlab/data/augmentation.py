"""Augmentation of event recordings: flip, shift, time jitter and dropped events, for training only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from snnlab.data.datamodule import check_range
from snnlab.data.events import Events, Recordings


@dataclass(frozen=True)
class EventAugmentation:
    """Changes the events of a batch; each recording draws its own flip and shift, each event its own jitter and fate.

    Args:
        width: of the sensor, pixels (for the flip).
        flip: probability that a recording is mirrored left to right.
        shift: largest shift in x and (but for a line of sensors) in y, pixels; events shifted off are dropped.
        jitter_us: standard deviation of the time jitter, microseconds.
        drop: probability that an event is dropped.

    The random numbers are seeded from torch's generator, so a run that restores it sees the same augmentation.
    Raises: InputError when an argument leaves its range.
    """

    width: int
    height: int
    flip: float = 0.0
    shift: int = 0
    jitter_us: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        check_range("augmentation: flip", self.flip, 0, 1, "0.5 mirrors half of the recordings")
        side = min(self.width, self.height) if self.height > 1 else self.width
        check_range("augmentation: shift", self.shift, 0, side - 1, "2 is usual")
        check_range("augmentation: jitter_us", self.jitter_us, 0, 1e9, "1000 is usual")
        check_range("augmentation: drop", self.drop, 0, 1, "0.1 is usual")

    def __bool__(self) -> bool:
        return any((self.flip, self.shift, self.jitter_us, self.drop))

    def __call__(self, recordings: Recordings) -> Recordings:
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        sample = np.repeat(np.arange(len(recordings)), np.diff(recordings.offsets))  # [events]
        x, y = recordings.events.x.astype(np.int16), recordings.events.y.astype(np.int16)
        t, p = recordings.events.t.astype(np.int64), recordings.events.p
        if self.flip:
            mirrored = (rng.random(len(recordings)) < self.flip)[sample]
            x = np.where(mirrored, np.int16(self.width - 1) - x, x)
        if self.shift:
            moves = rng.integers(-self.shift, self.shift + 1, (2, len(recordings)), np.int16)
            x, y = x + moves[0, sample], y + (moves[1, sample] if self.height > 1 else 0)
        keep = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        if self.drop:
            keep &= rng.random(len(t)) >= self.drop
        if self.jitter_us:
            t = np.maximum(t + np.rint(rng.normal(0, self.jitter_us, len(t))).astype(np.int64), 0)
            order = np.lexsort((t, sample))  # each recording stays sorted by time; sample is sorted already
            x, y, t, p, keep = x[order], y[order], t[order], p[order], keep[order]
        counts = np.bincount(sample[keep], minlength=len(recordings))
        x_type, y_type = recordings.events.x.dtype, recordings.events.y.dtype
        events = Events(x[keep].astype(x_type), y[keep].astype(y_type), t[keep].astype(np.uint32), p[keep])
        return Recordings(events, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
