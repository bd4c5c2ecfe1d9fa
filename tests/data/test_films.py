"""The camera model and MNIST-DVS, simulated and recorded."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.camera import Camera
from snnlab.data.events.films import Films
from snnlab.data.events.mnist_dvs import MNISTDVS, crop
from snnlab.data.events.module import EventDataset
from snnlab.data.loader import with_loader
from snnlab.data.recordings import Events, Recordings
from snnlab.errors import InputError

QUIET = {"noise_hz": 0.0, "mismatch": 0.0}


def bar() -> torch.Tensor:
    """One image of a bright vertical bar."""
    image = torch.zeros(1, 1, 8, 8)
    image[..., 3:5] = 1
    return image


def same(a: Events, b: Events) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_no_motion_and_no_noise_is_silent() -> None:
    assert len(Camera(radius=0, noise_hz=0).film(bar(), 20, [(0, 0)]).events.t) == 0
    assert len(Camera(noise_hz=0).film(torch.zeros(1, 1, 8, 8), 20, [(0, 0)]).events.t) == 0


def test_noise_has_its_rate() -> None:
    films = Camera(radius=0, noise_hz=5, refractory_us=0).film(
        bar().expand(10, 1, 8, 8), 20, [(0, i) for i in range(10)]
    )
    expected = 5 * 2 * 26 * 26 * 10
    assert len(films.events.t) == pytest.approx(expected, abs=4 * expected**0.5)
    assert films.events.p.mean() == pytest.approx(0.5, abs=0.01)


def test_events_lie_in_the_film_and_in_order() -> None:
    films = Camera().film(bar(), 20, [(0, 7)])
    x, y, t, p = films[0]
    assert x.max() <= 25
    assert y.max() <= 25
    assert t.max() < 2_000_000
    assert set(p) == {0, 1}
    assert np.all(np.diff(t.astype(int)) >= 0)
    assert len(t) > 1000
    assert len(np.unique(t)) > 0.9 * len(t)  # microseconds, not frames


def test_refractory_time_is_kept_with_noise_too() -> None:
    camera = Camera(refractory_us=3000, noise_hz=20, threshold=0.05)
    x, y, t, _ = camera.film(bar(), 20, [(0, 1)])[0]
    for pixel in range(26 * 26):
        times = t[(y.astype(int) * 26 + x) == pixel].astype(int)
        assert np.all(np.diff(times) >= 3000)


def test_each_pixel_returns_after_a_turn() -> None:
    """A whole turn brings each pixel back to its luminance, so ON and OFF balance to within one threshold."""
    camera = Camera(**QUIET, refractory_us=0, duration_us=1_000_000)
    x, y, _, p = camera.film(bar(), 20, [(0, 3)])[0]
    balance = np.zeros((26, 26))
    np.add.at(balance, (y, x), np.where(p == 1, 1, -1))
    assert np.abs(balance).max() <= 1


def test_leading_edge_is_on_and_trailing_edge_off() -> None:
    """While the bar moves to the right, brightening pixels lie to the right of darkening ones."""
    camera = Camera(**QUIET, radius=3.0)
    x, _, t, p = camera.film(bar(), 20, [(0, 5)])[0]
    # path x = radius cos a: find the half turn with growing x from the events' mean position over time
    phase = np.random.default_rng([0, 0, 5]).random()
    angle = 2 * np.pi * (t * 1e-6 + phase)
    right = -np.sin(angle) > 0.5
    assert x[right & (p == 1)].mean() > x[right & (p == 0)].mean() + 2
    left = -np.sin(angle) < -0.5
    assert x[left & (p == 1)].mean() < x[left & (p == 0)].mean() - 2


def test_count_follows_contrast_over_threshold() -> None:
    counts = [len(Camera(**QUIET, threshold=h, refractory_us=0).film(bar(), 20, [(0, 0)]).events.t) for h in (0.2, 0.4)]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.15)


def test_films_depend_on_seed_and_name_alone() -> None:
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    names = [(0, i) for i in range(4)]
    films, again = Camera().film(images, 20, names), Camera().film(images, 20, names)
    assert same(films.events, again.events)
    backwards = Camera().film(images.flip(0), 20, names[::-1])
    assert all(same(films[i], backwards[3 - i]) for i in range(4))
    other = Camera(seed=1).film(images, 20, names)
    assert not np.array_equal(films[0].t, other[0].t)
    assert not np.array_equal(films[0].t, Camera().film(images[:1], 20, [(1, 0)])[0].t)


def test_more_events_than_the_first_guess() -> None:
    assert len(Camera(threshold=0.01, refractory_us=0, radius=5).film(bar(), 20, [(0, 0)]).events.t) > 30_000


def test_camera_ranges() -> None:
    with pytest.raises(InputError, match=r"camera: threshold = 0 must lie in 0\.01 to 5"):
        Camera(threshold=0)
    with pytest.raises(InputError, match=r"camera: refractory_us = -1 must lie in"):
        Camera(refractory_us=-1)


# The cache -----------------------------------------------------------------------------------------------------------


def films(folder: Path, **camera: float) -> Films:
    images = (np.random.default_rng(0).random((5, 1, 8, 8)) * 255).astype(np.uint8)
    return Films(Camera(duration_us=100_000, **camera), images, 255, np.arange(120) % 5, 0, 20, "hash", folder)


def test_films_are_lazy_and_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = films(tmp_path)
    one = first[3]
    assert len(list(tmp_path.rglob("*.npz"))) == 1
    assert len(first.blocks) == 1
    first.take([110])
    blocks = sorted(tmp_path.rglob("*.npz"))
    assert len(blocks) == 2
    assert not list(tmp_path.rglob(".*npz*"))

    def unused(*_: object) -> None:
        raise AssertionError("filmed again")

    monkeypatch.setattr(Films, "_film", unused)
    assert same(films(tmp_path)[3], one)
    with pytest.raises(AssertionError, match="filmed again"):
        films(tmp_path, threshold=0.4)[3]  # other settings, another key


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c[:3000] + b"\xff" * 40 + c[3040:]]
)
def test_broken_cache_is_filmed_again(tmp_path: Path, damage) -> None:
    one = films(tmp_path)[3]
    path = next(tmp_path.rglob("*.npz"))
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert same(films(tmp_path)[3], one)
    assert len(path.read_bytes()) == len(content)


def test_films_of_other_settings_are_not_taken_for_these(tmp_path: Path) -> None:
    one, other = films(tmp_path / "one")[3], films(tmp_path / "other", threshold=0.4)[3]
    path = next((tmp_path / "one").rglob("*.npz"))
    path.write_bytes(next((tmp_path / "other").rglob("*.npz")).read_bytes())
    assert same(films(tmp_path / "one")[3], one) and not same(one, other)


# MNIST-DVS -----------------------------------------------------------------------------------------------------------

FEW = {"train_films": 60, "val_films": 20, "test_films": 30}


def test_digits_are_filmed_without_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = with_loader(MNISTDVS, tmp_path / "none", tmp_path / "cache", **FEW, batch_size=16)
    spec = data.spec
    assert spec.input_shape == (2, 26, 26)
    assert spec.time_steps == 80
    assert spec.signal_shape == (1, 8, 8)
    assert spec.sizes == {"train": 40, "val": 20, "test": 30}
    with caplog.at_level(logging.WARNING):
        batch = next(iter(data.train_dataloader()))
    assert "simulated: films of the digits bundled with scikit-learn" in caplog.text
    assert "python -m snnlab.data prepare mnist" in caplog.text
    assert "10.3389/fnins.2015.00481" in caplog.text
    assert batch.inputs.shape == (80, 16, 2, 26, 26)
    assert set(batch.inputs.unique().tolist()) == {0, 1}
    assert batch.signals.shape == (16, 1, 8, 8)
    assert batch.signals.max() == 1
    assert data.provenance.flags() == ["simulated", "subset"]
    assert "camera: threshold 0.3" in data.provenance.notes[1]
    assert data.prototypes().shape == (10, 1, 8, 8)
    assert data.images().spec.name == "digits"
    assert not (tmp_path / "none").exists()


def test_default_sizes_and_source(tmp_path: Path, write_mnist) -> None:
    assert with_loader(MNISTDVS, tmp_path, tmp_path).spec.sizes == {"train": 1297, "val": 200, "test": 300}
    write_mnist(tmp_path)
    data = with_loader(MNISTDVS, tmp_path, tmp_path)
    assert data.spec.sizes == {"train": 8500, "val": 500, "test": 1000}
    assert data.spec.signal_shape == (1, 28, 28)


def test_mnist_is_filmed_and_altered_passes_through(tmp_path: Path, write_mnist) -> None:
    write_mnist(tmp_path)
    with pytest.raises(InputError, match=r"data\.unverified=true"):
        with_loader(MNISTDVS, tmp_path, tmp_path / "cache", **FEW).setup()
    data = with_loader(MNISTDVS, tmp_path, tmp_path / "cache", **FEW, unverified=True)
    batch = data.train_dataloader().dataset[list(range(40))]
    assert batch.signals.shape == (40, 1, 28, 28)
    assert data.provenance.flags() == ["simulated", "altered", "subset"]
    assert data.provenance.verified is None
    # 60 films of 40 images: training films repeat images, but never one of validation; test films use test images
    images = [{image.numpy().tobytes() for image in split.batch(range(len(split))).signals} for split in data.splits]
    assert not images[0] & images[1]
    assert not images[0] & images[2]
    assert not images[1] & images[2]


def test_recordings_are_read_back_from_true_files(tmp_path: Path) -> None:
    filmed = with_loader(MNISTDVS, tmp_path / "none", tmp_path / "cache", **FEW)
    assert filmed.export_aedat(tmp_path / "data" / "MNIST-DVS") == 90
    data = with_loader(MNISTDVS, tmp_path / "data", tmp_path / "cache", val_films=20)
    assert data.recorded
    assert data.spec.signal_shape is None
    assert data.provenance.sizes == {"train": 40, "val": 20, "test": 30}
    assert data.provenance.flags() == ["simulated", "subset"]  # the files' headers say that they are films
    original = filmed.splits.test
    recorded = data.splits.test
    assert isinstance(original, EventDataset)
    assert isinstance(recorded, EventDataset)
    times = [original.recordings[i].t for i in range(30)]
    by_time = {(t - t[0]).tobytes() for t in times}
    for i in range(30):
        events = recorded.recordings[i]
        assert events.t[0] == 0
        assert events.t.tobytes() in by_time
        assert events.x.max() <= 25
    assert sorted(recorded.labels.tolist()) == sorted(original.labels.tolist())
    batch = next(iter(data.val_dataloader()))
    assert batch.signals is None
    assert batch.inputs.shape == (80, 20, 2, 26, 26)

    path = next((tmp_path / "data").rglob("*_0901.aedat"))
    path.write_bytes(path.read_bytes()[:-3])
    notes = with_loader(MNISTDVS, tmp_path / "data", tmp_path / "cache", val_films=20).provenance.notes
    assert f"{path.name}: dropped a partial record of 5 bytes at the end" in notes
    path.write_bytes(b"<html>sign in</html>")
    with pytest.raises(InputError, match=f"{path.name} is an HTML page, not a recording"):
        with_loader(MNISTDVS, tmp_path / "data", tmp_path / "cache", val_films=20).setup()
    path.unlink()
    again = with_loader(MNISTDVS, tmp_path / "data", tmp_path / "cache", val_films=20)
    with pytest.raises(InputError, match="only films can be exported"):
        again.export_aedat(tmp_path / "out")


def test_recorded_refuses_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "mnist_dvs").mkdir()
    with pytest.raises(
        InputError, match=r"no recordings .*Sevilla .*10\.3389/fnins\.2015\.00481.*data\.source=simulated"
    ) as error:
        with_loader(MNISTDVS, tmp_path, tmp_path, source="recorded").setup()
    assert str(tmp_path / "mnist_dvs") in str(error.value)
    assert "\n" not in str(error.value)
    assert not with_loader(MNISTDVS, tmp_path, tmp_path).recorded  # an empty folder is no recording


def test_longer_films_take_more_steps(tmp_path: Path) -> None:
    """A film of 3 s holds 120 steps of 25 ms; what the camera sees there depends on nothing else."""
    few = {"train_films": 4, "val_films": 1, "test_films": 1, "time_steps": 120}
    with pytest.raises(InputError, match=r"= 3 s must not exceed the 2 s of a film; time_steps=80 fits"):
        with_loader(MNISTDVS, tmp_path, tmp_path, **few)
    data = with_loader(MNISTDVS, tmp_path, tmp_path, **few, camera=Camera(duration_us=3_000_000))
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (120, 1, 2, 26, 26)
    assert batch.inputs[100:].sum() > 0


def test_crop() -> None:
    x, y = np.array([48, 73, 47, 60, 60], np.uint8), np.array([48, 73, 60, 74, 50], np.uint8)
    t = np.array([100, 2_000_099, 101, 102, 2_000_100])
    events = crop(Events(x, y, t, np.ones(5, np.uint8)))
    assert [c.tolist() for c in events] == [[0, 25], [0, 25], [0, 1_999_999], [1, 1]]
    assert len(crop(Events(*(np.empty(0, np.uint8),) * 4)).t) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"window_us": 30_000},
            r"time_steps x window_us = 80 x 30000 us = 2.4 s must not exceed the 2 s .*time_steps=66 fits",
        ),
        ({"source": "filmed"}, "source = filmed must be auto, recorded or simulated"),
        ({"val_films": 0}, r"data\.mnist_dvs: val_films = 0 must lie in 1 to 1496"),
        ({"train_films": 1}, r"data\.mnist_dvs: train_films = 1 must lie in 2 to"),
        ({"train_films": 9001, "source": "recorded"}, r"train_films = 9001 must lie in 2 to 9000"),
        ({"camera": {"noise_hz": -1.0}}, r"camera: noise_hz = -1\.0 must lie in 0 to 1000"),
        ({"augmentation": {"drop": 2.0}}, r"augmentation: drop = 2\.0 must lie in 0 to 1"),
        ({"augmentation": {"shift": 26}}, r"augmentation: shift = 26 must lie in 0 to 25"),
    ],
)
def test_ranges(tmp_path: Path, arguments: dict, words: str) -> None:
    def make() -> MNISTDVS:
        parts = {"camera": Camera, "augmentation": EventAugmentation}
        made = {key: parts[key](**value) if key in parts else value for key, value in arguments.items()}
        return with_loader(MNISTDVS, tmp_path, tmp_path, **made)

    with pytest.raises(InputError, match=words):
        make()


def test_real_mnist_films(tmp_path: Path, real_data) -> None:
    data = with_loader(
        MNISTDVS, real_data("mnist"), tmp_path, source="simulated", train_films=40, val_films=10, test_films=10
    )
    batch = next(iter(data.test_dataloader()))
    assert data.provenance.verified
    assert data.provenance.flags() == ["simulated", "subset"]
    counts = np.diff(data.splits.test.recordings.take(range(10)).offsets)
    assert 2000 < counts.mean() < 20_000
    assert 0.005 < batch.inputs.mean() < 0.2
    assert isinstance(data.splits.test.recordings.take([0]), Recordings)
