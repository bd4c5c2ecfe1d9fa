"""IDX files, MNIST, Fashion-MNIST, CIFAR-10, digits: true formats read, broken ones told in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.files import read_content
from snnlab.data.formats.idx import parse_idx
from snnlab.data.images.cifar10 import CIFAR10
from snnlab.data.images.digits import Digits
from snnlab.data.images.fashion_mnist import FashionMNIST
from snnlab.data.images.idx import pooled
from snnlab.data.images.mnist import MNIST
from snnlab.data.loader import Loader, with_loader
from snnlab.data.publish.archives import unpack
from snnlab.data.splits import stratified_order
from snnlab.errors import InputError
from snnlab.tables.rows import named, rows_of

LABELS = "train-labels-idx1-ubyte.gz"


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, ">u1"), (9, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_idx_types_and_shapes(code: int, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = bytes([0, 0, code, 3]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    assert np.array_equal(parse_idx(content, Path("x")), array)


def test_an_authors_protocol_trains_on_everything_and_tests_the_last_epoch(tmp_path: Path, write_mnist, run_command):
    write_mnist(tmp_path, True)
    options = ["method=ann", "data=mnist", f"paths.data={tmp_path}", "data.unverified=true", "model.hidden=[4]"]
    options += ["data.val_size=0", "trainer.max_epochs=2", f"paths.output={tmp_path}/out", "logger=none"]
    code, _, err = run_command(*options, "callbacks.figures=false")
    assert code == 0, err
    run = json.loads(next(tmp_path.glob("out/*/run.json")).read_text())
    assert run["provenance"]["sizes"] == {"train": 40, "val": 0, "test": 20}
    assert run["checkpoint"] == "checkpoints/epoch001.ckpt" and run["metrics"]["val"] == {}
    assert named(rows_of([run]))[0].endswith("(altered) (author's protocol: no validation)")
    stored = next(tmp_path.glob("out/*"))
    with pytest.raises(InputError, match=r"data\.val_size = 0 leaves nothing to choose and check this method on"):
        build(compose(["method=conversion", f"method.run={stored}", *options[1:6]]).config)


@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_reads_gz_and_raw(tmp_path: Path, write_mnist, zipped: bool) -> None:
    write_mnist(tmp_path, zipped)
    data = with_loader(MNIST, tmp_path, tmp_path, unverified=True, val_size=10)
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs.shape == (20, 1, 28, 28)
    assert batch.inputs.min() >= 0
    assert batch.inputs.max() <= 1
    assert batch.labels.tolist() == [i % 10 for i in range(20)]
    assert data.provenance.altered
    assert data.provenance.verified is None
    assert data.provenance.flags() == ["altered"]
    assert data.provenance.sizes == {"train": 30, "val": 10, "test": 20}
    assert data.prototypes().shape == (10, 1, 28, 28)


def test_unknown_content_is_refused(tmp_path: Path, write_mnist) -> None:
    write_mnist(tmp_path)
    with pytest.raises(InputError, match=r"data\.mnist: .*SHA-256 .*data\.unverified=true uses it") as error:
        with_loader(MNIST, tmp_path, tmp_path, val_size=10).setup()
    one_line(error)


def broken(content: bytes) -> dict[str, tuple[bytes, str]]:
    """Each kind of broken labels file: its bytes and the words of the error."""
    raw = gzip.decompress(content)
    bad_label = bytearray(raw)
    bad_label[-1] = 12
    return {
        "html": (b"<!DOCTYPE html><html>404</html>", "is an HTML page"),
        "empty": (b"", r"is empty \(0 bytes\)"),
        "corrupt gzip": (content[:30] + b"\xff" * 8 + content[38:], "is a corrupt gzip file"),
        "cut gzip": (content[:-12], "is a corrupt gzip file"),
        "truncated": (raw[:-3], r"is truncated: 45 bytes, shape \[40\] needs 48"),
        "cut header": (raw[:6], "truncated in its header"),
        "trailing": (raw + b"abc", "has trailing bytes: 51 bytes"),
        "magic": (b"PK\x03\x04" + raw, "is no IDX file: its first bytes are 504b0304"),
        "label": (gzip.compress(bytes(bad_label)), r"holds label 12, labels must lie in 0 to 9"),
        "count": (gzip.compress(idx_bytes(np.zeros(39))), r"the images beside it number 40"),
        "kind": (gzip.compress(idx_bytes(np.zeros((40, 28, 28)))), r"holds uint8 \[40, 28, 28\], the images"),
    }


@pytest.mark.parametrize("kind", list(broken(gzip.compress(idx_bytes(np.arange(40))))))
def test_broken_files_are_told(tmp_path: Path, write_mnist, kind: str) -> None:
    path = write_mnist(tmp_path) / LABELS
    content, words = broken(path.read_bytes())[kind]
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        with_loader(MNIST, tmp_path, tmp_path, unverified=True, val_size=10).setup()
    assert LABELS in one_line(error)


def test_missing_files_name_the_path(tmp_path: Path, write_mnist) -> None:
    for data_set in (MNIST, FashionMNIST):
        with pytest.raises(
            InputError, match=r"train-images-idx3-ubyte \(\.gz or not\) is not in .*data\.download=true"
        ) as error:
            with_loader(data_set, tmp_path, tmp_path, download=False).setup()
        assert str(tmp_path) in one_line(error)
    (write_mnist(tmp_path) / LABELS).unlink()
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte \(\.gz or not\) is not in"):
        with_loader(MNIST, tmp_path, tmp_path, download=False).setup()
    with pytest.raises(InputError, match="cannot be read"):
        read_content(tmp_path)


def test_ranges() -> None:
    with pytest.raises(InputError, match=r"^data\.mnist: val_size = 70000 must lie in 0 to 59999"):
        with_loader(MNIST, "x", "x", val_size=70_000)
    with pytest.raises(InputError, match=r"^data\.fashion_mnist: train_size = 0 must lie in 1 to 55000"):
        with_loader(FashionMNIST, "x", "x", train_size=0)
    with pytest.raises(InputError, match=r"^data\.cifar10: val_size = -2 must lie in 0 to 49999"):
        with_loader(CIFAR10, "x", "x", val_size=-2)
    with pytest.raises(InputError, match=r"^data\.digits: val_size = -1 must lie in"):
        with_loader(Digits, "x", "x", val_size=-1)


def test_splits_are_disjoint_and_independent_of_the_seed(tmp_path: Path, write_mnist) -> None:
    write_mnist(tmp_path)
    a, b = (with_loader(MNIST, tmp_path, tmp_path, unverified=True, val_size=10, seed=seed) for seed in (0, 1))
    a.setup(), b.setup()
    assert torch.equal(a.splits.val.images, b.splits.val.images)
    seen = {image.numpy().tobytes() for split in a.splits for image in split.images}
    assert len(seen) == 60
    first, second = (next(iter(m.train_dataloader())).labels.tolist() for m in (a, b))
    assert first != second
    assert sorted(first) == sorted(second)


def test_stratified_order() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    order = stratified_order(labels)
    assert sorted(order) == list(range(100))
    assert np.bincount(labels[order[:10]]).tolist() == [5, 3, 2]


def test_digits() -> None:
    data = with_loader(Digits, "x", "x")
    data.setup()
    assert data.provenance.sizes == data.spec.sizes == {"train": 1297, "val": 200, "test": 300}
    assert data.provenance.source == "bundled"
    assert data.provenance.flags() == []
    images = data.splits.test.batch(range(300)).inputs
    assert torch.equal(images * 16, (images * 16).round())
    assert images.max() == 1
    counts = torch.bincount(data.splits.test.labels)
    assert counts.min() >= 29
    assert counts.max() <= 31
    assert data.prototypes().shape == (10, 1, 8, 8)


def test_real_mnist(real_data) -> None:
    root = real_data("mnist")
    data = with_loader(MNIST, root, root, download=False, train_size=1000)
    assert data.provenance.verified
    assert data.provenance.flags() == ["subset"]
    assert data.provenance.sizes == data.spec.sizes == {"train": 1000, "val": 5000, "test": 10_000}
    assert data.splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.prototypes()[5].sum() * 255 == 27525  # the first image of the training file, a five: its pixel sum


def test_real_fashion_mnist(real_data) -> None:
    root = real_data("fashion_mnist")
    data = with_loader(FashionMNIST, root, root, download=False)
    assert data.provenance.verified
    assert data.provenance.flags() == []
    assert data.provenance.sizes == {"train": 55_000, "val": 5000, "test": 10_000}


# CIFAR-10 ------------------------------------------------------------------------------------------------------------


def batch_bytes(count: int, seed: int) -> bytes:
    records = np.random.default_rng(seed).integers(0, 256, (count, 3073)).astype(np.uint8)
    records[:, 0] = np.arange(count) % 10
    return records.tobytes()


def write_cifar(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for i, name in enumerate(CIFAR10.files):
        (folder / name).write_bytes(batch_bytes(20, i))
    return folder


def test_cifar10_layout(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar10" / CIFAR10.folder)
    with pytest.raises(InputError, match=r"data_batch_1\.bin: the content matches no known hash") as error:
        with_loader(CIFAR10, tmp_path, tmp_path, val_size=10).setup()
    one_line(error)
    data = with_loader(CIFAR10, tmp_path, tmp_path, unverified=True, val_size=10)
    assert data.provenance.sizes == {"train": 90, "val": 10, "test": 20}
    assert data.provenance.altered
    record = np.frombuffer(batch_bytes(20, 5), np.uint8).reshape(20, -1)[3]
    image = data.splits.test[3][0]
    assert image[2, 0, 1] * 255 == record[1 + 2 * 1024 + 1]  # blue plane, first row, second column
    assert data.splits.test[3][1] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c[:-5], r"test_batch.bin is truncated: 61455 bytes are no whole number of 3073-byte records"),
        (lambda c: b"\x0b" + c[1:], r"holds label 11 in record 0, labels must lie in 0 to 9"),
        (lambda c: b"<html>no</html>", "is an HTML page"),
    ],
)
def test_cifar10_broken(tmp_path: Path, change, words: str) -> None:
    path = write_cifar(tmp_path / CIFAR10.folder) / "test_batch.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=words) as error:
        with_loader(CIFAR10, tmp_path, tmp_path, unverified=True, val_size=10).setup()
    one_line(error)


def test_cifar10_known_altered_test_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar(tmp_path / CIFAR10.folder)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CIFAR10.files}
    monkeypatch.setattr(CIFAR10, "sha256", {name: hashes[name] for name in CIFAR10.sha256})
    monkeypatch.setattr(CIFAR10, "altered", {hashes["test_batch.bin"]: "9,000 of 10,000 test images are JPEG-altered"})
    with pytest.raises(InputError, match=r"9,000 of 10,000 test images are JPEG-altered .*data\.unverified=true"):
        with_loader(CIFAR10, tmp_path, tmp_path, val_size=10).setup()
    provenance = with_loader(CIFAR10, tmp_path, tmp_path, val_size=10, unverified=True).provenance
    assert provenance.altered
    assert "JPEG-altered" in provenance.notes[0]


def test_cifar10_archive_is_unpacked_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar(tmp_path / "made" / CIFAR10.folder)
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / CIFAR10.archive, "w:gz") as tar:
        tar.add(folder, CIFAR10.folder)
    with pytest.raises(InputError, match=r"has MD5 .*, published is c32a1d4a"):
        with_loader(CIFAR10, root, root, val_size=10).setup()
    monkeypatch.setattr(CIFAR10, "md5", hashlib.md5((root / CIFAR10.archive).read_bytes()).hexdigest())
    provenance = with_loader(CIFAR10, root, root, val_size=10).provenance
    assert not provenance.altered
    assert "archive checksum at download" in provenance.verified
    assert sorted(p.name for p in root.iterdir()) == [CIFAR10.folder, CIFAR10.archive]
    (root / CIFAR10.folder / "test_batch.bin").write_bytes(batch_bytes(20, 99))  # the marker no longer vouches
    with pytest.raises(InputError, match=r"test_batch\.bin: the content matches no known hash"):
        with_loader(CIFAR10, root, root, val_size=10).setup()

    with tarfile.open(root / CIFAR10.archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other"), io.BytesIO())
    archive = root / CIFAR10.archive
    with pytest.raises(InputError, match="is no CIFAR-10 archive"):
        unpack(
            archive, hashlib.md5(archive.read_bytes()).hexdigest(), root / "new", lambda name: name, "CIFAR-10", ["a"]
        )
    assert not (root / "new").exists()
    with pytest.raises(InputError, match=r"no cifar-10-batches-bin with data_batch_1\.bin, .* under .*download=true"):
        with_loader(CIFAR10, tmp_path / "none", tmp_path, download=False).setup()


@pytest.mark.parametrize("form", ["images", "events"])
def test_folders_unpacked_by_earlier_versions_are_vouched_for(tmp_path: Path, monkeypatch, form: str) -> None:
    folder = write_cifar(tmp_path / CIFAR10.folder)
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CIFAR10.files}
    marker = {"archive_md5": CIFAR10.md5, "sha256": hashes}
    if form == "events":
        marker = {CIFAR10.archive: {"md5": CIFAR10.md5, "sha256": hashes}}
    (folder / "snnlab-download.json").write_text(json.dumps(marker))
    assert "archive checksum at download" in with_loader(CIFAR10, tmp_path, tmp_path, val_size=10).provenance.verified
    (folder / "snnlab-download.json").write_text(json.dumps({"0" * 32: hashes}))  # of another archive
    with pytest.raises(InputError, match="the content matches no known hash"):
        with_loader(CIFAR10, tmp_path, tmp_path, val_size=10).setup()


def test_an_archive_beside_vouches_for_files_unpacked_by_hand(tmp_path: Path, monkeypatch) -> None:
    folder = write_cifar(tmp_path / CIFAR10.folder)
    with tarfile.open(tmp_path / CIFAR10.archive, "w:gz") as tar:
        tar.add(folder, CIFAR10.folder)
    with pytest.raises(InputError, match="the content matches no known hash"):  # it is not the published archive
        with_loader(CIFAR10, tmp_path, tmp_path, val_size=10).setup()
    monkeypatch.setattr(CIFAR10, "md5", hashlib.md5((tmp_path / CIFAR10.archive).read_bytes()).hexdigest())
    assert not with_loader(CIFAR10, tmp_path, tmp_path, val_size=10).provenance.altered


def test_pooled_images_are_exact_averages():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    images[0] = 255
    for side in (1, 2, 4, 7):
        sums = pooled(images, side)
        expected = images.reshape(3, 28 // side, side, 28 // side, side).mean((2, 4))
        assert np.array_equal(sums / side**2, expected) and sums[0].max() == 255 * side**2
    assert pooled(images, 1) is images


@pytest.mark.parametrize("pool", [0, 3, 28])
def test_a_pool_that_does_not_fit_is_refused(pool, tmp_path):
    with pytest.raises(InputError, match=f"pool = {pool} must be 1, 2, 4 or 7"):
        MNIST(Loader(tmp_path, tmp_path), pool=pool)
    assert MNIST(Loader(tmp_path, tmp_path), pool=2).spec.input_shape == (1, 14, 14)
