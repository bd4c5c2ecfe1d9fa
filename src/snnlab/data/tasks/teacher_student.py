"""Teacher and student: a fixed random network answers random inputs, and one of its kind is to learn what it answers.

    x      inputs, uniform on [0, 1), one step each
    h_l    = sigma(hidden_gain V_l h_{l-1}), h_0 = x, V_l uniform on ``weights``, all of them fixed     (1)
    label  = output_gain V_L h_{L-1}                                                                    (2)

With widths [1, 1, 1] and a weight of 2 it is the chain of Max et al. 2024 (arXiv:2212.10249); the gains are then of
their compartments, so that a student can be the teacher (docs/methods/pal.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from snnlab.data.contract import Batch, BatchedDataset, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.task import Task, generated
from snnlab.errors import InputError
from snnlab.questions.value_at_end import ValueAtEnd


class Answers(BatchedDataset):
    """Inputs [N, N_0] held in memory with the teacher's answers [N, N_L]; ``repeats`` times one after the other."""

    def __init__(self, inputs: np.ndarray, answers: np.ndarray, repeats: int) -> None:
        super().__init__()
        self.inputs, self.answers = torch.from_numpy(inputs).float(), torch.from_numpy(answers).float()
        self.repeats = repeats

    def __len__(self) -> int:
        return len(self.inputs) * self.repeats

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices) % max(len(self.inputs), 1)
        return Batch(self.inputs[index][None], self.answers[index])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, answers, _ = self.batch([index])
        return inputs[:, 0], answers[0]


class TeacherStudent(Task):
    """The answers of a fixed random network.

    Args:
        widths: units of the teacher from its inputs to its outputs, three numbers or more.
        weights: the teacher's are uniform between the two.
        hidden_gain, output_gain: see (1) and (2); > 0.
        train_size, val_size, test_size: inputs of each split; without validation (0) the last epoch is tested.
        repeats: how often an epoch shows each training input.
        teacher_seed: of weights and inputs, which do not depend on the seed of the run.

    Batches: inputs [1, B, N_0] in [0, 1), labels [B, N_L].
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        widths: list[int] = [5, 20, 10],  # noqa: B006
        weights: list[float] = [-1.0, 1.0],  # noqa: B006
        hidden_gain: float = 1.0,
        output_gain: float = 1.0,
        train_size: int = 1000,
        val_size: int = 200,
        test_size: int = 200,
        repeats: int = 1,
        teacher_seed: int = 0,
    ) -> None:
        super().__init__(loader)
        name = "data.teacher_student"
        if len(widths) < 3 or min(widths) < 1:
            raise InputError(
                f"{name}: widths = {list(widths)} must be units from inputs to outputs, three numbers of 1 or more; "
                "[5, 20, 10] is usual"
            )
        if len(weights) != 2 or not -1e6 <= weights[0] <= weights[1] <= 1e6:
            raise InputError(f"{name}: weights = {list(weights)} must be two numbers, the lower first; [-1, 1] usual")
        for key, gain in (("hidden_gain", hidden_gain), ("output_gain", output_gain)):
            if not 0 < gain <= 1e6:
                raise InputError(f"{name}: {key} = {gain} must be positive; 1 is usual")
        for key, size, least in (("train", train_size, 1), ("val", val_size, 0), ("test", test_size, 1)):
            check_range(f"{name}: {key}_size", size, least, 10_000_000)
        check_range(f"{name}: repeats", repeats, 1, 10_000)
        check_range(f"{name}: teacher_seed", teacher_seed, 0, 2**63 - 1)
        self.widths, self.weights, self.gains = list(widths), list(weights), (hidden_gain, output_gain)
        self.shown, self.repeats, self.teacher_seed = (train_size, val_size, test_size), repeats, teacher_seed

    @property
    def sizes(self) -> dict[str, int]:
        """Samples of an epoch."""
        train, val, test = self.shown
        return {"train": train * self.repeats, "val": val, "test": test}

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            "teacher_student",
            "sequence",
            (self.widths[0],),
            classes=self.widths[-1],
            time_steps=1,
            question=ValueAtEnd(),
            sizes=self.sizes,
        )

    def answer(self, inputs: np.ndarray) -> np.ndarray:
        """(1) and (2): inputs [N, N_0] -> answers [N, N_L]."""
        rng, (low, high), (hidden, output) = np.random.default_rng([self.teacher_seed]), self.weights, self.gains
        matrices = [rng.uniform(low, high, (after, before)) for before, after in pairwise(self.widths)]
        for matrix in matrices[:-1]:
            inputs = 1 / (1 + np.exp(-hidden * inputs @ matrix.T))
        return output * inputs @ matrices[-1].T

    def load(self) -> tuple[Splits, Provenance]:
        found = []
        for split, size in enumerate(self.shown):
            inputs = np.random.default_rng([self.teacher_seed, split]).random((size, self.widths[0]))
            found.append(Answers(inputs, self.answer(inputs), self.repeats if split == 0 else 1))
        recipe = (
            f"teacher_student 1: seed {self.teacher_seed}, widths {self.widths}, weights {self.weights}, "
            f"gains {self.gains}, sizes {self.shown}, repeats {self.repeats}"
        )
        return Splits(*found), generated(recipe, self.sizes)
