"""Binning, augmentation, AEDAT files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning, random_events
from snnlab.data.events.module import EventDataset
from snnlab.data.formats.aedat import parse_aedat, read_aedat, write_aedat
from snnlab.data.recordings import Events, Recordings, StoredRecordings, tidy
from snnlab.errors import InputError


def events(*rows: tuple[int, int, int, int]) -> Events:
    """Events from rows (x, y, t, p)."""
    x, y, t, p = np.array(rows).T
    return Events(x.astype(np.uint8), y.astype(np.uint8), t.astype(np.uint32), p.astype(np.uint8))


SMALL = events((0, 0, 0, 1), (3, 1, 5, 0), (3, 1, 9, 0), (2, 3, 10, 1), (1, 1, 25, 1), (0, 0, 99, 1))


def test_by_microseconds() -> None:
    frames = Binning(4, 4, 3, window_us=10)(Recordings.pack([SMALL]))
    assert frames.shape == (3, 1, 2, 4, 4)
    assert frames.dtype == torch.float32
    assert frames[0, 0, 1, 0, 0] == 1
    assert frames[0, 0, 0, 1, 3] == 2
    assert frames[1, 0, 1, 3, 2] == 1
    assert frames[2, 0, 1, 1, 1] == 1
    assert frames.sum() == 5  # the event at 99 us lies beyond


def test_by_steps_keeps_every_event() -> None:
    recordings = Recordings.pack([random_events(500, 6, 6, 1000, seed=s) for s in range(3)])
    frames = Binning(6, 6, 7)(recordings)
    assert frames.sum((0, 2, 3, 4)).tolist() == [500] * 3
    part = recordings[1]
    t = part.t.astype(int) - part.t[0]
    expected = np.bincount(t * 7 // (t[-1] + 1), minlength=7)
    assert frames[:, 1].sum((1, 2, 3)).tolist() == expected.tolist()


def test_occupancy_merged_crop_downsample() -> None:
    pack = Recordings.pack([SMALL])
    assert Binning(4, 4, 3, 10, "occupancy")(pack)[0, 0, 0, 1, 3] == 1
    merged = Binning(4, 4, 3, 10, polarity="merged")(pack)
    assert merged.shape == (3, 1, 1, 4, 4)
    assert merged.sum() == 5
    cropped = Binning(4, 4, 3, 10, crop=(2, 1, 2, 3))(pack)
    assert cropped.shape == (3, 1, 2, 3, 2)
    assert cropped[0, 0, 0, 0, 1] == 2
    assert cropped.sum() == 3
    halved = Binning(4, 4, 3, 10, downsample=2)(pack)
    assert halved.shape == (3, 1, 2, 2, 2)
    assert halved[0, 0, 0, 0, 1] == 2
    assert halved[2, 0, 1, 0, 0] == 1
    assert Binning(5, 5, 1, 10, downsample=2).frame_shape == (2, 3, 3)


def test_a_batch_is_its_samples() -> None:
    recordings = Recordings.pack([random_events(n, 8, 9, 900, seed=n) for n in (300, 0, 5, 200)])
    binning = Binning(8, 9, 9, 100)
    together = binning(recordings)
    for i in range(4):
        assert torch.equal(together[:, i], binning(recordings.take([i]))[:, 0])


def test_equal_to_tonic() -> None:
    from tonic.transforms import ToFrame

    part = random_events(3000, 34, 34, 300_000)
    theirs = ToFrame(sensor_size=(34, 34, 2), time_window=10_000, start_time=0, end_time=300_000)(part.structured())
    assert np.array_equal(Binning(34, 34, 30, 10_000)(Recordings.pack([part]))[:, 0].numpy(), theirs)


def test_events_out_of_order_and_wide_types() -> None:
    shuffled = SMALL.select(np.array([3, 0, 5, 4, 2, 1]))
    wide = Events(*(column.astype(np.int64) for column in shuffled))
    expected = Binning(4, 4, 3, 10)(Recordings.pack([SMALL]))
    for pack in (Recordings.pack([shuffled]), Recordings.pack([wide])):
        assert torch.equal(Binning(4, 4, 3, 10)(pack), expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"time_steps": 0}, "time_steps = 0 must be at least 1"),
        ({"window_us": 0}, "window_us = 0 must be at least 1 microsecond"),
        ({"crop": (2, 0, 3, 4)}, r"crop = \(2, 0, 3, 4\) .* leaves the 4 x 4 sensor"),
        ({"downsample": 5}, "downsample = 5 must lie in 1 to 4"),
        ({"mode": "sum"}, "mode = sum must be one of count, occupancy"),
    ],
)
def test_binning_ranges(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Binning(**{"height": 4, "width": 4, "time_steps": 3, **arguments})


# Augmentation --------------------------------------------------------------------------------------------------------


def test_augmentation_is_seeded_and_off_by_default() -> None:
    recordings = Recordings.pack([random_events(400, 10, 12, 1000, seed=s) for s in range(4)])
    assert not EventAugmentation()
    augment = EventAugmentation(flip=0.5, shift=2, jitter_us=20, drop=0.2)
    torch.manual_seed(3)
    first = augment(recordings, 12, 10)
    torch.manual_seed(3)
    second, third = augment(recordings, 12, 10), augment(recordings, 12, 10)
    assert all(np.array_equal(a, b) for a, b in zip(first.events, second.events, strict=True))
    assert not np.array_equal(first.events.t[:50], third.events.t[:50])
    for part in (first[i] for i in range(4)):
        assert np.all(np.diff(part.t.astype(int)) >= 0)
        assert part.x.max() < 12
        assert part.y.max() < 10


def test_each_augmentation_alone() -> None:
    part = random_events(2000, 10, 12, 1000)
    pack = Recordings.pack([part])
    assert np.array_equal(EventAugmentation(flip=1.0)(pack, 12, 10).events.x, 11 - part.x)
    assert EventAugmentation(drop=1.0)(pack, 12, 10).offsets.tolist() == [0, 0]
    assert 0.25 < len(EventAugmentation(drop=0.7)(pack, 12, 10).events.t) / 2000 < 0.35
    jittered = EventAugmentation(jitter_us=5.0)(pack, 12, 10).events
    assert len(jittered.t) == 2000
    assert 0 < np.abs(np.sort(jittered.t).astype(int) - part.t).mean() < 5
    moved = EventAugmentation(shift=9)(pack, 12, 10).events
    assert len(moved.t) < 2000
    assert len(moved.t) > 0
    with pytest.raises(InputError, match=r"augmentation: drop = 1\.5 must lie in 0 to 1"):
        EventAugmentation(drop=1.5)


# AEDAT 2.0 -----------------------------------------------------------------------------------------------------------

HEADER = b"#!AER-DAT2.0\r\n# comment\r\n"


def record(address: int, time: int) -> bytes:
    return address.to_bytes(4, "big") + time.to_bytes(4, "big")


def test_augmentation_reaches_the_ends_of_the_widest_sensor_and_of_time() -> None:
    x, t = np.array([0, 65_535], np.uint16), np.array([5, 2**32 - 1], np.uint32)
    pack = Recordings.pack([Events(x, np.zeros(2, np.uint8), t, np.ones(2, np.uint8))])
    assert EventAugmentation(flip=1.0)(pack, 65_536, 1).events.x.tolist() == [65_535, 0]
    torch.manual_seed(0)
    for _ in range(9):
        jittered = EventAugmentation(jitter_us=1000)(pack, 65_536, 1).events
        assert jittered.t[0] < 10_000 and jittered.t[1] > 2**32 - 10_000


def test_aedat_by_hand() -> None:
    address = (127 - 50) << 1 | 60 << 8 | 1
    recording = parse_aedat(HEADER + record(address, 7) + record(address & ~1, 9), Path("x"))
    assert [c.tolist() for c in recording.events] == [[50, 50], [60, 60], [7, 9], [1, 0]]
    assert recording.notes == []
    assert "comment" in recording.header


def test_aedat_write_then_read(tmp_path: Path) -> None:
    part = random_events(5000, 128, 128, 2_000_000)
    write_aedat(tmp_path / "a.aedat", part, ("made by a test",))
    again = read_aedat(tmp_path / "a.aedat")
    assert all(np.array_equal(a, b) for a, b in zip(part, again.events, strict=True))
    assert "made by a test" in again.header
    with pytest.raises(InputError, match="x, y up to 200 must lie in 0 to 127"):
        write_aedat(tmp_path / "b.aedat", events((200, 1, 0, 0)))


def test_aedat_time_wrap_and_small_steps_back(tmp_path: Path) -> None:
    times = [2**32 - 10, 2**32 - 12, 2**32 - 1, 3, 1, 20]
    content = HEADER + b"".join(record(1, t) for t in times)
    assert parse_aedat(content, Path("x")).events.t.tolist() == [
        *(2**32 - 10, 2**32 - 12, 2**32 - 1, 2**32 + 3, 2**32 + 1, 2**32 + 20)
    ]
    long = events((1, 1, 0, 0), (1, 1, 0, 0))._replace(t=np.array([2**32 - 5, 2**32 + 5]))
    write_aedat(tmp_path / "a", long)
    assert read_aedat(tmp_path / "a").events.t.tolist() == [2**32 - 5, 2**32 + 5]


def test_aedat_partial_record_is_dropped_and_noted() -> None:
    recording = parse_aedat(HEADER + record(1, 5) + b"\0\0\0", Path("a.aedat"))
    assert len(recording.events.t) == 1
    assert recording.notes == ["a.aedat: dropped a partial record of 3 bytes at the end"]


def test_aedat_triggers_are_no_pixels() -> None:
    assert parse_aedat(HEADER + record(0x8001, 5) + record(1, 6), Path("x")).events.t.tolist() == [6]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"<html>sign in</html>", "is an HTML page, not a recording"),
        (b"#!AER-DAT3.1\r\n" + record(1, 1), r"is no AEDAT 2.0 file: it starts with b'#!AER-DAT3.1'"),
        (b"\x89PNG\r\n", "is no AEDAT 2.0 file"),
        (HEADER, "is truncated: 25 bytes, a header and no complete event"),
        (HEADER + record(1, 1)[:5], "is truncated: 30 bytes"),
        (HEADER + record(1, 1) + record(0x12345678, 1), "event 1 has address 0x12345678, a DVS128 uses 16 bits"),
    ],
)
def test_aedat_broken(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mnist_0_scale04_0001.aedat"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        read_aedat(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_aedat(tmp_path / "none")


# What larger sets need -----------------------------------------------------------------------------------------------


def test_equal_parts_by_events() -> None:
    """The i-th of 6 events falls in step i * 4 // 6, whatever its time."""
    frames = Binning(4, 4, 4, split="events")(Recordings.pack([SMALL, SMALL.select(slice(0, 1))]))
    assert frames[:, 0].sum((1, 2, 3)).tolist() == [2, 1, 2, 1]
    assert frames[1, 0, 0, 1, 3] == 1
    assert frames[:, 1].sum((1, 2, 3)).tolist() == [1, 0, 0, 0]


