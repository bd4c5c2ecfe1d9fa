"""DVS128 Gesture on small files of both layouts: AEDAT 3.1 with labels, and tonic's npy."""

from __future__ import annotations

import hashlib
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.binning import random_events
from snnlab.data.events import dvs_gesture
from snnlab.data.events.dvs_gesture import DVSGesture, read_npy
from snnlab.data.formats.aedat3 import Aedat3File
from snnlab.data.loader import with_loader
from snnlab.data.publish.archives import Archive
from snnlab.data.recordings import Events
from snnlab.errors import InputError

TRAIN, TEST = (1, 2, 3, 4), (24, 25)


def aedat3_bytes(events: Events, packet: int = 64, overflow: int = 0) -> bytes:
    """A header, a packet of another type, then polarity packets; every event is valid."""
    parts = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"]
    parts.append(struct.pack("<HHIIIIII", 2, 1, 8, 4, 0, 1, 1, 1) + bytes(8))
    for start in range(0, len(events.t), packet):
        part = events.select(slice(start, start + packet))
        data = part.x.astype(np.uint32) << 17 | part.y.astype(np.uint32) << 2 | part.p.astype(np.uint32) << 1 | 1
        count = len(data)
        parts.append(struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, count, count, count))
        parts.append(np.stack([data, part.t], 1).astype("<u4").tobytes())
    return b"".join(parts)


def write_original(folder: Path) -> Path:
    """Twelve gestures of 1,000 us per trial, class 8 twice, with gaps of 500 us that belong to none."""
    folder.mkdir(parents=True)
    starts = np.arange(12) * 1500 + 100
    for split, users in (("train", TRAIN), ("test", TEST)):
        names = []
        for user in users:
            names.append(f"user{user:02d}_led.aedat")
            part = random_events(1800, 128, 128, 18_100, seed=user)
            (folder / names[-1]).write_bytes(aedat3_bytes(part))
            rows = [
                f"{label},{start},{start + 1000}"
                for label, start in zip([*range(1, 9), *range(8, 12)], starts, strict=True)
            ]
            text = "class,startTime_usec,endTime_usec\n" + "\n".join(rows) + "\n"
            (folder / f"user{user:02d}_led_labels.csv").write_text(text)
        (folder / f"trials_to_{split}.txt").write_text("\n".join(names) + "\n\n")
    return folder


def write_tonic(folder: Path) -> Path:
    for split, users in (("Train", TRAIN), ("Test", TEST)):
        for user in users:
            for label in range(11):
                path = folder / f"ibmGesture{split}/user{user:02d}_lab/{label}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                part = random_events(60, 128, 128, 6000, seed=100 * user + label)
                np.save(path, np.stack([part.x, part.y, part.p, part.t + 7], 1).astype(np.float64))
    return folder


def data_set(root: Path, **arguments) -> DVSGesture:
    usual = {"batch_size": 16, "unverified": True, "val_users": 1}
    return with_loader(DVSGesture, root, root / "cache", **{**usual, **arguments})


def test_published_layout(tmp_path: Path) -> None:
    write_original(tmp_path / "DVSGesture/DvsGesture")
    data = data_set(tmp_path, mode="count", size=128)
    assert data.spec.sizes == data.provenance.sizes == {"train": 36, "val": 12, "test": 24}
    assert data.provenance.flags() == ["altered", "subset"]
    assert "validation: users 4" in data.provenance.notes
    assert "layout: AEDAT 3.1 with labels" in data.provenance.notes
    batch = next(iter(data.test_dataloader()))
    assert batch.labels.tolist() == ([*range(8), *range(7, 11)] * 2)[:16]
    part = random_events(1800, 128, 128, 18_100, seed=24)
    for row in (0, 11):  # the events of each gesture, those of the gaps left out
        inside = part.select((part.t >= row * 1500 + 100) & (part.t < row * 1500 + 1100))
        expected = np.zeros((2, 128, 128))
        np.add.at(expected, (inside.p, inside.y, inside.x), 1)
        assert np.array_equal(batch.inputs[:, row].sum(0).numpy(), expected)
        assert batch.inputs[:, row].sum((1, 2, 3)).max() - batch.inputs[:, row].sum((1, 2, 3)).min() <= 1


def test_tonics_layout(tmp_path: Path) -> None:
    write_tonic(tmp_path / "DVSGesture")
    data = data_set(tmp_path, val_users=2)
    assert data.spec.input_shape == (2, 32, 32)
    assert (data.spec.time_steps, data.spec.classes) == (20, 11)
    assert data.spec.sizes == data.provenance.sizes == {"train": 22, "val": 22, "test": 22}
    assert "validation: users 3, 4" in data.provenance.notes
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (20, 16, 2, 32, 32)
    assert batch.labels.tolist() == [*range(11), *range(5)]
    assert (batch.inputs.sum((2, 3, 4)) * 16 == 3).all()  # 60 events in 20 parts, 4 x 4 pixels a place
    assert data_set(tmp_path, val_users=2, seed=3).provenance == data.provenance
    part = random_events(60, 128, 128, 6000, seed=2400)
    events = read_npy(tmp_path / "DVSGesture/ibmGestureTest/user24_lab/0.npy")
    assert events.t.tolist() == ((part.t - part.t[0]).astype(int) * 1000).tolist()  # ms to us, from 0
    write_original(tmp_path / "dvs_gesture")
    assert data_set(tmp_path).spec.sizes["test"] == 24  # the published form comes first


