"""Yin-yang: points of the plane in three classes, yin, yang and the two dots, that no line separates.

    inputs  (x, y, 1 - x, 1 - y, bias), x and y in [0, 1]                                   (1)
    figure  |p - (0.5, 0.5)| <= 0.5                                                         (2)
    dots    |p - right| < 0.1 or |p - left| < 0.1, right = (0.75, 0.5), left = (0.25, 0.5)  (3)
    yin     |p - left| <= 0.25, or y > 0.5 and |p - right| > 0.25; yang is the rest         (4)
Points are uniform within their class, and the classes take turns, so that every split is balanced. The values stand for
early and late spikes: encoder=latency sends one spike each (reverse: true sends small values first, as the source),
while direct and rate take them as images of 1 x 5 pixels.

Source: Kriener, Goeltz, Petrovici 2022, doi 10.1145/3517343.3517380 (arXiv:2102.08211).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnlab.data.contract import Batch, BatchedDataset, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.decision_regions import decision_regions
from snnlab.data.tasks.task import Task

YIN, YANG, DOT = 0, 1, 2
AT_ONCE = 1000  # points that are answered in one batch
CENTRE, LEFT, RIGHT = (0.5, 0.5), (0.25, 0.5), (0.75, 0.5)


def classes_of(points: np.ndarray) -> np.ndarray:
    """Return the class of each point [..., 2], -1 outside of the figure."""

    def distance(place: tuple[float, float]) -> np.ndarray:
        return np.hypot(points[..., 0] - place[0], points[..., 1] - place[1])

    yin = (distance(LEFT) <= 0.25) | ((points[..., 1] > 0.5) & (distance(RIGHT) > 0.25))  # (4)
    found = np.where(yin, YIN, YANG)
    found = np.where((distance(LEFT) < 0.1) | (distance(RIGHT) < 0.1), DOT, found)  # (3)
    return np.where(distance(CENTRE) <= 0.5, found, -1)  # (2)


def is_inside(points: np.ndarray) -> np.ndarray:
    """Return whether each point [..., 2] lies within the figure."""
    return classes_of(points) >= 0


def draw(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points [size, 2] and their classes [size], which follow each other in turn."""
    labels = np.arange(size) % 3
    points = np.empty((size, 2))
    for label in (YIN, YANG, DOT):
        places, accepted = np.flatnonzero(labels == label), np.empty((0, 2))
        while len(accepted) < len(places):
            tried = rng.random((4 * size + 100, 2))
            accepted = np.concatenate([accepted, tried[classes_of(tried) == label]])
        points[places] = accepted[: len(places)]
    return points, labels


def inputs_of(points: Tensor, bias: float) -> Tensor:
    """(1): points [B, 2] -> inputs [B, 1, 1, 5]."""
    return torch.cat([points, 1 - points, torch.full_like(points[:, :1], bias)], 1)[:, None, None]


class YinYangDataset(BatchedDataset):
    """Points [N, 2] held in memory, with their classes [N]."""

    def __init__(self, points: np.ndarray, labels: np.ndarray, bias: float) -> None:
        super().__init__()
        self.points, self.labels = torch.from_numpy(points).float(), torch.from_numpy(labels.astype(np.int64))
        self.bias = bias

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return inputs_of(self.points[index : index + 1], self.bias)[0], int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        return Batch(inputs_of(self.points[index], self.bias), self.labels[index])


class YinYang(Task):
    """The yin-yang points.

    Args:
        train_size, val_size, test_size: points of each split.
        bias: value of the fifth input, in [0, 1].
        point_seed: of the points, which do not depend on the seed of the run.

    Batches: images [B, 1, 1, 5] in [0, 1], labels [B] in 0 to 2.
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        train_size: int = 5000,
        val_size: int = 1000,
        test_size: int = 1000,
        bias: float = 0.4,
        point_seed: int = 0,
    ) -> None:
        super().__init__(loader)
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        for name, size in self.sizes.items():
            check_range(f"data.yin_yang: {name}_size", size, 3, 10_000_000, "5000, 1000 and 1000 are usual")
        check_range("data.yin_yang: bias", bias, 0, 1, "0.4 is usual")
        check_range("data.yin_yang: point_seed", point_seed, 0, 2**63 - 1)
        self.bias, self.point_seed = bias, point_seed

    @property
    def spec(self) -> DataSpec:
        return DataSpec("yin_yang", "image", (1, 1, 5), classes=3, sizes=dict(self.sizes))

    def pictures(self, answer: Callable[[Batch], Tensor]) -> dict[str, Callable[[], Any]]:
        """The class that is named at every point of the figure, and the test points."""

        def named(points: np.ndarray) -> np.ndarray:
            images = inputs_of(torch.from_numpy(points).float(), self.bias)
            labels = torch.zeros(len(points), dtype=torch.long)
            parts = zip(images.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
            return torch.cat([answer(Batch(*part)) for part in parts]).numpy()

        def draw_regions() -> Any:
            self.setup()
            assert self.splits is not None
            test: Any = self.splits.test
            names = ("yin", "yang", "dot")
            return decision_regions(named, is_inside, test.points.numpy(), test.labels.numpy(), names)

        return {"decision_regions": draw_regions}

    def load(self) -> tuple[Splits, Provenance]:
        splits = Splits(
            *(
                YinYangDataset(*draw(size, np.random.default_rng([self.point_seed, split])), self.bias)
                for split, size in enumerate(self.sizes.values())
            )
        )
        digest = hashlib.sha256()
        for split in splits:
            digest.update(split.points.numpy().tobytes() + split.labels.numpy().tobytes())  # type: ignore[attr-defined]
        return splits, Provenance(
            source="synthetic",
            hash=digest.hexdigest(),
            sizes=dict(self.sizes),
            notes=[f"generated by formula; seed {self.point_seed}, bias {self.bias}"],
        )
