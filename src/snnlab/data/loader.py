"""From a dataset to the batches of an epoch: what every data set takes from the config for it, once.

A data set takes a ``Loader`` and its own arguments; in a config the fields of the loader stand among those arguments
(``data.batch_size``, ``data.root``, ...).
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from snnlab import kernels
from snnlab.errors import InputError

Sample = TypeVar("Sample", covariant=True)
Module = TypeVar("Module")

MOST_AT_ONCE = 1_000_000  # samples of a batch: more than any data set here has
MOST_PER_CORE = 4  # loader processes: more only wait for each other, and each holds its own libraries in memory


class Batches(Protocol[Sample]):
    """What a loader asks of a dataset: its length, and the samples at some indices as one batch."""

    def batch(self, indices: Sequence[int]) -> Sample: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Loader:
    """Where data lies and how batches are drawn from it.

    Args:
        root: data root (``paths.data``), read-only but for downloads that the user asked for.
        cache: folder for what can be made again (``paths.cache``).
        batch_size: samples of a training batch.
        seed: shuffles the training samples; the splits do not depend on it.
        num_workers: loader processes; 0 loads in the main process.

    Raises:
        InputError: when an argument leaves its range, before any data is read.
    """

    flat: ClassVar[bool] = True  # its fields stand in a config among the arguments of the class that takes it

    root: str | Path
    cache: str | Path
    batch_size: int = 100
    seed: int = 0
    num_workers: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"data.batch_size = {self.batch_size} must be at least 1; 100 is usual")
        if self.batch_size > MOST_AT_ONCE:
            raise InputError(f"data.batch_size = {self.batch_size} must be at most {MOST_AT_ONCE:,}; 100 is usual")
        if self.seed < 0:
            raise InputError(f"data.seed = {self.seed} must be 0 or more; it shuffles the training samples")
        if self.num_workers < 0:
            raise InputError(f"data.num_workers = {self.num_workers} must be 0 (load in the main process) or more")
        cores = os.cpu_count() or 1
        if self.num_workers > MOST_PER_CORE * cores:
            raise InputError(
                f"data.num_workers = {self.num_workers} must not exceed {MOST_PER_CORE * cores}, {MOST_PER_CORE} "
                f"for each of {cores} processor cores: each is a process with its own memory; "
                "0 loads in the main process"
            )

    def batches(self, dataset: Batches[Sample], shuffle: bool) -> DataLoader[Sample]:
        """Return the batches of ``dataset``, in its order or, anew in each epoch, shuffled."""
        order = EpochBatches(len(dataset), self.batch_size, shuffle, self.seed)
        return EpochLoader(
            _View(dataset, order),
            sampler=order,
            batch_size=None,
            num_workers=self.num_workers,
            worker_init_fn=_in_worker,
        )


def with_loader(data_set: Callable[..., Module], root: str | Path, cache: str | Path, **arguments: Any) -> Module:
    """Return ``data_set(Loader(...), ...)`` of flat arguments, as they stand in a config."""
    names = {field.name for field in fields(Loader)}
    taken = {name: arguments.pop(name) for name in names & set(arguments)}
    return data_set(Loader(root, cache, **taken), **arguments)


class EpochBatches(Sampler[list[int]]):
    """Lists of indices, shuffled in each epoch by (seed, epoch) alone, so that a resumed run sees the same order."""

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int) -> None:
        self.size, self.batch_size, self.shuffle, self.seed, self.epoch = size, batch_size, shuffle, seed, 0
        self.begin: tuple[int, int] | None = None  # an epoch that is gone on with, and at which batch
        self.rank, self.ranks = 0, 1  # of the processes that share the batches
        self.parts = True
        self.first: int | None = None

    def share(self, rank: int, number: int, parts: bool, first: int | None) -> None:
        """Give from now on what process ``rank`` of ``number`` takes.

        Args:
            parts: of every batch its part; else whole batches in turns.
            first: of so many batches at the beginning. Where turns are to be taken of fewer than there are processes,
                each takes all of them: every sample counts the same again.
        """
        self.rank, self.ranks, self.parts, self.first = rank, number, parts, first

    def set_epoch(self, epoch: int) -> None:  # called by Lightning
        self.epoch = epoch

    def starts(self) -> range:
        """Where each batch begins that this process takes, or takes a part of."""
        starts = range(0, self.size, self.batch_size)[: self.first]
        return starts if self.parts or len(starts) < self.ranks else starts[self.rank :: self.ranks]

    def __len__(self) -> int:
        return len(self.starts())

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = self.begin or (self.epoch, 0)
        return self.of_epoch(first if epoch == self.epoch else 0)

    def of_epoch(self, first: int = 0) -> Iterator[list[int]]:
        """The batches of this epoch from ``first`` on."""
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        for start in self.starts()[first:]:
            batch = order[start : start + self.batch_size]
            if self.parts:
                low, high = (len(batch) * rank // self.ranks for rank in (self.rank, self.rank + 1))
                batch = batch[low:high]
            yield [int(i) for i in batch]


class EpochLoader(DataLoader[Sample]):
    """torch's loader; an InputError of a loader process is raised as it was there, without torch's traceback in it.

    ``between`` is called whenever a batch is asked for, before it is drawn: all that belongs to the one before it is
    done by then. Where it returns False the epoch ends. ``waiting`` tells that a batch is made by a loader process.
    """

    between: Callable[[], bool] = staticmethod(lambda: True)
    waiting = False

    def __iter__(self) -> Iterator[Sample]:  # type: ignore[override]
        return self._checked(super().__iter__())

    def _checked(self, batches: Iterator[Sample]) -> Iterator[Sample]:
        while self.between():
            self.waiting = self.num_workers > 0
            try:
                batch = next(batches)
            except StopIteration:
                self.waiting = False
                return
            self.waiting = False
            if isinstance(batch, InputError):
                raise batch
            yield batch


def _in_worker(_: int) -> None:
    """Leave signals that reach all processes, as Ctrl-C does, to the main one: it still needs batches, or stops us."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # torch would take another code for a failure


class _View(Dataset[Any]):
    """Gives torch's loader ``dataset.batch(indices)`` for a list of indices, or the InputError that it raises.

    What a dataset draws in a loader process follows from the seed, the epoch and the indices, not from what that
    process has drawn before.
    """

    def __init__(self, dataset: Batches[Any], order: EpochBatches) -> None:
        self.dataset, self.order = dataset, order

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, indices: Any) -> Any:
        if get_worker_info() is not None:
            seed = int(np.random.default_rng([self.order.seed, self.order.epoch, *indices]).integers(2**63))
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
        try:
            batch = self.dataset.batch(indices)
        except InputError as error:
            return error
        watch = kernels.watched_by()  # of whoever asks a question; who trains looks at the batches itself
        if watch is not None and isinstance(batch, tuple):
            watch.notice("a sample of the data", *(part for part in batch if isinstance(part, Tensor)))
        return batch
