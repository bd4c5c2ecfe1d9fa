"""CIFAR10-DVS: 10,000 CIFAR-10 images moved on a screen before a DVS128, 1,000 of each class, about 1.3 s each.

Source: Li, Liu, Ji, Li, Shi 2017, doi 10.3389/fnins.2017.00309.
Layout: <class>/cifar10_<class>_<number>.aedat (AEDAT 2.0, as published) or .aedat4 (as tonic distributes them).
The published files lie on their side: with the DVS128 layout of ``aedat``, the upright picture is
    x = 127 - y_file     y = x_file     polarity = 1 - p_file       (github.com/jackd/events-tfds, pull request 1)
Files in AEDAT 4 are taken as they are, as tonic takes them.
There is no published split. Ours takes, of each class in order of number, the first nine tenths for training and the
last tenth for testing (9,000 and 1,000): the usual shares, and no random number to lose.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import DataModule, DataSpec, Provenance, Splits, check_range
from snnlab.data.events.module import EventModule
from snnlab.data.files import read_bytes
from snnlab.data.formats import aedat
from snnlab.data.formats.aedat4 import parse_aedat4
from snnlab.data.images.cifar10 import CIFAR10
from snnlab.data.loader import Loader
from snnlab.data.publish.archives import Archive, check, install
from snnlab.data.recordings import Events, StoredRecordings, tidy
from snnlab.data.splits import Subset, stratified_order
from snnlab.errors import InputError

FOLDERS = ("cifar10_dvs", "CIFAR10DVS", "CIFAR10-DVS")
SIDE = 128
FULL = 10_000
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILE = re.compile(rf"(?:.*/)?({'|'.join(CLASSES)})/([^/.][^/]*?(\d+)\.aedat4?)")
FIGSHARE = "https://ndownloader.figshare.com/files/"
PARTS = (  # class, file number on figshare (doi 10.6084/m9.figshare.4724671), MD5
    ("airplane", "7712788", "0afd5c4bf9ae06af762a77b180354fdd"),
    ("automobile", "7712791", "8438dfeba3bc970c94962d995b1b9bdd"),
    ("bird", "7712794", "a9c207c91c55b9dc2002dc21c684d785"),
    ("cat", "7712812", "52c63c677c2b15fa5146a8daf4d56687"),
    ("deer", "7712815", "b6bf21f6c04d21ba4e23fc3e36c8a4a3"),
    ("dog", "7712818", "f379ebdf6703d16e0a690782e62639c3"),
    ("frog", "7712842", "cad6ed91214b1c7388a5f6ee56d08803"),
    ("horse", "7712851", "e7cbbf77bec584ffbf913f00e682782a"),
    ("ship", "7712836", "41c7bd7d6b251be82557c6cce9a7d5c9"),
    ("truck", "7712839", "89f3922fd147d9aeff89e76a2b0b70a7"),
)
ARCHIVES = tuple(Archive(f"{name}.zip", md5, (FIGSHARE + number,)) for name, number, md5 in PARTS)
TONIC = Archive("CIFAR10DVS.zip", "ce3a4a0682dc0943703bd8f749a7701c")  # AEDAT 4; vouches for tonic's folder


class Recorded(NamedTuple):
    """One recording: sorted by class, then number."""

    label: int
    number: int
    name: str  # below the folder


class CIFAR10DVS(EventModule):
    """Events of moving photographs in 10 classes, read one by one.

    Used where they lie under ``root`` (``cifar10_dvs``, tonic's ``CIFAR10DVS``), else downloaded there if ``download``:
    the ten zips of the authors, some 8 GB. Fewer than 10,000 recordings are flagged ``subset``.

    Args:
        download: fetch missing files; false refuses, naming the folder where they were sought.
        unverified: use files that match no published checksum; the results are flagged ``altered``.
        time_steps, window_us: T bins of that many microseconds; null for window_us cuts each recording in T parts.
        split: what is equal in those parts: ``events`` (OTTT's code) or ``time``.
        mode, polarity: see ``Binning``.
        size: side of the frames, pixels; null for the sensor's 128.
        val_fraction: part of the training recordings that validates; fixed and stratified.
        augmentation: of training batches, in pixels of the sensor.

    Batches: inputs [T, B, 2, size, size] float32, labels [B], no signals; prototypes are images of CIFAR-10.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    def __init__(
        self,
        loader: Loader,
        download: bool = False,
        unverified: bool = False,
        time_steps: int = 10,
        window_us: int | None = None,
        split: Literal["events", "time"] = "events",
        mode: Literal["mean", "count", "occupancy"] = "mean",
        polarity: Literal["channels", "merged"] = "channels",
        size: int | None = 48,
        val_fraction: float = 0.1,
        augmentation: EventAugmentation = EventAugmentation(shift=10),  # noqa: B008  frozen
    ) -> None:
        binning = Binning(SIDE, SIDE, time_steps, window_us, mode, polarity, size=size, split=split)
        super().__init__(loader, binning, augmentation)
        check_range("data.cifar10_dvs: val_fraction", val_fraction, 0.001, 0.9, "0.1 is usual")
        self.download, self.unverified, self.val_fraction = download, unverified, val_fraction
        self._found: tuple[Path, list[Recorded]] | None = None

    @property
    def spec(self) -> DataSpec:
        found = self.find()
        labels = np.array([item.label for item in found[1]]) if found else np.repeat(np.arange(10), FULL // 10)
        sizes = {name: len(part) for name, part in self._indices(labels).items()}
        shape, steps = self.binning.frame_shape, self.binning.time_steps
        picture = self.images().spec.prototype_shape
        return DataSpec(
            *("cifar10_dvs", "event", shape, 10),
            time_steps=steps,
            time_step=self.time_step,
            prototype_shape=picture,
            sizes=sizes,
        )

    def where(self) -> str:
        return "recorded, found" if self.find() else "downloadable"

    def images(self) -> DataModule:
        """Return the photographs that stand for the classes: CIFAR-10."""
        return CIFAR10(Loader(self.root, self.cache), download=self.download)

    def prototypes(self) -> Tensor:
        """Return [10, 3, 32, 32]: the first training image of each class of CIFAR-10."""
        return self.images().prototypes()

    def find(self) -> tuple[Path, list[Recorded]] | None:
        """Return the folder under the root and the recordings in it, listed without reading them; or None."""
        if self._found is None:
            for folder in (self.root / name for name in FOLDERS):
                found = []
                for path in folder.glob("**/*.aedat*"):
                    name = path.relative_to(folder).as_posix()
                    if match := FILE.fullmatch(name):
                        found.append(Recorded(CLASSES.index(match[1]), int(match[3]), name))
                if found:
                    self._found = folder, sorted(found)
                    break
        return self._found

    def _indices(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the split of recordings sorted by class and number."""
        train, test = [], []
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            cut = round(0.9 * len(members))
            train.append(members[:cut])
            test.append(members[cut:])
        pool = np.concatenate(train)
        order = pool[stratified_order(labels[pool])]
        count = max(1, round(len(pool) * self.val_fraction))
        return {"train": np.sort(order[count:]), "val": np.sort(order[:count]), "test": np.concatenate(test)}

    def load(self) -> tuple[Splits, Provenance]:
        if self.find() is None:
            there = [folder for name in FOLDERS if (folder := self.root / name).is_dir()]
            folder = (there or [self.root / FOLDERS[0]])[0]
            missing = f"no <class>/*.aedat under {folder}"
            tonic = next((path for f in (folder, folder.parent) if (path := f / TONIC.name).is_file()), None)
            install((TONIC,) if tonic else ARCHIVES, folder, place, self.download, "cifar10_dvs", missing)
        found = self.find()
        if found is None:
            raise InputError(f"data.cifar10_dvs: the archives under {self.root} hold no recordings; delete them")
        folder, recorded = found
        labels = np.array([item.label for item in recorded])
        indices = self._indices(labels)
        if min(map(len, indices.values())) == 0:
            raise InputError(
                f"data.cifar10_dvs: {folder} holds {len(recorded)} recordings; needed are at least 10 of a class, "
                "1,000 are published"
            )
        names = [item.name for item in recorded]
        checked = check(
            "cifar10_dvs", folder, names, (*ARCHIVES, TONIC), place, read_recording, self.cache, self.unverified
        )
        recordings = StoredRecordings(lambda i: read_recording(folder / names[i]), len(names))
        augmented, plain = self.datasets(recordings, labels, ("cifar10_dvs", checked.hash))
        splits = Splits(
            Subset(augmented, indices["train"]), Subset(plain, indices["val"]), Subset(plain, indices["test"])
        )
        notes = ["split: of each class in order of number, the last tenth is for testing; none is published"]
        if any(name.endswith("4") for name in names):
            notes.append("AEDAT 4 files taken as they are; AEDAT 2.0 files are turned upright")
        return splits, Provenance(
            source="original",
            hash=checked.hash,
            sizes={name: len(part) for name, part in splits._asdict().items()},
            altered=checked.altered,
            subset=len(names) < FULL,
            verified=checked.verified,
            notes=[*checked.notes, *notes],
        )


def place(name: str) -> str | None:
    """Return where a file of an archive belongs below the folder, None for others."""
    match = FILE.fullmatch(name)
    return f"{match[1]}/{match[2]}" if match else None


def read_recording(path: Path) -> Events:
    """Read one recording, AEDAT 4 or AEDAT 2.0 turned upright; t from 0, sorted.

    Raises: InputError: see ``parse_aedat4`` and ``parse_aedat``; a partial record at the end is refused here.
    """
    content = read_bytes(path)
    if path.suffix == ".aedat4":
        return parse_aedat4(content, path, SIDE)
    recording = aedat.parse_aedat(content, path)
    if recording.notes:
        raise InputError(f"{path} is truncated: it ends with a partial record; copy or download it again")
    x, y, t, p = recording.events
    if len(t) == 0:
        raise InputError(f"{path} holds no event; copy or download it again")
    return tidy(127 - y, x, t, 1 - p, path)
