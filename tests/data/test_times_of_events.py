"""Time stamps that cannot be those of one recording are refused in one line, in every format and data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.data.events.mnist_dvs import MNISTDVS
from snnlab.data.events.nmnist import NMNIST
from snnlab.data.formats import aedat
from snnlab.data.formats.atis import parse_atis
from snnlab.data.loader import with_loader
from snnlab.data.recordings import Events, check_times, tidy, unwrapped
from snnlab.errors import InputError


def times(count: int = 1000, start: int = 10_000_000) -> np.ndarray:
    return start + np.sort(np.random.default_rng(0).integers(0, 2_000_000, count))


def changed(place: int, value: int) -> np.ndarray:
    t = times()
    t[place] = value
    return t


@pytest.mark.parametrize(
    ("t", "words"),
    [
        (changed(400, 17), r"the time jumps back from 1\d,\d+,\d+ us to 17 us at event 401 of 1,000"),
        (changed(0, 17), r"the time stamp 17 us is \d+\.\d+ s away from 1\d,\d+,\d+ us"),
        (changed(999, 10**9), r"the time stamp 1,000,000,000 us is 98\d\.\d+ s away"),
        (np.concatenate([[17, 18, 19], times(997)]), r"the time stamp 19 us is \d+\.\d+ s away from 1\d,\d+,\d+ us"),
        (np.concatenate([times(995), 10**9 + np.arange(5)]), r"the time stamp 1,000,000,000 us is 98\d\.\d+ s away"),
        (changed(500, 10**9), "the time jumps back from 1,000,000,000 us"),
        (np.concatenate([times(500), times(500, 0)]), "the time jumps back"),
        (np.full(1000, 5), "all 1,000 events carry the same time stamp 5"),
    ],
)
def test_refused(t: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=f"a file: {words}") as error:
        check_times(t, "a file")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=words):
        tidy(np.zeros(1000), np.zeros(1000), t, np.zeros(1000, int), "a file")


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("x", np.zeros(10), "columns of shapes"),  # binning would read beyond it
        ("p", np.zeros(999, int), "columns of shapes"),
        ("x", np.full(1000, 3.7), "a column is 3.7, not the number of a pixel"),
        ("y", np.full(1000, np.nan), "a row is nan, not the number of a pixel"),
        ("x", np.full(1000, np.inf), "a column is inf, not the number of a pixel"),
        ("t", np.where(np.arange(1000) == 3, np.nan, times()), "a time stamp is not finite"),
    ],
)
def test_columns_that_hold_no_events_are_refused(column: str, values: np.ndarray, words: str) -> None:
    columns = {"x": np.zeros(1000), "y": np.zeros(1000), "t": times(), "p": np.zeros(1000, int), column: values}
    with pytest.raises(InputError, match=f"a file: {words}"):
        tidy(**columns, where="a file")


@pytest.mark.parametrize(
    "t",
    [
        times(),
        np.empty(0, np.int64),
        np.array([0, 10**6, 3]),  # too few to tell
        times() - np.random.default_rng(1).integers(0, 50_000, 1000),  # as sensors put them
        np.random.default_rng(2).permutation(times()),  # in no order at all: they are sorted
        np.concatenate([times(500), times(500, 10**8)]),  # a long pause
        np.arange(40) * 7_500,
    ],
)
def test_taken(t: np.ndarray) -> None:
    check_times(t, "a file")


@pytest.mark.parametrize("bits", [23, 31, 32])
def test_a_counter_that_was_full_goes_on(bits: int) -> None:
    t = np.arange(0, 3 << bits, (1 << bits) // 40)
    t[10:12] = t[[11, 10]]
    late = np.flatnonzero(np.diff(t >> bits))[0]
    t[late : late + 2] = t[[late + 1, late]]  # out of order just where it begins again
    assert np.array_equal(unwrapped(t & ((1 << bits) - 1), bits), t)


def test_aedat2_whose_counter_has_31_bits(tmp_path: Path) -> None:
    t = np.arange(2**31 - 1000, 2**31 + 1000, 10)
    ones = np.ones(len(t), np.uint8)
    aedat.write_aedat(tmp_path / "a.aedat", Events(ones, ones, t & 0x7FFFFFFF, ones))
    read = aedat.read_aedat(tmp_path / "a.aedat").events
    assert np.array_equal(read.t, t)
    check_times(read.t, "x")


def mnist_dvs(root: Path, t: np.ndarray) -> MNISTDVS:
    """Three recordings a digit, of which one has the time stamps ``t``."""
    rng = np.random.default_rng(0)
    for digit in range(10):
        for number in (1, 2, 901):
            stamps = t if (digit, number) == (3, 2) else times()
            x, y = rng.integers(50, 70, (2, len(stamps)))
            folder = root / "mnist_dvs" / str(digit) / "scale4"
            events = Events(x, y, stamps, np.ones(len(stamps), np.uint8))
            aedat.write_aedat(folder / f"mnist_{digit}_scale04_{number:04}.aedat", events)
    return with_loader(MNISTDVS, root, root / "cache", val_films=4)


@pytest.mark.parametrize("place", [0, 1, 500, 999])
def test_one_early_stamp_does_not_empty_a_recording_of_mnist_dvs(tmp_path: Path, place: int) -> None:
    with pytest.raises(InputError, match=r"mnist_3_scale04_0002\.aedat: the time "):
        mnist_dvs(tmp_path, changed(place, 17)).setup()


def test_good_recordings_of_mnist_dvs_are_read(tmp_path: Path) -> None:
    data = mnist_dvs(tmp_path, times())
    assert next(iter(data.train_dataloader())).inputs.sum((0, 2, 3, 4)).min() > 300


def atis(t: np.ndarray) -> bytes:
    rng = np.random.default_rng(0)
    t = t - t[0] | 1 << 23
    return np.stack([*rng.integers(1, 34, (2, len(t))), t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


@pytest.mark.parametrize("zeros", [5, 50, 2500])
@pytest.mark.parametrize("where", ["the end", "the middle"])
def test_zeros_of_an_atis_file_are_no_events(tmp_path: Path, zeros: int, where: str) -> None:
    good = atis(times())
    damaged = good[:-zeros] + bytes(zeros) if where == "the end" else good[:1000] + bytes(zeros) + good[1000 + zeros :]
    with pytest.raises(InputError, match=r"a\.bin: event \d[\d,]* of 1,000 is zeros, as a copy that was cut short"):
        parse_atis(damaged, "a.bin", 34)
    parse_atis(good, "a.bin", 34)
    parse_atis(bytes(5) + good, "a.bin", 34)  # at (0, 0), OFF, when the recording begins


def test_zeros_end_a_run_on_nmnist(run_command, empty_data) -> None:
    for split in ("Train", "Test"):
        for number in range(3):
            path = empty_data / "nmnist" / split / "1" / f"{number:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(atis(times())[: -100 * number or None] + bytes(100 * number))
    code, _, error = run_command("method=stbp", "data=nmnist", "logger=none", "trainer.max_epochs=1")
    assert code == 2 and "Train/1/00001.bin: event 981 of 1,000 is zeros" in error and "Traceback" not in error


def test_nmnist_is_what_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "nmnist"
    for split in ("Train", "Test"):
        for number in range(3):
            path = folder / split / "1" / f"{number:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(atis(times()))
    data = with_loader(NMNIST, tmp_path, tmp_path)
    data.setup()
    assert data.splits.test[0][0]["t"].tolist() == (times() - times()[0]).tolist()
