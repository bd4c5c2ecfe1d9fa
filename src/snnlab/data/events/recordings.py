"""Event recordings held together in memory, and the dataset that bins them batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.data.contract import Batch, BatchedDataset

if TYPE_CHECKING:
    from snnlab.data.augmentation import EventAugmentation
    from snnlab.data.binning import Binning
    from snnlab.data.frames import StoredFrames

EVENT = np.dtype([("x", np.uint8), ("y", np.uint8), ("t", np.uint32), ("p", np.uint8)])  # tonic's order of fields


class Events(NamedTuple):
    """Events one after the other: column x, row y, time t in microseconds, polarity p (0 OFF, 1 ON); each [N]."""

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray

    def structured(self) -> np.ndarray:
        """Return the events as one structured array, the form tonic's transforms take."""
        wide = [("x", np.uint16), *EVENT.descr[1:]]  # 700 cochlear channels do not fit in a byte
        array = np.empty(len(self.t), EVENT if self.x.dtype == np.uint8 else wide)
        for name, column in self._asdict().items():
            array[name] = column
        return array

    @classmethod
    def from_structured(cls, array: np.ndarray) -> Events:
        return cls(*(np.ascontiguousarray(array[name]) for name in cls._fields))

    def select(self, which: np.ndarray | slice) -> Events:
        return Events(*(column[which] for column in self))


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
    """Return the events sorted by time, from t = 0, as uint8 (x beyond 255: uint16), uint8, uint32, uint8."""
    t = t.astype(np.int64)
    t -= t.min() if len(t) else 0
    x_type = np.uint16 if len(x) and x.max() > 255 else np.uint8
    events = Events(x.astype(x_type), y.astype(np.uint8), t.astype(np.uint32), p.astype(np.uint8))
    return events if np.all(t[1:] >= t[:-1]) else events.select(np.argsort(t, kind="stable"))


class EventDataset(BatchedDataset):
    """Recordings with labels [N], and where they are known the natural signals behind them.

    Args:
        recordings: the events, or any object that answers ``take(indices)`` and ``[index]`` alike.
        signals: images uint8 [M, C, H, W], the value of white and, per recording, the index of its image [N]; or None.
        augmentation: changes the events of each batch before they are binned (training only).
        stored: where the binned frames are kept, for all that is not augmented; None bins every batch anew.

    Batches: inputs [T, B, P, H, W] float32, labels [B], signals [B, C, H, W] or None.
    """

    def __init__(
        self,
        recordings: Recordings | StoredRecordings,
        labels: np.ndarray,
        binning: Binning,
        signals: tuple[Tensor, int, np.ndarray] | None = None,
        augmentation: EventAugmentation | None = None,
        stored: StoredFrames | None = None,
    ) -> None:
        super().__init__()
        self.recordings, self.binning, self.signals, self.augmentation = recordings, binning, signals, augmentation
        self.stored = stored if augmentation is None else None
        self.labels = torch.from_numpy(np.asarray(labels).astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.recordings[index].structured(), int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        signals = None
        if self.signals is not None:
            images, white, which = self.signals
            signals = images[torch.from_numpy(which[index.numpy()])].float() / white
        return Batch(self._frames(index.numpy()), self.labels[index], signals)

    def _frames(self, indices: np.ndarray) -> Tensor:
        if self.stored is not None:
            counts = self.stored.batch(indices, lambda some: self.binning.counts(self.recordings.take(some)))
            return self.binning.finished(counts)
        recordings = self.recordings.take(indices)
        if self.augmentation is not None:
            recordings = self.augmentation(recordings)
        return self.binning(recordings)
