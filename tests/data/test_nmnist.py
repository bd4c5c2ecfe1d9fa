from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tonic.io

from snnlab.data.events.nmnist import NMNIST
from snnlab.data.formats.atis import parse_atis
from snnlab.data.loader import with_loader
from snnlab.data.recordings import EVENT
from snnlab.errors import InputError


def bin_bytes(count: int, seed: int) -> bytes:
    """One recording in the ATIS format: x, y, polarity bit and 23 bits of microseconds."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300_000, count)) | rng.integers(0, 2, count) << 23
    return np.stack([*rng.integers(0, 34, (2, count)), t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


def write_folder(folder: Path) -> Path:
    for split, count in (("Train", 40), ("Test", 10)):
        for i in range(count):
            path = folder / split / str(i % 10) / f"{i + 1:05d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bin_bytes(200, i + (split == "Test") * 100))
    return folder


def test_folder_and_zip_give_the_same(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a" / "NMNIST")
    (tmp_path / "b" / "nmnist").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    for split in ("Train", "Test"):  # two zips, as published
        with zipfile.ZipFile(tmp_path / "b" / "nmnist" / f"{split}.zip", "w") as archive:
            for path in (folder / split).rglob("*.bin"):
                archive.write(path, path.relative_to(folder))
    with zipfile.ZipFile(tmp_path / "c" / "nmnist.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*.bin"):
            archive.write(path, Path("deeper") / path.relative_to(folder))
    sets = [with_loader(NMNIST, tmp_path / name, tmp_path, batch_size=36) for name in "abc"]
    assert len({data.provenance.hash for data in sets}) == 1
    for data in sets:
        assert data.spec.sizes == data.provenance.sizes == {"train": 36, "val": 4, "test": 10}
        assert data.provenance.flags() == ["subset"]
        assert data.provenance.verified is None
    batch = next(iter(sets[0].train_dataloader()))
    assert batch.inputs.shape == (30, 36, 2, 34, 34)
    assert batch.signals is None
    assert batch.inputs.sum() == 36 * 200
    assert next(iter(sets[2].test_dataloader())).labels.tolist() == list(range(10))


def test_events_are_tonics(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bin_bytes(500, 3))
    theirs = tonic.io.read_mnist_file(path, np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    ours = parse_atis(path.read_bytes(), "a", 34).structured()
    assert ours.dtype == EVENT
    assert all(np.array_equal(ours[name], theirs[name]) for name in "xytp")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is truncated: 0 bytes"),
        (bin_bytes(10, 0)[:-2], "is truncated: 48 bytes are no whole number of 5-byte events"),
        (bytes([34, 1, 0, 0, 1]), "has an event at x or y = 34, N-MNIST lies in 0 to 33"),
        (bytes([1, 240, 0, 0, 1]), "holds no event"),
        (b"<html>a page\x00</html>", "is truncated|has an event at x or y"),
    ],
)
def test_broken_recordings(tmp_path: Path, content: bytes, words: str) -> None:
    folder = write_folder(tmp_path / "nmnist")
    (folder / "Train/3/00004.bin").write_bytes(content)
    with pytest.raises(InputError, match=rf"Train/3/00004\.bin ({words})") as error:
        with_loader(NMNIST, tmp_path, tmp_path).setup()
    assert "\n" not in str(error.value)


def test_missing_and_misplaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no recordings under .*nmnist; put Train\.zip and Test\.zip of https"):
        with_loader(NMNIST, tmp_path, tmp_path).setup()
    assert with_loader(NMNIST, tmp_path, tmp_path).spec.sizes == {}
    (tmp_path / "nmnist").mkdir()
    with pytest.raises(InputError, match=r"nmnist holds no Train/<label>/\*\.bin"):
        with_loader(NMNIST, tmp_path, tmp_path).setup()
    folder = write_folder(tmp_path / "nmnist")
    (folder / "Train/3").rename(folder / "Train/three")
    with pytest.raises(InputError, match="the folder 'three' must be a label from 0 to 9"):
        with_loader(NMNIST, tmp_path, tmp_path).setup()
    (folder / "Train/three").rename(folder / "Train/3")
    (folder / "Test").rename(folder / "test")
    with pytest.raises(InputError, match="40 training and 0 test recordings"):
        with_loader(NMNIST, tmp_path, tmp_path).setup()


@pytest.mark.parametrize(
    "damage", [lambda c: c[:100], lambda c: b"<html></html>", lambda c: c[:200] + b"\0" * 60 + c[260:]]
)
def test_corrupt_zip(tmp_path: Path, damage) -> None:
    folder = write_folder(tmp_path / "made")
    path = tmp_path / "nmnist.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.bin")):
            archive.write(file, file.relative_to(folder))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"nmnist\.zip is a corrupt zip .*download") as error:
        with_loader(NMNIST, tmp_path, tmp_path).setup()
    assert "\n" not in str(error.value)


def test_ranges() -> None:
    with pytest.raises(InputError, match=r"data\.nmnist: val_fraction = 1\.5 must lie in 0\.001 to 0\.9"):
        with_loader(NMNIST, "x", "x", val_fraction=1.5)
    with pytest.raises(InputError, match="downsample = 40 must lie in 1 to 34"):
        with_loader(NMNIST, "x", "x", downsample=40)


def test_real_subset(tmp_path: Path, real_data) -> None:
    data = with_loader(NMNIST, real_data("nmnist"), tmp_path)
    assert data.provenance.sizes == data.spec.sizes == {"train": 900, "val": 100, "test": 100}
    assert data.provenance.verified == "known content hash of the 1,000/100 subset of SLAYER (SHA-256)"
    assert data.provenance.flags() == ["subset"]
    assert data.splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]  # the order of MNIST
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (30, 100, 2, 34, 34)
    assert 3000 < batch.inputs.sum() / 100 < 5000
