"""Two drifting blobs: spikes on a ring of 20 bins whose next positions are to be predicted.

Each of two blobs has an angle theta, a speed v and an amplitude A; at each step, with fresh eta ~ N(0, 1),
    theta = theta + v                              (1)
    v = 0.9 v - 0.14 eta_v                         (2)
    A = 0.99 A + 0.01 eta_A                        (3)
    position = A (theta + 0.45 eta), wrapped to [0, 2 pi)                      (4)
    spike in the bin nearest to the position; bin i is centred at 2 pi i / 20  (5)
and the two blobs' spikes are OR-ed. The label at t is the pair of bins at t + delta, i <= j, one of 210.

Our reading where the source is short: 0.45 is a standard deviation; theta is not wrapped before (4); the eta are
independent over blobs and steps; theta starts uniform on [0, 2 pi), v = 1 and A = 0.5; the lines are carried out in
this order and the first step is observed after one update.
Source: Skatchkovsky, Simeone, Jang 2021, arXiv:2106.01177 (VDIB, predictive coding).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from snnlab.data.contract import Batch, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.task import GeneratedSequences, Task, generated, split_sizes
from snnlab.questions.class_per_step import ClassPerStep

BINS = 20
PAIRS = BINS * (BINS + 1) // 2


def positions(noise: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the bins [T, B, 2] of both blobs.

    Args:
        noise: eta_v, eta_A, eta [T, B, 2, 3], standard normal.
        start: theta [B, 2] before the first step.
    """
    theta, v, amplitude = start.copy(), np.ones_like(start), np.full_like(start, 0.5)
    bins = np.empty(noise.shape[:3], np.int64)
    for t, eta in enumerate(noise):
        theta = theta + v  # (1)
        v = 0.9 * v - 0.14 * eta[..., 0]  # (2)
        amplitude = 0.99 * amplitude + 0.01 * eta[..., 1]  # (3)
        position = amplitude * (theta + 0.45 * eta[..., 2])  # (4), wrapped by the modulo below
        bins[t] = np.rint(position * BINS / (2 * np.pi)).astype(np.int64) % BINS  # (5)
    return bins


def pair_index(bins: np.ndarray) -> np.ndarray:
    """Return the class 0 to 209 of each unordered pair of bins [..., 2]: (0,0), (0,1), ..., (0,19), (1,1), ..."""
    i, j = bins.min(-1), bins.max(-1)
    return i * BINS - i * (i - 1) // 2 + j - i


class BlobSequences(GeneratedSequences):
    """Sequence number n of a split is always the same: its random numbers come from (blob_seed, split, n)."""

    def __init__(self, size: int, steps: int, delta: int, split: int, seed: int) -> None:
        super().__init__(size, split, seed)
        self.steps, self.delta = steps, delta

    def batch(self, indices: Sequence[int]) -> Batch:
        length = self.steps + self.delta
        noise, start = np.empty((length, len(indices), 2, 3)), np.empty((len(indices), 2))
        for k, index in enumerate(indices):
            rng = self.rng(index)
            start[k] = rng.uniform(0, 2 * np.pi, 2)
            noise[:, k] = rng.standard_normal((length, 2, 3))
        bins = positions(noise, start)
        inputs = np.zeros((self.steps, len(indices), BINS), np.float32)
        np.put_along_axis(inputs, bins[: self.steps], 1, axis=2)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(pair_index(bins[self.delta :])))


class DriftingBlobs(Task):
    """The predictive-coding task; every sequence is generated when its batch is asked for.

    Args:
        delta: how many steps ahead the pair is to be named; 0 names the present one.
        steps_train, steps_test: T of training and validation sequences, and of test sequences.
        train_sequences, val_sequences, test_sequences: per epoch.
        blob_seed: of the sequences, which do not depend on the seed of the run.

    Batches: inputs [T, B, 20] with one or two spikes per step, labels [T, B] in 0 to 209.
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        delta: int = 0,
        steps_train: int = 100,
        steps_test: int = 100,
        train_sequences: int = 6400,
        val_sequences: int = 320,
        test_sequences: int = 960,
        blob_seed: int = 0,
    ) -> None:
        super().__init__(loader)
        check_range("data.drifting_blobs: delta", delta, 0, 1000, "0 names the present pair")
        check_range("data.drifting_blobs: steps_train", steps_train, 1, 100_000, "100 is usual")
        check_range("data.drifting_blobs: steps_test", steps_test, 1, 100_000, "100 or 1000 are usual")
        check_range("data.drifting_blobs: blob_seed", blob_seed, 0, 2**63 - 1)
        self.delta, self.steps_train, self.steps_test, self.blob_seed = delta, steps_train, steps_test, blob_seed
        self.sizes = split_sizes("drifting_blobs", train_sequences, val_sequences, test_sequences)

    @property
    def spec(self) -> DataSpec:
        sizes = dict(self.sizes)
        return DataSpec(
            "drifting_blobs",
            "task",
            (BINS,),
            classes=PAIRS,
            time_steps=self.steps_train,
            question=ClassPerStep(),
            sizes=sizes,
        )

    def load(self) -> tuple[Splits, Provenance]:
        steps = (self.steps_train, self.steps_train, self.steps_test)
        splits = Splits(
            *(
                BlobSequences(size, length, self.delta, split, self.blob_seed)
                for split, (size, length) in enumerate(zip(self.sizes.values(), steps, strict=True))
            )
        )
        recipe = f"drifting_blobs 1: seed {self.blob_seed}, delta {self.delta}, steps {steps}, sizes {self.sizes}"
        return splits, generated(recipe, self.sizes)
