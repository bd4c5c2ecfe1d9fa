"""What CIFAR-10 and CIFAR-100 share: an archive of files in the format of ``formats/cifar_binary``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from snnlab.data.files import read_content
from snnlab.data.formats.cifar_binary import parse_cifar
from snnlab.data.images.module import ImageArrays, PublishedImages
from snnlab.data.publish.archives import unpack, vouched
from snnlab.data.publish.downloads import download as fetch
from snnlab.errors import InputError


class CIFARImages(PublishedImages):
    """Colour photographs of 32 x 32, 50,000 for training and 10,000 for testing.

    Used where they lie under ``root`` (the folder of the archive, that folder in one named after the data set, or the
    archive), else downloaded there. A download leaves a marker with the hashes of its files, made after the archive
    met its published MD5; files are verified against known hashes or that marker.
    """

    shape = (3, 32, 32)
    counts = (50_000, 10_000)
    urls: ClassVar[tuple[str, ...]]
    md5: ClassVar[str]  # of the archive, as published
    archive: ClassVar[str]
    folder: ClassVar[str]  # in the archive
    files: ClassVar[tuple[str, ...]]  # the last one holds the test images
    sha256: ClassVar[dict[str, str]] = {}  # of genuine files, where it is known
    altered: ClassVar[dict[str, str]] = {}  # SHA-256 of files known not to be the published ones, and why
    label_classes: ClassVar[tuple[int, ...]]  # classes of each label byte of a record
    label_byte = 0  # which of them is the label

    @classmethod
    def find(cls, root: Path) -> Path | None:
        """Return the folder under ``root`` that holds all files, or None."""
        folders = (root / cls.folder, root / cls.title / cls.folder)
        return next((folder for folder in folders if all((folder / name).is_file() for name in cls.files)), None)

    def found(self) -> bool:
        return self.find(self.root) is not None

    def arrays_of_parts(self) -> ImageArrays:
        folder = self.find(self.root) or self._download()
        whole, marker = hashlib.sha256(), vouched(folder, self.md5)
        images, labels, notes, vouchers = [], [], list[str](), list[str]()
        for name in self.files:
            content = read_content(folder / name)
            whole.update(content)
            file_images, file_labels = parse_cifar(content, folder / name, self.label_classes)
            images.append(file_images)
            labels.append(file_labels[:, self.label_byte])
            digest = hashlib.sha256(content).hexdigest()
            if digest == self.sha256.get(name):
                vouchers.append("known content hashes (SHA-256 of each training file)")
            elif digest == marker.get(name):
                vouchers.append(f"the publisher's archive checksum at download (MD5 {self.md5})")
            else:
                why = self.altered.get(digest, "the content matches no known hash")
                notes.append(self.unknown(folder / name, why, digest))
        return ImageArrays(
            np.concatenate(images[:-1]),
            np.concatenate(labels[:-1]),
            images[-1],
            labels[-1],
            whole.hexdigest(),
            verified=None if notes else " and ".join(dict.fromkeys(vouchers)),
            notes=tuple(notes),
        )

    def _download(self) -> Path:
        """Fetch the archive unless it is there, unpack it beside, and return the folder."""
        archive = self.root / self.archive
        if not archive.is_file():
            if not self.download:
                raise InputError(
                    f"data.{self.title}: no {self.folder} with {', '.join(self.files)} under {self.root}; "
                    "put it there, or data.download=true fetches it"
                )
            fetch(self.urls, archive, f"md5:{self.md5}")
        members = {name: f"{self.folder}/{name}" for name in self.files}
        return unpack(archive, self.root / self.folder, self.md5, members, self.title)
