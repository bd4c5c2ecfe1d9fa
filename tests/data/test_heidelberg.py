"""SHD and SSC on small files of the published format."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.events.shd import SHD
from snnlab.data.events.ssc import SSC
from snnlab.data.files import seal
from snnlab.data.formats.heidelberg_hdf5 import SpikeFile
from snnlab.data.loader import with_loader
from snnlab.errors import InputError

VLEN = {kind: h5py.vlen_dtype(np.dtype(kind)) for kind in ("float16", "uint16")}


def write_h5(path: Path, labels: np.ndarray, seed: int = 0, first: tuple[list[float], list[int]] | None = None) -> Path:
    """Write spikes as in the published files: float16 seconds, uint16 units, one array per recording.

    Class c fires near channel 30 c; ``first`` gives the times and units of recording 0 by hand.
    """
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a reader may hold the old one open
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (len(labels),), dtype=VLEN["float16"])
        units = file.create_dataset("spikes/units", (len(labels),), dtype=VLEN["uint16"])
        for i, label in enumerate(labels):
            count = int(rng.integers(150, 250))
            t, x = np.sort(rng.random(count)), np.clip(30 * label + rng.integers(0, 60, count), 0, 699)
            if i == 0 and first is not None:
                t, x = first
            times[i], units[i] = np.asarray(t, np.float16), np.asarray(x, np.uint16)
        file["labels"] = labels.astype(np.uint16)
        file["extra/speaker"] = (np.arange(len(labels)) % 3).astype(np.uint16)
        file["extra/keys"] = [f"word {k}".encode() for k in range(20)]
    return path


def write_shd(root: Path, train: int = 40, test: int = 20, folder: str = "shd", **first) -> Path:
    write_h5(root / folder / "shd_train.h5", np.arange(train) % 20, **first)
    write_h5(root / folder / "shd_test.h5", np.arange(test) % 20, seed=1)
    return root / folder


def write_ssc(root: Path) -> Path:
    for i, (name, count) in enumerate((("train", 70), ("valid", 35), ("test", 36))):
        write_h5(root / "SSC" / f"ssc_{name}.h5", np.arange(count) % 35, seed=i)
    return root / "SSC"


def test_binning_by_hand(tmp_path: Path) -> None:
    times, units = [0.0, 0.02, 0.015625, 1.3, 1.5], [0, 4, 5, 699, 3]  # out of order; the last is after 1.4 s
    write_shd(tmp_path, first=(times, units))
    data = with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True)
    data.setup()
    file = SpikeFile(tmp_path / "shd/shd_train.h5", 20, tmp_path / "cache")
    events = file.events(0)
    assert events.x.tolist() == [0, 5, 4, 699, 3]
    assert events.t.tolist() == [0, 15625, 20004, 1_299_805, 1_500_000]  # the nearest float16 to 0.02 and 1.3
    frames = data.splits.train.dataset.batch([0]).inputs
    assert frames.shape == (100, 1, 1, 1, 140)
    assert frames.nonzero()[:, [0, 4]].tolist() == [[0, 0], [1, 0], [1, 1], [92, 139]]
    assert frames.sum() == 4
    whole = with_loader(SHD, tmp_path, tmp_path, unverified=True, downsample=1, time_steps=2, window_us=None)
    whole.setup()
    assert whole.splits.train.dataset.batch([0]).inputs.nonzero()[:, [0, 4]].tolist() == [
        *([0, 0], [0, 4], [0, 5], [1, 3], [1, 699])
    ]


@pytest.mark.parametrize("late", [61.0, 4000.0, float("inf"), float("nan")])
def test_a_word_that_lasts_for_minutes_is_no_word(tmp_path: Path, late: float) -> None:
    write_shd(tmp_path, first=([0.1, 0.2, late], [1, 2, 3]))
    file = SpikeFile(tmp_path / "shd/shd_train.h5", 20, tmp_path / "cache")
    with pytest.raises(InputError, match=r"recording 0 has 3 times and 3 units, or one out of range .*times 0 to 60 s"):
        file.events(0)


def test_shd_splits_and_labels(tmp_path: Path) -> None:
    write_shd(tmp_path)
    data = with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True)
    assert data.spec.input_shape == (1, 1, 140)
    assert (data.spec.kind, data.spec.classes, data.spec.time_steps) == ("event", 20, 100)
    assert data.spec.sizes == data.provenance.sizes == {"train": 36, "val": 4, "test": 20}
    assert data.provenance.flags() == ["altered", "subset"]
    assert data.provenance.verified is None
    assert "two speakers who are in no training file" in " ".join(data.provenance.notes)
    seen = np.concatenate([data.splits.train.indices, data.splits.val.indices])
    assert sorted(seen) == list(range(40))
    test = next(iter(data.test_dataloader()))
    assert test.labels.tolist() == [*range(20)]
    assert test.signals is None
    other = with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True, seed=7)
    other.setup()
    assert other.splits.val.indices.tolist() == data.splits.val.indices.tolist()
    assert other.provenance.hash == data.provenance.hash
    again = with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True)
    assert torch.equal(next(iter(again.train_dataloader())).inputs, next(iter(data.train_dataloader())).inputs)


def test_a_speaker_validates(tmp_path: Path) -> None:
    write_shd(tmp_path)
    data = with_loader(SHD, tmp_path, tmp_path, unverified=True, val_speaker=2)
    assert data.spec.sizes == data.provenance.sizes == {"train": 27, "val": 13, "test": 20}
    assert all(i % 3 == 2 for i in data.splits.val.indices)
    with pytest.raises(InputError, match=r"val_speaker = 9 speaks in no training recording; 0, 1, 2 do"):
        with_loader(SHD, tmp_path, tmp_path, unverified=True, val_speaker=9).setup()


def test_ssc_has_three_files(tmp_path: Path) -> None:
    write_ssc(tmp_path)
    changed = EventAugmentation(shift=3, drop=0.1)
    options = {"unverified": True, "downsample": 7, "augmentation": changed}
    data = with_loader(SSC, tmp_path, tmp_path / "cache", batch_size=35, **options)
    assert data.spec.sizes == data.provenance.sizes == {"train": 70, "val": 35, "test": 36}
    batch = next(iter(data.val_dataloader()))
    assert batch.inputs.shape == (100, 35, 1, 1, 100)
    assert batch.labels.tolist() == list(range(35))
    torch.manual_seed(0)
    first = next(iter(data.train_dataloader())).inputs
    torch.manual_seed(0)
    assert torch.equal(next(iter(data.train_dataloader())).inputs, first)
    assert not torch.equal(next(iter(data.train_dataloader())).inputs, first)
    assert with_loader(SSC, tmp_path / "none", tmp_path).spec.sizes == {"train": 75_466, "val": 9_981, "test": 20_382}


def test_loader_processes_open_their_own_file(tmp_path: Path) -> None:
    write_shd(tmp_path)
    data = with_loader(SHD, tmp_path, tmp_path, unverified=True)
    alone = next(iter(data.test_dataloader()))
    data.num_workers = 1
    assert torch.equal(next(iter(data.test_dataloader())).inputs, alone.inputs)


@pytest.fixture
def zips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Zips as a server would give them, at file:// addresses, and their MD5 as the published one."""
    folder, server = write_shd(tmp_path / "made"), tmp_path / "server"
    server.mkdir()
    files = {}
    for name, archive in SHD.files.items():
        with zipfile.ZipFile(server / archive.name, "w", zipfile.ZIP_DEFLATED) as out:
            out.write(folder / name, name)
        md5 = hashlib.md5((server / archive.name).read_bytes()).hexdigest()
        files[name] = archive._replace(md5=md5, urls=((server / archive.name).as_uri(),))
    monkeypatch.setattr(SHD, "files", files)
    return server


