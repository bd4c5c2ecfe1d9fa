"""EMNIST: handwritten letters and digits of 28 x 28 in six splits, in the format of MNIST.

Source: Cohen, Afshar, Tapson, van Schaik 2017, arXiv:1702.05373.
Layout: gzip.zip holds gzip/emnist-<split>-{train,test}-{images-idx3,labels-idx1}-ubyte.gz. The images lie transposed
in their files (columns first) and are turned here; the labels of the split ``letters`` start at 1 and become 0 to 25.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import check_choice
from snnlab.data.files import read_content
from snnlab.data.formats.idx import parse_idx
from snnlab.data.images.idx import check_pair, find_files, most_bytes
from snnlab.data.images.module import ImageArrays, Order, PublishedImages
from snnlab.data.loader import Loader
from snnlab.data.publish.archives import Archive, install, vouch

ARCHIVE = Archive(
    "gzip.zip",
    "58c8d27c78d21e728a6bc7b3cc06412e",  # as published in the loaders of several libraries
    ("https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",),
    "536 MiB",
)
FOLDERS = ("emnist", "EMNIST/raw", "EMNIST", "emnist/gzip", "gzip")  # the first one receives downloads
SPLITS = {  # classes, training images, test images
    "balanced": (47, 112_800, 18_800),
    "letters": (26, 124_800, 20_800),
    "digits": (10, 240_000, 40_000),
    "mnist": (10, 60_000, 10_000),
    "byclass": (62, 697_932, 116_323),
    "bymerge": (47, 697_932, 116_323),
}
Split = Literal["balanced", "letters", "digits", "mnist", "byclass", "bymerge"]


class EMNIST(PublishedImages):
    """Handwritten characters of one split; no hash of a single file is known to us.

    So files are verified by the marker that a download (or the archive under the root) leaves.

    Args:
        split: balanced (47 classes, equally many of each), letters (26, both cases together), digits (10),
            mnist (10, the size of MNIST), byclass (62), bymerge (47, alike upper and lower case merged).
        All others as in PublishedImages.

    Batches: images [B, 1, 28, 28] in [0, 1], upright, labels [B]; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    title = "emnist"
    shape = (1, 28, 28)

    def __init__(
        self,
        loader: Loader,
        download: bool = True,
        unverified: bool = False,
        val_size: int = 5000,
        train_size: int | None = None,
        split: Split = "balanced",
        augmentation: ImageAugmentation = ImageAugmentation(),  # noqa: B008  frozen
        sequence: Order = "none",
    ) -> None:
        check_choice("data.emnist: split", split, list(SPLITS))
        self.classes, *counts = SPLITS[split]
        self.counts = counts[0], counts[1]
        self.split, self.first_label = split, int(split == "letters")
        kinds = [(part, kind) for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")]
        self.files = [f"emnist-{split}-{part}-{kind}-ubyte" for part, kind in kinds]
        super().__init__(loader, download, unverified, val_size, train_size, augmentation, sequence)

    def find(self) -> list[Path] | None:
        """Return the paths of the four files of the split under the root, or None unless one folder holds them."""
        return find_files([self.root / name for name in FOLDERS], self.files)

    def found(self) -> bool:
        return self.find() is not None

    def arrays_of_parts(self) -> ImageArrays:
        paths = self.find() or self._install()
        whole, notes = hashlib.sha256(), list[str]()
        contents = [read_content(path, most_bytes(self.shape, self.counts)) for path in paths]
        arrays = [parse_idx(content, path) for content, path in zip(contents, paths, strict=True)]
        limits = self.first_label, self.first_label + self.classes - 1
        for i in (0, 2):
            check_pair(arrays[i], arrays[i + 1], paths[i], paths[i + 1], limits)
        hashes = {path.name: hashlib.sha256(content).hexdigest() for path, content in zip(paths, contents, strict=True)}
        vouched = vouch(paths[0].parent, hashes, [ARCHIVE], self._place, self.cache).names
        for content, path in zip(contents, paths, strict=True):
            whole.update(content)
            if path.name not in vouched:
                why = f"no archive of known checksum ({ARCHIVE.name}) vouches for it"
                notes.append(self.unknown(path, why, hashes[path.name]))
        train_images, test_images = (arrays[i].swapaxes(1, 2)[:, None] for i in (0, 2))
        return ImageArrays(
            train_images,
            arrays[1] - self.first_label,
            test_images,
            arrays[3] - self.first_label,
            whole.hexdigest(),
            verified=None if notes else f"the publisher's archive checksum at download (MD5 {ARCHIVE.md5})",
            notes=tuple(notes),
        )

    def _place(self, name: str) -> str | None:
        folder, _, file = name.rpartition("/")
        return file if folder == "gzip" and file.removesuffix(".gz") in self.files else None

    def _install(self) -> list[Path]:
        """Unpack the split's files from the archive, wherever it lies, into a folder where they are found."""
        folders = [self.root / name for name in FOLDERS]
        folder = next((folder for folder in folders if ARCHIVE.find(folder)), folders[0])
        names = [f"{name}.gz" for name in self.files]
        missing = f"{self.files[0]} (.gz or not) and its three fellows are not in {folder}"
        install([ARCHIVE], folder, self._place, self.download, "emnist", missing, names)
        return [folder / name for name in names]
