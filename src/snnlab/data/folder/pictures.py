"""One's own pictures: decoded once, kept in the cache as one array, read from there without filling the memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnlab.data import limits
from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import Batch, DataSpec, Provenance, Splits
from snnlab.data.files import atomic, keep, made_once, open_file, progress, remember, sha256_of
from snnlab.data.folder.listing import Listing, content_hash
from snnlab.data.formats.picture import Colour, look_at, read_picture
from snnlab.data.images.module import ArrayDataset, ImageModule, Order
from snnlab.data.loader import Loader
from snnlab.errors import InputError
from snnlab.questions.named_classes import NamedClasses

VERSION = 1  # of all that turns files into pixels
CRC = 4  # bytes of the CRC-32 after the pixels
IN_MEMORY = 2**30  # bytes of pictures that are held in memory; more of them are left on disk


class StoredImages(ArrayDataset):
    """The pictures at ``index`` of an array uint8 [N, C, H, W] that may lie on disk, with labels [N]."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> None:
        super().__init__(np.empty((0, *images.shape[1:]), np.uint8), labels[index])
        self.images, self.index = torch.from_numpy(images), torch.from_numpy(index)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[self.index[index]].float() / self.white, int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> Batch:
        images = self.images[self.index[torch.as_tensor(indices)]].float() / self.white
        return Batch(images, self.labels[torch.as_tensor(indices)], images)


class FolderPictures(ImageModule):
    """Pictures of a ``Listing``.

    Args:
        listing: the files and their labels.
        parts: indices of train, val and test.
        shown: indices of the training samples of an epoch.
        size: height and width all are stretched to; None takes that of the first, which all must have.
        colour: grey or rgb, which all are made; None takes that of the first, and refuses colours where it is grey.
        augmentation, sequence: as in ImageModule.

    Batches: images [B, C, H, W] in [0, 1], or with sequence=rows [T=H, B, C * W]; labels [B].
    Raises:  InputError: a picture that cannot be read, or of another size or kind than the first.
    """

    title = "folder"

    def __init__(
        self,
        loader: Loader,
        listing: Listing,
        parts: dict[str, np.ndarray],
        shown: np.ndarray,
        size: tuple[int, int] | None,
        colour: Colour | None,
        augmentation: ImageAugmentation,
        sequence: Order,
    ) -> None:
        self.listing, self.parts, self.shown = listing, parts, shown
        found, first_size = look_at(listing.paths[0])
        self.resized, self.colour, self.convert = size is not None, colour or found, colour is not None
        self.shape = (1 if self.colour == "grey" else 3, *(size or first_size))  # type: ignore[misc]
        total = len(listing.names) * math.prod(self.shape)
        limits.check_bytes(f"data.folder: {listing.folder} with pictures {list(self.shape)}", total, limits.ON_DISK)
        super().__init__(loader, augmentation, sequence)

    @property
    def still(self) -> DataSpec:
        return DataSpec(
            "folder",
            "image",
            self.shape,
            classes=len(self.listing.classes),
            signal_shape=self.shape,
            prototype_shape=self.shape,
            question=NamedClasses(self.listing.classes),
            sizes={name: len(part) for name, part in self.parts.items()},
        )

    def read(self) -> tuple[Splits, Provenance]:
        paths, labels = self.listing.paths, self.listing.labels
        digests = remember(
            self.cache, "sha256", paths, lambda: [sha256_of(path) for path in progress(paths, "hashing")]
        )
        images = self._pixels(digests)
        first = np.array([self.parts["train"][labels[self.parts["train"]] == c][0] for c in range(self.still.classes)])
        self.keep_first(images[first], labels[first])
        index = {**self.parts, "train": self.shown}
        splits = Splits(*(StoredImages(images, labels, index[name]) for name in ("train", "val", "test")))
        how = "as they are" if not self.resized else f"stretched to {self.shape[1]} x {self.shape[2]}"
        return splits, Provenance(
            source="original",
            hash=content_hash(self.listing, digests),
            sizes=dict(self.still.sizes),
            notes=[f"pictures: {self.colour}, {how}; upright by EXIF, transparent is black"],
        )

    def _pixels(self, digests: list[str]) -> np.ndarray:
        """Return all pictures, uint8 [N, C, H, W]: those in the cache, else they are decoded and put there."""
        key = hashlib.sha256(
            json.dumps([VERSION, digests, self.shape, self.resized, self.convert]).encode()
        ).hexdigest()[:16]
        path, shape = self.cache / "images" / f"folder-{key}.pixels", (len(digests), *self.shape)
        lock = path.with_name(f".{path.name}.lock")
        return made_once(lock, lambda: _stored(path, shape, self.cache), lambda: self._made(path, shape))

    def _made(self, path: Path, shape: tuple[int, ...]) -> np.ndarray:
        """Decode all pictures and put them into the cache: their pixels, and a CRC-32 of those."""
        if math.prod(shape) <= IN_MEMORY:
            images = np.empty(shape, np.uint8)
            for place, pixels in zip(images, self._decoded(), strict=True):
                place[:] = pixels
            keep(path, lambda file: (file.write(images.data), file.write(_crc(path, images.data))))
            return images
        with atomic(path) as file:
            crc = _of(path)
            for pixels in self._decoded():
                file.write(content := np.ascontiguousarray(pixels).data)
                crc = zlib.crc32(content, crc)
            file.write(crc.to_bytes(CRC, "little"))
        stored = _stored(path, shape, self.cache)
        assert stored is not None
        return stored

    def _decoded(self) -> Iterator[np.ndarray]:
        """Yield the pixels of each picture, uint8 [C, H, W]."""
        size = self.shape[1:]
        for picture in progress(self.listing.paths, "decoding pictures"):
            pixels = read_picture(picture, self.colour, size if self.resized else None, self.convert)
            if pixels.shape != self.shape:
                raise InputError(
                    f"{picture} is {pixels.shape[1]} x {pixels.shape[2]}, the first {size[0]} x {size[1]} "
                    f"(height x width); data.size=[{size[0]},{size[1]}] stretches all of them to one size"
                )
            yield pixels


def _stored(path: Path, shape: tuple[int, ...], cache: Path) -> np.ndarray | None:
    """Return the pixels in the cache, mapped where they are many; None where there are none or they were damaged."""
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size != math.prod(shape) + CRC:
                return None
            mapped = np.memmap(file, np.uint8, "c", shape=shape).view(np.ndarray)  # c: changes would stay in memory
            file.seek(mapped.size)
            crc = file.read(CRC)
        if mapped.size <= IN_MEMORY:
            images = mapped.copy()
            return images if _crc(path, images.data) == crc else None
        return mapped if remember(cache, "pixels", [path], lambda: _crc(path, mapped.data) == crc) else None
    except (InputError, OSError, ValueError):
        return None


def _of(path: Path) -> int:
    """Where the CRC-32 of the pixels in a file begins: those of another file do not fit."""
    return zlib.crc32(path.name.encode())


def _crc(path: Path, pixels: memoryview) -> bytes:
    return zlib.crc32(pixels, _of(path)).to_bytes(CRC, "little")