def test_download_is_verified(tmp_path: Path, zips: Path) -> None:
    root = tmp_path / "root"
    with pytest.raises(InputError, match=r"data\.shd: shd_train\.h5 is not in .*shd; put shd_train\.h5\.zip there, or"):
        with_loader(SHD, root, tmp_path / "cache").setup()
    data = with_loader(SHD, root, tmp_path / "cache", download=True)
    assert data.provenance.flags() == ["subset"]
    assert data.provenance.verified.startswith("the publisher's archive checksums (MD5 ")
    assert {path.name for path in (root / "shd").iterdir()} == {
        *("shd_train.h5", "shd_test.h5", "shd_train.h5.zip", "shd_test.h5.zip", "snnlab-download.json")
    }
    for path in (root / "shd").glob("*.zip"):
        path.unlink()  # the marker vouches
    assert with_loader(SHD, root, tmp_path / "cache").provenance == data.provenance
    write_h5(root / "shd/shd_test.h5", np.arange(30) % 20)
    with pytest.raises(InputError, match=r"shd_test\.h5 matches no published checksum .* put shd_test\.h5\.zip beside"):
        with_loader(SHD, root, tmp_path / "cache").setup()


def test_archives_vouch_and_unpack_where_they_lie(tmp_path: Path, zips: Path) -> None:
    root = tmp_path / "root"
    folder = write_shd(root, folder="SHD")  # as tonic: zips and files side by side
    for path in zips.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    data = with_loader(SHD, root, tmp_path / "cache")
    assert data.provenance.verified is not None
    assert not (folder / "snnlab-download.json").exists()
    (folder / "shd_train.h5").unlink()
    assert (
        with_loader(SHD, root, tmp_path / "cache").provenance.hash == data.provenance.hash
    )  # unpacked without a download
    (folder / "shd_train.h5").unlink()
    (folder / "shd_train.h5.zip").write_bytes(b"PK something else")
    with pytest.raises(InputError, match=r"shd_train\.h5\.zip has MD5 \w+, published is \w+; delete it"):
        with_loader(SHD, root, tmp_path / "cache").setup()


