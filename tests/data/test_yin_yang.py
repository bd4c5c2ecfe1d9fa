"""Yin-yang: the figure's geometry, balance, fixed splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.data.__main__ import main
from snnlab.data.encoders import Latency
from snnlab.data.loader import with_loader
from snnlab.data.tasks.yin_yang import DOT, YANG, YIN, YinYang, classes_of
from snnlab.errors import InputError


@pytest.mark.parametrize(
    ("point", "label"),
    [
        ((0.25, 0.5), DOT),
        ((0.75, 0.5), DOT),
        ((0.75, 0.59), DOT),
        ((0.25, 0.35), YIN),  # the head around the left dot
        ((0.5, 0.9), YIN),  # the upper half
        ((0.75, 0.65), YANG),  # the head around the right dot
        ((0.5, 0.1), YANG),
        ((0.9, 0.9), -1),
    ],
)
def test_classes_of_points(point: tuple[float, float], label: int) -> None:
    assert classes_of(np.array(point)) == label


def test_yin_and_yang_are_each_other_turned_around() -> None:
    points = np.random.default_rng(0).random((2000, 2))
    labels, turned = classes_of(points), classes_of(1 - points)
    expected = np.choose(labels + 1, [-1, YANG, YIN, DOT])
    assert np.array_equal(turned, expected)
    assert (labels == DOT).mean() == pytest.approx(2 * np.pi * 0.01, abs=0.02)


def test_splits_are_balanced_fixed_and_different() -> None:
    data = with_loader(YinYang, "x", "x")
    data.setup()
    assert data.splits is not None
    assert [len(split) for split in data.splits] == [5000, 1000, 1000]
    for split in data.splits:
        images, labels, signals = split.batch(range(len(split)))
        assert images.shape[1:] == (1, 1, 5)
        assert signals is None
        assert labels.bincount().float().std() < 1
        flat = images[:, 0, 0]
        assert np.array_equal(classes_of(flat[:, :2].double().numpy()), labels.numpy())
        torch.testing.assert_close(flat[:, 2:4], 1 - flat[:, :2])
        assert (flat[:, 4] == 0.4).all()
    other = with_loader(YinYang, "x", "x", seed=5)
    assert other.provenance.hash == data.provenance.hash
    assert with_loader(YinYang, "x", "x", point_seed=5).provenance.hash != data.provenance.hash
    assert data.provenance.flags() == ["synthetic"]
    assert not torch.equal(data.splits.val.batch([0]).inputs, data.splits.test.batch([0]).inputs)


def test_one_image_alone_is_that_of_a_batch() -> None:
    data = with_loader(YinYang, "x", "x", train_size=9)
    data.setup()
    assert data.splits is not None
    image, label = data.splits.train[4]
    batch = data.splits.train.batch([4, 2])
    assert torch.equal(image, batch.inputs[0])
    assert label == batch.labels[0]


def test_the_command_shows_a_picture(tmp_path: Path) -> None:
    assert main(["show", "yin_yang", "--out", str(tmp_path / "points.png")]) == 0
    assert (tmp_path / "points.png").read_bytes()[:4] == b"\x89PNG"


def test_ranges() -> None:
    with pytest.raises(InputError, match=r"data\.yin_yang: bias = 2 must lie in 0 to 1"):
        with_loader(YinYang, "x", "x", bias=2)
    with pytest.raises(InputError, match=r"data\.yin_yang: test_size = 0"):
        with_loader(YinYang, "x", "x", test_size=0)


@pytest.mark.parametrize("reverse", [False, True])
def test_exact_latencies_round_to_the_frames(reverse: bool) -> None:
    data = with_loader(YinYang, "x", "x", train_size=30)
    data.setup()
    assert data.splits is not None
    images = data.splits.train.batch(range(30)).inputs
    images[0] = 0
    encoder = Latency(32, reverse)
    times, frames = encoder.times(images), encoder(images)
    assert torch.equal(times.isfinite(), frames.any(0))
    spike = frames.argmax(0)[times.isfinite()]
    # T - round(x (T - 1)) and T - x (T - 1) differ by half a step at most
    assert (times[times.isfinite()] - spike).abs().max() <= 0.5
