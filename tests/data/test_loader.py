"""What every data set takes for its batches, checked once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from snnlab.data.images.digits import Digits
from snnlab.data.loader import EpochBatches, Loader, with_loader
from snnlab.errors import InputError


def test_bad_values_are_told_before_anything_is_read() -> None:
    cores = os.cpu_count() or 1
    for arguments, words in (
        ({"batch_size": 0}, r"data\.batch_size = 0 must be at least 1; 100 is usual"),
        ({"num_workers": -1}, r"data\.num_workers = -1 must be 0 \(load in the main process\) or more"),
        ({"num_workers": 1000 * cores}, rf"data\.num_workers = {1000 * cores} must not exceed {4 * cores}, 4 for each"),
    ):
        with pytest.raises(InputError, match=words) as error:
            Loader("x", "x", **arguments)
        assert "\n" not in str(error.value)
    assert Loader("x", "x", num_workers=4 * cores).num_workers == 4 * cores


def test_flat_arguments_reach_the_loader_and_the_class() -> None:
    data = with_loader(Digits, "~/a", "b", batch_size=7, seed=3, val_size=50)
    assert data.loader == Loader("~/a", "b", 7, 3) and data.val_size == 50
    assert data.root == Path("~/a").expanduser()


def test_epochs_are_shuffled_by_seed_and_epoch_alone() -> None:
    batches = EpochBatches(10, 4, shuffle=True, seed=1)
    first = list(batches)
    assert [len(batch) for batch in first] == [4, 4, 2] and len(batches) == 3
    assert sorted(i for batch in first for i in batch) == list(range(10)) and list(batches) == first
    batches.set_epoch(1)
    assert list(batches) != first
    assert list(EpochBatches(10, 4, shuffle=False, seed=1)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_processes_load_the_same_batches() -> None:
    inputs = [
        torch.cat([batch.inputs for batch in with_loader(Digits, "x", "x", num_workers=workers).train_dataloader()])
        for workers in (0, 1)
    ]
    assert torch.equal(*inputs)


@pytest.mark.parametrize(("labels", "wrong"), [([1, 2, 3], 3), ([0, -1, 1], -1), ([0, 7, 1], 7)])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_labels_that_are_no_classes_are_told_in_one_line(tmp_path, labels, wrong, per_step, workers):
    from snnlab.data.contract import Batch, BatchedDataset, DataModule, DataSpec, Provenance, Splits
    from snnlab.errors import InputError
    from snnlab.questions.class_of_sequence import ClassOfSequence
    from snnlab.questions.class_per_step import ClassPerStep

    class Three(BatchedDataset):
        def __len__(self):
            return 3

        def batch(self, indices):
            found = torch.tensor(labels)[list(indices)]
            return Batch(torch.zeros(2, len(indices), 4), found.expand(2, -1) if per_step else found)

    class Own(DataModule):
        spec = DataSpec("own", "task", (4,), 3, 2, question=ClassPerStep() if per_step else ClassOfSequence())

        def load(self):
            return Splits(Three(), Three(), Three()), Provenance("synthetic", "", {})

    data = Own(Loader(tmp_path, tmp_path, batch_size=3, num_workers=workers))
    for batches in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        with pytest.raises(
            InputError, match=rf"^data\.own: label {wrong} is none of its 3 classes, which are numbered 0 to 2"
        ):
            next(iter(batches))
