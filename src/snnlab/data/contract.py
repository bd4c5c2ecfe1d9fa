"""What every data set of snnlab gives: splits that never change, time-first batches, and where the data came from.

A data set is one file: a ``DataModule`` that knows its ``spec`` before a byte is read, refuses bad arguments in its
constructor, and returns three tonic datasets from ``load``.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from snnlab.data.loader import Loader
from snnlab.data.pictures import SHOWN, Sheet, of_batch
from snnlab.errors import InputError
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.question import Question

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="IProgress not found")  # of its bars for downloads, in a notebook
    import tonic


class UnnamedError(InputError):
    """Nobody has said yet which data a data set is to be."""


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
    labels: list[str] = field(default_factory=list)  # names of the classes 0 to K - 1, where they have others

    def flags(self) -> list[str]:
        """Words that belong wherever the results appear, e.g. ``["simulated", "subset"]``."""
        words: list[str] = [self.source] if self.source in ("simulated", "synthetic") else []
        words += [word for word in ("altered", "subset") if getattr(self, word)]
        return words + (["author's protocol: no validation"] if self.sizes.get("val") == 0 else [])

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "labels" or value}


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


class Checked:
    """The batches of ``dataset``, whose labels are held against what ``spec`` says of the classes."""

    def __init__(self, dataset: BatchedDataset, spec: DataSpec) -> None:
        self.dataset, self.name, self.classes = dataset, spec.name, spec.classes if spec.question.has_classes else None

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples at ``indices``; raise InputError for a class that is none of 0 to K - 1."""
        batch = self.dataset.batch(indices)
        if self.classes is not None and batch.labels.numel() and not batch.labels.is_floating_point():
            low, high = (int(value) for value in torch.aminmax(batch.labels))
            if low < 0 or high >= self.classes:
                raise InputError(
                    f"data.{self.name}: label {low if low < 0 else high} is none of its {self.classes} classes, which "
                    f"are numbered 0 to {self.classes - 1}; give each class its place in that order, 0 to the first"
                )
        return batch


class DataModule(L.LightningDataModule):
    """Shared LightningDataModule: a subclass gives ``spec`` and ``load``; a ``Loader`` leads its own arguments.

    Args:
        loader: where data lies and how batches are drawn from it.
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self.loader = loader
        self.root, self.cache = Path(loader.root).expanduser(), Path(loader.cache).expanduser()
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
        """What draws the pictures that only this data set has of ``answer(batch)`` (classes [B]), by file name.

        The answers lie where the batch does, whatever device works them out.
        """
        return {}

    def where(self) -> str:
        """Where the samples would come from, in a word or two, without reading them; "" where it is not said."""
        return ""

    def prepare(self) -> None:
        """Download, check, film: whatever would keep a run waiting; raise InputError where it cannot be done."""
        self.setup()

    def sheet(self) -> Sheet:
        """Some training samples, to be looked at."""
        self.setup()
        assert self.splits is not None
        train = self.splits.train
        return of_batch(train.batch(range(min(SHOWN, len(train)))).inputs)

    def setup(self, stage: str | None = None) -> None:
        if self.splits is None:
            self.splits, self._provenance = self.load()

    @property
    def provenance(self) -> Provenance:
        self.setup()
        assert self._provenance is not None
        return self._provenance

    def _batches(self, split: Literal["train", "val", "test"]) -> DataLoader[Batch]:
        self.setup()
        assert self.splits is not None
        return self.loader.batches(Checked(getattr(self.splits, split), self.spec), shuffle=split == "train")

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._batches("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._batches("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._batches("test")


def check_range(name: str, value: float, low: float, high: float, way_out: str = "") -> None:
    """Raise InputError unless ``low <= value <= high``; ``name`` is the key as the user writes it."""
    if not low <= value <= high:
        raise InputError(f"{name} = {value} must lie in {low} to {high}" + (f"; {way_out}" if way_out else ""))


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise InputError unless ``value`` is one of ``choices``; ``name`` is the key as the user writes it."""
    if value not in choices:
        raise InputError(f"{name} = {value}: choose one of {', '.join(choices)}")
