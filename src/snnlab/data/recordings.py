"""Event recordings: the events of one, many held together in memory, and many left on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from snnlab.errors import InputError

MOST_US = 2**32 - 1  # microseconds that fit in a time stamp
STEP_BACK_US = 100_000  # sensors put events out of order by less
SHORTEST_US = 1_000  # nearer stamps are not far from each other
FEWEST = 20  # events, of which it can be said which stamps are far from the others
EVENT = np.dtype([("x", np.uint8), ("y", np.uint8), ("t", np.uint32), ("p", np.uint8)])  # tonic's order of fields


class Events(NamedTuple):
    """Events one after the other: column x, row y, time t in microseconds, polarity p (0 OFF, 1 ON); each [N]."""

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray

    def structured(self) -> np.ndarray:
        """Return the events as one structured array, the form tonic's transforms take."""
        places = [(name, getattr(self, name).dtype) for name in ("x", "y")]  # 700 cochlear channels need two bytes
        array = np.empty(len(self.t), [*places, *EVENT.descr[2:]])
        for name, column in self._asdict().items():
            array[name] = column
        return array

    @classmethod
    def from_structured(cls, array: np.ndarray) -> Events:
        return cls(*(np.ascontiguousarray(array[name]) for name in cls._fields))

    def select(self, which: np.ndarray | slice) -> Events:
        return Events(*(column[which] for column in self))


