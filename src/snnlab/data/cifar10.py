"""CIFAR-10: 60,000 colour photographs of 32 x 32 in 10 classes, in the official binary layout.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
Layout: data_batch_1.bin to data_batch_5.bin and test_batch.bin; a record is 1 label byte and 3,072 pixel bytes
(red, green, blue planes, each row by row).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

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
from snnlab.data.files import cannot_write
from snnlab.data.idx import read_content
from snnlab.errors import InputError

URLS = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, as published
ARCHIVE, FOLDER, MARKER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin", "snnlab-download.json"
RECORD = 1 + 3 * 32 * 32
SHA256 = {  # of the genuine training files; that of the genuine test_batch.bin is known only from a download's marker
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
}
FILES = (*SHA256, "test_batch.bin")
ALTERED = {  # test files known not to be the published one
    "71691bc386e2c1ea3bba8b0947cefbf359613dbcc7d1f8a29f61e79127902f72": "9,000 of 10,000 test images are JPEG-altered",
}


class CIFAR10(DataModule):
    """Colour photographs in 10 classes.

    Used where they lie under ``root`` (``cifar-10-batches-bin``, ``cifar10/cifar-10-batches-bin``, or the archive),
    else downloaded there. A download leaves a marker with the hashes of its files, made after the archive met its
    published MD5; files are verified against known hashes or that marker.

    Args:
        download: fetch missing files; false refuses, naming the path where they were sought.
        unverified: use files whose content matches no known hash; the results are flagged ``altered``.
        val_size: validation images, a fixed, stratified choice from the training files.
        train_size: use only that many of the remaining training images (flag ``subset``); null uses all.

    Batches: images [B, 3, 32, 32] in [0, 1], labels [B]; the image is its own natural signal.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

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
        check_range("data.cifar10: val_size", val_size, 1, 49_999, "5000 is usual")
        if train_size is not None:
            check_range("data.cifar10: train_size", train_size, 1, 50_000 - val_size, "null uses all")
        self.download, self.unverified, self.val_size, self.train_size = download, unverified, val_size, train_size
        self._prototypes: Tensor | None = None

    @property
    def spec(self) -> DataSpec:
        train = self.train_size or 50_000 - self.val_size
        return DataSpec(
            "cifar10",
            "image",
            (3, 32, 32),
            classes=10,
            signal_shape=(3, 32, 32),
            prototype_shape=(3, 32, 32),
            sizes={"train": train, "val": self.val_size, "test": 10_000},
        )

    @classmethod
    def find(cls, root: Path) -> Path | None:
        """Return the folder under ``root`` that holds all six files, or None."""
        folders = (root / FOLDER, root / "cifar10" / FOLDER)
        return next((folder for folder in folders if all((folder / name).is_file() for name in FILES)), None)

    def load(self) -> tuple[Splits, Provenance]:
        folder = self.find(self.root) or self._download()
        whole, marker = hashlib.sha256(), _marker(folder)
        images, labels, notes, by_marker = [], [], list[str](), False
        for name in FILES:
            content = read_content(folder / name)
            whole.update(content)
            file_images, file_labels = parse_batch(content, folder / name)
            images.append(file_images)
            labels.append(file_labels)
            digest = hashlib.sha256(content).hexdigest()
            if digest == SHA256.get(name):
                continue
            if digest == marker.get(name):
                by_marker = True
                continue
            why = ALTERED.get(digest, "the content matches no known hash")
            if not self.unverified:
                raise InputError(
                    f"data.cifar10: {folder / name}: {why} (SHA-256 {digest[:12]}...); "
                    "download it again, or data.unverified=true uses it and flags the results as altered"
                )
            notes.append(f"{name}: {why}")
        train_images, train_labels = np.concatenate(images[:-1]), np.concatenate(labels[:-1])
        count = len(train_labels)
        check_range("data.cifar10: val_size", self.val_size, 1, count - 1, f"the training files hold {count}")
        order = stratified_order(train_labels)
        val, train = np.sort(order[: self.val_size]), np.sort(order[self.val_size :][: self.train_size])
        splits = Splits(
            ArrayDataset(train_images[train], train_labels[train]),
            ArrayDataset(train_images[val], train_labels[val]),
            ArrayDataset(images[-1], labels[-1]),
        )
        self._prototypes = first_of_each_class(torch.from_numpy(train_images), torch.from_numpy(train_labels), 10) / 255
        verified = "known content hashes (SHA-256 of each training file)"
        if by_marker:
            verified += f" and the publisher's archive checksum at download (MD5 {MD5})"
        return splits, Provenance(
            source="original",
            hash=whole.hexdigest(),
            sizes={name: len(split) for name, split in splits._asdict().items()},
            altered=bool(notes),
            subset=self.train_size is not None and len(train) < count - self.val_size,
            verified=None if notes else verified,
            notes=notes,
        )

    def prototypes(self) -> Tensor:
        """Return [10, 3, 32, 32]: the first image of each class in the training files."""
        self.setup()
        assert self._prototypes is not None
        return self._prototypes

    def _download(self) -> Path:
        """Fetch the archive unless it is there, unpack it beside, and return the folder."""
        archive = self.root / ARCHIVE
        if not archive.is_file():
            if not self.download:
                raise InputError(
                    f"data.cifar10: no {FOLDER}/test_batch.bin and its five fellows under {self.root}; "
                    "put them there, or data.download=true fetches them"
                )
            fetch(URLS, archive, f"md5:{MD5}")
        return unpack(archive, self.root / FOLDER, MD5)


def parse_batch(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N, 3, 32, 32] and labels uint8 [N] of one file; ``path`` names it in errors.

    Raises: InputError: no whole number of records, or a label above 9.
    """
    if len(content) % RECORD:
        raise InputError(
            f"{path} is truncated: {len(content)} bytes are no whole number of {RECORD}-byte records; download it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        where = int(np.argmax(labels > 9))
        raise InputError(
            f"{path} holds label {labels[where]} in record {where}, labels must lie in 0 to 9; download it again"
        )
    return records[:, 1:].reshape(-1, 3, 32, 32), labels


def unpack(archive: Path, folder: Path, md5: str) -> Path:
    """Unpack the six files of ``archive`` into ``folder``, which appears whole, with a marker of their hashes.

    Raises: InputError: the archive does not meet ``md5``, or lacks a file. RunFailure: the disk is full.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != md5:
        raise InputError(f"{archive} has MD5 {digest}, published is {md5}; delete it and download it again")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        hashes = {}
        with tarfile.open(archive) as tar:
            for name in FILES:
                member = tar.extractfile(f"{FOLDER}/{name}")
                assert member is not None
                content = member.read()
                (temporary / name).write_bytes(content)
                hashes[name] = hashlib.sha256(content).hexdigest()
        (temporary / MARKER).write_text(json.dumps({"archive_md5": md5, "sha256": hashes}, indent=1))
        temporary.chmod(0o755)
        if folder.is_dir():  # some of the six files lay there
            for path in temporary.iterdir():
                os.replace(path, folder / path.name)
        else:
            os.replace(temporary, folder)
    except (KeyError, tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive} is no CIFAR-10 archive ({error}); delete it and download it again") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _marker(folder: Path) -> dict[str, str]:
    """Return the hashes that a verified download left beside its files, or none."""
    try:
        marker = json.loads((folder / MARKER).read_text())
        return dict(marker["sha256"]) if marker["archive_md5"] == MD5 else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
