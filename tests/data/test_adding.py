"""The adding problem: marks, sums, seeds, refusals."""

import numpy as np
import pytest
import torch

from snnlab.data.loader import with_loader
from snnlab.data.tasks.adding import Adding
from snnlab.errors import InputError
from snnlab.questions.value_at_end import ValueAtEnd


def test_one_mark_per_half_and_the_sum_of_what_they_mark():
    data = with_loader(Adding, "x", "x", steps=201, train_sequences=300, batch_size=300)
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape == (201, 300, 2) and batch.labels.shape == (300, 1)
    numbers, mask = batch.inputs[..., 0], batch.inputs[..., 1]
    assert numbers.min() >= 0 and numbers.max() < 1 and numbers.mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(mask[:100].sum(0), torch.ones(300)) and torch.equal(mask[100:].sum(0), torch.ones(300))
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close((numbers * mask).sum(0)[:, None], batch.labels)
    steps = mask.argmax(0)  # of the first mark
    assert steps.min() < 5 and steps.max() > 94


def test_always_answering_one_has_an_error_of_a_sixth():
    data = with_loader(Adding, "x", "x", steps=20, test_sequences=4000, batch_size=4000)
    labels = next(iter(data.test_dataloader())).labels
    assert ((labels - 1) ** 2).mean().item() == pytest.approx(1 / 6, abs=0.01)


def test_sequences_do_not_depend_on_the_run_or_the_batch():
    one, other = with_loader(Adding, "x", "x", seed=0), with_loader(Adding, "x", "x", seed=5)
    one.setup()
    other.setup()
    assert torch.equal(one.splits.train.batch([3, 9]).inputs, other.splits.train.batch([3, 9]).inputs)
    assert torch.equal(one.splits.train.batch([9]).inputs[:, 0], one.splits.train.batch([3, 9]).inputs[:, 1])
    assert not torch.equal(one.splits.train.batch([3]).inputs, one.splits.val.batch([3]).inputs)
    inputs, label = one.splits.test[4]
    assert inputs.shape == (200, 2) and label.shape == (1,)
    assert not np.array_equal(next(iter(one.train_dataloader())).labels, next(iter(other.train_dataloader())).labels)
    assert one.provenance.flags() == ["synthetic"] and one.provenance.hash == other.provenance.hash
    assert one.provenance.hash != with_loader(Adding, "x", "x", adding_seed=1).provenance.hash


def test_the_spec_asks_for_a_value_at_the_last_step():
    spec = with_loader(Adding, "x", "x", steps=50).spec
    assert (spec.kind, spec.question, spec.time_steps) == ("sequence", ValueAtEnd(answer_steps=1), 50)


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match=r"data\.adding: steps = 1 must lie in 2"):
        with_loader(Adding, "x", "x", steps=1)
    with pytest.raises(InputError, match=r"data\.adding: train_sequences = 0"):
        with_loader(Adding, "x", "x", train_sequences=0)