def test_aedat3_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    rows = Events(*np.array([[5, 7, 127], [6, 8, 0], [10, 20, 30], [1, 0, 1]]))
    path.write_bytes(aedat3_bytes(rows, packet=2, overflow=1))
    base = 1 << 31
    events = Aedat3File(path).events(base + 20, base + 31)
    assert [column.tolist() for column in events] == [[7, 127], [8, 0], [0, 10], [0, 1]]
    with pytest.raises(InputError, match=r"a\.aedat holds no event from 0 to 99 us"):
        Aedat3File(path).events(0, 99)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: b"", r"user03_led\.aedat cannot be read \(it is empty\)"),
        (lambda c: b"#!AER-DAT2.0\r\n" + c[14:], r"is no AEDAT 3\.1 file: it starts with b'#!AER-DAT2\.0'"),
        (lambda c: c[:-5], r"is truncated: \d+ bytes end within a packet"),
        (lambda c: c[: c.index(b"END-HEADER") + 50], "is truncated: .* within a packet"),
        (lambda c: c[: c.index(b"END-HEADER") + 12], "holds no event"),
    ],
)
@pytest.mark.parametrize("unverified", [False, True])
def test_broken_aedat3(tmp_path: Path, damage, words: str, unverified: bool) -> None:
    folder = write_original(tmp_path / "DvsGesture")
    path = folder / "user03_led.aedat"
    path.write_bytes(damage(path.read_bytes()))
    for name in () if unverified else ("user01_led", "user02_led"):  # the first unknown file is told
        (folder / f"{name}.aedat").write_bytes(path.read_bytes())
        words = words.replace("user03", "user01")
    with pytest.raises(InputError, match=words) as error:
        data_set(tmp_path, unverified=unverified).setup()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("user02_led_labels.csv", "class,start,end\n12,1,2\n", r"the row \(12, 1, 2\) must hold a class from 1 to 11"),
        ("user02_led_labels.csv", "class,start,end\n3,9,2\n", "a start and a later end"),
        ("user02_led_labels.csv", "class,start,end\nthree,1,2\n", "is no table of class, start and end"),
        ("trials_to_test.txt", "user77_led.aedat\n", r"trials_to_test\.txt names user77_led\.aedat, which is not in"),
        ("trials_to_test.txt", "", "train 36, val 12, test 0 recordings"),
    ],
)
def test_broken_labels(tmp_path: Path, name: str, content: str, words: str) -> None:
    folder = write_original(tmp_path / "DvsGesture")
    (folder / name).write_text(content)
    data = data_set(tmp_path)
    assert data.spec.classes == 11
    with pytest.raises(InputError, match=words) as error:
        data.setup()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "is missing or cut short"),
        (lambda p: p.write_bytes(b"<html>"), "is missing or cut short"),
        (lambda p: np.save(p, np.zeros((5, 3))), r"holds \(5, 3\), needed are \[events, 4\]"),
        (lambda p: np.save(p, np.array([[128, 0, 1, 0]])), "has an event off the 128 x 128 sensor"),
        (lambda p: np.save(p, np.array([[1, 0, 2, 0]])), "or of no polarity"),
        (lambda p: p.rename(p.with_name("11.npy")), "named for its class, which must lie in 0 to 10"),
    ],
)
def test_broken_npy(tmp_path: Path, change, words: str) -> None:
    folder = write_tonic(tmp_path / "DVSGesture")
    change(folder / "ibmGestureTest/user24_lab/0.npy")
    with pytest.raises(InputError, match=words) as error:
        data_set(tmp_path).setup()
    assert "\n" not in str(error.value)


def test_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_command) -> None:
    made, archives = write_tonic(tmp_path / "made"), []
    for split in ("Train", "Test"):
        path = tmp_path / f"ibmGesture{split}.tar.gz.served"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(made / f"ibmGesture{split}", f"ibmGesture{split}")
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        archives.append(Archive(f"ibmGesture{split}.tar.gz", md5, (path.as_uri(),)))
    monkeypatch.setattr(dvs_gesture, "TONIC", tuple(archives))
    with pytest.raises(InputError, match=r"no recordings under .*; put ibmGestureTrain\.tar\.gz there, or data\.down"):
        data_set(tmp_path).setup()
    data = data_set(tmp_path, unverified=False, download=True)
    assert data.provenance.flags() == ["subset"]
    assert data.provenance.verified is not None
    assert data.provenance.sizes == {"train": 33, "val": 11, "test": 22}
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path))
    code, _, error = run_command(
        *("method=stbp", "data=dvs_gesture", "data.val_users=1", "data.time_steps=3", "model.hidden=[16]"),
        *("trainer.max_epochs=1", "logger=none", "callbacks.figures=false"),
    )
    assert code == 0, error


def test_ranges() -> None:
    with pytest.raises(InputError, match=r"data\.dvs_gesture: val_users = 23 must lie in 1 to 22"):
        with_loader(DVSGesture, "x", "x", val_users=23)
