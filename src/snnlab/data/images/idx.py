"""What the data sets share that are four IDX files (see ``formats/idx``): MNIST and those in its form."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import DataSpec, Provenance, Splits, check_range
from snnlab.data.files import read_content
from snnlab.data.formats.idx import parse_idx
from snnlab.data.images.module import ImageArrays, Order, PublishedImages
from snnlab.data.limits import MIB
from snnlab.data.loader import Loader
from snnlab.data.publish.downloads import download as fetch
from snnlab.data.splits import first_of_each_class
from snnlab.errors import InputError

SIDE = 28


@dataclass(frozen=True)
class IDXFile:
    """One published file: its name without ``.gz``, the MD5 of the published gzip, the SHA-256 of the content."""

    name: str
    md5: str
    sha256: str


class IDXArrays(NamedTuple):
    """The four arrays of a data set in IDX format, their common hash, and whether they are the published ones."""

    train_images: np.ndarray  # uint8 [N, H, W]
    train_labels: np.ndarray  # uint8 [N]
    test_images: np.ndarray
    test_labels: np.ndarray
    hash: str  # SHA-256 of the four decompressed files, one after the other
    altered: bool


class IDXImages(PublishedImages):
    """Grey images of 28 x 28 in four IDX files: 60,000 for training, 10,000 for testing, 10 classes.

    Used where they lie under ``root`` (gzipped or not), else downloaded there.

    Args:
        only: the classes that are kept, numbered anew from 0 in this order; null keeps all. ``val_size`` and
            ``train_size`` are then of what is left.
        responses: how many answers there are to choose from; null: one for each class that is kept. With more of them
            some are right for no image, unless a reward makes them so, as in conditioning.
        pool: side of the squares of pixels that are averaged: 1 leaves the images as they are, 2 makes 14 x 14 of them,
            4 and 7 make 7 x 7 and 4 x 4.
        All others as in PublishedImages.

    Batches: images [B, 1, 28 / pool, 28 / pool] in [0, 1], labels [B]; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    shape = (1, SIDE, SIDE)
    classes = 10
    counts = (60_000, 10_000)
    folders: ClassVar[tuple[str, ...]]  # under the root, the first one receives downloads
    mirrors: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[IDXFile, ...]]  # train images, train labels, test images, test labels
    at_hand: IDXArrays | None = None  # what ``arrays`` returns, where another data set has read it already

    def __init__(
        self,
        loader: Loader,
        download: bool = True,
        unverified: bool = False,
        val_size: int = 5000,
        train_size: int | None = None,
        only: list[int] | None = None,
        responses: int | None = None,
        augmentation: ImageAugmentation = ImageAugmentation(),  # noqa: B008  frozen
        sequence: Order = "none",
        pool: int = 1,
    ) -> None:
        if pool not in (1, 2, 4, 7):
            raise InputError(f"data.{self.title}: pool = {pool} must be 1, 2, 4 or 7, which divide 28; 1 pools nothing")
        self.pool = pool
        self.shape = (1, SIDE // pool, SIDE // pool)  # type: ignore[misc]
        super().__init__(loader, download, unverified, val_size, train_size, augmentation, sequence)
        if only is not None and not (only and len(set(only)) == len(only) and set(only) <= set(range(self.classes))):
            raise InputError(
                f"data.{self.title}: only = {list(only)} must name different classes of 0 to {self.classes - 1}"
            )
        self.only = None if only is None else list(only)
        if responses is not None:
            least, why = self.classes if only is None else len(only), "at least one for each class that is kept"
            check_range(f"data.{self.title}: responses", responses, least, 1000, why)
        self.responses = responses

    @property
    def still(self) -> DataSpec:
        whole = super().still
        if self.responses is not None:
            known = whole.prototype_shape if self.responses == self.classes else None
            whole = replace(whole, classes=self.responses, prototype_shape=known)
        if self.only is None:
            return whole
        sizes = {"val": self.val_size} | ({"train": self.train_size} if self.train_size else {})
        return replace(whole, classes=self.responses or len(self.only), sizes=sizes)

    def read(self) -> tuple[Splits, Provenance]:
        splits, provenance = super().read()
        if self.only is not None:
            provenance.subset = True
            provenance.notes.append(f"classes {', '.join(map(str, self.only))} alone")
        return splits, provenance

    @classmethod
    def find(cls, root: Path) -> list[Path] | None:
        """Return the paths of the four files under ``root``, or None unless one folder holds all of them."""
        return find_files([root / name for name in cls.folders], [file.name for file in cls.files])

    def found(self) -> bool:
        return self.find(self.root) is not None

    def arrays(self) -> IDXArrays:
        """Read, check and return the four files, downloading them first where that is allowed and needed."""
        if self.at_hand is not None:
            return self.at_hand
        paths = self.find(self.root) or self._download()
        content = [read_content(path, most_bytes(self.shape, self.counts)) for path in paths]
        whole, altered = hashlib.sha256(), False
        for path, file, data in zip(paths, self.files, content, strict=True):
            whole.update(data)
            digest = hashlib.sha256(data).hexdigest()
            if digest != file.sha256:
                parse_idx(data, path)  # a broken file is told before an unknown one
                if not self.unverified:
                    raise InputError(
                        f"data.{self.title}: {path} has SHA-256 {digest[:12]}..., the published content "
                        f"{file.sha256[:12]}...; "
                        "download it again, or data.unverified=true uses it and flags the results as altered"
                    )
                altered = True
        arrays = [parse_idx(data, path) for data, path in zip(content, paths, strict=True)]
        for i in (0, 2):
            check_pair(arrays[i], arrays[i + 1], paths[i], paths[i + 1], (0, 9))
        return IDXArrays(arrays[0], arrays[1], arrays[2], arrays[3], whole.hexdigest(), altered)

    def arrays_of_parts(self) -> ImageArrays:
        data = self.arrays()
        train = kept(data.train_images, data.train_labels, self.only)
        test = kept(data.test_images, data.test_labels, self.only)
        return ImageArrays(
            pooled(train[0], self.pool)[:, None],
            train[1],
            pooled(test[0], self.pool)[:, None],
            test[1],
            data.hash,
            verified=None if data.altered else "known content hash (SHA-256 of each of the four files)",
            notes=(f"averages of {self.pool} x {self.pool} pixels",) if self.pool > 1 else (),
            white=255 * self.pool**2,
        )

    def _download(self) -> list[Path]:
        existing = [self.root / name for name in self.folders if (self.root / name).is_dir()]
        held = [f for f in existing if any(_gz_or_raw(f / file.name).is_file() for file in self.files)]
        folder = (held or existing or [self.root / self.folders[0]])[0]
        missing = [file for file in self.files if not _gz_or_raw(folder / file.name).is_file()]
        if not self.download:
            raise InputError(
                f"data.{self.title}: {missing[0].name} (.gz or not) is not in {folder}; "
                "put it there, or data.download=true fetches it"
            )
        for file in missing:
            urls = [f"{mirror}{file.name}.gz" for mirror in self.mirrors]
            fetch(urls, folder / f"{file.name}.gz", f"md5:{file.md5}")
        return [_gz_or_raw(folder / file.name) for file in self.files]


def kept(images: np.ndarray, labels: np.ndarray, only: list[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of the classes ``only``, with their places in that list as labels; all where it is None."""
    if only is None:
        return images, labels
    place = np.full(256, -1, np.int64)
    place[only] = np.arange(len(only))
    taken = place[labels] >= 0
    return images[taken], place[labels[taken]].astype(np.uint8)


def pooled(images: np.ndarray, side: int) -> np.ndarray:
    """The sums of ``side`` x ``side`` pixels of images uint8 [N, H, W], exact; themselves for 1."""
    if side == 1:
        return images
    count, height, width = images.shape
    squares = images.reshape(count, height // side, side, width // side, side)
    return squares.sum((2, 4), dtype=np.int16)  # type: ignore[no-any-return]


def most_bytes(shape: Sequence[int], counts: Sequence[int]) -> int:
    """How many bytes a file of so many images may hold: what is published, with some room for sets of one's own."""
    return max(128 * MIB, max(counts) * (math.prod(shape) + 16))


def check_pair(
    images: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path, limits: tuple[int, int]
) -> None:
    """Raise InputError unless the arrays are images [N, 28, 28] and as many labels within ``limits``."""
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise InputError(f"{image_path} holds {images.dtype} {list(images.shape)}, needed are uint8 [N, 28, 28]")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise InputError(
            f"{label_path} holds {labels.dtype} {list(labels.shape)}, the images beside it number {len(images)}; "
            "both files must come from one data set"
        )
    low, high = limits
    if len(labels) == 0 or labels.max() > high or labels.min() < low:
        wrong = labels[(labels > high) | (labels < low)]
        found = f"label {wrong[0]}" if len(labels) else "no label"
        raise InputError(f"{label_path} holds {found}, labels must lie in {low} to {high}; download it again")


def find_files(folders: Sequence[Path], names: Sequence[str]) -> list[Path] | None:
    """Return the paths of all files ``names`` (gzipped or not) in the first folder that holds them, or None."""
    for folder in folders:
        paths = [_gz_or_raw(folder / name) for name in names]
        if all(path.is_file() for path in paths):
            return paths
    return None


def idx_prototypes(data: IDXArrays) -> Tensor:
    """Return [10, 1, H, W] in [0, 1]: the first image of each class in the training file."""
    images = torch.from_numpy(data.train_images[:, None].copy())
    return first_of_each_class(images, torch.from_numpy(data.train_labels.copy()), 10).float() / 255


def _gz_or_raw(path: Path) -> Path:
    """Return ``path`` if it exists, else the path of its gzipped form."""
    return path if path.is_file() else path.with_name(path.name + ".gz")
