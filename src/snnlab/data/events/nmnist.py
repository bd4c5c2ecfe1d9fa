"""N-MNIST: MNIST digits recorded by an ATIS sensor on a moving stage; 60,000 + 10,000 recordings of about 300 ms.

Source: Orchard, Jayawant, Cohen, Thakor 2015, doi 10.3389/fnins.2015.00437.
Layout: Train/<label>/<number>.bin and Test/<label>/<number>.bin, in the format of ``formats/atis``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import DataModule, DataSpec, Provenance, Splits, check_range
from snnlab.data.events.module import EventModule
from snnlab.data.files import read_bytes
from snnlab.data.formats.atis import parse_atis
from snnlab.data.formats.zipped import open_zip, read_member
from snnlab.data.images.digit_images import digit_images
from snnlab.data.limits import MIB
from snnlab.data.loader import Loader
from snnlab.data.recordings import Events, Recordings
from snnlab.data.splits import Subset, stratified_order
from snnlab.errors import InputError

FOLDERS = ("nmnist", "NMNIST", "N-MNIST", "nmnist-small")
SIDE = 34
MOST = MIB  # bytes of a recording, all of which are held in memory; they have about 20,000
FULL = {"Train": 60_000, "Test": 10_000}
MEMBER = re.compile(r"(?:.*/)?(Train|Test)/([^/]+)/(?!\._)([^/]+)\.bin")
WHERE = "Train.zip and Test.zip of https://www.garrickorchard.com/datasets/n-mnist"
KNOWN = {
    "a666398a0f29765eddb971f9c8dc255e04717847c92df811a4d7d3a40cf2e9f9": "the 1,000/100 subset of SLAYER (SHA-256)",
}


class Member(NamedTuple):
    """One recording: sorted by these fields, training first, in the order of MNIST."""

    test: bool
    number: str
    label: str
    where: str  # for errors
    read: Callable[[], bytes]


class NMNIST(EventModule):
    """Recorded events of moving digits.

    Any folder or zip in the layout of N-MNIST under the root is used (``nmnist``, ``nmnist-small``, ...); fewer than
    60,000/10,000 recordings are flagged ``subset``.

    Args:
        time_steps, window_us: T bins of that many microseconds; null for window_us cuts each recording in T parts.
        mode, polarity, downsample: see ``Binning``.
        val_fraction: part of the training recordings that validates; fixed and stratified.
        augmentation: of training batches, in pixels of the sensor.

    Batches: inputs [T, B, 2, 34, 34] float32, labels [B], no signals.
    Raises:  InputError: an argument out of range, or recordings that are missing or broken.
    """

    def __init__(
        self,
        loader: Loader,
        time_steps: int = 30,
        window_us: int | None = 10_000,
        mode: Literal["count", "occupancy"] = "count",
        polarity: Literal["channels", "merged"] = "channels",
        downsample: int = 1,
        val_fraction: float = 0.1,
        augmentation: EventAugmentation = EventAugmentation(),  # noqa: B008  frozen
    ) -> None:
        binning = Binning(SIDE, SIDE, time_steps, window_us, mode, polarity, downsample=downsample)
        super().__init__(loader, binning, augmentation)
        check_range("data.nmnist: val_fraction", val_fraction, 0.001, 0.9, "0.1 is usual")
        self.val_fraction = val_fraction
        self._members: list[Member] | None = None

    @property
    def spec(self) -> DataSpec:
        sizes: dict[str, int] = {}
        try:
            test = sum(member.test for member in self.members())
            sizes = self._sizes(len(self.members()) - test, test)
        except InputError:  # told by load
            pass
        shape, steps = self.binning.frame_shape, self.binning.time_steps
        picture = self.images().spec.prototype_shape
        return DataSpec(
            *("nmnist", "event", shape, 10),
            time_steps=steps,
            time_step=self.time_step,
            prototype_shape=picture,
            sizes=sizes,
        )

    def where(self) -> str:
        return "recorded, found" if self.spec.sizes else "not found"

    def images(self) -> DataModule:
        """Return the digits that stand for the classes: MNIST under the root, else the bundled ones."""
        return digit_images(self.root, self.cache)

    def prototypes(self) -> Tensor:
        """Return [10, 1, h, w]: the first training image of each class."""
        return self.images().prototypes()

    def _sizes(self, train: int, test: int) -> dict[str, int]:
        val = max(1, round(train * self.val_fraction))
        return {"train": train - val, "val": val, "test": test}

    def members(self) -> list[Member]:
        """List the recordings under the root without reading them."""
        if self._members is None:
            folders = [self.root / name for name in FOLDERS]
            for folder in folders:
                zips = sorted(folder.glob("*.zip")) if folder.is_dir() else []
                zips += [zipped] if (zipped := folder.with_name(folder.name + ".zip")).is_file() else []
                found = _in_folder(folder) or [member for path in zips for member in _in_zip(path)]
                if found:
                    self._members = sorted(found)
                    break
            else:
                there = next((folder for folder in folders if folder.is_dir()), None)
                what = f"{there} holds no Train/<label>/*.bin" if there else f"no recordings under {folders[0]}"
                raise InputError(f"data.nmnist: {what}; put {WHERE} there, zipped or not")
        return self._members

    def load(self) -> tuple[Splits, Provenance]:
        members = self.members()
        digest, parts, labels = hashlib.sha256(), list[Events](), []
        for member in members:
            content = member.read()
            digest.update(f"{'Test' if member.test else 'Train'}/{member.label}/{member.number}.bin".encode() + content)
            parts.append(parse_atis(content, member.where, SIDE))
            labels.append(_label(member))
        train = sum(not member.test for member in members)
        if train < 2 or train == len(members):
            raise InputError(
                f"data.nmnist: {train} training and {len(members) - train} test recordings under {self.root}; "
                f"needed are at least 2 and 1, from {WHERE}"
            )
        events, test = Recordings.pack(parts[:train]), Recordings.pack(parts[train:])
        train_labels, test_labels = np.array(labels[:train]), np.array(labels[train:])
        sizes = self._sizes(train, len(test))
        order = stratified_order(train_labels)
        name = "nmnist", digest.hexdigest()
        augmented, plain = self.datasets(events, train_labels, (*name, "train"))
        splits = Splits(
            Subset(augmented, np.sort(order[sizes["val"] :])),
            Subset(plain, np.sort(order[: sizes["val"]])),
            self.datasets(test, test_labels, (*name, "test"))[1],
        )
        known = KNOWN.get(digest.hexdigest())
        return splits, Provenance(
            source="original",
            hash=digest.hexdigest(),
            sizes=sizes,
            subset=train < FULL["Train"] or len(test) < FULL["Test"],
            verified=f"known content hash of {known}" if known else None,
            notes=[
                "hash: of the names and bytes of all recordings in order",
                f"class pictures, where a method wants them: the first training images of {self.images().spec.name}",
            ]
            + ([] if known else ["no checksum of this content is known here to verify it against"]),
        )


def _label(member: Member) -> int:
    if member.label not in set("0123456789"):
        raise InputError(f"{member.where}: the folder {member.label!r} must be a label from 0 to 9, as in N-MNIST")
    return int(member.label)


def _in_folder(folder: Path) -> list[Member]:
    matches = ((path, MEMBER.fullmatch(path.as_posix())) for path in folder.rglob("*.bin"))
    return [Member(m[1] == "Test", m[3], m[2], str(p), partial(read_bytes, p, MOST)) for p, m in matches if m]  # type: ignore[misc]


def _in_zip(path: Path) -> list[Member]:
    archive = open_zip(path)
    matches = ((name, MEMBER.fullmatch(name)) for name in archive.namelist())
    wanted = [(n, m, partial(read_member, archive, n, path, MOST)) for n, m in matches if m]
    return [Member(m[1] == "Test", m[3], m[2], f"{path}:{n}", read) for n, m, read in wanted]