def test_size_and_mean() -> None:
    """128 pixels become 48: places of 3, 3 and 2 columns in turn; a mean of one event per pixel is 1 everywhere."""
    y, x = np.divmod(np.arange(128 * 128), 128)
    everywhere = Events(
        x.astype(np.uint8), y.astype(np.uint8), np.zeros(128 * 128, np.uint32), np.ones_like(x, np.uint8)
    )
    pack = Recordings.pack([everywhere])
    counts = Binning(128, 128, 1, size=48)(pack)[0, 0, 1]
    assert counts.shape == (48, 48)
    assert counts[0, :4].tolist() == [9, 9, 6, 9]
    assert counts.sum() == 128 * 128
    assert Binning(128, 128, 1, mode="mean", size=48)(pack)[0, 0, 1].unique().tolist() == [1]
    assert torch.equal(Binning(128, 128, 1, size=32)(pack), Binning(128, 128, 1, downsample=4)(pack))


def test_a_line_of_sensors() -> None:
    part = Events(np.array([0, 4, 5, 699], np.uint16), *np.zeros((2, 4), np.uint8), np.ones(4, np.uint8))
    part = part._replace(t=np.arange(4, dtype=np.uint32))
    pack = Recordings.pack([part])
    frames = Binning(1, 700, 1, 10, polarity="merged", downsample=5)(pack)
    assert frames.shape == (1, 1, 1, 1, 140)
    assert frames.nonzero()[:, -1].tolist() == [0, 1, 139]
    assert part.structured()["x"].tolist() == [0, 4, 5, 699]
    torch.manual_seed(0)
    moves = set()
    for _ in range(30):
        moved = EventAugmentation(shift=2)(pack, 700, 1).events
        assert set(moved.y.tolist()) == {0}
        moves.add(int(moved.x[moved.t == 2][0]) - 5)
    assert moves == {-2, -1, 0, 1, 2}
    assert moved.x.dtype == np.uint16


