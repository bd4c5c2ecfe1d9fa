"""CIFAR10-DVS on small files of the published format (AEDAT 2.0) and of tonic's (AEDAT 4)."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.data.binning import random_events
from snnlab.data.events import cifar10_dvs
from snnlab.data.events.cifar10_dvs import CIFAR10DVS, CLASSES, read_recording
from snnlab.data.formats.aedat import write_aedat
from snnlab.data.formats.aedat4 import lz4_frame, parse_aedat4
from snnlab.data.loader import with_loader
from snnlab.data.publish.archives import Archive
from snnlab.data.recordings import Events
from snnlab.errors import InputError


def write_folder(folder: Path, each: int = 20, names: tuple[str, ...] = CLASSES) -> Path:
    """Write ``each`` recordings of every class, numbered from 0."""
    for label, name in enumerate(names):
        for number in range(each):
            part = random_events(300, 128, 128, 1_300_000, seed=100 * label + number)
            write_aedat(folder / name / f"cifar10_{name}_{number}.aedat", part)
    return folder


def data_set(root: Path, **arguments) -> CIFAR10DVS:
    return with_loader(CIFAR10DVS, root, root / "cache", **{"unverified": True, **arguments})


def test_the_split_is_fixed_and_by_number(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "CIFAR10DVS")
    data = data_set(tmp_path)
    assert data.spec.sizes == data.provenance.sizes == {"train": 162, "val": 18, "test": 20}
    assert data.provenance.flags() == ["altered", "subset"]
    names = [item.name for item in data.find()[1]]
    test = [names[i] for i in data.splits.test.indices]
    assert test == [f"{name}/cifar10_{name}_{number}.aedat" for name in CLASSES for number in (18, 19)]
    assert sorted([*data.splits.train.indices, *data.splits.val.indices, *data.splits.test.indices]) == [*range(200)]
    labels = data.splits.val.dataset.labels[data.splits.val.indices]
    assert torch.bincount(labels).max() == 2  # stratified
    assert data_set(tmp_path, seed=5).provenance == data.provenance
    assert data.spec.input_shape == (2, 48, 48)
    assert (data.spec.time_steps, data.spec.classes, data.spec.prototype_shape) == (10, 10, (3, 32, 32))
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (10, 20, 2, 48, 48)
    assert batch.labels.tolist() == [label for label in range(10) for _ in range(2)]
    counted = data_set(tmp_path, mode="count")
    assert next(iter(counted.test_dataloader())).inputs.sum((2, 3, 4)).eq(30).all()  # 300 events in ten equal parts
    assert with_loader(CIFAR10DVS, tmp_path / "none", tmp_path).spec.sizes == {"train": 8100, "val": 900, "test": 1000}
    (folder / "truck").rename(folder / "lorry")
    assert data_set(tmp_path).spec.sizes == {"train": 146, "val": 16, "test": 18}


def test_published_files_are_turned_upright(tmp_path: Path) -> None:
    """address bits: 1 to 7 a, 8 to 14 b; upright x = 127 - b, y = 127 - a, polarity = 1 - bit 0."""
    a, b = np.array([5, 100]), np.array([20, 7])
    records = np.stack([a << 1 | b << 8 | [1, 0], [1000, 1500]], 1).astype(">u4")
    path = tmp_path / "cifar10_cat_3.aedat"
    path.write_bytes(b"#!AER-DAT2.0\r\n" + records.tobytes())
    assert [column.tolist() for column in read_recording(path)] == [[107, 120], [122, 27], [0, 500], [0, 1]]


def test_training_batches_are_augmented_by_the_seed(tmp_path: Path) -> None:
    write_folder(tmp_path / "cifar10_dvs", each=10, names=CLASSES[:2])
    data = data_set(tmp_path, mode="count")
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(next(iter(data.train_dataloader())).inputs)
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert batches[0].sum() < 16 * 300  # some events are shifted off the sensor
    assert torch.equal(next(iter(data.val_dataloader())).inputs, next(iter(data.val_dataloader())).inputs)


# AEDAT 4, written from its schema -------------------------------------------------------------------------------------


def aedat4_bytes(packets: list[tuple[int, Events]], compression: int = 0, squeeze=bytes) -> bytes:
    """A file of event packets (stream, events); ``squeeze`` makes the frame of a compressed packet."""
    body = b""
    for stream, part in packets:
        structs = b"".join(struct.pack("<qhhB3x", t, x, y, p) for x, y, t, p in zip(*part, strict=True))
        table = struct.pack("<I4sHHH2xiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(part.t)) + structs
        packet = squeeze(struct.pack("<I", len(table)) + table)
        body += struct.pack("<II", stream, len(packet)) + packet
    text = b"<dv></dv>"
    head = struct.pack("<I4sHHHHH2xiiq", 20, b"IOHE", 10, 20, 4, 8, 16, 12, compression, 0) + struct.pack("<I", 4)
    head += struct.pack("<I", len(text)) + text
    end = 14 + 4 + len(head) + len(body)
    head = head[:28] + struct.pack("<q", end) + head[36:]
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(head)) + head + body + b"table of packets"


def stored(content: bytes) -> bytes:
    """An LZ4 frame of one block that is not compressed and one of literals only."""
    half = len(content) // 2
    rest = content[half:]
    lengths = bytes([0xF0]) + b"\xff" * ((len(rest) - 15) // 255) + bytes([(len(rest) - 15) % 255])
    blocks = struct.pack("<I", half | 1 << 31) + content[:half] + struct.pack("<I", len(lengths) + len(rest))
    return b"\x04\x22\x4d\x18\x60\x40\x82" + blocks + lengths + rest + b"\0\0\0\0"


PACKETS = [
    (1, random_events(5, 128, 128, 99, seed=9)),
    (0, random_events(40, 128, 128, 1000, seed=1)),
    (0, random_events(30, 128, 128, 1000, seed=2)),
]


@pytest.mark.parametrize("content", [aedat4_bytes(PACKETS), aedat4_bytes(PACKETS, 1, stored)])
def test_aedat4(tmp_path: Path, content: bytes) -> None:
    events = parse_aedat4(content, Path("x"))
    together = [np.concatenate([a, b]) for a, b in zip(PACKETS[1][1], PACKETS[2][1], strict=True)]
    order = np.argsort(together[2], kind="stable")
    expected = [column[order] for column in together]
    expected[2] = expected[2] - expected[2][0]
    assert all(np.array_equal(a, b) for a, b in zip(events, expected, strict=True))
    assert events.t.dtype == np.uint32


def test_lz4_by_hand() -> None:
    """Format: token (literals, match - 4), literals, distance; the second block copies from the first."""
    first = bytes([3 << 4 | 5]) + b"abc" + struct.pack("<H", 3) + bytes([1 << 4]) + b"!"  # abc, 9 from 3 back, !
    second = bytes([0 << 4 | 0]) + struct.pack("<H", 13) + bytes([2 << 4]) + b"xy"  # 4 from 13 back, xy
    frame = b"\x04\x22\x4d\x18" + b"\x48" + b"\x40" + bytes(8) + b"\x82"  # linked blocks, content size given
    frame += b"".join(struct.pack("<I", len(block)) + block for block in (first, second)) + b"\0\0\0\0"
    assert lz4_frame(frame) == b"abcabcabcabc!abcaxy"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no AEDAT 4 file: it starts with b''"),
        (b"<html>page</html>", "is no AEDAT 4 file"),
        (b"#!AER-DAT2.0\r\n" + bytes(16), "is no AEDAT 4 file: it starts with b'#!AER-DAT2.0'"),
        (aedat4_bytes(PACKETS)[:400], "it is truncated, its packets end at byte"),
        (aedat4_bytes(PACKETS)[:30], "its header is cut short"),
        (aedat4_bytes(PACKETS, 3), "a packet is no Zstandard frame"),
        (aedat4_bytes(PACKETS, 1), "a packet is no LZ4 frame"),
        (aedat4_bytes(PACKETS, 1, lambda c: stored(c)[:-90] + b"\xff" * 90), "corrupt|no LZ4 block"),
        (aedat4_bytes([]), "holds no event"),
        (aedat4_bytes([(0, random_events(9, 200, 200, 9)._replace(x=np.full(9, 130)))]), "off the 128 x 128 sensor"),
    ],
)
def test_aedat4_broken(content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        parse_aedat4(content, Path("a.aedat4"))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("a.aedat4")


# Archives ------------------------------------------------------------------------------------------------------------


def test_tonics_zip_of_zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, folder = tmp_path / "made", tmp_path / "CIFAR10DVS"
    folder.mkdir()
    with zipfile.ZipFile(folder / "CIFAR10DVS.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        for name in CLASSES:
            with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
                for number in range(10):
                    content = aedat4_bytes([(0, random_events(50, 128, 128, 1000, seed=number))])
                    inner.writestr(f"{name}/cifar10_{name}_{number}.aedat4", content)
                    if number:  # tonic leaves the files beside
                        (made / name).mkdir(parents=True, exist_ok=True)
                        (made / name / f"cifar10_{name}_{number}.aedat4").write_bytes(content)
            outer.write(tmp_path / "inner.zip", f"{name}.zip")
    md5 = hashlib.md5((folder / "CIFAR10DVS.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10_dvs, "TONIC", Archive("CIFAR10DVS.zip", md5))
    data = data_set(tmp_path, unverified=False)
    assert data.provenance.verified == f"the publisher's archive checksums (MD5 {md5})"
    assert data.provenance.sizes == {"train": 81, "val": 9, "test": 10}
    assert any("AEDAT 4 files taken as they are" in note for note in data.provenance.notes)
    (tmp_path / "b").mkdir()
    made.rename(tmp_path / "b/cifar10_dvs")
    (tmp_path / "b/CIFAR10DVS.zip").write_bytes((folder / "CIFAR10DVS.zip").read_bytes())
    beside = data_set(tmp_path / "b", unverified=False)
    assert beside.provenance.sizes == {"train": 72, "val": 8, "test": 10}  # of 9 in each class 8 are for training
    assert beside.provenance.verified == data.provenance.verified


def test_downloads_of_the_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives, server = [], tmp_path / "server"
    write_folder(server / "made", each=10)
    for name in CLASSES:
        path = server / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as out:
            for file in (server / "made" / name).iterdir():
                out.write(file, f"{name}/{file.name}")
        archives.append(Archive(path.name, hashlib.md5(path.read_bytes()).hexdigest(), (path.as_uri(),)))
    monkeypatch.setattr(cifar10_dvs, "ARCHIVES", tuple(archives))
    with pytest.raises(InputError, match=r"no <class>/\*\.aedat under .*; put airplane\.zip there, or data\.download"):
        data_set(tmp_path).setup()
    data = data_set(tmp_path, unverified=False, download=True)
    assert data.provenance.flags() == ["subset"]
    assert data.provenance.verified is not None
    path = tmp_path / "cifar10_dvs/bird/cifar10_bird_3.aedat"
    write_aedat(path, random_events(300, 128, 128, 99))
    (tmp_path / "cifar10_dvs/bird.zip").write_bytes(b"other")
    with pytest.raises(
        InputError, match=r"cifar10_bird_3\.aedat matches no published checksum .* put bird\.zip beside"
    ):
        data_set(tmp_path, unverified=False).setup()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c[:-3], "is truncated: it ends with a partial record"),
        (lambda c: c[:14], "is truncated: 14 bytes, a header and no complete event"),
        (lambda c: b"", "is empty"),
        (lambda c: b"<html></html>", "is an HTML page"),
    ],
)
@pytest.mark.parametrize("unverified", [False, True])
def test_broken_recordings(tmp_path: Path, damage, words: str, unverified: bool) -> None:
    folder = write_folder(tmp_path / "cifar10_dvs", each=10, names=CLASSES[:1])
    path = folder / "airplane/cifar10_airplane_0.aedat"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"cifar10_airplane_0\.aedat {words}") as error:
        data_set(tmp_path, unverified=unverified).setup()
    assert "\n" not in str(error.value)


def test_missing(tmp_path: Path, run_command, empty_data: Path) -> None:
    code, _, error = run_command("method=stbp", "data=cifar10_dvs")
    assert code == 2
    assert error.count("\n") == 1
    assert "data.cifar10_dvs: no <class>/*.aedat under" in error
    write_folder(tmp_path / "cifar10_dvs", each=2)
    with pytest.raises(InputError, match="holds 20 recordings; needed are at least 10 of a class"):
        data_set(tmp_path).setup()


def test_ranges() -> None:
    with pytest.raises(InputError, match="size = 129 must lie in 1 to 128"):
        with_loader(CIFAR10DVS, "x", "x", size=129)
    with pytest.raises(InputError, match="split = events has no use for window_us = 5; set it to null"):
        with_loader(CIFAR10DVS, "x", "x", window_us=5)