def test_hashes_are_remembered_until_a_file_changes(tmp_path: Path) -> None:
    folder = write_shd(tmp_path)
    first = with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True).provenance.hash

    def remembered(sealed: bool) -> str:
        """The hash after that of each file in the cache was replaced by another one."""
        for path in (tmp_path / "cache/checked").glob("*.json"):
            content = json.loads(path.read_text())
            if content["what"] == "sha256":
                content["value"] = ["0" * 64 for _ in content["value"]]
                own = {"seal": seal(path.stem, content["what"], content["value"])} if sealed else {}
                path.write_text(json.dumps(content | own))
        return with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True).provenance.hash

    assert remembered(sealed=False) == first  # damaged: made again
    assert remembered(sealed=True) != first
    write_h5(folder / "shd_test.h5", np.arange(20) % 20, seed=1)
    assert with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True).spec.sizes["test"] == 20
    assert with_loader(SHD, tmp_path, tmp_path / "new", unverified=True).provenance.hash == first


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-600]), "cannot be read .*truncated file"),
        (lambda p: p.write_bytes(b""), "cannot be read .*missing or corrupt: copy it again"),
        (lambda p: p.write_bytes(b"<html>sign in</html>" * 90), "cannot be read .*signature"),
        (lambda p: drop(p, "labels"), "is no file of the Heidelberg data sets .*labels"),
        (lambda p: drop(p, "spikes"), "is no file of the Heidelberg data sets .*download it again"),
        (lambda p: put(p, "labels", np.arange(40)), "holds label 39, labels must lie in 0 to 19"),
        (lambda p: put(p, "labels", np.arange(7)), "holds 7 labels, 40 times, 40 units"),
        (lambda p: put(p, "spikes/units", np.full((40, 2), 700)), "recording 39 has 2\\d\\d times and 2 units"),
        (lambda p: p.unlink(), "shd_train.h5 is not in"),
        (lambda p: put(p, "labels", [b"one", b"two"]), "labels holds .*needed are numbers"),
        (lambda p: put(p, "labels", ["one", "two"]), "labels holds text or lists, needed are numbers"),
        (lambda p: put(p, "spikes/times", [["a"], ["b"]]), "spikes/times holds text or lists, needed are numbers"),
        (lambda p: refer(p), "labels holds object, needed are numbers"),
        (lambda p: link(p, h5py.ExternalLink("/etc/passwd", "/labels")), "labels is a link to /etc/passwd"),
        (lambda p: link(p, h5py.SoftLink("/spikes/times")), "labels is a link to /spikes/times"),
        (lambda p: declare(p, "labels", 1 << 40), "labels declares 1099511627776 values, at most 10000000"),
        (lambda p: declare(p, "labels", 1 << 20, chunks=(1 << 20,)), "holds 1048576 labels, 40 times"),
        (lambda p: declare(p, "labels", 9 << 20, chunks=(9 << 20,), dtype="i8"), "at most 67108864 bytes"),
        (lambda p: elsewhere(p), "labels lies in another file"),
    ],
)
def test_broken_files(tmp_path: Path, damage, words: str) -> None:
    damage(write_shd(tmp_path) / "shd_train.h5")
    with pytest.raises(InputError, match=words) as error:
        with_loader(SHD, tmp_path, tmp_path / "cache", unverified=True).setup()
    assert "\n" not in str(error.value)
    assert "shd_train.h5" in str(error.value)


