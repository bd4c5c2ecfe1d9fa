"""What event data sets share: recordings binned batch by batch, their augmentation, the length of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import Batch, BatchedDataset, DataModule
from snnlab.data.frames import StoredFrames
from snnlab.data.loader import Loader
from snnlab.data.recordings import AnyRecordings


class EventDataset(BatchedDataset):
    """Recordings with labels [N], and where they are known the natural signals behind them.

    Args:
        recordings: the events, wherever they lie.
        signals: images uint8 [M, C, H, W], the value of white and, per recording, the index of its image [N]; or None.
        augmentation: changes the events of each batch before they are binned (training only).
        stored: where the binned frames are kept, for all that is not augmented; None bins every batch anew.

    Batches: inputs [T, B, P, H, W] float32, labels [B], signals [B, C, H, W] or None.
    """

    def __init__(
        self,
        recordings: AnyRecordings,
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
            recordings = self.augmentation(recordings, self.binning.width, self.binning.height)
        return self.binning(recordings)


class EventModule(DataModule):
    """Shared form of the event data sets.

    Args:
        binning: how events become frames.
        augmentation: of training batches, in pixels of the sensor.

    Raises: InputError: an augmentation that does not fit the sensor.
    """

    def __init__(self, loader: Loader, binning: Binning, augmentation: EventAugmentation) -> None:
        super().__init__(loader)
        augmentation.check(binning.width, binning.height)
        self.binning, self.augmentation = binning, augmentation

    @property
    def time_step(self) -> float | None:
        """Seconds of a step; None where each recording is cut in equal parts, whatever its length."""
        return None if self.binning.window_us is None else self.binning.window_us / 1e6

    def datasets(
        self,
        recordings: AnyRecordings,
        labels: np.ndarray,
        name: tuple[object, ...],
        signals: tuple[Tensor, int, np.ndarray] | None = None,
    ) -> tuple[EventDataset, EventDataset]:
        """Return the recordings augmented, for training, and as they are; frames of those are kept under ``name``.

        Args:
            name: all that determines the recordings and their order.
            signals: as in EventDataset.
        """
        stored = StoredFrames(self.cache, name, len(labels), self.binning)
        changed = EventDataset(recordings, labels, self.binning, signals, self.augmentation or None, stored)
        return changed, EventDataset(recordings, labels, self.binning, signals, None, stored)
