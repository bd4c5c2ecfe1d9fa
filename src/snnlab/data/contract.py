"""What every data set of snnlab gives: splits that never change, time-first batches, and where the data came from.

A data set is one file: a ``DataModule`` that knows its ``spec`` before a byte is read, refuses bad arguments in its
constructor, and returns three tonic datasets from ``load``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import numpy as np
import tonic
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from snnlab.errors import InputError
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.question import Question


class Batch(NamedTuple):
    """One batch.

    inputs:  images [B, C, H, W] in [0, 1], their rows [T=H, B, C * W] in [0, 1], binned events [T, B, P, H, W], or
             task spikes [T, B, N].
    labels:  the targets of the data set's question, see questions/: classes [B], or [T, B], or real values [B, K].
    signals: the natural signal behind each input [B, C, H, W] in [0, 1], or None where it is unknown.
    """

    inputs: Tensor
    labels: Tensor
    signals: Tensor | None = None


@dataclass(frozen=True)
class DataSpec:
    """What is known of a data set before anything is read."""

    name: str
    kind: Literal["image", "sequence", "event", "task"]  # sequence: analog values over time
    input_shape: tuple[int, ...]  # of one sample at one time step: (C, H, W), (P, H, W) or (N,)
    classes: int  # or how many real values are asked for
    time_steps: int | None = None  # T of a batch; None for images, whose encoder chooses it
    signal_shape: tuple[int, ...] | None = None  # of the natural signal of each sample, None where unknown
    prototype_shape: tuple[int, ...] | None = None  # of the class prototypes, None where there are none
    question: Question = field(default_factory=ClassOfSequence)  # what is asked of each sample
    sizes: dict[str, int] = field(default_factory=dict)  # train, val, test, as far as known
    time_step: float | None = None  # seconds; None where a step is no time, as of an image


@dataclass
class Provenance:
    """Where the samples of a run came from; goes into run.json, figures and W&B."""

    source: Literal["original", "bundled", "simulated", "synthetic"]
    hash: str  # SHA-256 of the decompressed content
    sizes: dict[str, int]
    altered: bool = False
    subset: bool = False
    verified: str | None = None  # against what; None when nothing vouches for the content
    notes: list[str] = field(default_factory=list)

    def flags(self) -> list[str]:
        """Words that belong wherever the results appear, e.g. ``["simulated", "subset"]``."""
        words: list[str] = [self.source] if self.source in ("simulated", "synthetic") else []
        words += [word for word in ("altered", "subset") if getattr(self, word)]
        return words + (["author's protocol: no validation"] if self.sizes.get("val") == 0 else [])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Splits(NamedTuple):
    """The three splits of a data set; fixed, whatever the seed of a run."""

    train: BatchedDataset
    val: BatchedDataset
    test: BatchedDataset


class BatchedDataset(tonic.Dataset):  # type: ignore[misc]
    """A tonic dataset that also assembles a whole batch at once, which is what the loaders ask for."""

    def __init__(self) -> None:
        super().__init__(save_to=".")

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples at ``indices`` as one time-first batch."""

    @abstractmethod
    def __len__(self) -> int: ...

    def _check_exists(self) -> bool:
        return True


class ArrayDataset(BatchedDataset):
    """Images held in memory as uint8 [N, C, H, W] in 0 to ``white``, with labels [N]; the image is also the signal."""

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


class Subset(BatchedDataset):
    """The samples of ``dataset`` at ``indices``, in that order."""

    def __init__(self, dataset: BatchedDataset, indices: np.ndarray) -> None:
        super().__init__()
        self.dataset, self.indices = dataset, np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: Sequence[int]) -> Batch:
        return self.dataset.batch([int(i) for i in self.indices[np.asarray(indices)]])


class _BatchView(torch.utils.data.Dataset[Batch]):
    """Gives the loader ``dataset.batch(indices)`` for a list of indices."""

    def __init__(self, dataset: BatchedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, indices: Any) -> Batch:
        return self.dataset.batch(indices)


