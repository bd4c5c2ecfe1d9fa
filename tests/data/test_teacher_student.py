"""Teacher and student: answers by hand, repeats, seeds, refusals."""

import numpy as np
import pytest
import torch

from snnlab.data.loader import with_loader
from snnlab.data.tasks.teacher_student import TeacherStudent
from snnlab.errors import InputError
from snnlab.questions.value_at_end import ValueAtEnd


def test_a_chain_by_hand():
    data = with_loader(TeacherStudent, "x", "x", widths=[1, 1, 1], weights=[2, 2], hidden_gain=0.5, output_gain=3.0)
    data.setup()
    inputs, labels, _ = data.splits.train.batch([4, 7])
    assert inputs.shape == (1, 2, 1) and labels.shape == (2, 1)
    assert inputs.min() >= 0 and inputs.max() < 1
    torch.testing.assert_close(labels, 6 / (1 + torch.exp(-inputs[0])))
    assert (data.spec.kind, data.spec.classes, data.spec.question) == ("sequence", 1, ValueAtEnd())


def test_an_epoch_repeats_the_training_inputs_alone_and_nothing_depends_on_the_run():
    given = {"widths": [3, 4, 2], "train_size": 5, "val_size": 6, "test_size": 7, "repeats": 3}
    one, other = (with_loader(TeacherStudent, "x", "x", seed=seed, **given) for seed in (0, 5))
    one.setup()
    other.setup()
    train, again = one.splits.train, other.splits.train
    assert one.spec.sizes == {"train": 15, "val": 6, "test": 7} and len(train) == 15
    assert torch.equal(train.batch([1]).inputs, train.batch([11]).inputs)
    assert torch.equal(train.batch(range(15)).labels, again.batch(range(15)).labels)
    assert not torch.equal(train.batch(range(5)).inputs, one.splits.val.batch(range(5)).inputs)
    inputs, labels = one.splits.test[2]
    assert inputs.shape == (1, 3) and labels.shape == (2,)
    assert one.provenance.flags() == ["synthetic"] and one.provenance.hash == other.provenance.hash
    changed = with_loader(TeacherStudent, "x", "x", **given | {"teacher_seed": 1})
    assert changed.provenance.hash != one.provenance.hash
    assert not np.allclose(changed.answer(np.ones((1, 3))), one.answer(np.ones((1, 3))))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"widths": [3, 2]}, r"widths = \[3, 2\] must be units"),
        ({"widths": [3, 0, 2]}, r"widths = \[3, 0, 2\]"),
        ({"weights": [1, -1]}, r"weights = \[1, -1\] must be two numbers"),
        ({"output_gain": 0}, r"output_gain = 0 must be positive"),
        ({"train_size": 0}, r"train_size = 0 must lie in 1"),
        ({"repeats": 0}, r"repeats = 0 must lie in 1"),
    ],
)
def test_bad_arguments_are_named(wrong, said):
    with pytest.raises(InputError, match=rf"data\.teacher_student: {said}"):
        with_loader(TeacherStudent, "x", "x", **wrong)
