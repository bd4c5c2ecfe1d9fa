"""Binned frames kept as bits: the same numbers, whatever happens to the files."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snnlab.data import frames as module
from snnlab.data.__main__ import cache_line
from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning, random_events
from snnlab.data.events.films import Films
from snnlab.data.events.mnist_dvs import MNISTDVS
from snnlab.data.events.module import EventDataset
from snnlab.data.frames import StoredFrames, disk_use
from snnlab.data.loader import with_loader
from snnlab.data.recordings import Events, Recordings

EVENTS = [random_events(n, 9, 7, 1000, seed=n) for n in (400, 0, 3, 900, 30, 5000)]
BINNING = Binning(9, 7, 4, 250)  # 126 cells a step: no whole number of bytes


@pytest.fixture(autouse=True)
def _untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredFrames, "told", False)


def dataset(cache: Path, binning: Binning = BINNING, events: list[Events] = EVENTS) -> EventDataset:
    stored = StoredFrames(cache, ("test",), len(events), binning)
    return EventDataset(Recordings.pack(events), np.arange(len(events)), binning, stored=stored)


def forbid(data: EventDataset) -> EventDataset:
    """Return ``data`` unable to bin."""

    def unused(_: object) -> None:
        raise AssertionError("binned again")

    data.recordings = SimpleNamespace(take=unused)  # type: ignore[assignment]
    return data


def many(count: int) -> Events:
    """That many events of one pixel, all in the first step."""
    zeros = np.zeros(count, np.uint8)
    return Events(zeros, zeros, np.zeros(count, np.uint32), zeros)


@pytest.mark.parametrize(
    "binning",
    [
        BINNING,
        Binning(9, 7, 4, 250, "occupancy"),
        Binning(9, 7, 5, mode="mean", size=4),
        Binning(9, 7, 3, polarity="merged", split="events"),
        Binning(9, 7, 1, crop=(2, 1, 4, 2)),
    ],
)
def test_equal_to_binning_to_the_bit(tmp_path: Path, binning: Binning) -> None:
    plain = EventDataset(Recordings.pack(EVENTS), np.arange(6), binning)
    first, order = dataset(tmp_path, binning), [3, 0, 5, 1, 2, 4]
    assert torch.equal(first.batch(order[:2]).inputs, plain.batch(order[:2]).inputs)  # binned and written
    assert torch.equal(first.batch(order).inputs, plain.batch(order).inputs)  # a part of it read
    again = forbid(dataset(tmp_path, binning)).batch([4, 4, *order])
    expected = plain.batch([4, 4, *order])
    assert again.inputs.dtype == torch.float32
    assert again.inputs.is_contiguous()
    assert torch.equal(again.inputs, expected.inputs)
    assert torch.equal(again.labels, expected.labels)


def test_as_many_planes_as_the_largest_count_needs(tmp_path: Path) -> None:
    counts = [0, 1, 2, 3, 4, 255, 256, 65_536]
    events = [many(count) for count in counts]
    dataset(tmp_path, events=events).batch(range(8))
    again = forbid(dataset(tmp_path, events=events))
    assert again.batch(range(8)).inputs[0, :, 0, 0, 0].tolist() == counts
    assert again.stored is not None
    assert again.stored.planes.tolist() == [1, 1, 2, 2, 3, 8, 9, 17]
    occupied = dataset(tmp_path, Binning(9, 7, 4, 250, "occupancy"))
    occupied.batch(range(6))
    folder = occupied.stored.folder  # type: ignore[union-attr]
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == {"index": 48, "1.planes": 6 * 4 * 16}
    assert set(disk_use(tmp_path)) == {"frames"}
    assert 0 < disk_use(tmp_path)["frames"] < 200_000  # holes take no space
    assert cache_line(tmp_path).startswith(f"cache: {tmp_path}, 0.")


def test_only_what_is_asked_for_is_binned(tmp_path: Path) -> None:
    data, seen = dataset(tmp_path), []
    whole = data.recordings
    data.recordings = SimpleNamespace(take=lambda i: (seen.append(list(i)), whole.take(i))[1])  # type: ignore[assignment]
    data.batch([5, 2])
    data.batch([2, 3, 5])
    data.batch([5, 3, 2])
    assert seen == [[5, 2], [3]]


def test_other_settings_are_another_folder(tmp_path: Path) -> None:
    names = [("a",), ("b",)]
    folders = {StoredFrames(tmp_path, name, 6, BINNING).folder for name in names}
    folders |= {StoredFrames(tmp_path, ("a",), 5, BINNING).folder}
    folders |= {StoredFrames(tmp_path, ("a",), 6, Binning(9, 7, 4, 251)).folder}
    assert len(folders) == 4


def damaged(where: str, how: Callable[[bytes], bytes], folder: Path) -> None:
    path = next(folder.rglob(where))
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("where", ["index", "1.planes", "3.planes", "5.planes"])
@pytest.mark.parametrize(
    "how",
    [
        lambda c: c[: len(c) // 2],
        lambda c: b"",
        lambda c: bytes(byte ^ 255 for byte in c),
        lambda c: bytes(len(c)),
    ],
)
def test_damaged_files_are_made_again(tmp_path: Path, where: str, how: Callable[[bytes], bytes]) -> None:
    expected = dataset(tmp_path).batch(range(6)).inputs
    damaged(where, how, tmp_path)
    assert torch.equal(dataset(tmp_path).batch(range(6)).inputs, expected)
    assert torch.equal(forbid(dataset(tmp_path)).batch(range(6)).inputs, expected)  # and are whole again


def test_frames_of_other_recordings_are_not_taken_for_these(tmp_path: Path) -> None:
    expected = dataset(tmp_path).batch(range(6)).inputs
    (folder,) = tmp_path.glob("frames/*/")
    stored = StoredFrames(tmp_path, ("other",), 6, BINNING)
    EventDataset(Recordings.pack(EVENTS[::-1]), np.arange(6), BINNING, stored=stored).batch(range(6))
    shutil.copytree(stored.folder, folder, dirs_exist_ok=True)
    assert torch.equal(dataset(tmp_path).batch(range(6)).inputs, expected)


def test_a_lost_file_is_made_again(tmp_path: Path) -> None:
    expected = dataset(tmp_path).batch(range(6)).inputs
    next(tmp_path.rglob("5.planes")).unlink()
    assert torch.equal(dataset(tmp_path).batch(range(6)).inputs, expected)
    assert torch.equal(forbid(dataset(tmp_path)).batch(range(6)).inputs, expected)


def _build(cache: Path, barrier: object, seed: int, events: list[Events], expected: np.ndarray) -> None:
    data, rng = dataset(cache, events=events), np.random.default_rng(seed)
    barrier.wait()  # type: ignore[attr-defined]
    for _ in range(30):
        indices = rng.integers(0, len(events), 5)
        assert np.array_equal(data.batch(indices).inputs.numpy(), expected[:, indices])
    data.batch(range(len(events)))


def test_two_processes_build_at_once(tmp_path: Path) -> None:
    events = [random_events(20 * n, 9, 7, 1000, seed=n) for n in range(60)]
    expected = BINNING(Recordings.pack(events)).numpy()
    forked = multiprocessing.get_context("fork")
    barrier = forked.Barrier(2)
    builders = [forked.Process(target=_build, args=(tmp_path, barrier, seed, events, expected)) for seed in (1, 2)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0]
    assert np.array_equal(forbid(dataset(tmp_path, events=events)).batch(range(60)).inputs.numpy(), expected)


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "frames").write_text("no folder")
    for _ in range(2):
        data = dataset(tmp_path)
        for _ in range(2):
            assert torch.equal(data.batch([5, 0]).inputs, BINNING(data.recordings.take([5, 0])))
    assert len(caplog.records) == 1
    assert "binned frames cannot be kept in" in caplog.text
    assert str(tmp_path) in caplog.text


def test_a_full_disk_is_told_and_what_is_there_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = dataset(tmp_path).batch([1, 3]).inputs
    full = shutil.disk_usage(tmp_path)._replace(free=2**30 - 1)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: full)
    data = dataset(tmp_path)
    assert torch.equal(data.batch([1, 3, 5]).inputs[:, :2], expected)
    assert "less than 1 GiB of the disk is left" in caplog.text
    assert torch.equal(forbid(dataset(tmp_path)).batch([3, 1]).inputs, expected.flip(1))
    with pytest.raises(AssertionError, match="binned again"):
        forbid(dataset(tmp_path)).batch([5])


def test_a_copy_in_another_process_opens_the_files_itself(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    data.batch(range(6))
    expected = data.batch(range(6)).inputs
    content = pickle.dumps(data)
    assert len(content) < 60_000 + sum(column.nbytes for part in EVENTS for column in part)
    assert torch.equal(forbid(pickle.loads(content)).batch(range(6)).inputs, expected)


def test_augmented_batches_are_not_kept(tmp_path: Path) -> None:
    plain = dataset(tmp_path)
    augmented = EventDataset(plain.recordings, np.arange(6), BINNING, None, EventAugmentation(drop=0.5), plain.stored)
    assert augmented.stored is None
    assert augmented.batch(range(6)).inputs.sum() < plain.batch(range(6)).inputs.sum()
    assert torch.equal(forbid(dataset(tmp_path)).batch(range(6)).inputs, BINNING(Recordings.pack(EVENTS)))


def test_films_need_not_be_filmed_once_their_frames_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    few = {"train_films": 40, "val_films": 10, "test_films": 10}

    def batches() -> list[torch.Tensor]:
        data = with_loader(MNISTDVS, tmp_path / "none", tmp_path / "cache", **few, batch_size=16)
        data.setup()
        assert data.splits is not None
        return [split.batch(range(len(split))).inputs for split in data.splits]

    first = batches()
    shutil.rmtree(tmp_path / "cache" / "films")
    monkeypatch.setattr(Films, "_film", lambda *_: pytest.fail("filmed again"))
    assert all(torch.equal(a, b) for a, b in zip(first, batches(), strict=True))


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no file system in memory")
def test_to_look_for_frames_takes_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole of a mapped file in memory is filled when it is looked at, and on a full one ends the process."""
    monkeypatch.setattr(module, "KEPT_FREE", 0)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        frames = [StoredFrames(Path(folder), ("test",), 100_000, BINNING) for _ in range(2)]
        frames[0].batch(np.arange(3), lambda some: torch.zeros(4, len(some), 2, 7, 9))
        (index,) = Path(folder).rglob("index")
        before = index.stat().st_blocks
        frames[1]._look_up(np.arange(100_000))
        assert index.stat().st_blocks == before
        assert frames[1].planes[:4].tolist() == [1, 1, 1, 0]
