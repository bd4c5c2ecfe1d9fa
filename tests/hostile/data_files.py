"""Hostile data files: a small file of every format that is read, damaged in one way each, and read.

``python tests/hostile/data_files.py [--only WORD] [--seed N]`` makes and tries all of them.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from harness import Outcome, attempt, command


class Format(NamedTuple):
    """A kind of file: how a good one is written, and how it is read."""

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]


def events(count: int = 3000, side: int = 34) -> Any:
    from snnlab.data.binning import random_events

    return random_events(count, side, side)


def write_h5(path: Path) -> None:
    import h5py

    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            lists = file.create_dataset(f"spikes/{name}", (8,), dtype=h5py.vlen_dtype(kind))
            for i in range(8):
                lists[i] = np.sort(draw.random(2500)).astype(kind)
        file["labels"] = np.arange(8, dtype=np.uint16)
        file["extra/speaker"] = np.arange(8, dtype=np.uint16)


def write_aedat3(path: Path) -> None:
    body = b""
    for start in range(4):
        records = np.zeros(100, [("data", "<u4"), ("time", "<u4")])
        records["data"], records["time"] = 1 | 5 << 17, np.arange(100) + 100 * start
        body += struct.pack("<HHIIIIII", 1, 0, 8, 4, 0, 100, 100, 100) + records.tobytes()
    path.write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + body)


def write_aedat4(path: Path) -> None:
    found = np.zeros(500, {"names": ["t", "x"], "formats": ["<i8", "<i2"], "offsets": [0, 8], "itemsize": 16})
    found["t"] = np.arange(500)
    places = struct.pack("<HHHHi", 6, 8, 4, 0, 8)  # of the one field of a table, and the table's way back to them
    packet = struct.pack("<II", 0, 16) + b"EVTS" + places + struct.pack("<II", 4, 500) + found.tobytes()
    frame = b"\x04\x22\x4d\x18\x60\x40\0" + struct.pack("<I", 1 << 31 | len(packet)) + packet + bytes(4)
    header = struct.pack("<I", 12) + places + struct.pack("<i", 1)
    sizes = struct.pack("<I", len(header)) + header + struct.pack("<II", 0, len(frame))
    path.write_bytes(b"#!AER-DAT4.0\r\n" + sizes + frame)


def write_mat(path: Path) -> None:
    from scipy.io import savemat

    pictures = np.zeros((32, 32, 3, 20), np.uint8)
    savemat(path, {"X": pictures, "y": np.ones((20, 1), np.uint8)}, do_compression=True)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("Train", "Test"):
            for number in range(6):
                archive.writestr(
                    f"{split}/{number % 2}/{number}.bin", np.tile(np.uint8([3, 4, 0, 0, 9]), 200).tobytes()
                )


def write_jpeg(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path, "JPEG")


def formats() -> list[Format]:
    from snnlab.data.events import cifar10_dvs, dvs_gesture, films
    from snnlab.data.events.nmnist import NMNIST
    from snnlab.data.files import read_bytes, read_content
    from snnlab.data.formats import aedat, atis, idx, npy, svhn_mat
    from snnlab.data.formats.aedat3 import Aedat3File
    from snnlab.data.formats.cifar_binary import parse_cifar
    from snnlab.data.formats.heidelberg_hdf5 import SpikeFile
    from snnlab.data.images.tiny_imagenet import decode_jpeg
    from snnlab.data.limits import MEMBER, MIB
    from snnlab.data.loader import with_loader

    def read_h5(path: Path) -> None:
        file = SpikeFile(path, 20, path.parent / "cache")
        for i in range(len(file.labels)):
            file.events(i)

    def read_aedat3(path: Path) -> None:
        file = Aedat3File(path)
        file.events(0, int(file.index.last.max()) + 1)

    def read_mat(path: Path) -> None:
        content = read_content(path, 512 * MIB)
        svhn_mat.check_mat(content, path, 512 * MIB)
        svhn_mat.parse_mat(content, path)

    def read_zip(path: Path) -> None:
        (path.parent / "nmnist").mkdir()
        path.rename(path.parent / "nmnist/a.zip")
        with_loader(NMNIST, path.parent, path.parent / "cache").setup()

    gz = gzip.compress(struct.pack(">I", 0x803) + struct.pack(">III", 40, 28, 28) + bytes(40 * 784))
    array = np.array([[1, 2, 0, 5], [3, 4, 1, 6]] * 300)
    return [
        Format("idx.gz", lambda p: p.write_bytes(gz), lambda p: idx.parse_idx(read_content(p, 128 * MIB), p)),
        Format("idx", lambda p: p.write_bytes(gzip.decompress(gz)), lambda p: idx.parse_idx(read_content(p), p)),
        Format(
            "cifar.bin",
            lambda p: p.write_bytes(bytes(3073 * 9)),
            lambda p: parse_cifar(read_content(p, 128 * MIB), p, (10,)),
        ),
        Format("h5", write_h5, read_h5),
        Format("mat", write_mat, read_mat),
        Format("aedat", lambda p: aedat.write_aedat(p, events()), cifar10_dvs.read_recording),
        Format("aedat3", write_aedat3, read_aedat3),
        Format("aedat4", write_aedat4, cifar10_dvs.read_recording),
        Format(
            "bin", lambda p: p.write_bytes(bytes(5 * 400)), lambda p: atis.parse_atis(read_bytes(p, MIB), str(p), 34)
        ),
        Format("npy", lambda p: np.save(p, array), dvs_gesture.read_npy),
        Format("npz", lambda p: np.savez(p, a=array, b=array), lambda p: npy.read_npz(p, "ab")),
        Format(
            "films.npz",
            lambda p: np.savez(p, offsets=np.array([0, 600]), **dict.fromkeys("xytp", array[:, 0])),
            lambda p: films._read(p, 1),
        ),
        Format("zip", write_zip, read_zip),
        Format("jpg", write_jpeg, lambda p: decode_jpeg(read_bytes(p, MEMBER), str(p))),
        Format("csv", lambda p: p.write_text("class,start,end\n" + "1,0,9\n" * 50), dvs_gesture.read_labels),
    ]


Damage = Callable[[Path, random.Random], object]


def changed(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def replaced(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path, _: random.Random) -> None:
        path.unlink()
        make(path)

    return damage


def page(content: bytearray, at: int, size: int = 4096) -> None:
    content[at : at + size] = bytes(len(content[at : at + size]))


def words(value: int) -> Damage:
    """Put ``value`` in the place of three words of the first kilobyte."""

    def damage(path: Path, draw: random.Random) -> None:
        def change(content: bytearray) -> None:
            for _ in range(3):
                struct.pack_into("<I", content, draw.randrange(4, max(5, min(len(content), 1024) - 4)), value)

        changed(path, change)

    return damage


def flipped(path: Path, draw: random.Random) -> None:
    def change(content: bytearray) -> None:
        for _ in range(20):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)

    changed(path, change)


def wrapped(path: Path, _: random.Random) -> None:
    """A gzip of 3 GB of zeros, a hundredth of a second to write: one piece again and again."""
    piece = gzip.compress(bytes(1 << 26))
    path.write_bytes(piece * 48)


def in_zip(path: Path, _: random.Random) -> None:
    """The list of files of a zip says that each holds 4 GB, is encrypted, or is compressed in another way."""

    def change(content: bytearray) -> None:
        at, kinds = content.find(b"PK\x01\x02"), ((8, "<H", 1), (10, "<H", 9), (24, "<I", 2**32 - 2))
        for offset, form, value in kinds[: 1 + len(content) % 3]:
            if at >= 0:
                struct.pack_into(form, content, at + offset, value)

    changed(path, change)


DAMAGES: dict[str, Damage] = {
    "whole": lambda path, draw: None,
    "empty": replaced(lambda path: path.write_bytes(b"")),
    "web page": replaced(lambda path: path.write_bytes(b"<html>sign in</html>" * 99)),
    "cut": lambda path, draw: changed(path, lambda c: c.__delitem__(slice(draw.randrange(1, len(c)), None))),
    "page of zeros": lambda path, draw: changed(path, lambda c: page(c, draw.randrange(len(c)))),
    "page of zeros further on": lambda path, draw: changed(
        path, lambda c: page(c, draw.randrange(len(c)) // 2 + len(c) // 2)
    ),
    "flipped": flipped,
    "words of ones": words(2**32 - 1),
    "words of 2^31 - 1": words(2**31 - 1),
    "words of 10^6": words(10**6),
    "sparse terabyte": lambda path, draw: os.truncate(path, 1 << 40),
    "sparse half gigabyte": lambda path, draw: os.truncate(path, 500 << 20),
    "gzip bomb": wrapped,
    "zip entry": in_zip,
    "pipe": replaced(os.mkfifo),
    "folder": replaced(Path.mkdir),
    "device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "noise": lambda path, draw: path.write_bytes(path.read_bytes()[:16] + draw.randbytes(4000)),
}


def cases(seed: int) -> Iterator[tuple[str, Format, Damage, random.Random]]:
    for form in formats():
        for name, damage in DAMAGES.items():
            yield f"{form.name}: {name}", form, damage, random.Random(f"{seed} {form.name} {name}")


def try_all(chosen: list[tuple[str, Format, Damage, random.Random]], base: Path) -> list[Outcome]:
    outcomes = []
    for number, (name, form, damage, draw) in enumerate(chosen):
        home = base / f"{number:04d}"
        home.mkdir()
        path = home / f"a.{form.name.split('.')[-1]}"
        form.write(path)
        damage(path, draw)
        outcomes.append(attempt(name, lambda form=form, path=path: form.read(path), home, home / "canary"))
        shutil.rmtree(home)
    return outcomes


def tried(base: Path, seed: int, only: str) -> list[Outcome]:
    return try_all([case for case in cases(seed) if only in case[0]], base)


if __name__ == "__main__":
    command(__doc__, tried)
