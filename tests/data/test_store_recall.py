"""The store-and-recall task: which population fires when, the delays, and sequences that never change."""

from __future__ import annotations

import pytest
import torch

from snnlab.data.loader import with_loader
from snnlab.data.tasks.store_recall import StoreRecall
from snnlab.errors import InputError
from snnlab.questions.class_at_end import ClassAtEnd


def make(**options):
    data = with_loader(StoreRecall, "x", "x", **options)
    data.setup()
    return data


def populations(inputs):
    """[T, B, 40] -> spikes of each population [T, B, 4]."""
    return inputs.unflatten(-1, (4, -1)).sum(-1)


def test_shapes_and_what_is_asked():
    data = make(batch_size=16)
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape == (500, 16, 40) and batch.labels.shape == (16,)
    assert set(batch.inputs.unique().tolist()) == {0, 1} and set(batch.labels.tolist()) == {0, 1}
    spec = data.spec
    assert (spec.question, spec.classes, spec.time_steps, spec.kind) == (ClassAtEnd(50), 2, 500, "task")
    assert data.provenance.source == "synthetic" and spec.sizes == {"train": 2560, "val": 512, "test": 1024}


def test_the_bit_then_silence_then_the_recall_cue():
    batch = make().splits.train.batch(range(64))
    spikes = populations(batch.inputs)
    for k, bit in enumerate(batch.labels.tolist()):
        assert spikes[:50, k, bit].sum() > 20 and spikes[:50, k, 2].sum() > 20
        assert spikes[:, k, 1 - bit].sum() == 0 and spikes[50:, k, [bit, 2]].sum() == 0
    assert spikes[50:450].sum() == 0 and spikes[:450, :, 3].sum() == 0
    # 100 Hz, 10 units, 50 steps of 1 ms: 50 spikes
    assert spikes[450:, :, 3].sum(0).mean().item() == pytest.approx(50, abs=3)
    assert batch.labels.float().mean().item() == pytest.approx(0.5, abs=0.2)


def test_a_drawn_delay_ends_with_the_recall():
    data = make(delay=200, delay_max=600, rate=1000.0)
    batch = data.splits.train.batch(range(200))
    assert batch.inputs.shape[0] == 700
    store = populations(batch.inputs)[..., 2] > 0
    assert (store.sum(0) == 50).all() and (populations(batch.inputs)[650:, :, 3] == 10).all()
    delays = 650 - (store.float().argmax(0) + 50)
    assert delays.min() >= 200 and delays.max() <= 600 and delays.min() < 230 and delays.max() > 570


def test_background_is_everywhere():
    inputs = make(background=20.0).splits.val.batch(range(20)).inputs
    assert inputs[50:450].mean().item() == pytest.approx(0.02, rel=0.05)


def test_sequences_do_not_depend_on_their_batch_or_the_seed_of_the_run():
    one, other = make(seed=0), make(seed=7)
    together = one.splits.test.batch([5, 9])
    assert torch.equal(together.inputs[:, 1], other.splits.test.batch([9]).inputs[:, 0])
    assert not torch.equal(together.inputs, one.splits.val.batch([5, 9]).inputs)
    assert not torch.equal(together.inputs, make(task_seed=1).splits.test.batch([5, 9]).inputs)
    sample, label = one.splits.test[9]
    assert torch.equal(sample, together.inputs[:, 1]) and label == together.labels[1]
    assert one.provenance.hash == other.provenance.hash != make(delay=300).provenance.hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": -1}, r"delay = -1 must lie in 0 to 100000"),
        ({"delay_max": 300}, r"delay_max = 300 must lie in 400 to 100000; null keeps the delay"),
        ({"cue_steps": 0}, r"cue_steps = 0 must lie in 1"),
        ({"channels": 0}, r"channels = 0 must lie in 1"),
        ({"rate": 2000.0}, r"rate = 2000\.0 must lie in"),
        ({"background": -1.0}, r"background = -1\.0 must lie in 0"),
    ],
)
def test_ranges(options, words):
    with pytest.raises(InputError, match=rf"data\.store_recall: {words}"):
        with_loader(StoreRecall, "x", "x", **options)
