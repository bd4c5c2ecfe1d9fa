"""What the Hamiltonians share as data: one question of every sample, and basis states from which samplers start.

inputs  [1, B, N]   basis states v, each spin up or down by a fair coin: number n of a split is always the same
labels  [B, 1]      E_0, the exact ground-state energy, in 64 bits: the same for all
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from snnlab.data.contract import Batch, BatchedDataset, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.task import Task, generated
from snnlab.questions.energy import Energy
from snnlab.questions.hamiltonian import Hamiltonian


class Starts(BatchedDataset):
    """Basis states [size, N] with the energy that is asked for."""

    def __init__(self, size: int, spins: int, energy: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.states = torch.from_numpy((rng.random((size, spins)) < 0.5).astype(np.float32))
        self.energy = energy

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """State [1, N] and energy [1], without the axis of the batch."""
        return self.states[index][None], torch.tensor([self.energy], dtype=torch.float64)

    def batch(self, indices: Sequence[int]) -> Batch:
        labels = torch.full((len(indices), 1), self.energy, dtype=torch.float64)
        return Batch(self.states[torch.as_tensor(indices)][None], labels)


class Spins(Task):
    """A Hamiltonian; a subclass gives ``name`` and ``make``.

    Args:
        train_starts, val_starts, test_starts: per epoch; train_starts / batch_size are the steps of an epoch.
        start_seed: of the basis states, which do not depend on the seed of the run.

    Batches: inputs [1, B, N] of 0 and 1, labels [B, 1].
    Raises:  InputError: an argument out of range.
    """

    name: str  # of the data set

    def __init__(
        self,
        loader: Loader,
        train_starts: int = 10_000,
        val_starts: int = 100,
        test_starts: int = 1000,
        start_seed: int = 0,
    ) -> None:
        super().__init__(loader)
        self.sizes = {"train": train_starts, "val": val_starts, "test": test_starts}
        for split, size in self.sizes.items():
            check_range(f"data.{self.name}: {split}_starts", size, 1, 10_000_000, "10000, 100 and 1000 are usual")
        check_range(f"data.{self.name}: start_seed", start_seed, 0, 2**63 - 1)
        self.start_seed = start_seed
        _ = self.hamiltonian  # what it refuses is refused at once

    @abstractmethod
    def make(self) -> Hamiltonian:
        """The Hamiltonian of the arguments."""

    @cached_property
    def hamiltonian(self) -> Hamiltonian:
        return self.make()

    @property
    def spec(self) -> DataSpec:
        question = Energy(self.hamiltonian)
        spins = self.hamiltonian.spins
        return DataSpec(self.name, "task", (spins,), 1, time_steps=1, question=question, sizes=dict(self.sizes))

    def load(self) -> tuple[Splits, Provenance]:
        energy, spins = self.hamiltonian.ground[0], self.hamiltonian.spins
        splits = Splits(
            *(
                Starts(size, spins, energy, np.random.default_rng([self.start_seed, split]))
                for split, size in enumerate(self.sizes.values())
            )
        )
        terms = ", ".join(f"{coefficient:.12g} {string}" for coefficient, string in self.hamiltonian.terms)
        recipe = f"{self.name} 1: seed {self.start_seed}, sizes {self.sizes}, H = {terms}"
        found = generated(recipe, self.sizes)
        found.notes.append(f"exact ground-state energy {energy:.9f}")
        return splits, found


def check_coupling(name: str, value: float) -> None:
    """Raise InputError for a coefficient that is no finite number; ``name`` is the key as the user writes it."""
    check_range(name, value, -1e6, 1e6, "1.0 is usual")
