"""Broken files, from the command line: one line that names the file and the mend, exit code 2, nothing half-written."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

HTML = b"<!DOCTYPE html><html><body>404 not found</body></html>"


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def mnist(root: Path, **replaced: bytes) -> None:
    """Four small files in MNIST's layout; ``train_images=b"..."`` puts other bytes into one of them."""
    folder = root / "mnist"
    folder.mkdir(parents=True)
    images, labels = np.zeros((30, 28, 28)), np.arange(30) % 10
    for split, name in (("train", "train"), ("t10k", "test")):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = replaced.get(f"{name}_{kind.split('-')[0]}", gzip.compress(idx(array)))
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(content)


def event(x: int = 3, y: int = 4, t: int = 1000) -> bytes:
    return bytes([x, y, (t >> 16) & 0x7F, (t >> 8) & 0xFF, t & 0xFF])


def nmnist(root: Path, content: bytes = event() * 5, label: str = "1") -> None:
    for split in ("Train", "Test"):
        for number in range(3):
            path = root / "nmnist" / split / label / f"{number:05}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if number == 2 else event() * 5)


def aedat(root: Path, content: bytes) -> None:
    for digit in range(10):
        folder = root / "mnist_dvs" / str(digit) / "scale4"
        folder.mkdir(parents=True)
        for number in (1, 2, 901):
            good = b"#!AER-DAT2.0\r\n# a comment\r\n" + np.array([[60 << 8 | 60 << 1, 10]] * 4, ">u4").tobytes()
            bad = digit == 3 and number == 2
            (folder / f"mnist_{digit}_scale04_{number:04}.aedat").write_bytes(content if bad else good)


def zipped(root: Path, content: bytes) -> None:
    (root / "nmnist").mkdir()
    (root / "nmnist" / "recordings.zip").write_bytes(content)


def broken_zip() -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("Train", "Test"):
            for number in range(3):
                archive.writestr(f"{split}/1/{number:05}.bin", event() * 500)
    content = bytearray(buffer.getvalue())
    content[60:75] = bytes(15)
    return bytes(content)


def cifar(root: Path, content: bytes) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (folder / name).write_bytes(content)


MAKE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "truncated IDX": ("mnist", lambda r: mnist(r, train_images=gzip.compress(idx(np.zeros((30, 28, 28)))[:-9])), "train-images-idx3-ubyte.gz"),
    "IDX header cut": ("mnist", lambda r: mnist(r, train_images=gzip.compress(b"\0\0\x08\x03\0\0")), "is truncated in its header"),
    "IDX with bytes behind": ("mnist data.unverified=true", lambda r: mnist(r, train_labels=gzip.compress(idx(np.zeros(30)) + b"xx")), "train-labels-idx1-ubyte.gz"),
    "no IDX file": ("mnist data.unverified=true", lambda r: mnist(r, train_labels=gzip.compress(b"PK\3\4 something else")), "is no IDX file"),
    "corrupt gzip": ("mnist", lambda r: mnist(r, train_labels=gzip.compress(idx(np.zeros(30)))[:20]), "is a corrupt gzip file"),
    "HTML page instead of IDX": ("mnist", lambda r: mnist(r, test_images=HTML), "is an HTML page"),
    "empty file": ("mnist", lambda r: mnist(r, test_labels=b""), "is empty (0 bytes)"),
    "wrong hash": ("mnist", lambda r: mnist(r), "data.unverified=true"),
    "a file missing": ("mnist data.download=false", lambda r: (mnist(r), (r / "mnist/t10k-labels-idx1-ubyte.gz").unlink()), "t10k-labels-idx1-ubyte (.gz or not) is not in"),
    "labels out of range": ("mnist data.unverified=true", lambda r: mnist(r, train_labels=gzip.compress(idx(np.full(30, 11)))), "labels must lie in 0 to 9"),
    "counts that differ": ("mnist data.unverified=true", lambda r: mnist(r, train_labels=gzip.compress(idx(np.zeros(29)))), "the images beside it number 30"),
    "nothing in the root": ("mnist data.download=false", lambda r: None, "train-images-idx3-ubyte"),
    "CIFAR record cut": ("cifar10", lambda r: cifar(r, bytes(3073 * 2 + 5)), "is truncated"),
    "CIFAR label": ("cifar10 data.unverified=true", lambda r: cifar(r, b"\x0b" + bytes(3072)), "labels must lie in 0 to 9"),
    "empty N-MNIST folder": ("nmnist", lambda r: (r / "nmnist").mkdir(), "holds no Train/<label>/*.bin"),
    "truncated ATIS": ("nmnist", lambda r: nmnist(r, event() * 3 + b"ab"), "is truncated: 17 bytes are no whole number of 5-byte events"),
    "ATIS outside the sensor": ("nmnist", lambda r: nmnist(r, event(x=200)), "N-MNIST lies in 0 to 33"),
    "ATIS without an event": ("nmnist", lambda r: nmnist(r, b""), "is truncated: 0 bytes"),
    "label folder": ("nmnist", lambda r: nmnist(r, label="cat"), "must be a label from 0 to 9"),
    "corrupt zip": ("nmnist", lambda r: zipped(r, b"PK\3\4 nothing like a zip"), "is a corrupt zip"),
    "damaged member": ("nmnist", lambda r: zipped(r, broken_zip()), "recordings.zip"),
    "no AEDAT": ("mnist_dvs data.val_films=4", lambda r: aedat(r, b"RIFF" + bytes(40)), "is no AEDAT 2.0 file"),
    "HTML page instead of AEDAT": ("mnist_dvs data.val_films=4", lambda r: aedat(r, HTML), "is an HTML page, not a recording"),
    "AEDAT header only": ("mnist_dvs data.val_films=4", lambda r: aedat(r, b"#!AER-DAT2.0\r\n"), "mnist_3_scale04_0002.aedat"),
    "no recordings": ("mnist_dvs data.source=recorded", lambda r: None, "doi 10.3389/fnins.2015.00481"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MAKE)
def test_broken_file(kind, run_command, empty_data):
    data, make, words = MAKE[kind]
    make(empty_data)
    before = sorted(path for path in empty_data.rglob("*"))
    code, _, error = run_command("method=stbp", "logger=none", "trainer.max_epochs=1", *f"data={data}".split())
    lines = [line for line in error.splitlines() if line.startswith("snnlab: ")]
    assert code == 2, error
    assert len(lines) == 1 and words in lines[0], error
    assert "Traceback" not in error
    assert not Path("outputs").exists()
    assert sorted(path for path in empty_data.rglob("*")) == before
