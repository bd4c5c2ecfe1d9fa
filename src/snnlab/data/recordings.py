"""Event recordings: the events of one, many held together in memory, and many left on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from snnlab.errors import InputError

MOST_US = 2**32 - 1  # microseconds that fit in a time stamp
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


def tidy(x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray) -> Events:
    """Return the events sorted by time, from t = 0: columns and rows as uint8 (beyond 255: uint16), t uint32, p uint8.

    Polarities may be 0 and 1, or -1 and 1.

    Raises:
        InputError: a place beyond 65,535, a time span of more than 71 minutes, another polarity.
    """
    t = t.astype(np.int64)
    t -= t.min() if len(t) else 0
    if len(t) and t.max() > MOST_US:
        raise InputError(
            f"events: a recording of {t.max() / 1e6:,.0f} s is longer than {MOST_US / 1e6:,.0f} s; cut it into parts, "
            "or look for a time stamp that is far from the others"
        )
    events = Events(_place("column", x), _place("row", y), t.astype(np.uint32), _polarity(p))
    return events if np.all(t[1:] >= t[:-1]) else events.select(np.argsort(t, kind="stable"))


def _place(name: str, values: np.ndarray) -> np.ndarray:
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise InputError(f"events: a {name} of {low if low < 0 else high} must lie in 0 to 65535")
    return values.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)


def _polarity(values: np.ndarray) -> np.ndarray:
    found = np.unique(values).tolist()
    if set(found) <= {-1, 1} and -1 in found:
        return (values > 0).astype(np.uint8)
    if not set(found) <= {0, 1}:
        raise InputError(f"events: polarities {found[:5]} must be 0 (OFF) and 1 (ON), or -1 and 1")
    return values.astype(np.uint8)
