"""Randman: one spike per unit, splits that never change, smooth manifolds that classes do not share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnlab.data.loader import with_loader
from snnlab.data.tasks.randman import Randman, manifold
from snnlab.errors import InputError
from snnlab.questions.class_of_sequence import ClassOfSequence

SMALL = {"classes": 3, "units": 5, "samples": 40, "steps": 30, "alpha": 2.0}


def make(**options):
    data = with_loader(Randman, "x", "x", **{**SMALL, **options})
    data.setup()
    return data


def test_shapes_counts_and_splits():
    data = make(batch_size=10)
    assert data.spec.kind == "task" and data.spec.question == ClassOfSequence() and data.spec.input_shape == (5,)
    assert data.provenance.sizes == {"train": 96, "val": 12, "test": 12} == data.spec.sizes
    assert data.provenance.source == "synthetic" and data.provenance.flags() == ["synthetic"]
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape == (30, 10, 5) and batch.labels.shape == (10,) and batch.inputs.dtype == torch.float32
    for split in data.splits:
        whole = split.batch(range(len(split)))
        assert torch.equal(whole.inputs.sum(0), torch.ones(len(split), 5))  # one spike per unit
        assert not whole.inputs[15:].any()  # in the first half of the steps
        assert whole.labels.bincount().tolist() == [len(split) // 3] * 3
    first, label = data.splits.test[3]
    assert torch.equal(first, data.splits.test.batch([3]).inputs[:, 0]) and label == data.splits.test.batch([3]).labels
    members = np.concatenate([split.indices for split in data.splits])
    assert sorted(members) == list(range(120))


def test_the_seed_of_the_run_changes_nothing_but_the_order():
    one, other, third = make(seed=0), make(seed=7), make(randman_seed=2)
    assert one.provenance.hash == other.provenance.hash != third.provenance.hash
    assert torch.equal(one.splits.test.batch(range(12)).inputs, other.splits.test.batch(range(12)).inputs)


def test_every_step_of_the_window_is_reached():
    data = make(fraction=1.0, samples=100)
    times = data.splits.train.dataset.times
    assert times.min() == 0 and times.max() == 29


def test_every_unit_uses_the_window_for_every_class():
    """Equations (2) and (3): the least and the largest value of a unit over a class are its first and last step."""
    data = make()
    times, labels = data.splits.train.dataset.times, data.splits.train.dataset.labels
    for label in range(3):
        of_class = times[labels == label]
        assert of_class.shape == (40, 5)
        assert of_class.min(0).values.tolist() == [0] * 5 and of_class.max(0).values.tolist() == [14] * 5


def test_a_manifold_is_the_sum_of_its_waves():
    """K = 32 for alpha = 2; two dimensions multiply; the constant term is left out."""
    points = np.array([[0.2, 0.9], [0.7, 0.1]])
    values = manifold(points, 3, 2.0, np.random.default_rng(5))
    theta, f, phi = np.random.default_rng(5).random((3, 3, 2, 32))
    for unit in range(3):
        for sample in range(2):
            expected = 1.0
            for d in range(2):
                expected *= sum(
                    theta[unit, d, k]
                    / (k + 1) ** 2
                    * np.sin(2 * np.pi * (k * points[sample, d] * f[unit, d, k] + phi[unit, d, k]))
                    for k in range(1, 32)
                )
            assert values[sample, unit] == pytest.approx(expected, abs=1e-12)


def test_an_alpha_near_zero_has_all_harmonics():
    values = manifold(np.array([[0.3], [0.6]]), 2, 0.001, np.random.default_rng(0))
    assert np.array_equal(values, manifold(np.array([[0.3], [0.6]]), 2, 0.001, np.random.default_rng(0)))
    assert np.isfinite(values).all() and make(alpha=0.001).provenance.sizes["train"] == 96


def test_a_larger_alpha_is_smoother():
    points = np.linspace(0, 1, 501)[:, None]
    rough, smooth = (
        np.abs(np.diff(y, axis=0)).sum(0) / np.ptp(y, axis=0)
        for y in (manifold(points, 8, alpha, np.random.default_rng(0)) for alpha in (1.0, 3.0))
    )
    assert rough.mean() > 2 * smooth.mean()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 1}, "data.classes = 1 must lie in 2"),
        ({"units": 0}, "data.units"),
        ({"samples": 9}, "data.samples"),
        ({"dimensions": 0}, "data.dimensions"),
        ({"alpha": -1.0}, "data.alpha"),
        ({"fraction": 0.0}, "data.fraction"),
    ],
)
def test_bad_values_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        with_loader(Randman, "x", "x", **{**SMALL, **options})
