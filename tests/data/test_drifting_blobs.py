"""Drifting blobs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnlab.data.loader import with_loader
from snnlab.data.tasks.drifting_blobs import BINS, PAIRS, DriftingBlobs, pair_index, positions
from snnlab.errors import InputError


def test_pairs_are_210_classes() -> None:
    bins = np.array([(i, j) for i in range(BINS) for j in range(i, BINS)])
    assert pair_index(bins).tolist() == list(range(PAIRS))
    assert PAIRS == 210
    assert np.array_equal(pair_index(bins[:, ::-1]), pair_index(bins))


def test_positions_without_noise() -> None:
    """With eta = 0: theta[t] = theta0 + 10 (1 - 0.9^t) and A[t] = 0.5 * 0.99^t after t updates."""
    bins = positions(np.zeros((50, 1, 2, 3)), np.array([[0.0, 1.0]]))
    t = np.arange(1, 51)
    for blob, start in enumerate((0.0, 1.0)):
        place = 0.5 * 0.99**t * (start + 10 * (1 - 0.9**t))
        assert np.array_equal(bins[:, 0, blob], np.rint(place * BINS / (2 * np.pi)).astype(int) % BINS)


def test_blobs() -> None:
    data = with_loader(DriftingBlobs, "x", "x", delta=3, steps_test=40, train_sequences=50, batch_size=32)
    assert data.spec.kind == "task"
    assert data.spec.input_shape == (20,)
    assert data.spec.classes == 210
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape == (100, 32, 20)
    assert batch.labels.shape == (100, 32)
    assert batch.signals is None
    assert set(batch.inputs.sum(-1).unique().tolist()) <= {1, 2}
    assert next(iter(data.test_dataloader())).inputs.shape == (40, 32, 20)
    assert data.provenance.flags() == ["synthetic"]
    now = with_loader(DriftingBlobs, "x", "x", delta=0)
    now.setup()
    # the same noise begins both, so labels at t + 3 are the labels three steps later
    one, other = now.splits.train.batch([4]), data.splits.train.batch([4])
    pairs = [torch.nonzero(step)[:, 0] for step in one.inputs[:, 0]]
    assert one.labels[:, 0].tolist() == [int(pair_index(np.array([int(p[0]), int(p[-1])]))) for p in pairs]
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.labels[3:], other.labels[:-3])


def test_blob_sequences_do_not_depend_on_their_batch() -> None:
    data = with_loader(DriftingBlobs, "x", "x")
    data.setup()
    together = data.splits.val.batch([5, 9])
    assert torch.equal(together.inputs[:, 1], data.splits.val.batch([9]).inputs[:, 0])
    assert not torch.equal(data.splits.val.batch([9]).inputs, data.splits.train.batch([9]).inputs)


def test_blob_ranges() -> None:
    with pytest.raises(InputError, match=r"data\.drifting_blobs: delta = -1 must lie in 0 to 1000"):
        with_loader(DriftingBlobs, "x", "x", delta=-1)