def drop(path: Path, name: str) -> None:
    with h5py.File(path, "a") as file:
        del file[name]


def put(path: Path, name: str, values: np.ndarray) -> None:
    drop(path, name)
    with h5py.File(path, "a") as file:
        file[name] = values


def link(path: Path, to: object) -> None:
    drop(path, "labels")
    with h5py.File(path, "a") as file:
        file["labels"] = to


def refer(path: Path) -> None:
    drop(path, "labels")
    with h5py.File(path, "a") as file:
        file.create_dataset("labels", (40,), dtype=h5py.ref_dtype)


def declare(path: Path, name: str, count: int, **options) -> None:
    drop(path, name)
    with h5py.File(path, "a") as file:
        file.create_dataset(name, (count,), **{"dtype": "u1", **options})


def elsewhere(path: Path) -> None:
    drop(path, "labels")
    with h5py.File(path, "a") as file:
        file.create_dataset("labels", (40,), dtype="u1", external=[("/etc/passwd", 0, 40)])


def test_a_file_in_which_hdf5_runs_in_circles_is_told_within_seconds(tmp_path: Path) -> None:
    path = write_shd(tmp_path) / "shd_train.h5"
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    content[heap + 16 : heap + 4096] = bytes(4080)  # a list of length 0: the next one is where it is itself
    path.write_bytes(content)
    with pytest.raises(InputError, match="HDF5 finds no end in it"):
        SpikeFile(path, 20, tmp_path / "cache").check()


def test_a_file_is_read_through_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, runs = write_shd(tmp_path) / "shd_train.h5", []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: runs.append(given) or run(*given, **more))
    for _ in range(2):
        SpikeFile(path, 20, tmp_path / "cache").check()
    assert len(runs) == 1
    write_h5(path, np.arange(30) % 20)
    assert len(SpikeFile(path, 20, tmp_path / "cache").labels) == 30 and len(runs) == 2


def test_ranges() -> None:
    with pytest.raises(InputError, match=r"data\.shd: val_fraction = 2 must lie in 0\.001 to 0\.9"):
        with_loader(SHD, "x", "x", val_fraction=2)
    with pytest.raises(InputError, match="downsample = 701 must lie in 1 to 700"):
        with_loader(SSC, "x", "x", downsample=701)
    assert with_loader(SHD, "x", "x").spec.sizes == {"train": 7340, "val": 816, "test": 2264}
    assert replace(with_loader(SHD, "x", "x").binning, downsample=700).frame_shape == (1, 1, 1)


def test_a_recurrent_net_trains(tmp_path: Path, run_command, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shd(tmp_path, train=80, test=40)
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path))
    quick = ["data.time_steps=5", "data.window_us=200000", "data.downsample=20", "model.hidden=[32]", "logger=none"]
    code, _, error = run_command(
        *("method=stbp", "model=recurrent_mlp", "method.neuron=plif", "data=shd", "data.unverified=true", *quick),
        *("data.batch_size=6", "trainer.max_epochs=6", "method.optimizer.lr=1e-2"),
    )
    assert code == 0, error
    record = json.loads(next(tmp_path.glob("outputs/*/run.json")).read_text())
    assert record["provenance"]["sizes"] == {"train": 72, "val": 8, "test": 40}
    assert record["metrics"]["test"]["accuracy"] > 0.3  # chance is 0.05
    assert {path.name for path in tmp_path.glob("outputs/*/figures/*.png")} >= {"input.png", "confusion_matrix.png"}


def test_a_truncated_file_is_bad_input(tmp_path: Path, run_command, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_shd(tmp_path) / "shd_test.h5"
    path.write_bytes(path.read_bytes()[:5000])
    monkeypatch.setenv("SNNLAB_DATA", str(tmp_path))
    for given in ([], ["data.unverified=true"]):
        code, _, error = run_command("method=stbp", "data=shd", *given)
        assert code == 2
        assert error.count("\n") == 1
        assert "shd_test.h5 cannot be read" in error


def test_unknown_content_is_refused(tmp_path: Path) -> None:
    write_shd(tmp_path)
    with pytest.raises(InputError, match=r"shd_train\.h5 matches no published .*data\.unverified=true uses it"):
        with_loader(SHD, tmp_path, tmp_path / "cache").setup()
