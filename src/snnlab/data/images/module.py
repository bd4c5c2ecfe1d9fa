"""What image data sets share: augmentation of training batches, rows as a sequence, splits of two published parts."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab import style
from snnlab.data.augmentation import ImageAugmentation
from snnlab.data.contract import (
    Batch,
    BatchedDataset,
    DataModule,
    DataSpec,
    Provenance,
    Splits,
    check_choice,
    check_range,
)
from snnlab.data.loader import Loader
from snnlab.data.pictures import Sheet
from snnlab.data.splits import first_of_each_class, stratified_order
from snnlab.errors import InputError

Order = Literal["none", "rows"]
ROWS, COLUMNS = 4, 20  # of a sheet of pictures, at most


def rows(images: Tensor) -> Tensor:
    """Return images [B, C, H, W] as a sequence [T=H, B, C * W]: step t is row t, its colours one after the other."""
    return images.permute(2, 0, 1, 3).flatten(2).contiguous()


class ArrayDataset(BatchedDataset):
    """Images in memory as whole numbers [N, C, H, W] in 0 to ``white``, labels [N]; the image is also the signal."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, white: int = 255) -> None:
        super().__init__()
        self.white = white
        # memory of our own, writable; a selection is that already
        self.images = torch.from_numpy(np.require(images, requirements=["C", "OWNDATA", "WRITEABLE"]))
        self.labels = torch.from_numpy(np.asarray(labels).astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index].float() / self.white, int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        images = self.images[index].float() / self.white
        return Batch(images, self.labels[index], images)


class RowsDataset(BatchedDataset):
    """The images of ``dataset`` row by row: inputs [H, B, C * W], the image itself the signal [B, C, H, W]."""

    def __init__(self, dataset: ArrayDataset) -> None:
        super().__init__()
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = self.dataset[index]
        return rows(image[None])[:, 0], label

    def batch(self, indices: Sequence[int]) -> Batch:
        images, labels, _ = self.dataset.batch(indices)
        return Batch(rows(images), labels, images)


class ImageModule(DataModule):
    """Shared form of the image data sets: a subclass gives ``title``, ``shape``, ``still`` and ``read``.

    Args:
        augmentation: of training batches.
        sequence: rows presents each image row by row over time, as analog values; none shows it whole.

    Batches: images [B, C, H, W] in [0, 1], or with sequence=rows [T=H, B, C * W]; the image is its own natural signal.
    Augmentation happens where Lightning's trainer has put a training batch on its device: validation, test, and what
    reads the splits directly see the images as they are.
    Raises:  InputError: an argument out of range.
    """

    title: ClassVar[str]  # as in data=...
    shape: ClassVar[tuple[int, int, int]]  # C, H, W

    def __init__(
        self,
        loader: Loader,
        augmentation: ImageAugmentation,
        sequence: Order,
    ) -> None:
        super().__init__(loader)
        check_choice("data.sequence", sequence, ("none", "rows"))
        augmentation.check(*self.shape[1:])
        self.augmentation = augmentation
        self.sequence = sequence
        self._first: tuple[Tensor, Tensor] | None = None

    @property
    @abstractmethod
    def still(self) -> DataSpec:
        """The spec of the images when they are shown whole."""

    @abstractmethod
    def read(self) -> tuple[Splits, Provenance]:
        """Read the images; as ``load``, before ``sequence`` is applied."""

    @property
    def spec(self) -> DataSpec:
        if self.sequence == "none":
            return self.still
        channels, height, width = self.shape
        return replace(self.still, kind="sequence", input_shape=(channels * width,), time_steps=height)

    def load(self) -> tuple[Splits, Provenance]:
        splits, provenance = self.read()
        if self.sequence == "rows":
            splits = Splits(*(RowsDataset(split) for split in splits))  # type: ignore[arg-type]
        return splits, provenance

    def images(self) -> ImageModule:
        if self.sequence == "none":
            return self
        still = copy.copy(self)
        still.sequence = "none"
        if self.splits is not None:
            still.splits = Splits(*(split.dataset for split in self.splits))  # type: ignore[attr-defined]
        return still

    def augmented(self, batch: Batch) -> Batch:
        """Return a training batch with its images changed, on the device where it lies."""
        if not self.augmentation:
            return batch
        assert batch.signals is not None
        images = self.augmentation(batch.signals)
        return Batch(images if self.sequence == "none" else rows(images), batch.labels, images)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        training = self.trainer is not None and self.trainer.training
        return self.augmented(batch) if training and isinstance(batch, Batch) else batch

    def keep_first(self, images: np.ndarray, labels: np.ndarray, white: int = 255) -> None:
        """Remember the first image of each class, which ``prototypes`` returns."""
        found, where = np.unique(labels, return_index=True)
        self._first = torch.from_numpy(images[where]).float() / white, torch.from_numpy(found.astype(np.int64))

    def sheet(self) -> Sheet:
        """Some images of each class, a column each, augmented as training batches are."""
        pictures = self.images()
        pictures.setup()
        assert pictures.splits is not None
        labels = pictures.splits.train.labels  # type: ignore[attr-defined]
        places = {
            (row, label): index
            for label in range(min(self.still.classes, COLUMNS))
            for row, index in enumerate((labels == label).nonzero()[:ROWS, 0].tolist())
        }
        images = pictures.augmented(pictures.splits.train.batch(list(places.values()))).inputs
        classes = torch.arange(self.still.classes)
        names = [self.still.question.caption(classes, label) for label in range(min(len(classes), COLUMNS))]
        return Sheet(dict(zip(places, images, strict=True)), tuple(style.broken(name, 16) for name in names))

    def prototypes(self) -> Tensor:
        """Return [classes, C, H, W]: the first image of each class in the training file."""
        self.setup()
        assert self._first is not None
        return first_of_each_class(*self._first, self.still.classes)


