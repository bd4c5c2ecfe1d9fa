"""data=folder: one's own pictures and recordings, whatever their layout, labels, sizes and kinds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from snnlab.data.folder.augmentation import FolderAugmentation
from snnlab.data.folder.folder import Folder
from snnlab.data.folder.listing import natural
from snnlab.data.formats.picture import read_picture
from snnlab.data.loader import with_loader
from snnlab.errors import InputError, RunFailure
from snnlab.questions.named_classes import MOST_NAMED, BalancedAccuracy, ClassAccuracyOf, NamedClasses, keys


def picture(path: Path, value: int = 0, size: tuple[int, int] = (6, 8), colours: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (*size, colours) if colours else size, np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pictures(folder: Path, classes=("cat", "dog"), each: int = 10, **options) -> Path:
    for label, name in enumerate(classes):
        for number in range(each):
            picture(folder / str(name) / f"{number}.png", 100 * label + number, **options)
    return folder


def recordings(folder: Path, classes=("a", "b", "c"), each: int = 8, width: int = 20, height: int = 16) -> Path:
    for label, name in enumerate(classes):
        for number in range(each):
            rng = np.random.default_rng(100 * label + number)
            events = np.empty(200, [("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "?")])
            events["t"], events["p"] = np.sort(rng.integers(0, 10**6, 200)), rng.integers(0, 2, 200)
            events["x"], events["y"] = rng.integers(0, width, 200), rng.integers(0, height, 200)
            events["x"][0], events["y"][0] = width - 1, height - 1
            path = folder / name / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, events)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Folder]:
    return lambda folder, **options: with_loader(Folder, tmp_path, tmp_path / "cache", folder=str(folder), **options)


# layouts and labels ---------------------------------------------------------------------------------------------------
def test_class_folders_are_divided_of_each_class_its_part(tmp_path: Path, data) -> None:
    folder = pictures(tmp_path / "mine", each=20)
    own = data(folder)
    own.setup()
    assert own.spec.sizes == {"train": 28, "val": 4, "test": 8} == own.provenance.sizes
    for split in own.splits:
        assert np.bincount(split.labels).tolist() == [len(split) // 2] * 2
    names = [set(own.own.parts[name].tolist()) for name in ("train", "val", "test")]
    assert set.union(*names) == set(range(40)) and sum(map(len, names)) == 40
    again, other = data(folder), data(folder, split_seed=1)
    assert np.array_equal(again.own.parts["test"], own.own.parts["test"])
    assert not np.array_equal(other.own.parts["test"], own.own.parts["test"])
    assert own.provenance.source == "original" and own.provenance.verified is None
    assert own.provenance.as_dict()["labels"] == ["cat", "dog"]
    assert "samples of each class (train, val, test): cat 14/2/4, dog 14/2/4" in own.provenance.notes
    image, label = own.splits.test[0]
    index = int(own.own.parts["test"][0])
    assert np.array_equal(255 * image[0], np.asarray(Image.open(own.own.listing.paths[index])))
    assert label == index // 20


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation", "testing"), ("train", "valid", "Test")]
)
def test_folders_of_splits(tmp_path: Path, data, names: tuple[str, str, str]) -> None:
    for name, each in zip(names, (6, 2, 3), strict=True):
        pictures(tmp_path / "mine" / name, each=each)
    assert data(tmp_path / "mine").spec.sizes == {"train": 12, "val": 4, "test": 6}
    shutil.rmtree(tmp_path / "mine" / names[1])
    assert data(tmp_path / "mine", val_fraction=0.5).spec.sizes == {"train": 6, "val": 6, "test": 6}


@pytest.mark.parametrize("head", ["file,label\n", "image;class\n", "", "id\tlabel\n"])
@pytest.mark.parametrize("bare", [False, True])
def test_a_table_of_labels(tmp_path: Path, data, head: str, bare: bool) -> None:
    folder, parting = tmp_path / "mine", next((mark for mark in ";\t" if mark in head), ",")
    rows = []
    for number in range(20):
        picture(folder / "all" / f"{number}.png", number)
        rows.append(parting.join([f"all/{number}" + ("" if bare else ".png"), ("ja", "nein")[number % 2]]))
    (folder / "labels.csv").write_text(head + "\n".join(rows) + "\n")
    own = data(folder)
    assert own.own.listing.classes == ("ja", "nein") and len(own.own.listing.names) == 20
    shutil.move(folder / "labels.csv", folder / "truth.csv")
    assert data(folder, labels="truth.csv").spec.classes == 2
    with pytest.raises(InputError, match=r"all 20 pictures in .* are of one class, 'all'; two or more are needed"):
        _ = data(folder).spec


def test_a_table_may_say_the_splits(tmp_path: Path, data) -> None:
    folder = tmp_path / "mine"
    rows = [
        f"{picture(folder / f'{i}.png', i).name},{i % 2},{('train', 'valid', 'testing')[i % 10 // 8 + i % 20 // 19]}"
        for i in range(40)
    ]
    (folder / "labels.csv").write_text("file,label,split\n" + "\n".join(rows))
    assert data(folder).spec.sizes == {"train": 32, "val": 6, "test": 2}


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["3", "-2", "7"], ["-2", "3", "7"]),
        (["a10", "a2", "b"], ["a2", "a10", "b"]),
        (["Übung", "zebra", "猫"], ["zebra", "Übung", "猫"]),
        (["0.5", "-1", "10"], ["-1", "0.5", "10"]),
        (["1", "x", "y2"], ["1", "x", "y2"]),
    ],
)
def test_labels_of_any_kind_in_natural_order(tmp_path: Path, data, labels: list[str], order: list[str]) -> None:
    assert natural(iter(labels)) == order
    own = data(pictures(tmp_path / "mine", labels, each=4))
    batch = next(iter(own.train_dataloader()))
    assert own.provenance.labels == order and set(batch.labels.tolist()) == {0, 1, 2}


def test_whole_numbers_that_a_program_wrote_with_a_point(tmp_path: Path, data) -> None:
    folder = tmp_path / "mine"
    (folder / "x").mkdir(parents=True)
    rows = [f"{picture(folder / f'{i}.png', i).name},{i % 3 + 1}.0" for i in range(12)]
    (folder / "labels.csv").write_text("\n".join(rows))
    assert data(folder).own.listing.classes == ("1", "2", "3")


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda f: None, {}, r"data\.folder = .*mine: there is no such folder; name the folder of your files"),
        (lambda f: f.mkdir(), {}, r"mine holds no pictures \(\.png .*\) and no recordings \(\.aedat .*\); it has 0 files"),
        (lambda f: picture(f / "a.png"), {}, r"a\.png lies in no class folder; needed are CLASS/FILE"),
        (lambda f: pictures(f, ["one"]), {}, "all 10 pictures in .*mine are of one class, 'one'"),
        (lambda f: (pictures(f / "train"), pictures(f, ["cat"])), {}, "holds train/, a split, and cat/; it must hold"),
        (lambda f: (pictures(f / "train"), pictures(f / "test", ["cow"])), {}, "no training sample of class 'cow'"),
        (lambda f: (pictures(f), recordings(f)), {}, r"holds a picture, cat/0\.png, and a recording, a/0\.npy"),
        (lambda f: pictures(f, each=1), {}, "2 samples in .* are too few to divide: none of class"),
        (lambda f: pictures(f), {"labels": "x.csv"}, r"data\.labels = x\.csv: there is no such file"),
        (lambda f: (pictures(f), (f / "labels.csv").write_text("file,label\ncat/99.png,1\n")), {}, r"line 2 of .*labels\.csv names 'cat/99\.png', which is not among"),
        (lambda f: (pictures(f), (f / "labels.csv").write_text("cat/1.png,1\ncat/1.png,2\n")), {}, "is labelled '2', and otherwise in line 1"),
        (lambda f: (pictures(f), (f / "labels.csv").write_text("cat/1.png,\n")), {}, r"line 1 of .*: 'cat/1\.png' has no label"),
        (lambda f: (pictures(f), (f / "labels.csv").write_text("cat/1.png\n")), {}, "needed are a file and its label"),
        (lambda f: (pictures(f), (f / "labels.csv").write_text("")), {}, r"labels\.csv is empty"),
        (lambda f: (pictures(f), (f / "labels.csv").write_bytes(b"\xff\xfe\x00")), {}, r"labels\.csv is no text in UTF-8"),
        (lambda f: (pictures(f), (f / "labels.csv").write_text("../../etc/passwd,1\n")), {}, "is not among the files"),
        (lambda f: (pictures(f), (f / "cat/3.png").write_bytes(b"no picture")), {}, r"cat/3\.png is damaged or no picture"),
        (lambda f: (pictures(f), (f / "cat/3.png").write_bytes((f / "cat/3.png").read_bytes()[:50])), {}, r"cat/3\.png is damaged or no"),
        (lambda f: (pictures(f), (f / "cat/3.png").write_bytes(b"")), {}, r"cat/3\.png is damaged or no"),
        (lambda f: (pictures(f), picture(f / "dog/3.png", size=(9, 7))), {}, r"dog/3\.png is 9 x 7, the first 6 x 8 .*data\.size=\[6,8\]"),
        (lambda f: (pictures(f), picture(f / "dog/3.png", colours=3)), {}, r"dog/3\.png has colours, .*data\.colour=rgb"),
        (lambda f: pictures(f), {"augmentation": FolderAugmentation(shift=2)}, r"data\.augmentation\.shift = 2 is not for pictures"),
        (lambda f: recordings(f), {"augmentation": FolderAugmentation(cutout=2)}, r"data\.augmentation\.cutout = 2 is not for recordings"),
        (lambda f: recordings(f), {"sequence": "rows"}, r"data\.sequence = rows is for pictures; the folder holds recordings"),
        (lambda f: recordings(f), {"colour": "grey"}, r"data\.colour = grey is for pictures; the folder holds recordings"),
        (lambda f: pictures(f), {"time_steps": 5}, r"data\.time_steps = 5 is for recordings; the folder holds pictures"),
        (lambda f: pictures(f), {"sensor": [8, 6]}, r"data\.sensor = \[8, 6\] is for recordings; the folder holds pictures"),
        (lambda f: recordings(f), {"sensor": [10, 10]}, r"a/0\.npy has events up to x = 19, y = 15, off the sensor of 10 x 10"),
        (lambda f: recordings(f), {"time_steps": 100_000}, r"a batch of 100 x .* takes .* GiB; a smaller data\.size"),
        (lambda f: (recordings(f), np.save(f / "a/1.npy", np.zeros((0, 4)))), {"order": "xytp"}, r"a/1\.npy holds no event"),
        (lambda f: pictures(f), {"class_weights": [1.0]}, "must have a number for each of 2 classes: cat, dog"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, data, make, options, words: str) -> None:
    make(tmp_path / "mine")
    with pytest.raises(InputError, match=words) as error:
        data(tmp_path / "mine", **options).setup()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"val_fraction": 0.0}, r"data\.val_fraction = 0\.0 must lie in 0\.001 to 0\.9"),
        ({"test_fraction": 2.0}, r"data\.test_fraction = 2\.0 must lie in"),
        ({"split_seed": -1}, r"data\.split_seed = -1 must lie in"),
        ({"size": [1, 2, 3]}, r"data\.size = \[1, 2, 3\] must be a side or \[height, width\]"),
        ({"size": 0}, r"data\.size = 0 must lie in 1 to 4096"),
        ({"sensor": [34]}, r"data\.sensor = \[34\] must be \[width, height\]"),
        ({"order": "xyp"}, r"data\.order = xyp must name columns by x, y, t, p"),
        ({"class_weights": [0.0, 1.0]}, r"data\.class_weights = 0\.0 must lie in"),
        ({"time_steps": 0}, "time_steps = 0 must be at least 1"),
        ({"time_unit": "h"}, r"data\.time_unit = h: choose one of s, ms, us, ns"),
    ],
)
def test_bad_values_are_told_before_the_folder_is_looked_at(data, options, words: str) -> None:
    with pytest.raises(InputError, match=words):
        data("nowhere", **options)


# pictures -------------------------------------------------------------------------------------------------------------
def test_every_kind_of_picture(tmp_path: Path) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    rgb = np.stack([grey, grey[::-1], 255 - grey], -1)
    for ending in ("png", "bmp", "tif", "gif", "pgm"):
        Image.fromarray(grey).save(tmp_path / f"a.{ending}")
        assert np.array_equal(
            read_picture(tmp_path / f"a.{ending}", "rgb" if ending == "gif" else "grey", None)[0], grey
        )
    for ending in ("png", "bmp", "tif", "ppm"):
        Image.fromarray(rgb).save(tmp_path / f"b.{ending}")
        assert np.array_equal(read_picture(tmp_path / f"b.{ending}", "rgb", None), rgb.transpose(2, 0, 1))
    for ending in ("jpg", "webp"):
        Image.fromarray(rgb).save(tmp_path / f"b.{ending}")
        assert read_picture(tmp_path / f"b.{ending}", "rgb", None).shape == (3, 6, 8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_picture(tmp_path / "deep.png", "grey", None)[0], grey)
    Image.fromarray(rgb).quantize(48).save(tmp_path / "palette.png")
    palette = np.asarray(Image.open(tmp_path / "palette.png").convert("RGB"))
    assert np.array_equal(read_picture(tmp_path / "palette.png", "rgb", None), palette.transpose(2, 0, 1))
    alpha = np.dstack([rgb, np.where(grey > 100, 255, 0).astype(np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    assert np.array_equal(
        read_picture(tmp_path / "alpha.png", "rgb", None), np.where(grey > 100, rgb.transpose(2, 0, 1), 0)
    )
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(grey).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "turned.png", "grey", None)[0], np.rot90(grey, -1))
    Image.fromarray(np.full((4, 4), 200, np.uint8)).convert("1").save(tmp_path / "bits.png")
    assert read_picture(tmp_path / "bits.png", "grey", None).max() == 255
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match="more than 16 bits"):
        read_picture(tmp_path / "float.tif", "rgb", None)


def test_colours_are_made_grey_where_grey_is_asked_for(tmp_path: Path, data) -> None:
    colours = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [9, 9, 9]]])
    Image.fromarray(colours).save(tmp_path / "a.png")
    Image.fromarray(colours).quantize(8).save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([colours, np.full((1, 5), 255, np.uint8)])).save(tmp_path / "alpha.png")
    for name in ("a", "palette", "alpha"):
        grey = read_picture(tmp_path / f"{name}.png", "grey", None, convert=True)
        assert grey.tolist() == [[[76, 150, 29, 255, 9]]]  # 0.299, 0.587 and 0.114 of 255
    folder = pictures(tmp_path / "mine")
    picture(folder / "dog/3.png", colours=3)
    with pytest.raises(InputError, match=r"dog/3\.png has colours, .*data\.colour=grey makes all of them grey"):
        data(folder).setup()
    assert data(folder, colour="grey").spec.input_shape[0] == 1
    data(folder, colour="grey").setup()
    with pytest.raises(InputError, match="has colours"):  # what was kept then is not taken now
        data(folder).setup()


def test_a_picture_that_declares_too_much(tmp_path: Path) -> None:
    content = bytearray(picture(tmp_path / "a.png").read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"a\.png (has 50000 x 50000 pixels, at most|is damaged or no picture)"):
        read_picture(tmp_path / "a.png", "grey", None)


def test_mixed_sizes_and_colours_are_brought_together(tmp_path: Path, data) -> None:
    folder = pictures(tmp_path / "mine")
    picture(folder / "cat/3.png", size=(20, 10), colours=3)
    own = data(folder, size=[5, 7], colour="rgb")
    assert own.spec.input_shape == (3, 5, 7)
    assert next(iter(own.train_dataloader())).inputs.shape == (14, 3, 5, 7)
    assert "pictures: rgb, stretched to 5 x 7; upright by EXIF, transparent is black" in own.provenance.notes
    rows = data(folder, size=[5, 7], colour="rgb", sequence="rows")
    assert next(iter(rows.train_dataloader())).inputs.shape == (5, 14, 21)
    assert rows.images().spec.input_shape == (3, 5, 7) and own.prototypes().shape == (2, 3, 5, 7)
    assert len(own.sheet().cells) == 8


def test_pictures_are_decoded_once_until_a_file_changes(tmp_path: Path, data, monkeypatch) -> None:
    from snnlab.data.folder import pictures as module

    folder, seen = pictures(tmp_path / "mine"), []
    monkeypatch.setattr(module, "read_picture", lambda *a: seen.append(a[0]) or read_picture(*a))
    first = data(folder)
    first.setup()
    data(folder).setup()
    assert len(seen) == 20
    picture(folder / "cat/3.png", 77)
    changed = data(folder)
    assert changed.provenance.hash != first.provenance.hash and len(seen) == 40
    for stored, damage in zip(
        sorted((tmp_path / "cache/images").iterdir()), (lambda p: p.write_bytes(bytes(100)), os.mkfifo), strict=True
    ):
        stored.unlink()
        damage(stored)
    again = data(folder)
    again.setup()
    assert torch.equal(again.splits.test.batch([0]).inputs, changed.splits.test.batch([0]).inputs)


def test_pictures_that_were_stretched_are_not_those_of_one_size(tmp_path: Path, data) -> None:
    folder = pictures(tmp_path / "mine")
    picture(folder / "dog/3.png", size=(9, 7))
    data(folder, size=[6, 8]).setup()
    with pytest.raises(InputError, match=r"dog/3\.png is 9 x 7, the first 6 x 8"):
        data(folder).setup()


def test_pictures_go_without_a_cache_that_cannot_be_written(tmp_path: Path, caplog) -> None:
    folder = pictures(tmp_path / "mine")
    (tmp_path / "file").touch()
    own = with_loader(Folder, tmp_path, tmp_path / "file/cache", folder=str(folder))
    assert next(iter(own.train_dataloader())).inputs.shape == (14, 1, 6, 8)
    assert "cannot be written" in caplog.text


def test_pictures_go_without_a_cache_that_is_full(tmp_path: Path, data, monkeypatch, caplog, full_disk) -> None:
    from snnlab.data.folder import pictures as module

    folder = pictures(tmp_path / "mine")
    with full_disk():
        assert next(iter(data(folder).train_dataloader())).inputs.shape == (14, 1, 6, 8)
        assert caplog.text.count("the disk is full; free some space") == 2  # hashes, pixels
        monkeypatch.setattr(module, "IN_MEMORY", 10)  # many cannot go without
        with pytest.raises(RunFailure, match=r"\.pixels: the disk is full; free some space and start again"):
            data(folder).setup()


def test_many_pictures_are_left_on_disk(tmp_path: Path, data, monkeypatch) -> None:
    from snnlab.data.folder import pictures as module

    folder = pictures(tmp_path / "mine")
    batch = next(iter(data(folder).train_dataloader()))
    monkeypatch.setattr(module, "IN_MEMORY", 10)
    assert torch.equal(next(iter(data(folder).train_dataloader())).inputs, batch.inputs)


def test_class_weights_show_rare_samples_more_often(tmp_path: Path, data) -> None:
    folder = pictures(tmp_path / "mine", ["many"], each=40)
    pictures(folder, ["few"], each=8)
    plain, balanced, given = (data(folder, class_weights=w) for w in ("none", "balanced", [2.0, 0.5]))
    plain.setup()
    assert np.bincount(plain.splits.train.labels).tolist() == [5, 28]  # few comes before many
    for own, expected in ((balanced, [28, 28]), (given, [10, 14])):
        own.setup()
        assert np.bincount(own.splits.train.labels).tolist() == expected
        assert own.provenance.sizes == plain.provenance.sizes == plain.spec.sizes
        assert len(own.splits.test) == plain.spec.sizes["test"]


# recordings -----------------------------------------------------------------------------------------------------------
def test_recordings(tmp_path: Path, data) -> None:
    own = data(recordings(tmp_path / "mine"), time_steps=5, batch_size=16)
    assert own.spec.time_step is None and data(tmp_path / "mine", window_us=5000).spec.time_step == 0.005
    assert own.spec.kind == "event" and own.spec.input_shape == (2, 16, 20) and own.spec.classes == 3
    batch = next(iter(own.test_dataloader()))
    assert batch.inputs.shape == (5, 5, 2, 16, 20) and batch.inputs.sum() == 5 * 200
    assert any(note.startswith("recordings: sensor 20 x 16, 4,800 events") for note in own.provenance.notes)
    shifted = data(tmp_path / "mine", time_steps=5, augmentation=FolderAugmentation(shift=4, drop=0.5))
    assert next(iter(shifted.train_dataloader())).inputs.sum() < 17 * 120
    assert next(iter(shifted.test_dataloader())).inputs.sum() == 5 * 200


def test_a_file_in_which_hdf5_runs_in_circles_is_told_within_seconds(tmp_path: Path, data) -> None:
    for label in "ab":
        for number in range(8):
            path = tmp_path / "mine" / label / f"{number}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file.attrs["camera"] = "a text of any length lies in a heap"
                for name in "xytp":
                    file[f"events/{name}"] = np.arange(9) % (2 if name == "p" else 9)
    assert data(tmp_path / "mine").spec.input_shape == (2, 9, 9)
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    content[heap + 16 : heap + 4096] = bytes(4080)  # an entry of length 0: the next one is where it is itself
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"b/7\.h5 cannot be read \(HDF5 finds no end in it\)"):
        data(tmp_path / "mine").setup()


def test_augmentation_of_another_kind_is_told_before_recordings_are_read(tmp_path: Path, data) -> None:
    folder = recordings(tmp_path / "mine")
    (folder / "a/0.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"data\.augmentation\.cutout = 4 is not for recordings"):
        data(folder, augmentation=FolderAugmentation(cutout=4)).setup()


def test_frames_are_made_no_larger_than_the_sensor(tmp_path: Path, data) -> None:
    with pytest.raises(InputError, match=r"data\.size = 32 is more than the shorter side of the sensor of 20 x 16"):
        data(recordings(tmp_path / "mine"), size=32).setup()


def test_frames_of_a_large_sensor_are_made_smaller(tmp_path: Path, data) -> None:
    folder = recordings(tmp_path / "mine", width=640, height=480)
    assert data(folder).spec.input_shape == (2, 96, 128)
    assert data(folder, size=32).spec.input_shape == (2, 32, 32)
    assert data(folder, sensor=[1280, 720], size=16, polarity="merged").spec.input_shape == (1, 16, 16)


def test_recordings_are_looked_through_once(tmp_path: Path, data, monkeypatch) -> None:
    from snnlab.data.folder import recordings as module

    folder, seen, read = recordings(tmp_path / "mine"), [], module.read_recording
    monkeypatch.setattr(module, "read_recording", lambda *a: seen.append(a[0]) or read(*a))
    data(folder).setup()
    assert len(seen) == 25  # the first twice: does it name a sensor?
    data(folder).setup()
    assert len(seen) == 25


# in a run -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["pictures", "recordings"])
def test_a_run_says_what_its_classes_are(tmp_path: Path, run_command, kind: str) -> None:
    make = {"pictures": pictures, "recordings": recordings}[kind]
    make(tmp_path / "mine", ("gut", "schön", "9.5"))
    line = ("method=stbp", "data=folder", "data.folder=mine", "logger=none", "trainer.max_epochs=1", "model.hidden=[8]")
    code, _, error = run_command(*line)
    assert code == 0, error
    (run,) = (tmp_path / "outputs").glob("*/run.json")
    content = json.loads(run.read_text())
    assert content["provenance"]["labels"] == ["9.5", "gut", "schön"]
    assert set(content["metrics"]["test"]["class_accuracy"]) == {"9_5", "gut", "schön"}
    assert 0 <= content["metrics"]["test"]["balanced_accuracy"] <= 1
    assert (run.parent / "figures/confusion_matrix.png").is_file()


def test_the_folder_must_be_named(run_command, empty_data) -> None:
    code, _, error = run_command("method=stbp", "data=folder")
    assert code == 2 and "data.folder = null: name the folder of your pictures or recordings" in error


def test_accuracy_of_each_class_and_their_mean() -> None:
    scores = torch.eye(3)[[0, 0, 1, 0, 2]]
    targets = torch.tensor([0, 0, 1, 1, 1])
    balanced = BalancedAccuracy(3)
    each = [ClassAccuracyOf(balanced, label) for label in range(3)]
    for part in (slice(2), slice(2, None)):
        for metric in (balanced, *each):
            metric.update(scores[part], targets[part])
    assert [metric.compute().item() for metric in each] == pytest.approx([1.0, 1 / 3, 0.0])
    assert balanced.compute().item() == pytest.approx((1 + 1 / 3) / 2)
    for metric in (*each, balanced):
        metric.reset()
        metric.update(scores[:1], targets[:1])
    assert [metric.compute().item() for metric in (*each, balanced)] == [1.0, 0.0, 0.0, 1.0]
    question = NamedClasses(("a", "b/c", "d.e"))
    assert list(question.metrics(3)) == [
        *("accuracy", "balanced_accuracy", "class_accuracy/a", "class_accuracy/b_c", "class_accuracy/d_e")
    ]
    assert question.caption(torch.tensor([0, 2]), 1) == "d.e"
    assert len(NamedClasses(tuple(map(str, range(60)))).metrics(60)) == 2


def test_the_figures_of_many_classes_cost_what_those_of_few_do() -> None:
    class Counted(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.calls += 1
            return func(*args, **kwargs or {})

    found = []
    for classes in (2, MOST_NAMED):
        metrics = NamedClasses(tuple(map(str, range(classes)))).metrics(classes)
        assert len(metrics) == classes + 2
        scores, targets = torch.eye(classes), torch.arange(classes)
        with Counted() as counted:
            for metric in metrics.values():
                metric.update(scores, targets)
        found.append(counted.calls)
    assert found[0] == found[1]


def test_labels_that_numbers_do_not_hold(tmp_path: Path, data) -> None:
    assert natural(iter(["nan", "2", "10", "inf"])) == ["2", "10", "inf", "nan"]
    for labels, classes in (
        (["12345678901234567890.0", "12345678901234567891"], ("12345678901234567890", "12345678901234567891")),
        (["9" * 200, "-3"], ("-3", "9" * 200)),
    ):
        folder = tmp_path / f"{len(classes[1])}"
        for number in range(20):
            picture(folder / f"{number}.png")
        (folder / "labels.csv").write_text("".join(f"{n}.png,{labels[n % 2]}\n" for n in range(20)))
        assert data(folder).spec.question.names == classes
    (folder / "labels.csv").write_text("".join(f"{n}.png,{'9' * 5000}\n" for n in range(20)))
    with pytest.raises(InputError, match=r"labels\.csv: a label has 5,000 letters, at most 255 are read"):
        data(folder).setup()


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"a\xe9", b"a\nb", b"\x1b[31mred", "a\x9b".encode(), "a\u2028b".encode()]
)
def test_classes_that_cannot_be_printed(tmp_path: Path, data, name: bytes) -> None:
    folder = pictures(tmp_path / "mine")
    (folder / "cat").rename(folder / os.fsdecode(name))
    with pytest.raises(InputError, match=r"a class in .* is called '[ -~]+', which holds signs that are no UTF-8"):
        data(folder).setup()


def test_each_class_has_a_figure_of_its_own() -> None:
    names = ("a.b", "a/b", "a_b", "a_b_2", "c.d")
    assert keys(names) == ["a_b_3", "a_b_4", "a_b", "a_b_2", "c_d"]
    assert len(NamedClasses(names).metrics(5)) == 2 + len(names)
