"""What a file declares is held against a limit before memory is taken, and what cannot be read is said in one line."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from snnlab.data import limits
from snnlab.data.camera import Camera
from snnlab.data.events.films import Films
from snnlab.data.files import read_bytes, read_content, read_text, remember
from snnlab.data.formats.npy import parse_npy, read_npy, read_npz
from snnlab.data.formats.zipped import open_zip, read_member
from snnlab.errors import InputError


def told(call, *arguments, **options) -> str:
    """The line of the InputError that ``call`` raises."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def npy(header: str, body: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + body


def sparse(path: Path, size: int, start: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)
    return path


def damaged(path: Path, **changes: int) -> Path:
    """A zip of one file whose entry in the list of files is changed: its flags, method or size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(1000))
    content = bytearray(path.read_bytes())
    for start, shift in ((content.find(b"PK\x01\x02"), 2), (content.find(b"PK\x03\x04"), 0)):
        for name, value in changes.items():
            offset, form = {"flags": (6, "<H"), "method": (8, "<H"), "size": (22, "<I")}[name]
            struct.pack_into(form, content, start + offset + shift, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">i2", [("x", "<u2"), ("t", "<i8")]])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, dtype, order):
    array = np.asarray(np.frombuffer(bytes(range(240)), dtype)[:12].reshape(3, 4), order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", first=array, second=array[:0])
    assert np.array_equal(read_npy(tmp_path / "a.npy"), array)
    first, second = read_npz(tmp_path / "a.npz", ("first", "second"))
    assert np.array_equal(first, array) and second.shape == (0, 4) and first.dtype == array.dtype


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }\n"), "cut short"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-4, -1), }\n", bytes(32)), "cut short"),
        (npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'9' * 4000},), }}\n"), "cut short"),
        (npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'1,' * 99}), }}\n", bytes(8)), "cut short"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n."), "Python objects"),
        (npy("{'descr': 'V0', 'fortran_order': False, 'shape': (5,), }\n"), "cut short"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': ('a',), }\n"), "cannot be read"),
        (npy("(" * 5000), "cannot be read"),
        (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n", bytes(8), (9, 0)), "cannot be read"),
        (npy("\0" * 100), "cannot be read"),
    ],
)
def test_a_damaged_header_is_one_line(content, words):
    assert words in told(parse_npy, content, "a.npy")


def test_a_header_of_true_for_one_is_that(tmp_path):
    content = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }\n", np.float64(2).tobytes())
    assert parse_npy(content, "a.npy").tolist() == [2.0]


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, kind in (("pipe", "pipe"), ("folder", "folder"), ("device", "device")):
        for read in (read_bytes, read_content, read_npy, open_zip):
            line = told(read, tmp_path / name)
            assert kind in line or "directory" in line
    assert "No such file" in told(read_bytes, tmp_path / "nothing")


def test_more_bytes_than_may_be_are_refused_before_they_are_read(tmp_path):
    for read in (read_bytes, read_content, read_npy):
        assert "at most 536,870,912" in told(read, sparse(tmp_path / "a", 1 << 41, b"\x1f\x8b"))
    assert "at most 1,000" in told(read_bytes, sparse(tmp_path / "b", 1001), 1000)
    assert len(read_bytes(sparse(tmp_path / "b", 1000), 1000)) == 1000
    (tmp_path / "c.gz").write_bytes(gzip.compress(bytes(100_000)))
    assert "at most 99,999" in told(read_content, tmp_path / "c.gz", 99_999)
    assert len(read_content(tmp_path / "c.gz", 100_000)) == 100_000
    assert "20,000,001 events" in told(limits.check_events, "film.aedat", 20_000_001)


def test_text_is_told_from_bytes(tmp_path):
    (tmp_path / "a").write_bytes("\ufeffé".encode())
    assert read_text(tmp_path / "a") == "é"
    (tmp_path / "a").write_bytes(b"ab\xff")
    assert "byte 2" in told(read_text, tmp_path / "a")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flags": 1}, "is encrypted"),
        ({"method": 9}, "Deflate64"),
        ({"method": 14}, "LZMA"),
        ({"method": 77}, "method 77"),
        ({"size": 2**31}, "declares 2,147,483,648 bytes"),
        ({"size": 900}, "corrupt zip"),  # more inside than declared: the checksum of the first 900 bytes is another
        ({"size": 2000}, "corrupt zip"),
    ],
)
def test_a_zip_that_cannot_be_read_is_one_line(tmp_path, changes, words):
    path = damaged(tmp_path / "a.zip", **changes)
    with open_zip(path) as archive:
        assert words in told(read_member, archive, "a.bin", path)
        assert "holds no b" in told(read_member, archive, "b", path)


def test_a_member_that_unpacks_to_more_than_it_declares_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(300 << 20))
    content = bytearray(path.read_bytes())
    for start, shift in ((content.find(b"PK\x01\x02"), 2), (content.find(b"PK\x03\x04"), 0)):
        struct.pack_into("<I", content, start + 22 + shift, 100)
    path.write_bytes(content)
    import tracemalloc

    tracemalloc.start()
    with open_zip(path) as archive:
        assert "corrupt zip" in told(read_member, archive, "a.bin", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_zip_with_an_endless_list_of_files_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.bin", b"")
    content = bytearray(path.read_bytes())
    end = content.find(b"PK\x05\x06")
    struct.pack_into("<I", content, end + 12, 200 << 20)
    sparse(path, 300 << 20)
    with path.open("r+b") as file:
        file.seek((300 << 20) - 22)
        file.write(content[end:])
    assert "a list of files" in told(open_zip, path)
    path.write_bytes(b"PK\x03\x04 no zip")
    assert "corrupt zip" in told(open_zip, path)


def test_what_can_be_made_again_is_made_again_or_gone_without(tmp_path, caplog):
    source = tmp_path / "source"
    source.write_bytes(b"1")
    made = []

    def remembered(cache: Path) -> object:
        return remember(cache, "what", [source], lambda: made.append(1) or len(made))

    assert [remembered(tmp_path / "cache") for _ in range(2)] == [1, 1]
    (kept,) = tmp_path.glob("cache/checked/*.json")
    whole = kept.read_text()
    other = (
        whole.replace('"seal": "', '"seal": "0'),
        whole.replace('"value": 1', '"value": 7'),
    )  # neither has such a checksum
    for times, content in enumerate(("", "[]", "null", *other, "[" * 100_000, "\xff"), 2):
        kept.write_text(content, encoding="latin1")
        assert remembered(tmp_path / "cache") == times
    kept.unlink()
    os.mkfifo(kept)
    assert remembered(tmp_path / "cache") == 9 == remembered(tmp_path / "cache")
    assert [remembered(source / "no folder") for _ in range(2)] == [10, 11]
    assert len(caplog.records) == 1 and "cannot be written" in caplog.text


def test_what_is_remembered_of_one_file_is_not_taken_for_another(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    hashes = [remember(tmp_path / "cache", "hash", [tmp_path / name], lambda n=name: n) for name in ("one", "other")]
    first, second = tmp_path.glob("cache/checked/*.json")
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    again = [remember(tmp_path / "cache", "hash", [tmp_path / name], lambda n=name: n) for name in ("one", "other")]
    assert again == hashes


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(b""), lambda p: os.truncate(p, 700), lambda p: p.mkdir()])
def test_films_that_are_cut_short_are_made_again(tmp_path, damage):
    def films(cache: Path) -> np.ndarray:
        images = np.full((3, 1, 8, 8), 16, np.uint8)
        return Films(Camera(), images, 16, np.arange(3), 0, 20.0, "hash", cache).take(range(3)).events.t

    whole = films(tmp_path / "cache")
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    assert np.array_equal(films(tmp_path / "cache"), whole)
    kept.unlink()
    damage(kept) if damage.__code__.co_names == ("mkdir",) else (kept.write_bytes(bytes(1000)), damage(kept))
    assert np.array_equal(films(tmp_path / "cache"), whole)
    kept.parent.with_name("file").write_bytes(b"")
    assert np.array_equal(films(kept.parent.with_name("file")), whole)