class ImageArrays(NamedTuple):
    """The two parts of a published image data set as they were read."""

    train_images: np.ndarray  # whole numbers [N, C, H, W], uint8 unless ``white`` is larger
    train_labels: np.ndarray  # [N]
    test_images: np.ndarray
    test_labels: np.ndarray
    hash: str  # SHA-256 of the decompressed content
    verified: str | None  # against what; None: nothing vouches for the content, the results are flagged altered
    notes: tuple[str, ...] = ()
    extra: int = 0  # that many training images, the last ones, are never taken for validation
    white: int = 255  # largest value of a pixel


class PublishedImages(ImageModule):
    """Images published in two parts, training and test, used where they lie under ``root``, else downloaded there.

    The validation images are a fixed, stratified choice from the training part; neither it nor ``train_size`` depends
    on the seed of the run. A subclass gives ``arrays_of_parts`` and ``found``, and knows ``classes`` and ``counts``.

    Args:
        download: fetch missing files; false refuses, naming the path where they were sought.
        unverified: use files whose content nothing vouches for; the results are flagged ``altered``.
        val_size: validation images, taken from the training part; 0 is an author's protocol: all are trained on and the
            last epoch is tested, which every row, title and record of such a run says.
        train_size: use only that many of the remaining training images (flag ``subset``); null uses all.
        augmentation, sequence: as in ImageModule.

    Raises: InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    classes: int
    counts: tuple[int, int]  # published training and test images
    extra_count: int = 0  # published training images beyond them

    def __init__(
        self,
        loader: Loader,
        download: bool = True,
        unverified: bool = False,
        val_size: int = 5000,
        train_size: int | None = None,
        augmentation: ImageAugmentation = ImageAugmentation(),  # noqa: B008  frozen
        sequence: Order = "none",
    ) -> None:
        super().__init__(loader, augmentation, sequence)
        check_range(f"data.{self.title}: val_size", val_size, 0, self.counts[0] - 1, "5000 is usual")
        self.rest = self.counts[0] + self.extra_count - val_size
        if train_size is not None:
            check_range(f"data.{self.title}: train_size", train_size, 1, self.rest, "null uses all")
        self.download, self.unverified, self.val_size, self.train_size = download, unverified, val_size, train_size

    @abstractmethod
    def arrays_of_parts(self) -> ImageArrays:
        """Read and check the files, downloading them first where that is allowed and needed."""

    @abstractmethod
    def found(self) -> bool:
        """Whether the files lie under the root; nothing is read."""

    def where(self) -> str:
        return "found" if self.found() else "downloadable"

    @property
    def still(self) -> DataSpec:
        return DataSpec(
            self.title,
            "image",
            self.shape,
            classes=self.classes,
            signal_shape=self.shape,
            prototype_shape=self.shape,
            sizes={"train": self.train_size or self.rest, "val": self.val_size, "test": self.counts[1]},
        )

    def read(self) -> tuple[Splits, Provenance]:
        data = self.arrays_of_parts()
        count = len(data.train_labels)
        core = count - data.extra
        check_range(f"data.{self.title}: val_size", self.val_size, 0, core - 1, f"the training files hold {core}")
        order = stratified_order(data.train_labels[:core])
        rest = np.concatenate([order[self.val_size :], np.arange(core, count)])
        val, train = np.sort(order[: self.val_size]), np.sort(rest[: self.train_size])
        self.keep_first(data.train_images, data.train_labels, data.white)
        splits = Splits(
            ArrayDataset(data.train_images[train], data.train_labels[train], data.white),
            ArrayDataset(data.train_images[val], data.train_labels[val], data.white),
            ArrayDataset(data.test_images, data.test_labels, data.white),
        )
        return splits, Provenance(
            source="original",
            hash=data.hash,
            sizes={name: len(split) for name, split in splits._asdict().items()},
            altered=data.verified is None,
            subset=self.train_size is not None and len(train) < len(rest),
            verified=data.verified,
            notes=list(data.notes),
        )

    def unknown(self, path: Path, why: str, digest: str) -> str:
        """Return the note on a file that nothing vouches for; raise InputError unless ``unverified`` allows it."""
        if not self.unverified:
            raise InputError(
                f"data.{self.title}: {path}: {why} (SHA-256 {digest[:12]}...); "
                "download it again, or data.unverified=true uses it and flags the results as altered"
            )
        return f"{path.name}: {why}"
