"""MNIST-DVS: 10,000 MNIST digits recorded by a DVS128, or films of such digits by our camera model.

Recordings: Serrano-Gotarredona, Linares-Barranco 2015, doi 10.3389/fnins.2015.00481; scale 4, 2 s, cropped to the
26 x 26 window of Skatchkovsky, Simeone, Jang 2021 (arXiv:2106.01177), as in ``camera``, which stands for them.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.camera import CORNER, SIDE, Camera
from snnlab.data.contract import DataModule, DataSpec, Provenance, Splits, check_range
from snnlab.data.events.films import BLOCK, Films
from snnlab.data.events.module import EventModule
from snnlab.data.files import progress, read_bytes
from snnlab.data.formats import aedat
from snnlab.data.images.digit_images import digit_images
from snnlab.data.images.digits import SHA256, TEST_SIZE, TOTAL, WHITE, read_digits, split_digits
from snnlab.data.images.idx import IDXArrays, idx_prototypes
from snnlab.data.images.mnist import MNIST
from snnlab.data.loader import Loader
from snnlab.data.recordings import AnyRecordings, Events, Recordings, check_times
from snnlab.data.splits import Subset, first_of_each_class, stratified_order
from snnlab.errors import InputError

log = logging.getLogger(__name__)

FOLDERS = ("mnist_dvs", "MNIST_DVS", "MNIST-DVS")
FILE = re.compile(r"mnist_(\d)_scale0?4_(\d{4})\.aedat")
FILMED = "simulated by snnlab's camera model"  # header of exported films; they stay simulated when read again
DURATION_US = 2_000_000  # of each recording, its first two seconds are used
TRAIN_NUMBERS = 900  # of each digit's 1,000 recordings, those numbered 0001 to 0900 are for training
WHERE = (
    "the MNIST-DVS page of the Instituto de Microelectronica de Sevilla (Serrano-Gotarredona and "
    "Linares-Barranco 2015, doi 10.3389/fnins.2015.00481)"
)


class MNISTDVS(EventModule):
    """Events of digits, labels, and for films the image behind each.

    ``source``: ``recorded`` uses the recordings under the root and refuses without them; ``simulated`` films MNIST if
    it lies under the root, else the digits bundled with scikit-learn; ``auto`` takes recordings if they are there,
    else films. None of them touches the network. Training and validation films come from training images, test films
    from test images; films are made when a batch needs them and kept in the cache.

    Args:
        unverified: film MNIST files of unknown content too; the results are flagged ``altered``.
        time_steps, window_us: T bins of that many microseconds; together at most 2 s, or what the camera films.
        mode, polarity, downsample: see ``Binning``.
        train_films, test_films: null for 9,000 and 1,000 (recordings, MNIST) or 1,497 and 300 (bundled digits); more
            films than images repeat the images with other phases and noise.
        val_films: taken from the train_films; null for 500, or 200 of the bundled digits.
        camera: films the images; it does nothing to recordings.
        augmentation: of training batches, in pixels of the sensor.

    Batches: inputs [T, B, 2, 26, 26] float32, labels [B], signals [B, 1, h, w] in [0, 1] (films) or None (recordings).
    Raises:  InputError: an argument out of range, or recordings that are missing or broken.
    """

    def __init__(
        self,
        loader: Loader,
        source: Literal["auto", "recorded", "simulated"] = "auto",
        unverified: bool = False,
        time_steps: int = 80,
        window_us: int = 25_000,
        mode: Literal["occupancy", "count"] = "occupancy",
        polarity: Literal["channels", "merged"] = "channels",
        downsample: int = 1,
        train_films: int | None = None,
        val_films: int | None = None,
        test_films: int | None = None,
        camera: Camera = Camera(),  # noqa: B008  frozen
        augmentation: EventAugmentation = EventAugmentation(),  # noqa: B008  frozen
    ) -> None:
        binning = Binning(SIDE, SIDE, time_steps, window_us, mode, polarity, downsample=downsample)
        super().__init__(loader, binning, augmentation)
        if source not in ("auto", "recorded", "simulated"):
            raise InputError(f"data.mnist_dvs: source = {source} must be auto, recorded or simulated")
        self.source, self.unverified, self.camera = source, unverified, camera
        folders = [self.root / name for name in FOLDERS]
        self.folder = next((f for f in folders if any(FILE.fullmatch(p.name) for p in f.rglob("*.aedat"))), None)
        self.image_source: Literal["mnist", "digits"] = "mnist" if MNIST.find(self.root) else "digits"
        self.recorded = source == "recorded" or (source == "auto" and self.folder is not None)
        duration = DURATION_US if self.recorded else camera.duration_us
        if time_steps * window_us > duration:
            raise InputError(
                f"data.mnist_dvs: time_steps x window_us = {time_steps} x {window_us} us = "
                f"{time_steps * window_us * 1e-6:g} s must not exceed the {duration * 1e-6:g} s of a "
                f"{'recording' if self.recorded else 'film'}; time_steps={duration // window_us} fits"
            )
        bundled = not self.recorded and self.image_source == "digits"
        self.train_films = (TOTAL - TEST_SIZE if bundled else 9000) if train_films is None else train_films
        self.test_films = (TEST_SIZE if bundled else 1000) if test_films is None else test_films
        self.val_films = (200 if bundled else 500) if val_films is None else val_films
        for name, least in (("train_films", 2), ("test_films", 1)):
            largest = {"train_films": 9000, "test_films": 1000}[name] if self.recorded else 1_000_000
            check_range(f"data.mnist_dvs: {name}", getattr(self, name), least, largest)
        images = TOTAL - TEST_SIZE if bundled else 60_000
        most = min(self.train_films, images) - 1
        check_range("data.mnist_dvs: val_films", self.val_films, 1, most, "they are taken from train_films")
        self._prototypes: Tensor | None = None
        self._mnist: IDXArrays | None = None  # what was read of it
        self._films: tuple[Films, ...] = ()  # of the images for training and for testing

    @property
    def spec(self) -> DataSpec:
        image = (1, 28, 28) if self.image_source == "mnist" else (1, 8, 8)
        return DataSpec(
            "mnist_dvs",
            "event",
            self.binning.frame_shape,
            classes=10,
            time_steps=self.binning.time_steps,
            time_step=self.time_step,
            signal_shape=None if self.recorded else image,
            prototype_shape=image,
            sizes={"train": self.train_films - self.val_films, "val": self.val_films, "test": self.test_films},
        )

    def where(self) -> str:
        return "recorded, found" if self.recorded else f"simulated from {self.image_source}"

    def prepare(self) -> None:
        """Film all that is to be filmed: a run then finds the films in the cache."""
        super().prepare()
        for films in self._films:
            films.take(range(0, len(films), BLOCK))

    def load(self) -> tuple[Splits, Provenance]:
        return self._load_recordings() if self.recorded else self._load_films()

    def prototypes(self) -> Tensor:
        """Return [10, 1, h, w]: the first image of each class in MNIST's training file, else of the bundled digits."""
        if self._prototypes is None:
            self._prototypes = self._read_images()[-1]
        return self._prototypes

    def images(self) -> DataModule:
        """Return the images that are filmed; for recordings, MNIST under the root, else the bundled digits."""
        images = digit_images(self.root, self.cache, self.unverified)
        if isinstance(images, MNIST):
            images.at_hand = self._mnist
        return images

    # Films -----------------------------------------------------------------------------------------------------------

    def _read_images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str, bool, Tensor]:
        """Return training images uint8 [N, 1, h, w] and labels, those for testing, hash, altered, prototypes."""
        if self.image_source == "mnist":
            images = self.images()
            assert isinstance(images, MNIST)
            self._mnist = data = images.arrays()
            train, test = data.train_images[:, None], data.test_images[:, None]
            return train, data.train_labels, test, data.test_labels, data.hash, data.altered, idx_prototypes(data)
        digits, labels = read_digits()
        train, val, test = split_digits(labels, 200)
        first = (
            first_of_each_class(torch.from_numpy(digits[train]), torch.from_numpy(labels[train]), 10).float() / WHITE
        )
        pool = np.sort(np.concatenate([train, val]))
        return digits[pool], labels[pool], digits[test], labels[test], SHA256, False, first

    def _load_films(self) -> tuple[Splits, Provenance]:
        train_images, train_labels, test_images, test_labels, image_hash, altered, self._prototypes = (
            self._read_images()
        )
        white, side = (255, 26.0) if self.image_source == "mnist" else (WHITE, 20.0)  # side: sensor pixels of an image
        folder = self.cache / "films"

        # Validation films lead, one per image; training films repeat the other images only, never those.
        order = stratified_order(train_labels)
        if self.val_films >= len(order):
            raise InputError(
                f"data.mnist_dvs: val_films = {self.val_films} must be below the {len(order)} training images"
            )
        own, others = order[: self.val_films], order[self.val_films :]
        which = np.concatenate([own, np.resize(others, self.train_films - self.val_films)])
        test_which = np.resize(stratified_order(test_labels), self.test_films)
        films = Films(self.camera, train_images, white, which, 0, side, image_hash, folder)
        test_films = Films(self.camera, test_images, white, test_which, 1, side, image_hash, folder)
        self._films = films, test_films
        signals = torch.from_numpy(train_images.copy()), white, which
        pool = self._pool(films, train_labels[which], films.name, signals)
        test_signals = torch.from_numpy(test_images.copy()), white, test_which
        _, test = self.datasets(test_films, test_labels[test_which], test_films.name, test_signals)
        name = "MNIST" if self.image_source == "mnist" else "the digits bundled with scikit-learn"
        better = "" if self.image_source == "mnist" else "for films of MNIST: python -m snnlab.data prepare mnist; "
        log.warning(
            "data.mnist_dvs: simulated: films of %s by the camera model, train %d, val %d, test %d; %s"
            "for recordings put those of doi 10.3389/fnins.2015.00481 under %s",
            *(name, *self.spec.sizes.values(), better, self.root / FOLDERS[0]),
        )
        checked = None if altered else f"its images against a known content hash (SHA-256 {image_hash[:12]}...)"
        settings = ", ".join(f"{key} {value:g}" for key, value in asdict(self.camera).items())
        return Splits(*pool, test), Provenance(
            source="simulated",
            hash=hashlib.sha256(f"{films.key} {self.spec.sizes} {image_hash}".encode()).hexdigest(),
            sizes=dict(self.spec.sizes),
            altered=altered,
            subset=self.train_films < (9000 if self.image_source == "mnist" else TOTAL - TEST_SIZE),
            verified=checked,
            notes=[
                f"films of {name} by the camera model, version key {films.key}; no recording",
                f"camera: {settings}",
                "hash: of the camera settings, the images' SHA-256 and the sizes, which determine every event",
            ],
        )

    def _pool(
        self,
        recordings: AnyRecordings,
        labels: np.ndarray,
        name: tuple[object, ...],
        signals: tuple[Tensor, int, np.ndarray] | None = None,
    ) -> tuple[Subset, Subset]:
        """Return the training and the validation split of ``recordings``, whose first val_films are for validation."""
        augmented, plain = self.datasets(recordings, labels, name, signals)
        indices = np.arange(len(labels))
        return Subset(augmented, indices[self.val_films :]), Subset(plain, indices[: self.val_films])

    def export_aedat(self, folder: Path) -> int:
        """Write the films as AEDAT 2.0 in the layout of the recordings under ``folder``; return their number.

        Training and validation films become numbers 0001 to 0900 of their digit, test films 0901 to 1000; what exceeds
        those numbers is left out.

        Raises: InputError: these are recordings already, or the folder cannot be written.
        """
        self.setup()
        if self.recorded:
            raise InputError(
                "data.mnist_dvs: only films can be exported, these are recordings; data.source=simulated films"
            )
        assert self.splits is not None and isinstance(self.splits.train, Subset)
        labels = [split.labels.tolist() for split in (self.splits.train.dataset, self.splits.test)]  # type: ignore[attr-defined]
        written = 0
        for films, of_films, first, last in zip(self._films, labels, (1, 901), (900, 1000), strict=True):
            number = dict.fromkeys(range(10), first)
            for i, label in enumerate(of_films):
                if number[label] > last:
                    continue
                events = films[i]
                name = f"mnist_{label}_scale04_{number[label]:04d}.aedat"
                moved = Events(events.x + np.uint8(CORNER), events.y + np.uint8(CORNER), events.t, events.p)
                aedat.write_aedat(folder / str(label) / "scale4" / name, moved, (FILMED,))
                number[label] += 1
                written += 1
        return written

    # Recordings ------------------------------------------------------------------------------------------------------

    def _load_recordings(self) -> tuple[Splits, Provenance]:
        folder = self.folder
        if folder is None:
            raise InputError(
                f"data.mnist_dvs: no recordings mnist_<d>_scale04_<nnnn>.aedat under {self.root / FOLDERS[0]}; "
                f"put the folders <digit>/scale4 of {WHERE} there, or data.source=simulated films digits instead"
            )
        found = sorted(
            (int(match[2]), int(match[1]), path)
            for path in folder.rglob("*.aedat")
            if (match := FILE.fullmatch(path.name)) is not None
        )
        train = [item for item in found if item[0] <= TRAIN_NUMBERS][: self.train_films]
        test = [item for item in found if item[0] > TRAIN_NUMBERS][: self.test_films]
        if len(train) <= self.val_films or not test:
            raise InputError(
                f"data.mnist_dvs: {folder} holds {len(train)} training and {len(test)} test recordings named "
                f"mnist_<d>_scale04_<nnnn>.aedat; needed are more than val_films = {self.val_films} "
                f"numbered 0001 to 0900 and at least 1 numbered 0901 to 1000, from {WHERE}"
            )
        digest, notes = hashlib.sha256(), list[str]()
        train_events = self._read(train, digest.update, notes)
        test_events = self._read(test, digest.update, notes)
        name = "mnist_dvs", digest.hexdigest()
        pool = self._pool(train_events, np.array([label for _, label, _ in train]), (*name, "train"))
        test_labels = np.array([label for _, label, _ in test])
        splits = Splits(*pool, self.datasets(test_events, test_labels, (*name, "test"))[1])
        sizes = {name: len(split) for name, split in splits._asdict().items()}
        log.warning("data.mnist_dvs: recordings in %s (train %d, val %d, test %d)", folder, *sizes.values())
        for note in notes[:3]:
            log.warning("data.mnist_dvs: %s", note)
        simulated = any(FILMED in note for note in notes)
        return splits, Provenance(
            source="simulated" if simulated else "original",
            hash=digest.hexdigest(),
            sizes=sizes,
            subset=len(train) < 9000 or len(test) < 1000,
            notes=[
                "no checksum of the recordings is published here to verify them against",
                f"class pictures, where a method wants them: the first training images of {self.images().spec.name}",
                *notes,
            ],
        )

    def _read(
        self, files: list[tuple[int, int, Path]], hashed: Callable[[bytes], object], notes: list[str]
    ) -> Recordings:
        parts = []
        for _, _, path in progress(files, "reading recordings"):
            content = read_bytes(path)
            hashed(content)
            recording = aedat.parse_aedat(content, path)
            check_times(recording.events.t, path)
            notes += recording.notes
            if FILMED in recording.header and not any(FILMED in note for note in notes):
                notes.append(f"{path.name} says in its header: {FILMED}")
            parts.append(crop(recording.events))
        return Recordings.pack(parts)


def crop(events: Events) -> Events:
    """Return the first 2 s of the window 48 <= x, y <= 73, moved to 0, sorted by time, as uint8 and uint32."""
    t = events.t - (events.t.min() if len(events.t) else 0)
    inside = (events.x >= CORNER) & (events.x < CORNER + SIDE) & (events.y >= CORNER) & (events.y < CORNER + SIDE)
    kept = Events(events.x, events.y, t, events.p).select(inside & (t < DURATION_US))
    kept = kept.select(np.argsort(kept.t, kind="stable"))
    return Events(kept.x - np.uint8(CORNER), kept.y - np.uint8(CORNER), kept.t.astype(np.uint32), kept.p)
