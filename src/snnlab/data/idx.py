"""IDX files (the format of MNIST) and the data sets that are four of them.

Format: two zero bytes, a type byte, the number of dimensions, each dimension as big-endian uint32, then the values,
big-endian, last dimension fastest. Files may be gzipped.  Source: Y. LeCun, "The MNIST database", file formats.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.data.datamodule import (
    ArrayDataset,
    DataModule,
    DataSpec,
    Provenance,
    Splits,
    check_range,
    first_of_each_class,
    stratified_order,
)
from snnlab.data.downloads import download as fetch
from snnlab.data.downloads import is_html
from snnlab.errors import InputError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_content(path: Path) -> bytes:
    """Return the bytes of ``path``, decompressed when they are gzip (told by content, not by name).

    Raises:
        InputError: missing, empty, an HTML page, or a gzip file that is corrupt or cut short.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from error
    if not content:
        raise InputError(f"{path} is empty (0 bytes); delete it and download it again")
    if is_html(content[:512]):
        raise InputError(f"{path} is an HTML page, not the file it is named for; delete it and download it again")
    if content[:2] == b"\x1f\x8b":
        try:
            return gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path} is a corrupt gzip file ({error}); delete it and download it again") from error
    return content


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Return the array that the decompressed IDX bytes ``content`` hold; ``path`` names them in errors.

    Raises:
        InputError: wrong magic number, unknown type, too few or too many bytes.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise InputError(
            f"{path} is no IDX file: its first bytes are {content[:4].hex()}, an IDX file of bytes starts 0000 08; "
            "delete it and download it again"
        )
    dtype, dims = np.dtype(DTYPES[content[2]]), content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise InputError(f"{path} is truncated in its header ({len(content)} of {start} bytes); download it again")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dims, offset=4))
    need = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(content) != need:
        what = "is truncated" if len(content) < need else "has trailing bytes"
        raise InputError(
            f"{path} {what}: {len(content)} bytes, shape {list(shape)} needs {need}; delete it and download it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


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


class IDXImages(DataModule):
    """Grey images of 28 x 28 in four IDX files: 60,000 for training, 10,000 for testing, 10 classes.

    Used where they lie under ``root`` (gzipped or not), else downloaded there. The validation images are a fixed,
    stratified choice from the training file; neither it nor ``train_size`` depends on the seed of the run.

    Args:
        download: fetch missing files; false refuses, naming the path where they were sought.
        unverified: use files whose content matches no known hash; the results are flagged ``altered``.
        val_size: validation images, taken from the training file.
        train_size: use only that many of the remaining training images (flag ``subset``); null uses all.

    Batches: images [B, 1, 28, 28] in [0, 1], labels [B]; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    title: ClassVar[str]  # as in data=...
    folders: ClassVar[tuple[str, ...]]  # under the root, the first one receives downloads
    mirrors: ClassVar[tuple[str, ...]]
    files: ClassVar[tuple[IDXFile, ...]]  # train images, train labels, test images, test labels

    def __init__(
        self,
        root: str | Path,
        cache: str | Path,
        batch_size: int = 100,
        seed: int = 0,
        num_workers: int = 0,
        download: bool = True,
        unverified: bool = False,
        val_size: int = 5000,
        train_size: int | None = None,
    ) -> None:
        super().__init__(root, cache, batch_size, seed, num_workers)
        check_range(f"data.{self.title}: val_size", val_size, 1, 59_999, "5000 is usual")
        if train_size is not None:
            check_range(f"data.{self.title}: train_size", train_size, 1, 60_000 - val_size, "null uses all")
        self.download, self.unverified, self.val_size, self.train_size = download, unverified, val_size, train_size
        self._prototypes: Tensor | None = None

    @property
    def spec(self) -> DataSpec:
        train = self.train_size or 60_000 - self.val_size
        return DataSpec(
            self.title,
            "image",
            (1, 28, 28),
            classes=10,
            signal_shape=(1, 28, 28),
            prototype_shape=(1, 28, 28),
            sizes={"train": train, "val": self.val_size, "test": 10_000},
        )

    @classmethod
    def find(cls, root: Path) -> list[Path] | None:
        """Return the paths of the four files under ``root``, or None unless one folder holds all of them."""
        for folder in (root / name for name in cls.folders):
            paths = [_gz_or_raw(folder / file.name) for file in cls.files]
            if all(path.is_file() for path in paths):
                return paths
        return None

    def arrays(self) -> IDXArrays:
        """Read, check and return the four files, downloading them first where that is allowed and needed."""
        paths = self.find(self.root) or self._download()
        content = [read_content(path) for path in paths]
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
            self._check(arrays[i], arrays[i + 1], paths[i], paths[i + 1])
        return IDXArrays(arrays[0], arrays[1], arrays[2], arrays[3], whole.hexdigest(), altered)

    def _check(self, images: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path) -> None:
        if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
            raise InputError(f"{image_path} holds {images.dtype} {list(images.shape)}, needed are uint8 [N, 28, 28]")
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise InputError(
                f"{label_path} holds {labels.dtype} {list(labels.shape)}, the images beside it number {len(images)}; "
                "both files must come from one data set"
            )
        if len(labels) == 0 or labels.max() > 9:
            found = f"label {labels.max()}" if len(labels) else "no label"
            raise InputError(f"{label_path} holds {found}, labels must lie in 0 to 9; download it again")

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

    def load(self) -> tuple[Splits, Provenance]:
        data = self.arrays()
        count = len(data.train_labels)
        check_range(f"data.{self.title}: val_size", self.val_size, 1, count - 1, f"the training file holds {count}")
        order = stratified_order(data.train_labels)
        val, train = np.sort(order[: self.val_size]), order[self.val_size :]
        train = np.sort(train[: self.train_size])
        images, test_images = data.train_images[:, None], data.test_images[:, None]
        splits = Splits(
            ArrayDataset(images[train], data.train_labels[train]),
            ArrayDataset(images[val], data.train_labels[val]),
            ArrayDataset(test_images, data.test_labels),
        )
        self._prototypes = idx_prototypes(data)
        return splits, Provenance(
            source="original",
            hash=data.hash,
            sizes={name: len(split) for name, split in splits._asdict().items()},
            altered=data.altered,
            subset=self.train_size is not None and len(train) < count - self.val_size,
            verified=None if data.altered else "known content hash (SHA-256 of each of the four files)",
        )

    def prototypes(self) -> Tensor:
        """Return [10, 1, 28, 28]: the first image of each class in the training file."""
        self.setup()
        assert self._prototypes is not None
        return self._prototypes


def idx_prototypes(data: IDXArrays) -> Tensor:
    """Return [10, 1, H, W] in [0, 1]: the first image of each class in the training file."""
    images = torch.from_numpy(data.train_images[:, None].copy())
    return first_of_each_class(images, torch.from_numpy(data.train_labels.copy()), 10).float() / 255


def _gz_or_raw(path: Path) -> Path:
    """Return ``path`` if it exists, else the path of its gzipped form."""
    return path if path.is_file() else path.with_name(path.name + ".gz")