class EpochBatches(Sampler[list[int]]):
    """Lists of indices, shuffled in each epoch by (seed, epoch) alone, so that a resumed run sees the same order."""

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int) -> None:
        self.size, self.batch_size, self.shuffle, self.seed, self.epoch = size, batch_size, shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:  # called by Lightning
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        for start in range(0, self.size, self.batch_size):
            yield [int(i) for i in order[start : start + self.batch_size]]


class DataModule(L.LightningDataModule):
    """Shared LightningDataModule: a subclass gives ``spec`` and ``load``.

    Args:
        root: data root (``paths.data``), read-only but for downloads that the user asked for.
        cache: folder for what can be made again (``paths.cache``).
        batch_size: samples of a training batch.
        seed: shuffles the training samples; the splits do not depend on it.
        num_workers: loader processes; 0 loads in the main process.

    Raises:
        InputError: when an argument leaves its range, before any data is read.
    """

    def __init__(
        self, root: str | Path, cache: str | Path, batch_size: int = 100, seed: int = 0, num_workers: int = 0
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size = {batch_size} must be at least 1; 100 is usual")
        if num_workers < 0:
            raise InputError(f"data.num_workers = {num_workers} must be 0 (load in the main process) or more")
        self.root, self.cache = Path(root).expanduser(), Path(cache).expanduser()
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.splits: Splits | None = None
        self._provenance: Provenance | None = None

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """Shapes, classes and sizes, known before any data is read."""

    @abstractmethod
    def load(self) -> tuple[Splits, Provenance]:
        """Read (or download, or film) the data set; raise InputError where it cannot be used."""

    def prototypes(self) -> Tensor:
        """One natural signal per class [classes, C, H, W]: the first training image of each class."""
        raise InputError(f"data.{self.spec.name}: no natural image per class is known for this data set")

    def images(self) -> DataModule:
        """The image data set behind the natural signals: itself, or the one that was filmed or recorded."""
        if self.spec.kind == "image":
            return self
        raise InputError(f"data.{self.spec.name}: there is no image data set behind this one")

    def pictures(self, answer: Callable[[Batch], Tensor]) -> dict[str, Callable[[], Any]]:
        """What draws the pictures that only this data set has of ``answer(batch)`` (classes [B]), by file name."""
        return {}

    def setup(self, stage: str | None = None) -> None:
        if self.splits is None:
            self.splits, self._provenance = self.load()

    @property
    def provenance(self) -> Provenance:
        self.setup()
        assert self._provenance is not None
        return self._provenance

    def _loader(self, split: Literal["train", "val", "test"]) -> DataLoader[Batch]:
        self.setup()
        assert self.splits is not None
        dataset = getattr(self.splits, split)
        batches = EpochBatches(len(dataset), self.batch_size, shuffle=split == "train", seed=self.seed)
        return DataLoader(
            _BatchView(dataset),
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader("test")


def check_range(name: str, value: float, low: float, high: float, way_out: str = "") -> None:
    """Raise InputError unless ``low <= value <= high``; ``name`` is the key as the user writes it."""
    if not low <= value <= high:
        raise InputError(f"{name} = {value} must lie in {low} to {high}" + (f"; {way_out}" if way_out else ""))


def stratified_order(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a permutation [N] of the samples, every prefix of which holds the classes in their overall shares.

    The samples of each class are shuffled by ``seed``; the k-th of n gets rank (k + 0.5) / n, and ranks are sorted.
    """
    rng = np.random.default_rng(seed)
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((labels, rank))


def first_of_each_class(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return [classes, C, H, W]: for each class the first image that carries its label."""
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise InputError(
            f"prototypes: no training image carries label {missing[0]}; each of {classes} classes needs one"
        )
    index = [int((labels == label).nonzero()[0]) for label in range(classes)]
    return images[index]
