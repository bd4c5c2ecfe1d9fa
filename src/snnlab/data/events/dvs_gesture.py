"""DVS128 Gesture: 11 arm and hand gestures of 29 people in up to 5 lights before a DVS128, about 6 s each.

Source: Amir et al. 2017, "A Low Power, Fully Event-Based Gesture Recognition System", CVPR, pp. 7243-7252.
Two layouts are read:
    DvsGesture/userXX_<light>.aedat (AEDAT 3.1) with userXX_<light>_labels.csv (class from 1, start and end in us) and
        trials_to_train.txt, trials_to_test.txt: 1,176 and 288 recordings; arm rolls (class 8) come twice
    ibmGestureTrain, ibmGestureTest/userXX_<light>/<class from 0>.npy, tonic's: [events, 4] of x, y, p, t in ms, one
        recording of each class, 1,077 and 264
Users 1 to 23 are for training, 24 to 29 for testing, in both.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import DataSpec, Provenance, Splits, check_range
from snnlab.data.events.module import EventModule
from snnlab.data.files import read_text
from snnlab.data.formats import npy
from snnlab.data.formats.aedat3 import Aedat3File
from snnlab.data.limits import check_events
from snnlab.data.loader import Loader
from snnlab.data.publish.archives import Archive, check, install
from snnlab.data.recordings import Events, StoredRecordings, tidy
from snnlab.data.splits import Subset
from snnlab.errors import InputError

FOLDERS = ("dvs_gesture", "DVSGesture", "DvsGesture", "DVS128Gesture")
SIDE = 128
CLASSES = 11
FULL = {"train": 1176, "test": 288}
NPY = re.compile(r"(?:.*/)?(ibmGesture(Train|Test)/user(\d+)_[^/]+/(\d+)\.npy)")
ORIGINAL = re.compile(r"(?:.*/)?((?:user(\d+)_\w+\.(?:aedat|csv))|(?:trials_to_(?:train|test)\.txt))")
TRIALS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
FIGSHARE = "https://figshare.com/ndownloader/files/"
TONIC = (
    Archive("ibmGestureTrain.tar.gz", "3a8f0d4120a166bac7591f77409cb105", (f"{FIGSHARE}38022171",)),
    Archive("ibmGestureTest.tar.gz", "56070e45dadaa85fff82e0fbfbc06de5", (f"{FIGSHARE}38020584",)),
)
PUBLISHED = Archive("DvsGesture.tar.gz", "8a5c71fb11e24e5ca5b11866ca6c00a1")  # by hand, from IBM's page
WHERE = "DvsGesture.tar.gz of https://research.ibm.com/interactive/dvsgesture"


class Gesture(NamedTuple):
    """One recording: sorted by these fields."""

    test: bool
    user: int
    trial: str  # user and light
    order: int  # within the trial
    label: int
    name: str  # of its file, below the folder
    start_us: int  # 0 and 0: the whole file
    stop_us: int


class DVSGesture(EventModule):
    """Recorded events of gestures, read one by one.

    Used where they lie under ``root`` (``dvs_gesture``, tonic's ``DVSGesture``, ``DvsGesture``; the original before
    tonic's form), else downloaded in tonic's form if ``download``. Fewer than 1,176 and 288 recordings, as tonic has,
    are flagged ``subset``.

    Args:
        download: fetch missing files; false refuses, naming the folder where they were sought.
        unverified: use files that match no published checksum; the results are flagged ``altered``.
        time_steps, window_us: T bins of that many microseconds; null for window_us cuts each recording in T parts.
        split: what is equal in those parts: ``events`` (OTTT's code) or ``time``.
        mode, polarity: see ``Binning``.
        size: side of the frames, pixels; null for the sensor's 128.
        val_users: that many of the training users, the last, validate: people the training has not seen, as the test.
        augmentation: of training batches, in pixels of the sensor.

    Batches: inputs [T, B, 2, size, size] float32, labels [B], no signals.
    Raises:  InputError: an argument out of range, or files that are missing, broken or unknown.
    """

    def __init__(
        self,
        loader: Loader,
        download: bool = False,
        unverified: bool = False,
        time_steps: int = 20,
        window_us: int | None = None,
        split: Literal["events", "time"] = "events",
        mode: Literal["mean", "count", "occupancy"] = "mean",
        polarity: Literal["channels", "merged"] = "channels",
        size: int | None = 32,
        val_users: int = 3,
        augmentation: EventAugmentation = EventAugmentation(),  # noqa: B008  frozen
    ) -> None:
        binning = Binning(SIDE, SIDE, time_steps, window_us, mode, polarity, size=size, split=split)
        super().__init__(loader, binning, augmentation)
        check_range("data.dvs_gesture: val_users", val_users, 1, 22, "3 of the 23 training users is usual")
        self.download, self.unverified, self.val_users = download, unverified, val_users
        self._found: tuple[Path, list[Gesture]] | None = None

    @property
    def spec(self) -> DataSpec:
        sizes: dict[str, int] = {}
        try:
            if found := self.find():
                sizes = {name: len(part) for name, part in self._indices(found[1]).items()}
        except InputError:  # told by load
            pass
        shape, steps = self.binning.frame_shape, self.binning.time_steps
        return DataSpec("dvs_gesture", "event", shape, CLASSES, time_steps=steps, time_step=self.time_step, sizes=sizes)

    def where(self) -> str:
        return "recorded, found" if self.find() else "downloadable"

    def find(self) -> tuple[Path, list[Gesture]] | None:
        """Return the folder under the root and the recordings in it, listed without reading events; or None."""
        if self._found is None:
            folders = [self.root / name for name in FOLDERS]
            folders += [folder / "DvsGesture" for folder in folders]
            for how in (in_original, in_tonic):
                for folder in folders:
                    if found := how(folder):
                        self._found = folder, sorted(found)
                        return self._found
        return self._found

    def _indices(self, gestures: list[Gesture]) -> dict[str, np.ndarray]:
        users = np.array([item.user for item in gestures])
        test = np.array([item.test for item in gestures])
        val = ~test & np.isin(users, np.unique(users[~test])[-self.val_users :])
        parts = {"train": ~test & ~val, "val": val, "test": test}
        return {name: np.flatnonzero(part) for name, part in parts.items()}

    def load(self) -> tuple[Splits, Provenance]:
        if self.find() is None:
            there = [folder for name in FOLDERS if (folder := self.root / name).is_dir()]
            folder = (there or [self.root / FOLDERS[0]])[0]
            by_hand = any((f / PUBLISHED.name).is_file() for f in (folder, folder.parent))
            missing = f"no recordings under {folder} ({WHERE} holds all 1,464)"
            install((PUBLISHED,) if by_hand else TONIC, folder, place, self.download, "dvs_gesture", missing)
        found = self.find()
        if found is None:
            raise InputError(f"data.dvs_gesture: the archives under {self.root} hold no recordings; delete them")
        folder, gestures = found
        indices = self._indices(gestures)
        if min(map(len, indices.values())) == 0:
            raise InputError(
                f"data.dvs_gesture: {folder} gives {', '.join(f'{k} {len(v)}' for k, v in indices.items())} recordings "
                f"with val_users = {self.val_users}; each split needs at least 1, from {WHERE}"
            )
        files = {name: Aedat3File(folder / name, SIDE) for g in gestures if (name := g.name).endswith(".aedat")}
        names = sorted({item.name for item in gestures})
        if files:
            names += [f"{name[: -len('.aedat')]}_labels.csv" for name in names] + list(TRIALS.values())
        checked = check(
            "dvs_gesture", folder, names, (*TONIC, PUBLISHED), place, parse_file, self.cache, self.unverified
        )
        readers: list[Callable[[], Events]] = [
            partial(files[g.name].events, g.start_us, g.stop_us) if files else partial(read_npy, folder / g.name)
            for g in gestures
        ]
        recordings = StoredRecordings(lambda i: readers[i](), len(readers))
        labels = np.array([item.label for item in gestures])
        augmented, plain = self.datasets(recordings, labels, ("dvs_gesture", checked.hash))
        splits = Splits(
            Subset(augmented, indices["train"]), Subset(plain, indices["val"]), Subset(plain, indices["test"])
        )
        users = sorted({gestures[i].user for i in indices["val"]})
        layout = "AEDAT 3.1 with labels" if files else "tonic's npy, one recording of each class, times in ms"
        return splits, Provenance(
            source="original",
            hash=checked.hash,
            sizes={name: len(part) for name, part in splits._asdict().items()},
            altered=checked.altered,
            subset=len(indices["train"]) + len(indices["val"]) < FULL["train"] or len(indices["test"]) < FULL["test"],
            verified=checked.verified,
            notes=[*checked.notes, f"layout: {layout}", f"validation: users {', '.join(map(str, users))}"],
        )


def place(name: str) -> str | None:
    """Return where a file of an archive belongs below the folder, None for others."""
    match = NPY.fullmatch(name) or ORIGINAL.fullmatch(name)
    return match[1] if match else None


def in_tonic(folder: Path) -> list[Gesture]:
    """List the recordings in tonic's layout below ``folder``."""
    found = []
    for path in folder.glob("ibmGesture*/user*/*.npy"):
        name = path.relative_to(folder).as_posix()
        if match := NPY.fullmatch(name):
            if (label := int(match[4])) >= CLASSES:
                raise InputError(f"{path}: the file is named for its class, which must lie in 0 to 10")
            found.append(Gesture(match[2] == "Test", int(match[3]), path.parent.name, label, label, name, 0, 0))
    return found


def in_original(folder: Path) -> list[Gesture]:
    """List the recordings in the published layout: those of the trials named in trials_to_train.txt and _test.txt.

    Raises: InputError: a trial that is missing, or labels that cannot be read.
    """
    if not all((folder / name).is_file() for name in TRIALS.values()):
        return []
    found = []
    for split, trials in TRIALS.items():
        for line in read_text(folder / trials).split():
            match = ORIGINAL.fullmatch(line)
            if match is None or match[2] is None or not (folder / line).is_file():
                raise InputError(f"{folder / trials} names {line[:80]}, which is not in {folder}; unpack {WHERE} again")
            path = folder / f"{line[: -len('.aedat')]}_labels.csv"
            for order, (label, start, stop) in enumerate(read_labels(path)):
                found.append(Gesture(split == "test", int(match[2]), line, order, label - 1, line, start, stop))
    return found


def read_labels(path: Path) -> list[tuple[int, int, int]]:
    """Return class (1 to 11), start and end in microseconds of each gesture of a trial."""
    try:
        table = list(csv.reader(read_text(path).splitlines()))[1:]
        rows = [tuple(int(cell) for cell in row) for row in table if row]
    except (ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no table of class, start and end in microseconds ({error})") from error
    for row in rows:
        if len(row) != 3 or not 1 <= row[0] <= CLASSES or not 0 <= row[1] < row[2] < 2**48:
            raise InputError(f"{path}: the row {str(row)[:80]} must hold a class from 1 to 11, a start and a later end")
    return rows  # type: ignore[return-value]


def read_npy(path: Path) -> Events:
    """Read one recording of tonic's: x, y, polarity, milliseconds."""
    array = npy.read_npy(path)
    if array.ndim != 2 or array.shape[1] != 4 or len(array) == 0 or array.dtype.kind not in "iuf":
        raise InputError(f"{path} holds {array.shape}, needed are [events, 4] of x, y, p, t")
    check_events(path, len(array))
    x, y, p, t = array.astype(np.int64).T
    if min(x.min(), y.min()) < 0 or max(x.max(), y.max()) >= SIDE or not np.isin(p, (0, 1)).all():
        raise InputError(f"{path} has an event off the {SIDE} x {SIDE} sensor or of no polarity; the file is corrupt")
    return tidy(x, y, t * 1000, p, path)


def parse_file(path: Path) -> None:
    """Raise InputError where a file of either layout cannot be read."""
    if path.suffix == ".npy":
        read_npy(path)
    elif path.suffix == ".csv":
        read_labels(path)
    elif path.suffix == ".aedat":
        _ = Aedat3File(path, SIDE).index