class AnyRecordings(Protocol):
    """Recordings wherever they lie: in memory, on disk, or made when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Events: ...

    def take(self, indices: Sequence[int] | np.ndarray) -> Recordings:
        """Return the recordings at ``indices``, in that order, in memory."""


@dataclass(frozen=True)
class Recordings:
    """Many recordings in one set of arrays: recording i is ``events[offsets[i]:offsets[i + 1]]``, sorted by time."""

    events: Events
    offsets: np.ndarray  # int64 [recordings + 1]

    @classmethod
    def pack(cls, parts: Sequence[Events]) -> Recordings:
        lengths = [len(part.t) for part in parts]
        dtypes = (np.uint8, np.uint8, np.uint32, np.uint8)
        columns = zip(*parts, strict=True) if parts else ((),) * 4
        joined = (np.concatenate(c) if c else np.empty(0, d) for c, d in zip(columns, dtypes, strict=True))
        return cls(Events(*joined), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Events:
        return self.events.select(slice(self.offsets[index], self.offsets[index + 1]))

    def take(self, indices: Sequence[int] | np.ndarray) -> Recordings:
        """Return the recordings at ``indices``, in that order, as arrays of their own."""
        return Recordings.pack([self[int(i)] for i in indices])


@dataclass(frozen=True)
class StoredRecordings:
    """Recordings left on disk, answering like ``Recordings``: recording i is ``read(i)`` each time it is asked for."""

    read: Callable[[int], Events]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Events:
        return self.read(int(index))

    def take(self, indices: Sequence[int] | np.ndarray) -> Recordings:
        return Recordings.pack([self[i] for i in indices])


class Recorded(NamedTuple):
    """One file: its events, sorted by time from t = 0, and its sensor (width, height) where the file names it."""

    events: Events
    sensor: tuple[int, int] | None


def tidy(x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray, where: object = "events") -> Events:
    """Return the events sorted by time, from t = 0: columns and rows as uint8 (beyond 255: uint16), t uint32, p uint8.

    Polarities may be 0 and 1, or -1 and 1. ``where`` names the recording in errors.

    Raises:
        InputError: columns of different lengths, a place that is no whole number or beyond 65,535, times of no one
            recording (see ``check_times``), another polarity.
    """
    if len(shapes := {np.shape(column) for column in (x, y, t, p)}) > 1 or len(next(iter(shapes))) != 1:
        raise InputError(f"{where}: columns of shapes {sorted(shapes)}; x, y, t and p have one number for each event")
    if t.dtype.kind == "f" and not np.isfinite(t).all():
        raise InputError(f"{where}: a time stamp is not finite; the file is damaged, or a unit was converted wrongly")
    t = t.astype(np.int64)
    check_times(t, where)
    t -= t.min() if len(t) else 0
    if len(t) and t.max() > MOST_US:
        raise InputError(
            f"{where}: a recording of {t.max() / 1e6:,.0f} s is longer than {MOST_US / 1e6:,.0f} s; cut it into parts, "
            "or look for a time stamp that is far from the others"
        )
    events = Events(_place("column", x, where), _place("row", y, where), t.astype(np.uint32), _polarity(p, where))
    return events if np.all(t[1:] >= t[:-1]) else events.select(np.argsort(t, kind="stable"))


def check_times(t: np.ndarray, where: object) -> None:
    """Raise InputError where the time stamps t int64 [N], microseconds in the order of the file, are of no recording.

    That is one where a clock was set back or a stamp is damaged: it would be shown at the wrong time, or stretch the
    time axis so that all else falls into one step, or push all else out of the steps that are looked at. Refused are
        a step back of more than 0.1 s; smaller ones, which sensors make, are left to sorting, and where every tenth
            step goes back as far the file is not in the order of time at all, and is sorted;
        one stamp, or one of 100, that is farther from the others than those last, before or after them;
        the same stamp for all.
    Fewer than 20 events are taken as they are.
    """
    if len(t) < FEWEST:
        return
    back = np.flatnonzero(t[1:] < t[:-1] - STEP_BACK_US)
    if 0 < len(back) <= len(t) // 10:
        i = int(back[0])
        raise InputError(
            f"{where}: the time jumps back from {t[i]:,} us to {t[i + 1]:,} us at event {i + 2:,} of {len(t):,}; a "
            "clock was set back or the file is damaged: cut it there, or copy it again"
        )
    ordered, few = t if np.all(t[1:] >= t[:-1]) else np.sort(t), max(1, len(t) // 100)
    if ordered[0] == ordered[-1]:
        raise InputError(
            f"{where}: all {len(t):,} events carry the same time stamp {t[0]:,}; its times are lost or in another unit"
        )
    lasts = ordered[-1 - few] - ordered[few]
    gaps = np.diff(ordered)
    for i in (*range(few), *range(len(gaps) - few, len(gaps))):
        if gaps[i] > max(lasts, SHORTEST_US):
            far, near = (ordered[i], ordered[i + 1]) if i < few else (ordered[i + 1], ordered[i])
            raise InputError(
                f"{where}: the time stamp {far:,} us is {gaps[i] / 1e6:,.3f} s away from {near:,} us, where the other "
                f"events begin or end that last {lasts / 1e6:,.3f} s; take it out or cut the recording there"
            )


def unwrapped(t: np.ndarray, bits: int) -> np.ndarray:
    """Return time stamps t int64 [N] of a counter of ``bits`` bits that began again at 0 whenever it was full.

    It did so where the time falls from its last eighth into its first; and an event that comes late, from before that,
    is taken back with it.
    """
    near, full = 1 << (bits - 3), 1 << bits
    last, first = (t >= full - near) & (t < full), t < near
    turns = np.zeros(len(t), np.int64)
    turns[1:] += (last[:-1] & first[1:]).astype(np.int64) - (first[:-1] & last[1:])
    turns = np.cumsum(turns)
    return t + (np.maximum(turns, 0) << bits) if turns.any() else t


def unwrapped32(t: np.ndarray) -> np.ndarray:
    """Return time stamps t int64 [N] of a counter of 32 bits, or of 31 where it was kept in signed numbers."""
    return unwrapped(unwrapped(t, 31), 32)


def check_zeros(content: bytes, start: int, where: object) -> None:
    """Raise InputError where 64 bytes or more of a raw recording, from byte ``start`` on, are zero in a row.

    A copy that was cut short leaves them; as events they would be at (0, 0).
    """
    zero = content.find(bytes(64), start)
    if zero >= 0:
        raise InputError(
            f"{where} is zeros from byte {zero:,} on, as a copy that was cut short leaves it; copy it again"
        )


def _place(name: str, values: np.ndarray, where: object) -> np.ndarray:
    if values.dtype.kind == "f" and not np.all(whole := np.isfinite(values) & (values == np.floor(values))):
        raise InputError(f"{where}: a {name} is {values[~whole][0]}, not the number of a pixel")
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise InputError(f"{where}: a {name} of {low if low < 0 else high} must lie in 0 to 65535")
    return values.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)


def _polarity(values: np.ndarray, where: object) -> np.ndarray:
    found = np.unique(values).tolist()
    if set(found) <= {-1, 1} and -1 in found:
        return (values > 0).astype(np.uint8)
    if not set(found) <= {0, 1}:
        raise InputError(f"{where}: polarities {found[:5]} must be 0 (OFF) and 1 (ON), or -1 and 1")
    return values.astype(np.uint8)
