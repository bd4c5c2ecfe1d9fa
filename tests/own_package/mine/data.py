"""Which half of the inputs fires more often, or how often do all of them? Random spikes, made when asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mine.question import Level
from snnlab.data.contract import Batch, BatchedDataset, DataModule, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader


class Trains(BatchedDataset):
    """Sample number n of a split is always the same."""

    def __init__(self, size: int, inputs: int, time_steps: int, split: int) -> None:
        super().__init__()
        self.size, self.inputs, self.time_steps, self.split = size, inputs, time_steps, split

    def __len__(self) -> int:
        return self.size

    def batch(self, indices: Sequence[int]) -> Batch:
        samples = []
        for index in indices:
            generator = torch.Generator().manual_seed(3 * index + self.split)
            rate = torch.full((self.inputs,), 0.1)
            half = self.inputs // 2
            rate[half if index % 2 else 0 :][:half] = 0.3
            samples.append(torch.rand(self.time_steps, self.inputs, generator=generator) < rate)
        return Batch(torch.stack(samples, 1).float(), torch.tensor([index % 2 for index in indices]))


class TwoRates(DataModule):
    """Two classes: the first or the second half of the inputs has the higher rate.

    Args:
        inputs: spike trains, even.
        time_steps: T.

    Batches: inputs [T, B, inputs], labels [B].
    Raises:  InputError: an argument out of range.
    """

    def __init__(self, loader: Loader, inputs: int = 20, time_steps: int = 10) -> None:
        super().__init__(loader)
        check_range("data.two_rates: inputs", inputs, 2, 10_000)
        self.inputs, self.time_steps = inputs, time_steps
        self.sizes = {"train": 600, "val": 100, "test": 100}

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            "two_rates", "task", (self.inputs,), classes=2, time_steps=self.time_steps, sizes=dict(self.sizes)
        )

    def where(self) -> str:
        return "synthetic"

    def load(self) -> tuple[Splits, Provenance]:
        parts = [Trains(size, self.inputs, self.time_steps, split) for split, size in enumerate(self.sizes.values())]
        return Splits(*parts), Provenance("synthetic", "two_rates 1", dict(self.sizes))


class LevelTrains(Trains):
    """All inputs of sample n fire with probability 0.1 (n modulo ``levels`` + 1)."""

    def __init__(self, size: int, inputs: int, time_steps: int, split: int, levels: int) -> None:
        super().__init__(size, inputs, time_steps, split)
        self.levels = levels

    def batch(self, indices: Sequence[int]) -> Batch:
        samples = []
        for index in indices:
            generator = torch.Generator().manual_seed(3 * index + self.split)
            rate = 0.1 * (index % self.levels + 1)
            samples.append(torch.rand(self.time_steps, self.inputs, generator=generator) < rate)
        return Batch(torch.stack(samples, 1).float(), torch.tensor([index % self.levels for index in indices]))


class Levels(TwoRates):
    """The level of the rate with which all inputs fire; arguments as TwoRates's.

    Args:
        levels: how many there are.

    Raises: InputError: an argument out of range.
    """

    def __init__(self, loader: Loader, inputs: int = 20, time_steps: int = 10, levels: int = 5) -> None:
        super().__init__(loader, inputs, time_steps)
        check_range("data.levels: levels", levels, 2, 9)
        self.levels = levels

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            "levels",
            "task",
            (self.inputs,),
            classes=self.levels,
            time_steps=self.time_steps,
            question=Level(),
            sizes=dict(self.sizes),
        )

    def load(self) -> tuple[Splits, Provenance]:
        parts = [
            LevelTrains(size, self.inputs, self.time_steps, split, self.levels)
            for split, size in enumerate(self.sizes.values())
        ]
        return Splits(*parts), Provenance("synthetic", "levels 1", dict(self.sizes))