def test_stored_recordings_are_read_when_asked_for() -> None:
    parts, seen = [random_events(n, 8, 8, 100, seed=n) for n in (5, 7, 9)], []
    stored = StoredRecordings(lambda i: (seen.append(i), parts[i])[1], 3)
    data = EventDataset(stored, np.array([2, 0, 1]), Binning(8, 8, 2))
    assert len(data) == len(stored) == 3
    assert seen == []
    batch = data.batch([2, 0])
    assert seen == [2, 0]
    assert batch.labels.tolist() == [1, 2]
    assert batch.inputs.sum((0, 2, 3, 4)).tolist() == [9, 5]


def test_size_ranges() -> None:
    for arguments, words in (
        ({"size": 5}, "size = 5 must lie in 1 to 4"),
        ({"size": 2, "downsample": 2}, "size = 2 and downsample = 2 exclude each other"),
        ({"split": "events", "window_us": 9}, "split = events has no use for window_us = 9"),
        ({"split": "clock"}, "split = clock must be one of time, events"),
    ):
        with pytest.raises(InputError, match=words):
            Binning(4, 4, 3, **arguments)


def columns(x, y, t, p):
    return (np.array(x), np.array(y), np.array(t), np.array(p))


def test_a_large_sensor_keeps_its_places():
    events = tidy(*columns([300, 10], [258, 639], [5, 9], [1, 0]))
    assert events.x.tolist() == [300, 10] and events.y.tolist() == [258, 639] and events.t.tolist() == [0, 4]
    frames = Binning(640, 640, time_steps=1)(Recordings.pack([events]))
    assert frames[0, 0, 1, 258, 300] == 1 and frames[0, 0, 0, 639, 10] == 1 and frames.sum() == 2
    assert [tuple(event) for event in events.structured()] == [(300, 258, 0, 1), (10, 639, 4, 0)]


