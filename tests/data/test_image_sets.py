"""CIFAR-100, SVHN, EMNIST, Tiny ImageNet: small fakes in the true formats, and every way they can be broken."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from snnlab.data.__main__ import main
from snnlab.data.contract import DataModule
from snnlab.data.images import emnist, svhn, tiny_imagenet
from snnlab.data.images.cifar100 import CIFAR100
from snnlab.data.images.emnist import EMNIST
from snnlab.data.images.svhn import SVHN
from snnlab.data.images.tiny_imagenet import TinyImageNet
from snnlab.data.loader import with_loader
from snnlab.errors import InputError

CLASSES = {"cifar100": CIFAR100, "svhn": SVHN, "emnist": EMNIST, "tiny_imagenet": TinyImageNet}
WNIDS = ["n02", "n01", "n04", "n03"]  # not sorted, as in the published file


def random_bytes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def cifar100_records(count: int = 20) -> np.ndarray:
    """Record i is of group i % 20 and class 5 i % 100."""
    records = random_bytes(count, 2 + 3072)
    records[:, 0], records[:, 1] = np.arange(count) % 20, 5 * np.arange(count) % 100
    return records


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "train.bin").write_bytes(cifar100_records(40).tobytes())
    (folder / "test.bin").write_bytes(cifar100_records().tobytes())


def mat(pictures: np.ndarray, labels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"X": pictures, "y": labels[:, None]}, do_compression=True)
    return buffer.getvalue()


def svhn_mat(count: int = 20, seed: int = 0) -> bytes:
    """Image i has label i % 10, written as 10 for the digit 0."""
    return mat(random_bytes(32, 32, 3, count, seed=seed), ((np.arange(count) - 1) % 10 + 1).astype(np.uint8))


def write_svhn(root: Path) -> None:
    (root / "svhn").mkdir(parents=True)
    (root / "svhn" / "train_32x32.mat").write_bytes(svhn_mat(40))
    (root / "svhn" / "test_32x32.mat").write_bytes(svhn_mat())
    (root / "svhn" / "extra_32x32.mat").write_bytes(svhn_mat(30, seed=2))


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def emnist_files(split: str, classes: int, first: int = 0) -> dict[str, bytes]:
    """Image i has label first + i % classes."""
    files = {}
    for part, count in (("train", 3 * classes), ("test", 20)):
        files[f"emnist-{split}-{part}-images-idx3-ubyte.gz"] = idx(random_bytes(count, 28, 28))
        files[f"emnist-{split}-{part}-labels-idx1-ubyte.gz"] = idx(first + np.arange(count) % classes)
    return {name: gzip.compress(content) for name, content in files.items()}


def write_emnist(root: Path) -> None:
    (root / "emnist").mkdir(parents=True)
    for name, content in {**emnist_files("balanced", 47), **emnist_files("letters", 26, 1)}.items():
        (root / "emnist" / name).write_bytes(content)


def emnist_zip(root: Path) -> Path:
    """The archive with two of the six splits."""
    (root / "emnist").mkdir(parents=True)
    with zipfile.ZipFile(root / "emnist" / "gzip.zip", "w") as archive:
        for name, content in {**emnist_files("digits", 10), **emnist_files("letters", 26, 1)}.items():
            archive.writestr(f"gzip/{name}", content)
    return root / "emnist" / "gzip.zip"


def jpeg(colour: tuple[int, int, int] | int, size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tiny_files() -> dict[str, bytes]:
    """20 training images of 4 classes, class k of brightness 40 k, one of them grey; 20 test images."""
    files = {"wnids.txt": "\n".join(WNIDS).encode(), "words.txt": b"n01\tone\n"}
    for k, name in enumerate(sorted(WNIDS)):
        files[f"train/{name}/{name}_boxes.txt"] = b""
        for i in range(5):
            files[f"train/{name}/images/{name}_{i}.JPEG"] = jpeg(40 * k if i == 0 else (40 * k, 0, 200))
    lines = []
    for i in range(20):
        files[f"val/images/val_{i}.JPEG"] = jpeg((0, 40 * (i % 4), 0))
        lines.append(f"val_{i}.JPEG\t{sorted(WNIDS)[i % 4]}\t0\t0\t62\t62")
    return files | {"val/val_annotations.txt": "\n".join(lines).encode(), "test/images/test_0.JPEG": jpeg(0)}


def write_tiny(root: Path) -> None:
    for name, content in tiny_files().items():
        path = root / "tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def tiny_zip(root: Path, files: dict[str, bytes] | None = None) -> Path:
    path = root / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files or tiny_files()).items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return path


WRITE: dict[str, Callable[[Path], None]] = {
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "emnist": write_emnist,
    "tiny_imagenet": write_tiny,
}


def make(name: str, root: Path, **arguments: object) -> DataModule:
    return with_loader(CLASSES[name], root, root / "cache", **{"unverified": True, "val_size": 8, **arguments})


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cifar100", {"train": 32, "val": 8, "test": 20}),
        ("svhn", {"train": 32, "val": 8, "test": 20}),
        ("emnist", {"train": 133, "val": 8, "test": 20}),
        ("tiny_imagenet", {"train": 12, "val": 8, "test": 20}),
    ],
)
def test_fakes_are_read(tmp_path: Path, name: str, sizes: dict[str, int]) -> None:
    WRITE[name](tmp_path)
    with pytest.raises(InputError, match=rf"^data\.{name}: .*data\.unverified=true") as error:
        make(name, tmp_path, unverified=False).setup()
    one_line(error)
    data = make(name, tmp_path)
    assert data.provenance.sizes == sizes
    assert data.provenance.flags() == ["altered"]
    assert data.provenance.notes
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (20, *data.spec.input_shape)
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() <= 1
    assert batch.labels.dtype == torch.int64
    assert batch.labels.max() < data.spec.classes
    again = make(name, tmp_path, seed=3)
    again.setup()
    assert torch.equal(again.splits.val.images, data.splits.val.images)  # the splits do not depend on the seed
    few = make(name, tmp_path, train_size=5)
    assert few.provenance.sizes["train"] == 5
    assert "subset" in few.provenance.flags()


@pytest.mark.parametrize("name", list(CLASSES))
def test_sizes_are_known_before_anything_is_read(tmp_path: Path, name: str) -> None:
    spec = with_loader(CLASSES[name], tmp_path, tmp_path).spec
    published = {
        "cifar100": (45_000, 10_000, 100),
        "svhn": (68_257, 26_032, 10),
        "emnist": (107_800, 18_800, 47),
        "tiny_imagenet": (95_000, 10_000, 200),
    }
    assert (spec.sizes["train"], spec.sizes["test"], spec.classes) == published[name]
    with pytest.raises(InputError, match=rf"^data\.{name}: val_size = -1 must lie in"):
        with_loader(CLASSES[name], tmp_path, tmp_path, val_size=-1)
    with pytest.raises(InputError, match=rf"^data\.{name}: .*{tmp_path}.*data\.download=true fetches it") as error:
        with_loader(CLASSES[name], tmp_path, tmp_path, download=False).setup()
    one_line(error)


@pytest.mark.parametrize("name", list(CLASSES))
def test_list_and_show(tmp_path: Path, name: str, monkeypatch, capsys) -> None:
    WRITE[name](tmp_path)
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path))
    monkeypatch.setenv("SNNLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(f"│ {name} "))
    assert "found" in row
    out = tmp_path / "picture.png"
    assert main(["show", name, "unverified=true", "val_size=4", "augmentation.crop_padding=2", "--out", str(out)]) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"


# Layouts -------------------------------------------------------------------------------------------------------------


def test_cifar100_labels_and_pixels(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    fine, coarse = make("cifar100", tmp_path), make("cifar100", tmp_path, labels="coarse")
    fine.setup(), coarse.setup()
    assert fine.splits.test.labels.tolist() == [5 * i % 100 for i in range(20)]
    assert coarse.splits.test.labels.tolist() == list(range(20))
    assert (fine.spec.classes, coarse.spec.classes) == (100, 20)
    record = cifar100_records()[3]
    assert fine.splits.test[3][0][1, 2, 5] * 255 == record[2 + 1024 + 2 * 32 + 5]  # green plane, row 2, column 5
    assert coarse.prototypes().shape == (20, 3, 32, 32)
    with pytest.raises(InputError, match=r"no training image carries label 1"):
        fine.prototypes()
    with pytest.raises(InputError, match=r"^data\.cifar100: labels = all: choose one of fine, coarse"):
        make("cifar100", tmp_path, labels="all")


def test_cifar100_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar100(tmp_path / "made")
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / CIFAR100.archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-100-binary", "cifar-100-binary")
    with pytest.raises(InputError, match=r"has MD5 .*, published is 03b5dce0"):
        make("cifar100", root, unverified=False).setup()
    monkeypatch.setattr(CIFAR100, "md5", hashlib.md5((root / CIFAR100.archive).read_bytes()).hexdigest())
    for _ in range(2):  # from the archive, then from the folder that its marker vouches for
        provenance = make("cifar100", root, unverified=False).provenance
        assert not provenance.altered
        assert "archive checksum at download" in provenance.verified


def test_svhn_labels_pixels_and_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path)
    data = make("svhn", tmp_path)
    data.setup()
    assert data.splits.test.labels.tolist() == [i % 10 for i in range(20)]  # 10 became 0
    pictures = random_bytes(32, 32, 3, 20)
    assert data.splits.test[7][0][2, 4, 9] * 255 == pictures[4, 9, 2, 7]  # blue, row 4, column 9
    more = make("svhn", tmp_path, extra=True)
    assert more.provenance.sizes == {"train": 62, "val": 8, "test": 20}
    assert torch.equal(more.splits.val.images, data.splits.val.images)  # never from the extra images
    assert with_loader(CLASSES["svhn"], "x", "x", extra=True).spec.sizes["train"] == 73_257 + 531_131 - 5000
    files = {name: (tmp_path / "svhn" / name).read_bytes() for name in svhn.MD5}
    monkeypatch.setattr(svhn, "MD5", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})
    provenance = make("svhn", tmp_path, unverified=False).provenance
    assert provenance.flags() == []
    assert provenance.verified == "published MD5 of each file"


def test_emnist_is_upright_and_counts_from_0(tmp_path: Path) -> None:
    write_emnist(tmp_path)
    data = make("emnist", tmp_path, split="letters")
    data.setup()
    assert data.spec.classes == 26
    assert data.splits.test.labels.tolist() == list(range(20))
    stored = random_bytes(20, 28, 28)
    assert torch.equal(data.splits.test.images[:, 0], torch.from_numpy(stored.transpose(0, 2, 1).copy()))
    sizes = {split: with_loader(EMNIST, "x", "x", split=split).spec.sizes["train"] + 5000 for split in emnist.SPLITS}
    assert sizes == {
        "balanced": 112_800,
        "letters": 124_800,
        "digits": 240_000,
        "mnist": 60_000,
        "byclass": 697_932,
        "bymerge": 697_932,
    }
    with pytest.raises(InputError, match=r"^data\.emnist: split = all: choose one of balanced, letters"):
        with_loader(EMNIST, "x", "x", split="all")


def test_emnist_archive_vouches_split_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = emnist_zip(tmp_path)
    with pytest.raises(InputError, match=r"gzip\.zip has MD5 .*, published is 58c8d27c"):
        make("emnist", tmp_path, unverified=False, split="digits").setup()
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(emnist, "ARCHIVE", emnist.ARCHIVE._replace(md5=md5))
    for split in ("digits", "letters", "digits"):  # the second split must not unsay the first
        assert make("emnist", tmp_path, unverified=False, split=split).provenance.flags() == []
    with pytest.raises(InputError, match=r"is no emnist archive .*emnist-mnist-train"):
        make("emnist", tmp_path, unverified=False, split="mnist").setup()
    assert len(list((tmp_path / "emnist").iterdir())) == 1 + 8 + 1  # archive, two splits, marker


def test_tiny_imagenet_classes_grey_and_order(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    data = make("tiny_imagenet", tmp_path, val_size=4)
    data.setup()
    assert data.splits.test.labels.tolist() == [i % 4 for i in range(20)]  # classes in the order of their names
    brightness = data.splits.test.images.float().mean((2, 3))
    assert torch.allclose(brightness[:, 1], 40.0 * (torch.arange(20) % 4), atol=3)  # green, in the annotations' order
    shown = torch.cat([data.splits.train.images, data.splits.val.images]).float().mean((2, 3))
    labels = torch.cat([data.splits.train.labels, data.splits.val.labels])
    assert torch.allclose(shown[:, 0], 40.0 * labels, atol=3)
    grey = (shown[:, 0] - shown[:, 2]).abs() < 3
    assert grey.sum() == 4  # the grey picture of each class has three equal colours


def test_tiny_imagenet_archive_and_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_zip(tmp_path)
    with pytest.raises(InputError, match=r"has MD5 .*, published is 90528d7c.*data\.unverified=true") as error:
        make("tiny_imagenet", tmp_path, unverified=False).setup()
    one_line(error)
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    first = make("tiny_imagenet", tmp_path, unverified=False)
    assert first.provenance.flags() == []
    assert "archive checksum" in first.provenance.verified
    monkeypatch.setattr(tiny_imagenet, "decode", None)  # the second time nothing is decoded
    second = make("tiny_imagenet", tmp_path, unverified=False)
    assert second.provenance == first.provenance
    assert torch.equal(second.splits.train.images, first.splits.train.images)
    monkeypatch.undo()
    (cached,) = (tmp_path / "cache" / "images").iterdir()
    cached.write_bytes(cached.read_bytes()[:1000])  # a broken cache is made again
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    assert make("tiny_imagenet", tmp_path, unverified=False).provenance == first.provenance
    folder = tmp_path / "unpacked"
    write_tiny(folder)
    provenance = make("tiny_imagenet", folder).provenance
    assert provenance.hash == first.provenance.hash  # the same files, wherever they lie
    assert provenance.altered


# Broken files --------------------------------------------------------------------------------------------------------

HTML = b"<!DOCTYPE html><html>404</html>"
BROKEN = [
    ("cifar100", "cifar-100-binary/test.bin", lambda c: c[:-5], "no whole number of 3074-byte records"),
    ("cifar100", "cifar-100-binary/test.bin", lambda c: b"\x14" + c[1:], "holds label 20 in record 0, .* 0 to 19"),
    ("cifar100", "cifar-100-binary/train.bin", lambda c: c[:1] + b"\x64" + c[2:], "label 100 in record 0, .* 0 to 99"),
    ("cifar100", "cifar-100-binary/train.bin", lambda c: HTML, "is an HTML page"),
    ("svhn", "svhn/train_32x32.mat", lambda c: c[:-300], "is truncated or no MATLAB 5 file"),
    ("svhn", "svhn/train_32x32.mat", lambda c: c[:200], "is truncated or no MATLAB 5 file"),
    ("svhn", "svhn/train_32x32.mat", lambda c: b"PK\3\4" * 50, "is truncated or no MATLAB 5 file"),
    ("svhn", "svhn/test_32x32.mat", lambda c: HTML, "is an HTML page"),
    ("svhn", "svhn/test_32x32.mat", lambda c: b"", r"is empty \(0 bytes\)"),
    (
        "svhn",
        "svhn/test_32x32.mat",
        lambda c: mat(random_bytes(32, 32, 3, 4), np.arange(4)),
        "holds label 0, .* 1 to 10",
    ),
    ("svhn", "svhn/test_32x32.mat", lambda c: mat(random_bytes(32, 32, 3, 4), np.ones(3)), "3 labels for 4 images"),
    (
        "svhn",
        "svhn/test_32x32.mat",
        lambda c: mat(random_bytes(32, 3, 32, 4), np.ones(4)),
        r"X is uint8 \[32, 3, 32, 4\]",
    ),
    ("emnist", "emnist/emnist-balanced-test-labels-idx1-ubyte.gz", lambda c: c[:-12], "is a corrupt gzip file"),
    (
        "emnist",
        "emnist/emnist-balanced-test-labels-idx1-ubyte.gz",
        lambda c: gzip.compress(idx(np.full(20, 47))),
        "holds label 47, labels must lie in 0 to 46",
    ),
    (
        "emnist",
        "emnist/emnist-balanced-train-images-idx3-ubyte.gz",
        lambda c: gzip.decompress(c)[:-3],
        r"is truncated: .* shape \[141, 28, 28\]",
    ),
    (
        "tiny_imagenet",
        "tiny-imagenet-200/val/images/val_3.JPEG",
        lambda c: c[:100],
        "val_3.JPEG is truncated or no JPEG",
    ),
    ("tiny_imagenet", "tiny-imagenet-200/val/images/val_3.JPEG", lambda c: HTML, "val_3.JPEG is truncated or no JPEG"),
    ("tiny_imagenet", "tiny-imagenet-200/val/images/val_3.JPEG", lambda c: jpeg(9, (32, 64)), "is 32 x 64 pixels"),
    ("tiny_imagenet", "tiny-imagenet-200/wnids.txt", lambda c: b"n01\nn02\nn03", "n04_0.JPEG names class n04"),
    ("tiny_imagenet", "tiny-imagenet-200/wnids.txt", lambda c: b"", "wnids.txt names 0 classes"),
    (
        "tiny_imagenet",
        "tiny-imagenet-200/val/val_annotations.txt",
        lambda c: c + b"\nval_3.JPEG\tn99\t0",
        "line 21 of val/val_annotations.txt names class n99",
    ),
    (
        "tiny_imagenet",
        "tiny-imagenet-200/val/val_annotations.txt",
        lambda c: c + b"\nval_99.JPEG\tn01\t0",
        "holds no val/images/val_99.JPEG",
    ),
    (
        "tiny_imagenet",
        "tiny-imagenet-200/val/val_annotations.txt",
        lambda c: c[:40] + b"\nval_3.JPEG",
        "line 3 of|line 2 of",
    ),
]


@pytest.mark.parametrize(("name", "file", "change", "words"), BROKEN, ids=[f"{row[0]}-{row[3]}" for row in BROKEN])
def test_broken_files_are_told(tmp_path: Path, name: str, file: str, change, words: str) -> None:
    WRITE[name](tmp_path)
    (tmp_path / file).write_bytes(change((tmp_path / file).read_bytes()))
    with pytest.raises(InputError, match=words) as error:
        make(name, tmp_path).setup()
    assert str(tmp_path) in one_line(error)


def test_emnist_letters_below_1_are_told(tmp_path: Path) -> None:
    write_emnist(tmp_path)
    path = tmp_path / "emnist" / "emnist-letters-test-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.arange(20))))
    with pytest.raises(InputError, match="holds label 0, labels must lie in 1 to 26"):
        make("emnist", tmp_path, split="letters").setup()


def test_a_damaged_tiny_imagenet_archive_is_told(tmp_path: Path) -> None:
    path = tiny_zip(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"is a corrupt zip"):
        make("tiny_imagenet", tmp_path).setup()
    tiny_zip(tmp_path, {"wnids.txt": b"n01"})
    with pytest.raises(InputError, match=r"holds no val/val_annotations.txt"):
        make("tiny_imagenet", tmp_path).setup()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
