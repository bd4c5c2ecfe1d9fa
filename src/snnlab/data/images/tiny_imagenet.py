"""Tiny ImageNet: 110,000 labelled colour photographs of 64 x 64 in 200 classes.

Source: Le, Yang 2015, "Tiny ImageNet Visual Recognition Challenge", Stanford CS231N. The published test images carry
no labels, so the published validation images are the test split here, as is usual.
Layout: tiny-imagenet-200.zip, or its folder tiny-imagenet-200, with wnids.txt (one class name a line),
train/<class>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt (file, class, box, tab-separated).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.data.files import keep, made_once, progress, read_bytes
from snnlab.data.formats.npy import read_npz
from snnlab.data.formats.zipped import open_zip, read_member
from snnlab.data.images.module import ImageArrays, PublishedImages
from snnlab.data.limits import GIB, MEMBER
from snnlab.data.publish.archives import check_md5
from snnlab.data.publish.downloads import download as fetch
from snnlab.errors import InputError

URLS = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",)
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"  # of the archive, as published in the loaders of several libraries
FOLDER, ARCHIVE = "tiny-imagenet-200", "tiny-imagenet-200.zip"
SIDE = 64
VERSION = 1  # of the cached arrays: raise it when reading changes


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # training images and labels, those of the test split


class Source(NamedTuple):
    """The files of the folder or of the archive, by their path inside tiny-imagenet-200."""

    names: dict[str, None]  # in order
    read: Callable[[str], bytes]
    where: Path  # for errors


class TinyImageNet(PublishedImages):
    """Photographs in 200 classes, 500 of each for training and 50 for testing; classes in the order of their names.

    The archive is checked against its published MD5; a folder unpacked by hand is verified by nothing and needs
    ``unverified``. The pictures are decoded once (about a minute) and kept in the cache: 1.3 GB there and in memory.

    Args:    as in PublishedImages.
    Batches: images [B, 3, 64, 64] in [0, 1], labels [B]; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    title = "tiny_imagenet"
    shape = (3, SIDE, SIDE)
    classes = 200
    counts = (100_000, 10_000)

    def place(self) -> Path | None:
        """Return the archive, else the folder, under the root, or None."""
        bases = (self.root, self.root / "tiny_imagenet", self.root / "tiny-imagenet")
        archives, folders = [base / ARCHIVE for base in bases], [base / FOLDER for base in bases]
        found = [path for path in archives if path.is_file()] + [path for path in folders if path.is_dir()]
        return found[0] if found else None

    def found(self) -> bool:
        return self.place() is not None

    def arrays_of_parts(self) -> ImageArrays:
        place = self.place() or self._download()
        vouched = place.is_file() and self._check_archive(place)
        if place.is_dir() and not self.unverified:
            raise InputError(
                f"data.tiny_imagenet: {place}: nothing vouches for a folder; put {ARCHIVE} into {self.root}, "
                "or data.unverified=true uses the folder and flags the results as altered"
            )
        with open_source(place) as source:
            arrays, digest = self._cached(source, MD5 if vouched else content_hash(source))
        return ImageArrays(
            *arrays,
            hash=digest,
            verified=f"the publisher's archive checksum (MD5 {MD5})" if vouched else None,
            notes=() if vouched else (f"{place.name}: nothing vouches for the content",),
        )

    def _check_archive(self, archive: Path) -> bool:
        """Whether the archive is the published one; raise InputError unless it is or ``unverified`` allows others."""
        try:
            check_md5(archive, MD5)
        except InputError as error:
            if not self.unverified:
                raise InputError(
                    f"{error}, or data.unverified=true uses it and flags the results as altered"
                ) from error
            return False
        return True

    def _cached(self, source: Source, key: str) -> tuple[Arrays, str]:
        """Return the decoded arrays and the hash of the content, from the cache where it has them."""
        path = self.cache / "images" / f"tiny_imagenet-{key[:16]}-v{VERSION}.npz"
        names = ("train_images", "train_labels", "test_images", "test_labels")

        def look() -> tuple[Arrays, str] | None:
            with suppress(InputError):  # not there, or cut short
                first, second, third, fourth, content = read_npz(path, (*names, "hash"), 2 * GIB)
                return (first, second, third, fourth), str(content)
            return None

        def make() -> tuple[Arrays, str]:
            arrays, digest = decode(source), content_hash(source)
            named: Any = dict(zip(names, arrays, strict=True))
            keep(path, lambda file: np.savez(file, hash=np.array(digest), **named))
            return arrays, digest

        return made_once(path.with_name(f".{path.name}.lock"), look, make)

    def _download(self) -> Path:
        if not self.download:
            raise InputError(
                f"data.tiny_imagenet: no {ARCHIVE} and no folder {FOLDER} under {self.root}; "
                "put one there, or data.download=true fetches it (237 MiB)"
            )
        return fetch(URLS, self.root / ARCHIVE, f"md5:{MD5}")


