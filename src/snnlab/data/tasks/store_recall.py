"""Store and recall: one bit is shown, then nothing for a while, then it is asked for.

    store    cue_steps steps   the population of the bit (value 0 or value 1) and the store cue fire
    delay    d steps           silence, or background
    recall   cue_steps steps   the recall cue fires; the bit is to be named on these steps

Four populations of ``channels`` units, in the order value 0, value 1, store, recall. A unit that fires does so as a
Poisson process cut into steps of 1 ms: a spike with probability rate / 1000 at each. All units, at all times, also fire
with background / 1000, independently. With ``delay_max`` the delay is drawn anew for each sequence, uniformly from
delay to delay_max; the store then begins later, so that the recall always ends the sequence.

Our reading of the task of Bellec et al. 2018 (arXiv:1803.09574): one bit a sequence, none to be ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from snnlab.data.contract import Batch, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.task import GeneratedSequences, Task, generated, split_sizes
from snnlab.questions.class_at_end import ClassAtEnd

TIME_STEP = 0.001  # seconds
POPULATIONS = 4  # value 0, value 1, store, recall
STORE, RECALL = 2, 3
Rates = tuple[float, float]  # of a cue and of the background, Hz


class BitSequences(GeneratedSequences):
    """Sequence number n of a split is always the same: its random numbers come from (task_seed, split, n)."""

    def __init__(
        self, size: int, split: int, seed: int, cue_steps: int, delays: tuple[int, int], channels: int, rates: Rates
    ) -> None:
        super().__init__(size, split, seed)
        self.cue_steps, self.delays, self.channels = cue_steps, delays, channels
        self.rate, self.background = (rate / 1000 for rate in rates)  # probabilities of a step of 1 ms

    def batch(self, indices: Sequence[int]) -> Batch:
        steps, n, cue = 2 * self.cue_steps + self.delays[1], self.channels, self.cue_steps
        inputs = np.zeros((steps, len(indices), POPULATIONS * n), np.float32)
        bits = np.empty(len(indices), np.int64)
        for k, index in enumerate(indices):
            rng = self.rng(index)
            bit, delay = int(rng.integers(2)), int(rng.integers(self.delays[0], self.delays[1] + 1))
            bits[k] = bit
            cues = rng.random((3, cue, n), np.float32) < self.rate
            stored = slice(self.delays[1] - delay, self.delays[1] - delay + cue)
            inputs[stored, k, bit * n : (bit + 1) * n] = cues[0]
            inputs[stored, k, STORE * n : (STORE + 1) * n] = cues[1]
            inputs[-cue:, k, RECALL * n : (RECALL + 1) * n] = cues[2]
            if self.background:
                inputs[:, k][rng.random((steps, POPULATIONS * n), np.float32) < self.background] = 1
        return Batch(torch.from_numpy(inputs), torch.from_numpy(bits))


class StoreRecall(Task):
    """The store-and-recall task; every sequence is generated when its batch is asked for.

    Args:
        delay: steps of 1 ms between the store and the recall.
        delay_max: the longest delay, where it is drawn for each sequence; None keeps ``delay``.
        cue_steps: of the store, and of the recall.
        channels: input units of each of the four populations.
        rate: of a unit whose population is on, Hz.
        background: of every unit, always, Hz.
        train_sequences, val_sequences, test_sequences: per epoch.
        task_seed: of the sequences, which do not depend on the seed of the run.

    Batches: inputs [T, B, 4 channels] of 0 and 1, T = 2 cue_steps + the longest delay; labels [B], the bit.
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        delay: int = 400,
        delay_max: int | None = None,
        cue_steps: int = 50,
        channels: int = 10,
        rate: float = 100.0,
        background: float = 0.0,
        train_sequences: int = 2560,
        val_sequences: int = 512,
        test_sequences: int = 1024,
        task_seed: int = 0,
    ) -> None:
        super().__init__(loader)
        check_range("data.store_recall: delay", delay, 0, 100_000, "400 steps of 1 ms are usual")
        if delay_max is not None:
            check_range("data.store_recall: delay_max", delay_max, delay, 100_000, "null keeps the delay")
        check_range("data.store_recall: cue_steps", cue_steps, 1, 10_000, "50 is usual")
        check_range("data.store_recall: channels", channels, 1, 10_000, "10 is usual")
        check_range("data.store_recall: rate", rate, 0.001, 1000, "Hz, at most one spike a step; 100 is usual")
        check_range("data.store_recall: background", background, 0, 1000, "Hz; 0 is silence")
        check_range("data.store_recall: task_seed", task_seed, 0, 2**63 - 1)
        self.delays = (delay, delay if delay_max is None else delay_max)
        self.cue_steps, self.channels, self.rates = cue_steps, channels, (rate, background)
        self.task_seed = task_seed
        self.sizes = split_sizes("store_recall", train_sequences, val_sequences, test_sequences)

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            "store_recall",
            "task",
            (POPULATIONS * self.channels,),
            classes=2,
            time_steps=2 * self.cue_steps + self.delays[1],
            question=ClassAtEnd(answer_steps=self.cue_steps),
            time_step=TIME_STEP,
            sizes=dict(self.sizes),
        )

    def load(self) -> tuple[Splits, Provenance]:
        given = (self.cue_steps, self.delays, self.channels, self.rates)
        splits = Splits(
            *(BitSequences(size, split, self.task_seed, *given) for split, size in enumerate(self.sizes.values()))
        )
        recipe = (
            f"store_recall 1: seed {self.task_seed}, cues {self.cue_steps}, delays {self.delays}, "
            f"channels {self.channels}, rates {self.rates}, sizes {self.sizes}"
        )
        return splits, generated(recipe, self.sizes)
