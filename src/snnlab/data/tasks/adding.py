"""The adding problem: two marked numbers, far apart in a sequence, are to be added.

    channel 0   numbers, uniform on [0, 1), one a step
    channel 1   mask, 1 at one step of the first half and at one of the second, 0 elsewhere
    label       the sum of the two marked numbers, read at the last step

Always answering 1, the mean of the labels, has a mean squared error of 1/6 = 0.167.
Source: Hochreiter and Schmidhuber 1997, as in Yin, Corradi, Bohte 2023 (arXiv:2112.11231), T = 200, 500, 1000.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from snnlab.data.contract import Batch, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.task import GeneratedSequences, Task, generated, split_sizes
from snnlab.questions.value_at_end import ValueAtEnd


class AddingSequences(GeneratedSequences):
    """Sequence number n of a split is always the same: its random numbers come from (adding_seed, split, n)."""

    def __init__(self, size: int, steps: int, split: int, seed: int) -> None:
        super().__init__(size, split, seed)
        self.steps = steps

    def batch(self, indices: Sequence[int]) -> Batch:
        inputs = np.zeros((self.steps, len(indices), 2), np.float32)
        half = self.steps // 2
        for k, index in enumerate(indices):
            rng = self.rng(index)
            inputs[:, k, 0] = rng.random(self.steps, np.float32)
            inputs[[rng.integers(half), rng.integers(half, self.steps)], k, 1] = 1
        sums = (inputs[..., 0] * inputs[..., 1]).sum(0)[:, None]  # [B, 1]
        return Batch(torch.from_numpy(inputs), torch.from_numpy(sums))


class Adding(Task):
    """The adding problem; every sequence is generated when its batch is asked for.

    Args:
        steps: T, at least 2; the first half has T // 2 steps.
        train_sequences, val_sequences, test_sequences: per epoch.
        adding_seed: of the sequences, which do not depend on the seed of the run.

    Batches: inputs [T, B, 2], labels [B, 1] in [0, 2).
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        steps: int = 200,
        train_sequences: int = 25_600,
        val_sequences: int = 512,
        test_sequences: int = 2048,
        adding_seed: int = 0,
    ) -> None:
        super().__init__(loader)
        check_range("data.adding: steps", steps, 2, 100_000, "200, 500 and 1000 are the paper's")
        check_range("data.adding: adding_seed", adding_seed, 0, 2**63 - 1)
        self.steps, self.adding_seed = steps, adding_seed
        self.sizes = split_sizes("adding", train_sequences, val_sequences, test_sequences)

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            "adding",
            "sequence",
            (2,),
            classes=1,
            time_steps=self.steps,
            question=ValueAtEnd(answer_steps=1),
            sizes=dict(self.sizes),
        )

    def load(self) -> tuple[Splits, Provenance]:
        splits = Splits(
            *(
                AddingSequences(size, self.steps, split, self.adding_seed)
                for split, size in enumerate(self.sizes.values())
            )
        )
        recipe = f"adding 1: seed {self.adding_seed}, steps {self.steps}, sizes {self.sizes}"
        return splits, generated(recipe, self.sizes)
