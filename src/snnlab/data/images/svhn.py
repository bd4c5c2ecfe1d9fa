"""SVHN, cropped digits: 99,289 colour pictures of house numbers of 32 x 32, and 531,131 easier ones beside them.

Source: Netzer, Wang, Coates, Bissacco, Wu, Ng 2011, "Reading Digits in Natural Images with Unsupervised Feature
Learning", NIPS Workshop on Deep Learning and Unsupervised Feature Learning.
Layout: train_32x32.mat, test_32x32.mat, extra_32x32.mat, in the format of ``formats/svhn_mat``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.files import read_content
from snnlab.data.formats.svhn_mat import check_mat, parse_mat
from snnlab.data.images.module import ImageArrays, Order, PublishedImages
from snnlab.data.limits import GIB, MIB
from snnlab.data.loader import Loader
from snnlab.data.publish.downloads import download as fetch
from snnlab.errors import InputError

URL = "http://ufldl.stanford.edu/housenumbers/"
MD5 = {  # as published in the loaders of several libraries
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "extra_32x32.mat": "a93ce644f1a588dc4d68dda5feec44a7",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
MOST = dict.fromkeys(MD5, 512 * MIB) | {"extra_32x32.mat": 2 * GIB}  # bytes; unpacked 226, 80 and 1,632 million
FOLDERS = ("svhn", "SVHN", ".")


class SVHN(PublishedImages):
    """House numbers, 10 classes: 73,257 images for training, 26,032 for testing.

    Args:
        extra: add the 531,131 extra images to the training images; validation images never come from them.
        All others as in PublishedImages.

    Batches: images [B, 3, 32, 32] in [0, 1], labels [B] in 0 to 9; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    title = "svhn"
    shape = (3, 32, 32)
    classes = 10
    counts = (73_257, 26_032)

    def __init__(
        self,
        loader: Loader,
        download: bool = True,
        unverified: bool = False,
        val_size: int = 5000,
        train_size: int | None = None,
        extra: bool = False,
        augmentation: ImageAugmentation = ImageAugmentation(),  # noqa: B008  frozen
        sequence: Order = "none",
    ) -> None:
        self.extra_count = 531_131 if extra else 0
        self.names = [name for name in MD5 if extra or name != "extra_32x32.mat"]
        super().__init__(loader, download, unverified, val_size, train_size, augmentation, sequence)

    def folder(self) -> Path:
        """The folder that holds all files, else the first that holds one, else where a download goes."""
        folders = [self.root / name for name in FOLDERS]
        held = {folder: sum((folder / name).is_file() for name in self.names) for folder in folders}
        return max(folders, key=lambda folder: held[folder])

    def found(self) -> bool:
        return all((self.folder() / name).is_file() for name in self.names)

    def arrays_of_parts(self) -> ImageArrays:
        folder = self.folder()
        for name in self.names:
            if not (folder / name).is_file():
                if not self.download:
                    raise InputError(
                        f"data.svhn: {name} is not in {folder}; put it there, or data.download=true fetches it"
                    )
                fetch([URL + name], folder / name, f"md5:{MD5[name]}")
        whole, parts, notes = hashlib.sha256(), list[tuple[np.ndarray, np.ndarray]](), list[str]()
        for name in self.names:
            content = read_content(folder / name, MOST[name])
            whole.update(content)
            known = hashlib.md5(content).hexdigest() == MD5[name]
            if not known:
                check_mat(content, folder / name, MOST[name])
            parts.append(parse_mat(content, folder / name))
            if not known:
                digest = hashlib.sha256(content).hexdigest()
                notes.append(self.unknown(folder / name, "the content does not meet its published MD5", digest))
        train = parts[:-1]
        return ImageArrays(
            np.concatenate([images for images, _ in train]) if len(train) > 1 else train[0][0],
            np.concatenate([labels for _, labels in train]),
            *parts[-1],
            whole.hexdigest(),
            verified=None if notes else "published MD5 of each file",
            notes=tuple(notes),
            extra=sum(len(labels) for _, labels in train[1:]),
        )
