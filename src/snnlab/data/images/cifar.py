"""What CIFAR-10 and CIFAR-100 share: an archive of files in the format of ``formats/cifar_binary``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from snnlab.data.files import read_content
from snnlab.data.formats.cifar_binary import parse_cifar
from snnlab.data.images.idx import most_bytes
from snnlab.data.images.module import ImageArrays, PublishedImages
from snnlab.data.publish.archives import Archive, install, vouch


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
        folder = self.find(self.root) or self._install()
        whole, hashes = hashlib.sha256(), dict[str, str]()
        images, labels, notes, vouchers = [], [], list[str](), list[str]()
        most = most_bytes(self.shape, [max(self.counts) // (len(self.files) - 1)])
        for name in self.files:
            content = read_content(folder / name, most)
            whole.update(content)
            file_images, file_labels = parse_cifar(content, folder / name, self.label_classes)
            images.append(file_images)
            labels.append(file_labels[:, self.label_byte])
            hashes[name] = hashlib.sha256(content).hexdigest()
        doubtful = {name: digest for name, digest in hashes.items() if digest != self.sha256.get(name)}
        vouched = vouch(folder, doubtful, [self.published], self._place, self.cache).names
        for name, digest in hashes.items():
            if name not in doubtful:
                vouchers.append("known content hashes (SHA-256 of each training file)")
            elif name in vouched:
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

    @property
    def published(self) -> Archive:
        return Archive(self.archive, self.md5, self.urls)

    def _place(self, name: str) -> str | None:
        folder, _, file = name.rpartition("/")
        return file if folder == self.folder and file in self.files else None

    def _install(self) -> Path:
        folder = self.root / self.folder
        missing = f"no {self.folder} with {', '.join(self.files)} under {self.root}"
        install([self.published], folder, self._place, self.download, self.title, missing, self.files)
        return folder
