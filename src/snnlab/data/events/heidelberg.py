"""The Heidelberg spiking data sets: spoken words as spikes of 700 channels of a model of the cochlea, in HDF5.

Source: Cramer, Stradmann, Schemmel, Zenke 2022, doi 10.1109/TNNLS.2020.3044364; https://zenkelab.org/datasets.
Layout of a file: spikes/times (seconds) and spikes/units (0 to 699), one array per recording; labels; extra/speaker;
extra/keys, the words. The times are float16: 0.5 ms apart near the end of a recording.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import DataModule, DataSpec, Provenance, Splits, Subset
from snnlab.data.events.recordings import EventDataset, Events, StoredRecordings
from snnlab.data.frames import StoredFrames
from snnlab.data.publish.published import Archive, check, install
from snnlab.errors import InputError

CHANNELS = 700
SERVERS = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")


class Indices(NamedTuple):
    """Recordings of each split within the file that holds them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


class SpikeFile:
    """One HDF5 file of spikes; a recording is read when it is asked for, the file is opened once per process.

    Raises: InputError: missing, no HDF5 file, cut short, another layout, or a channel or label out of range.
    """

    def __init__(self, path: Path, classes: int) -> None:
        self.path, self.classes = path, classes
        self._open: dict[int, Any] = {}  # by process: a handle does not survive a fork

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "classes": self.classes, "_open": {}}

    @cached_property
    def labels(self) -> np.ndarray:
        """Classes [N], int64."""
        labels = self._read(lambda file: file["labels"][()]).astype(np.int64)
        spikes = self._read(lambda file: (len(file["spikes/times"]), len(file["spikes/units"])))
        if labels.ndim != 1 or spikes != (len(labels), len(labels)):
            raise InputError(
                f"{self.path} holds {labels.size} labels, {spikes[0]} times, {spikes[1]} units; they must number alike"
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= self.classes:
            found = f"label {labels.max()}" if len(labels) else "no recording"
            raise InputError(f"{self.path} holds {found}, labels must lie in 0 to {self.classes - 1}")
        return labels

    @cached_property
    def speakers(self) -> np.ndarray:
        """Number of the speaker of each recording [N], int64."""
        return np.asarray(self._read(lambda file: file["extra/speaker"][()])).astype(np.int64)

    def events(self, index: int) -> Events:
        """Return recording ``index``: x the channel, t in microseconds of the file's own clock."""
        times, units = self._read(lambda file: (file["spikes/times"][index], file["spikes/units"][index]))
        t = np.rint(times.astype(np.float64) * 1e6)  # float64 first: float16 ends at 65504
        x = units.astype(np.uint16)
        bad = len(t) != len(x) or (len(t) and not (t.min() >= 0 and t.max() < 2**32 and x.max() < CHANNELS))
        if bad:
            raise InputError(
                f"{self.path}: recording {index} has {len(t)} times and {len(x)} units, or one out of range "
                f"(units 0 to {CHANNELS - 1}, times from 0 s); the file is corrupt"
            )
        order = np.argsort(t, kind="stable")
        return Events(x[order], np.zeros(len(x), np.uint8), t[order].astype(np.uint32), np.ones(len(x), np.uint8))

    def check(self) -> None:
        """Read the labels and one recording; raise InputError where that fails."""
        self.events(len(self.labels) - 1)

    def _read(self, what: Callable[[Any], Any]) -> Any:
        import h5py

        try:
            if os.getpid() not in self._open:
                self._open = {os.getpid(): h5py.File(self.path, "r")}
            return what(self._open[os.getpid()])
        except KeyError as error:
            raise InputError(
                f"{self.path} is no file of the Heidelberg data sets ({str(error.args[0])[:80]}); download it again"
            ) from error
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # one line of what HDF5 says
            why = " ".join(str(error).split())[:160]
            raise InputError(f"{self.path} cannot be read ({why}); it is missing or corrupt: copy it again") from error


class Heidelberg(DataModule):
    """Recordings of spoken words as spikes, read from HDF5 one by one.

    Used where they lie under ``root`` (unpacked or as published zips), else downloaded there if ``download``.

    Args:
        download: fetch missing files; false refuses, naming the folder where they were sought.
        unverified: use files that match no published checksum; the results are flagged ``altered``.
        time_steps, window_us: T bins of that many microseconds; null for window_us cuts each recording in T parts.
        mode: ``count`` or ``occupancy``, see ``Binning``.
        downsample: neighbouring channels that become one input; 700 / 5 = 140.
        shift, jitter_us, drop: augmentation of training batches, see ``EventAugmentation``; shift counts channels.

    Batches: inputs [T, B, 1, 1, 700 / downsample] float32, labels [B], no signals.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    title: ClassVar[str]  # as in data=...
    folders: ClassVar[tuple[str, ...]]  # under the root, the first one receives downloads
    classes: ClassVar[int]
    files: ClassVar[dict[str, Archive]]  # HDF5 file -> its zip
    full: ClassVar[dict[str, int]]  # recordings of each file

    def __init__(
        self,
        root: str | Path,
        cache: str | Path,
        batch_size: int,
        seed: int,
        num_workers: int,
        download: bool,
        unverified: bool,
        time_steps: int,
        window_us: int | None,
        mode: Literal["count", "occupancy"],
        downsample: int,
        shift: int,
        jitter_us: float,
        drop: float,
    ) -> None:
        super().__init__(root, cache, batch_size, seed, num_workers)
        self.download, self.unverified = download, unverified
        self.binning = Binning(1, CHANNELS, time_steps, window_us, mode, "merged", downsample=downsample)
        self.augmentation = EventAugmentation(CHANNELS, 1, 0.0, shift, jitter_us, drop)

    @abstractmethod
    def split(self, files: list[SpikeFile]) -> Indices:
        """Return the recordings of each split: of the first file, the first or second, the last."""

    @abstractmethod
    def full_sizes(self) -> dict[str, int]:
        """Sizes of the splits of the complete data set."""

    @property
    def spec(self) -> DataSpec:
        sizes, files = self.full_sizes(), self.spike_files()
        with suppress(InputError):  # told by load
            if files is not None:
                sizes = {name: len(part) for name, part in self.split(files)._asdict().items()}
        shape, steps = self.binning.frame_shape, self.binning.time_steps
        return DataSpec(self.title, "event", shape, self.classes, time_steps=steps, sizes=sizes)

    @classmethod
    def find(cls, root: Path) -> Path | None:
        """Return the folder under ``root`` that holds all files, or None."""
        folders = (root / name for name in cls.folders)
        return next((folder for folder in folders if all((folder / name).is_file() for name in cls.files)), None)

    def spike_files(self) -> list[SpikeFile] | None:
        """Return the files under the root, None where one is missing; the same objects at each call."""
        if not hasattr(self, "_files"):
            folder = self.find(self.root)
            if folder is None:
                return None
            self._files = [SpikeFile(folder / name, self.classes) for name in self.files]
        return self._files

    def load(self) -> tuple[Splits, Provenance]:
        if self.find(self.root) is None:
            self._install()
        files = self.spike_files()
        assert files is not None
        for file in files:
            file.check()
        checked = check(
            self.title,
            files[0].path.parent,
            list(self.files),
            list(self.files.values()),
            self._place,
            lambda path: SpikeFile(path, self.classes).check(),
            self.cache,
            self.unverified,
        )
        indices = self.split(files)
        train, val, test = (
            EventDataset(
                StoredRecordings(file.events, len(file.labels)),
                file.labels,
                self.binning,
                stored=StoredFrames(self.cache, (checked.hash, file.path.name), len(file.labels), self.binning),
            )
            for file in (files[0], files[-2], files[-1])
        )
        augmented = EventDataset(
            train.recordings, files[0].labels, self.binning, None, self.augmentation or None, train.stored
        )
        splits = Splits(Subset(augmented, indices.train), Subset(val, indices.val), Subset(test, indices.test))
        sizes = {name: len(split) for name, split in splits._asdict().items()}
        if min(sizes.values()) == 0:
            counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(
                f"data.{self.title}: {files[0].path.parent} gives {counts} recordings; each split needs at least 1"
            )
        return splits, Provenance(
            source="original",
            hash=checked.hash,
            sizes=sizes,
            altered=checked.altered,
            subset=any(len(file.labels) < self.full[file.path.name] for file in files),
            verified=checked.verified,
            notes=checked.notes + self.notes(),
        )

    def notes(self) -> list[str]:
        """What a reader of the results should know of the splits."""
        return []

    def _place(self, name: str) -> str | None:
        return Path(name).name if Path(name).name in self.files else None

    def _install(self) -> None:
        there = [folder for name in self.folders if (folder := self.root / name).is_dir()]
        folder = (there or [self.root / self.folders[0]])[0]
        missing = [name for name in self.files if not (folder / name).is_file()]
        archives = [self.files[name] for name in missing]
        install(archives, folder, self._place, self.download, self.title, f"{missing[0]} is not in {folder}")


def published(name: str, md5: str) -> Archive:
    """The zip of ``name`` on the servers of the authors."""
    return Archive(f"{name}.zip", md5, tuple(f"{server}{name}.zip" for server in SERVERS))
