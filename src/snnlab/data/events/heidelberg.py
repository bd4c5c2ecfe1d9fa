"""The Heidelberg spiking data sets: spoken words as spikes of 700 channels of a model of the cochlea, in HDF5.

Source: Cramer, Stradmann, Schemmel, Zenke 2022, doi 10.1109/TNNLS.2020.3044364; https://zenkelab.org/datasets.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import DataSpec, Provenance, Splits
from snnlab.data.events.module import EventModule
from snnlab.data.formats.heidelberg_hdf5 import CHANNELS, SpikeFile
from snnlab.data.loader import Loader
from snnlab.data.publish.archives import Archive, check, install
from snnlab.data.recordings import StoredRecordings
from snnlab.data.splits import Subset
from snnlab.errors import InputError

SERVERS = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")


class Indices(NamedTuple):
    """Recordings of each split within the file that holds them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


class Heidelberg(EventModule):
    """Recordings of spoken words as spikes, read from HDF5 one by one.

    Used where they lie under ``root`` (unpacked or as published zips), else downloaded there if ``download``.

    Args:
        download: fetch missing files; false refuses, naming the folder where they were sought.
        unverified: use files that match no published checksum; the results are flagged ``altered``.
        time_steps, window_us: T bins of that many microseconds; null for window_us cuts each recording in T parts.
        mode: ``count`` or ``occupancy``, see ``Binning``.
        downsample: neighbouring channels that become one input; 700 / 5 = 140.
        augmentation: of training batches; its shift counts channels.

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
        loader: Loader,
        download: bool,
        unverified: bool,
        time_steps: int,
        window_us: int | None,
        mode: Literal["count", "occupancy"],
        downsample: int,
        augmentation: EventAugmentation,
    ) -> None:
        binning = Binning(1, CHANNELS, time_steps, window_us, mode, "merged", downsample=downsample)
        super().__init__(loader, binning, augmentation)
        self.download, self.unverified = download, unverified

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
        return DataSpec(
            self.title, "event", shape, self.classes, time_steps=steps, time_step=self.time_step, sizes=sizes
        )

    def where(self) -> str:
        return "found" if self.find(self.root) else "downloadable"

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
            self._files = [SpikeFile(folder / name, self.classes, self.cache) for name in self.files]
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
            lambda path: SpikeFile(path, self.classes, self.cache).check(),
            self.cache,
            self.unverified,
        )
        indices = self.split(files)
        (train, _), (_, val), (_, test) = (
            self.datasets(StoredRecordings(file.events, len(file.labels)), file.labels, (checked.hash, file.path.name))
            for file in (files[0], files[-2], files[-1])
        )
        splits = Splits(Subset(train, indices.train), Subset(val, indices.val), Subset(test, indices.test))
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
