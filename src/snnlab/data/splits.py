"""How samples are divided, for ever the same way: subsets, a stratified order, the first sample of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from snnlab.data.contract import Batch, BatchedDataset
from snnlab.errors import InputError


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