def test_polarities_of_minus_one_are_off():
    assert tidy(*columns([0, 1], [0, 1], [0, 1], [-1, 1])).p.tolist() == [0, 1]
    assert tidy(*columns([0, 1], [0, 1], [0, 1], [-1, -1])).p.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (([0], [0], [0], [2]), r"polarities \[2\] must be 0 \(OFF\) and 1 \(ON\), or -1 and 1"),
        (([0, 0], [0, 0], [0, 1], [-1, 0]), r"polarities \[-1, 0\] must be"),
        (([-1], [0], [0], [1]), "a column of -1 must lie in 0 to 65535"),
        (([0], [70_000], [0], [1]), "a row of 70000 must lie in 0 to 65535"),
        (([0, 0], [0, 0], [0, 2**33], [1, 1]), "a recording of 8,590 s is longer than 4,295 s"),
    ],
)
def test_events_that_do_not_fit_are_refused(events, words):
    with pytest.raises(InputError, match=words):
        tidy(*columns(*events))


@pytest.mark.parametrize("polarity", [-1, 2, 255])
def test_a_polarity_outside_of_the_frame_never_reaches_the_kernel(polarity):
    one = Events(np.array([0], np.uint8), np.array([0], np.uint8), np.array([0], np.uint32), np.array([polarity]))
    with pytest.raises(InputError, match=f"a polarity of {polarity} must be 0"):
        Binning(2, 2, time_steps=1)(Recordings.pack([one]))
