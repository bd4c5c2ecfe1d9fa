"""The tasks of an approach: exact times, geometry by hand, the camera's events, seeds, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snnlab.data.contract import DataModule
from snnlab.data.loader import with_loader
from snnlab.data.tasks.approach import ChangeCamera, rate_error
from snnlab.data.tasks.expanding_disc import ExpandingDisc
from snnlab.data.tasks.landing_ramp import LandingRamp
from snnlab.errors import InputError
from snnlab.questions.time_to_contact import BlindError, TimeToContact

TASKS = [ExpandingDisc, LandingRamp]
CLEAN = {"mismatch": 0.0, "noise_hz": 0.0}


def task(kind: type, **options: object) -> DataModule:
    return with_loader(kind, "x", "x", **{"side": 16, "steps": 8, "dt": 0.1, **options})


@pytest.mark.parametrize("kind", TASKS)
def test_batches_are_counts_and_seconds(kind: type) -> None:
    data = task(kind, train_sequences=20, batch_size=20)
    batch = next(iter(data.train_dataloader()))
    assert batch.inputs.shape == (8, 20, 2, 16, 16) and batch.labels.shape == (8, 20, 1)
    assert batch.inputs.dtype == batch.labels.dtype == torch.float32
    assert torch.equal(batch.inputs, batch.inputs.round()) and batch.inputs.min() == 0 < batch.inputs.max()
    passed = batch.labels[0] - batch.labels  # time goes by as time does
    torch.testing.assert_close(passed, (0.1 * torch.arange(8.0)).view(8, 1, 1).expand_as(passed))
    start = batch.labels[0] + 0.1
    assert start.min() >= 1.2 and start.max() <= 3.0 and batch.labels.min() > 0
    spec = data.spec
    assert (spec.kind, spec.input_shape, spec.classes, spec.time_step) == ("event", (2, 16, 16), 1, 0.1)
    assert spec.question == TimeToContact()


@pytest.mark.parametrize("kind", TASKS)
def test_sequences_do_not_depend_on_the_run_or_the_batch(kind: type) -> None:
    one, other = task(kind, seed=0), task(kind, seed=5)
    one.setup()
    other.setup()
    pair = one.splits.train.batch([3, 9])
    assert torch.equal(pair.inputs, other.splits.train.batch([3, 9]).inputs)
    single = one.splits.train.batch([9])
    assert torch.equal(single.inputs[:, 0], pair.inputs[:, 1]) and torch.equal(single.labels[:, 0], pair.labels[:, 1])
    assert not torch.equal(one.splits.val.batch([3]).inputs, one.splits.train.batch([3]).inputs)
    assert one.provenance.hash == other.provenance.hash != task(kind, task_seed=1).provenance.hash
    assert one.provenance.flags() == ["synthetic"]


def test_radius_over_its_speed_is_the_time_left() -> None:
    data = task(ExpandingDisc, centre=0.0, radius=[6.0, 6.0], side=64, contrast=[1.0, 1.0])
    seen = data.scene([np.random.default_rng(0)])
    contact, dt = 2.0, 0.05
    for time in (0.2, 0.7, 1.2):
        area = [np.abs(seen(np.array([1 - t / contact]), t)).sum() for t in (time - dt, time + dt)]
        radius = np.sqrt(np.array(area) / np.pi)  # contrast 1: the sum is the area
        left = radius.mean() / ((radius[1] - radius[0]) / (2 * dt))
        assert left == pytest.approx(contact - time, rel=0.03)
        assert radius.mean() == pytest.approx(6 / (1 - time / contact), rel=0.02)


def test_the_ground_is_magnified_about_the_point_below() -> None:
    data = task(LandingRamp, drift=0.0, blur=0.0, side=65, wavelength=[8.0, 32.0], contrast=[0.7, 0.7])
    seen = data.scene([np.random.default_rng(0)])
    far, near = seen(np.array([1.0]), 0.0)[0], seen(np.array([0.5]), 0.0)[0]
    np.testing.assert_allclose(near[::2, ::2], far[16:49, 16:49], atol=1e-5)  # half as high, twice as large
    assert far.std() == pytest.approx(0.7, rel=0.3)


def test_a_drift_moves_the_ground_and_a_blur_takes_its_fine_waves() -> None:
    still = task(LandingRamp, drift=0.0, wavelength=[8.0, 8.0], waves=1, blur=0.0, side=32)
    blurred = task(LandingRamp, drift=0.0, wavelength=[8.0, 8.0], waves=1, blur=2.0, side=32)
    sharp, soft = (each.scene([np.random.default_rng(1)])(np.array([1.0]), 0.0) for each in (still, blurred))
    np.testing.assert_allclose(soft, sharp * np.exp(-((2 * 2 * np.pi / 8) ** 2) / 2), atol=1e-6)
    moving = task(LandingRamp, drift=20.0, waves=4).scene([np.random.default_rng(2)])
    assert np.abs(moving(np.array([1.0]), 0.5) - moving(np.array([1.0]), 0.0)).max() > 0.1


def test_events_add_up_to_the_change_of_the_picture() -> None:
    camera = ChangeCamera("x", side=8, threshold=0.25, **CLEAN)
    ramp = np.linspace(0, 1, 9, dtype=np.float32)
    frames = ramp[:, None, None, None] * np.ones((1, 8, 8), np.float32)
    frames[:, :, 1] *= -1
    counts = camera.watch(iter(frames), 8)
    assert counts[:, 0, 1, 0].sum(0).tolist() == [4.0] * 8 and counts[:, 0, 0, 0].sum() == 0
    assert counts[:, 0, 0, 1].sum(0).tolist() == [4.0] * 8 and counts[:, 0, 1, 1].sum() == 0
    assert counts[:, 0, 1, 0, 0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    jump = np.stack([np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), 1.1, np.float32)])
    assert camera.watch(iter(jump), 1)[0, 0, 1].tolist() == [[4.0] * 8] * 8


def test_noise_has_its_rate_and_thresholds_their_spread() -> None:
    camera = ChangeCamera("x", side=64, noise_hz=5.0, mismatch=0.1, threshold=0.3)
    noise = camera.noise(np.random.default_rng(0), 100, 0.1)
    assert noise.sum() == pytest.approx(5.0 * 64 * 64 * 10, rel=0.02)
    thresholds = camera.thresholds()
    assert thresholds.mean() == pytest.approx(0.3, rel=0.01) and thresholds.std() == pytest.approx(0.03, rel=0.05)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("contact", [0.8, 4.0], "must be two times of seconds"),
        ("contact", [4.0, 2.0], "the shortest first, at least 0.85"),
        ("contact", [2.0], "must be two times"),
        ("contact", [2.0, float("inf")], "at most 10000"),
        ("contact", [float("nan"), 3.0], "must be two times"),
        ("steps", 0, "must lie in 1"),
        ("dt", 0.0, "must lie in"),
        ("side", 2, "must lie in 8"),
        ("threshold", 0.0, "must lie in 0.01"),
        ("mismatch", 1.0, "must lie in 0 to 0.3"),
        ("noise_hz", -1.0, "must lie in 0"),
        ("contrast", [0.0, 1.0], "must be two numbers in 0.01 to 10"),
        ("contrast", [2.0], "must be two numbers"),
        ("contact", [0.8000001, 4.0], r"at least 0.85 \(the sequence and half a step\)"),
        ("train_sequences", 0, "train_sequences = 0"),
        ("task_seed", -1, "task_seed = -1 must lie in"),
        ("task_seed", 2**32, "must lie in 0 to 4294967295"),
    ],
)
def test_bad_arguments_are_named(kind: type, option: str, value: object, words: str) -> None:
    name = {ExpandingDisc: "expanding_disc", LandingRamp: "landing_ramp"}[kind]
    with pytest.raises(InputError, match=rf"data\.{name}: .*{words}"):
        task(kind, **{option: value})


def test_bad_scenes_are_named() -> None:
    for option, value in (("radius", [4.0, 1.0]), ("radius", [0.0, 1.0]), ("radius", [1.0, 99.0]), ("centre", 9.0)):
        with pytest.raises(InputError, match=rf"data\.expanding_disc: {option} = "):
            task(ExpandingDisc, **{option: value})
    for option, value in (("wavelength", [0.0, 1.0]), ("waves", 0), ("drift", -1.0), ("blur", -1.0)):
        with pytest.raises(InputError, match=rf"data\.landing_ramp: {option} = "):
            task(LandingRamp, **{option: value})


@pytest.mark.parametrize("kind", TASKS)
def test_the_number_of_events_alone_says_little(kind: type) -> None:
    """Who counts has more than half of a constant's error, as scenes differ in contrast."""
    data = with_loader(kind, "x", "x")
    metric = BlindError()
    data.setup()
    targets = data.splits.test.batch(range(256)).labels
    metric.update(targets, targets)
    assert rate_error(data, 256) > 0.6 * float(metric.compute())


def test_the_camera_has_random_numbers_of_its_own() -> None:
    spread = np.random.default_rng([0, 0, 1]).standard_normal((2, 8, 8))
    assert not np.allclose(ChangeCamera("x", side=8, threshold=1.0).thresholds(), 1 + 0.03 * spread, atol=1e-6)