@contextmanager
def open_source(place: Path) -> Iterator[Source]:
    """Open the archive or the folder; raise InputError where the archive is none."""
    if place.is_dir():
        files = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
        names = dict.fromkeys(name for name in files if not name.startswith("test/"))
        yield Source(names, lambda name: read_bytes(place / name, MEMBER), place)
        return
    with open_zip(place) as archive:
        prefix = f"{FOLDER}/"
        inside = sorted(n.removeprefix(prefix) for n in archive.namelist() if n.startswith(prefix) and n[-1] != "/")
        names = dict.fromkeys(name for name in inside if not name.startswith("test/"))
        yield Source(names, lambda name: read_member(archive, prefix + name, place), place)


def read(source: Source, name: str) -> bytes:
    """Return the bytes of one file; raise InputError where it is missing or damaged."""
    if name not in source.names:
        raise InputError(f"{source.where} holds no {name}; download it again")
    return source.read(name)


def content_hash(source: Source) -> str:
    """SHA-256 of all files but the unlabelled test images, in the order of their names."""
    whole = hashlib.sha256()
    for name in source.names:
        whole.update(read(source, name))
    return whole.hexdigest()


def decode(source: Source) -> Arrays:
    """Return training images uint8 [N, 3, 64, 64] and labels uint8 [N], then those of the test split.

    Raises: InputError: a file is missing or broken, or names a class that wnids.txt does not.
    """
    classes = sorted(read(source, "wnids.txt").decode("utf-8", "replace").split())
    labels = {name: label for label, name in enumerate(classes)}
    if not 0 < len(labels) <= 200:
        raise InputError(f"{source.where}: wnids.txt names {len(labels)} classes, needed are 1 to 200")
    train = [
        (name, known_class(labels, match[1], name, source))
        for name in source.names
        if (match := re.fullmatch(r"train/([^/]+)/images/[^/]+\.JPEG", name))
    ]
    test = []
    annotations = read(source, "val/val_annotations.txt").decode("utf-8", "replace").splitlines()
    for number, line in enumerate(annotations, start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise InputError(
                f"{source.where}: line {number} of val/val_annotations.txt is no 'file <tab> class ...'; "
                "download it again"
            )
        where = f"line {number} of val/val_annotations.txt"
        test.append((f"val/images/{fields[0]}", known_class(labels, fields[1], where, source)))
    for part, what in ((train, "train/<class>/images/*.JPEG"), (test, "lines in val/val_annotations.txt")):
        if not part:
            raise InputError(f"{source.where} holds no {what}; download it again")
    pictures = {}
    for part, what in ((train, "training"), (test, "test")):
        array = np.empty((len(part), 3, SIDE, SIDE), np.uint8)
        for i, (name, _) in enumerate(progress(part, f"decoding {what} images")):
            array[i] = decode_jpeg(read(source, name), f"{source.where}: {name}")
        pictures[what] = array, np.array([label for _, label in part], np.uint8)
    return *pictures["training"], *pictures["test"]


def known_class(labels: dict[str, int], name: str, where: str, source: Source) -> int:
    """Return the label of the class ``name``, or raise InputError."""
    if name not in labels:
        raise InputError(f"{source.where}: {where} names class {name}, which wnids.txt does not; download it again")
    return labels[name]


def decode_jpeg(content: bytes, name: str) -> np.ndarray:
    """Return uint8 [3, 64, 64]; grey pictures get three equal colours."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            size = image.size  # as declared; a larger one is not decoded
            pixels = np.asarray(image.convert("RGB")) if size == (SIDE, SIDE) else None
    except Exception as error:  # Pillow raises nearly anything on broken files
        reason = " ".join(str(error).split()).partition("<")[0].strip()
        raise InputError(f"{name} is truncated or no JPEG picture ({reason}); download it again") from error
    if pixels is None:
        raise InputError(f"{name} is {size[0]} x {size[1]} pixels, needed are {SIDE} x {SIDE}")
    return pixels.transpose(2, 0, 1)
