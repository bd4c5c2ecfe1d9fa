"""One's own data: a folder of pictures, or of recordings of events, with labels by subfolder or by table.

The layouts stand in ``listing``, the formats in ``formats/picture`` and ``formats/recording``; docs/own_data.md shows
them.
"""

from __future__ import annotations

import inspect
import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from snnlab.data.binning import Binning
from snnlab.data.contract import (
    DataModule,
    DataSpec,
    Provenance,
    Splits,
    UnnamedError,
    check_choice,
    check_range,
)
from snnlab.data.folder.augmentation import FolderAugmentation
from snnlab.data.folder.listing import TABLE, Listing, divide, files_below, list_samples
from snnlab.data.folder.pictures import FolderPictures
from snnlab.data.folder.recordings import FolderRecordings, Format, sensor_of
from snnlab.data.formats import picture, recording
from snnlab.data.formats.event_columns import UNITS
from snnlab.data.images.module import Order
from snnlab.data.loader import Loader
from snnlab.data.pictures import Sheet
from snnlab.errors import InputError

log = logging.getLogger(__name__)

TEXT = (".csv", ".tsv", ".txt")  # recordings only where there is nothing else
SIDE = 128  # pixels: frames of a larger sensor are brought to that, where no size is given
RARE = 10  # samples of a class, below which it is said
WEIGHTS = ("none", "balanced")


class Folder(DataModule):
    """Pictures or recordings in a folder; which of them is told by the endings of the files.

    Args:
        folder: where they lie; a relative path is sought in the current folder, then below ``root``.
        labels: a table of file,label in it; null takes labels.csv where there is one, else the names of subfolders.
        val_fraction, test_fraction: shares of the training samples for these splits, where no folder or table says
            which they are; fixed by ``split_seed`` and stratified.
        class_weights: how often a training sample of each class is shown in an epoch: none, balanced (all classes as
            often as the largest), or a number for each class in order.
        size: side of the frames, or of the pictures, which are stretched to it ([height, width] for those); null keeps
            all pixels of pictures, and of a sensor of up to 128 pixels a side.
        colour: pictures as grey (0.299 R + 0.587 G + 0.114 B) or rgb; auto as the first is.
        sequence: of pictures; rows presents them row by row over time.
        sensor: [width, height] of recordings; null takes what the first file says, else the largest x and y.
        order: of the columns of arrays and tables that do not name them, as xytp.
        time_unit: of times in arrays, tables and HDF5 files; null takes what the file says, else microseconds.
        time_steps, window_us, split, mode, polarity: of recordings; see ``Binning``.
        augmentation: of training batches.

    Batches: images [B, C, H, W] in [0, 1] and labels [B], or frames [T, B, P, H, W] and labels [B].
    Raises:  InputError: an argument out of range or of the other kind, a folder, table or file that cannot be used.
    """

    def __init__(
        self,
        loader: Loader,
        folder: str | None = None,
        labels: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        class_weights: Literal["none", "balanced"] | list[float] = "none",
        size: int | list[int] | None = None,
        colour: Literal["auto", "grey", "rgb"] = "auto",
        sequence: Order = "none",
        sensor: list[int] | None = None,
        order: str | None = None,
        time_unit: Literal["s", "ms", "us", "ns"] | None = None,
        time_steps: int = 20,
        window_us: int | None = None,
        split: Literal["time", "events"] = "time",
        mode: Literal["count", "occupancy", "mean"] = "count",
        polarity: Literal["channels", "merged"] = "channels",
        augmentation: FolderAugmentation = FolderAugmentation(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(loader)
        check_range("data.val_fraction", val_fraction, 0.001, 0.9, "0.1 is usual")
        check_range("data.test_fraction", test_fraction, 0.001, 0.9, "0.2 is usual")
        check_range("data.split_seed", split_seed, 0, 2**32 - 1)
        check_choice("data.colour", colour, ("auto", "grey", "rgb"))
        if time_unit is not None:
            check_choice("data.time_unit", time_unit, tuple(UNITS))
        if isinstance(class_weights, str):
            check_choice("data.class_weights", class_weights, WEIGHTS)
        else:
            for weight in class_weights:
                check_range("data.class_weights", weight, 0.01, 1000, "1 shows a sample once in an epoch")
        sides = [size] if isinstance(size, int) else size or []
        for side in sides:
            check_range("data.size", side, 1, 4096)
        if size is not None and len(sides) not in (1, 2):
            raise InputError(f"data.size = {size} must be a side or [height, width]; 32 is usual")
        if sensor is not None and len(sensor) != 2:
            raise InputError(f"data.sensor = {sensor} must be [width, height]; [34,34] is that of N-MNIST")
        for side in sensor or []:
            check_range("data.sensor", side, 1, 65536)
        if order is not None and (set(order) - set("xytp_") or any(order.count(name) != 1 for name in "xyt")):
            raise InputError(f"data.order = {order} must name columns by x, y, t, p, others by _; xytp is usual")
        self.folder, self.table = folder, labels
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.class_weights, self.sides, self.colour, self.sequence = class_weights, sides, colour, sequence
        self.sensor, self.form = sensor, Format(order, time_unit)
        self.binned: dict[str, Any] = {
            "time_steps": time_steps,
            "window_us": window_us,
            "split": split,
            "mode": mode,
            "polarity": polarity,
        }
        self.only: dict[str, dict[str, Any]] = {  # what has no use for the other kind
            "pictures": {"colour": colour, "sequence": sequence},
            "recordings": {"sensor": sensor, "order": order, "time_unit": time_unit, **self.binned},
        }
        Binning(1, 1, **self.binned)  # refuses what no sensor would do with
        self.augmentation = augmentation

    def place(self) -> Path:
        """Return the folder; raise InputError where there is none."""
        if self.folder is None:
            raise UnnamedError("data.folder = null: name the folder of your pictures or recordings, data.folder=PATH")
        choices = [Path(self.folder).expanduser(), self.root / self.folder]
        found = next((path for path in choices if path.is_dir()), None)
        if found is None:
            what = "is a file" if choices[0].is_file() else "there is no such folder"
            below = "" if choices[0].is_absolute() else f", neither here nor below {self.root}"
            raise InputError(f"data.folder = {self.folder}: {what}{below}; name the folder of your files")
        return found.resolve()

    @cached_property
    def own(self) -> FolderPictures | FolderRecordings:
        """The data set of what the folder holds; its files are listed, the first of them is looked at."""
        folder = self.place()
        files = files_below(folder)
        tables = {TABLE, *([Path(self.table).name] if self.table else [])}
        names = [name for name in files if name.rpartition("/")[2] not in tables]
        pictures = [name for name in names if name.lower().endswith(picture.ENDINGS)]
        events = [name for name in names if name.lower().endswith(recording.ENDINGS)]
        plain = [name for name in events if not name.lower().endswith(TEXT)]
        if pictures and plain:
            raise InputError(
                f"data.folder: {folder} holds a picture, {pictures[0]}, and a recording, {plain[0]}; keep them apart"
            )
        chosen, kind = (pictures, "pictures") if pictures else (plain or events, "recordings")
        if not chosen:
            raise InputError(
                f"data.folder: {folder} holds no pictures ({' '.join(picture.ENDINGS)}) and no recordings "
                f"({' '.join(recording.ENDINGS)}); it has {len(files)} files"
            )
        self._check_unused("recordings" if pictures else "pictures", kind)
        listing = list_samples(folder, self.table, chosen, kind)
        parts = divide(listing, self.val_fraction, self.test_fraction, self.split_seed)
        shown = self._shown(listing, parts["train"])
        return self._pictures(listing, parts, shown) if pictures else self._recordings(listing, parts, shown)

    def _check_unused(self, other: str, kind: str) -> None:
        """Raise InputError where an argument that is for the ``other`` kind has been changed."""
        arguments = inspect.signature(Folder).parameters
        for name, value in self.only[other].items():
            if value != arguments[name].default:
                raise InputError(f"data.{name} = {value} is for {other}; the folder holds {kind}")

    def _shown(self, listing: Listing, train: np.ndarray) -> np.ndarray:
        """Return the training samples of an epoch, some of them more than once where classes have weights."""
        labels = listing.labels[train]
        counts = np.bincount(labels, minlength=len(listing.classes))
        if self.class_weights == "none":
            return train
        if isinstance(self.class_weights, list) and len(self.class_weights) != len(counts):
            raise InputError(
                f"data.class_weights = {self.class_weights} must have a number for each of {len(counts)} classes: "
                f"{', '.join(listing.classes)[:100]}"
            )
        weights = counts.max() / counts if self.class_weights == "balanced" else np.array(self.class_weights)
        times = np.maximum(1, np.rint(weights * counts)).astype(int)
        return np.concatenate([np.resize(train[labels == label], times[label]) for label in range(len(counts))])

    def _pictures(self, listing: Listing, parts: dict[str, np.ndarray], shown: np.ndarray) -> FolderPictures:
        size = (self.sides[0], self.sides[-1]) if self.sides else None
        colour = None if self.colour == "auto" else self.colour
        augmentation = self.augmentation.of_pictures()
        return FolderPictures(self.loader, listing, parts, shown, size, colour, augmentation, self.sequence)

    def _recordings(self, listing: Listing, parts: dict[str, np.ndarray], shown: np.ndarray) -> FolderRecordings:
        if len(set(self.sides)) > 1:
            raise InputError(f"data.size = {self.sides}: frames of recordings are square; give one side")
        augmentation = self.augmentation.of_recordings()
        given = (self.sensor[0], self.sensor[1]) if self.sensor else None
        width, height = sensor_of(listing, self.form, self.cache, given)
        downsample = 1 if self.sides else -(-max(width, height) // SIDE)
        downsample = min(downsample, min(width, height))
        size = self.sides[0] if self.sides else None
        if size is not None and size > min(width, height):
            raise InputError(
                f"data.size = {size} is more than the shorter side of the sensor of {width} x {height} pixels, and "
                "frames are made no larger; leave it out to keep all pixels"
            )
        binning = Binning(height, width, **self.binned, downsample=downsample, size=size)
        return FolderRecordings(self.loader, listing, parts, shown, self.form, binning, augmentation)

    # what a run asks, answered by what the folder holds ---------------------------------------------------------------
    @property
    def spec(self) -> DataSpec:
        return self.own.spec

    def load(self) -> tuple[Splits, Provenance]:
        self.own.setup()
        assert self.own.splits is not None
        provenance, listing = self.own.provenance, self.own.listing
        provenance.labels = list(listing.classes)
        counts = np.stack([listing.counts(part) for part in self.own.parts.values()], 1)  # [K, splits]
        each = [f"{name} {'/'.join(map(str, row))}" for name, row in zip(listing.classes, counts, strict=True)]
        notes = [
            f"folder: {listing.folder}",
            "hash: of name, label, split and SHA-256 of every file in order",
            f"samples of each class ({', '.join(self.own.parts)}): {', '.join(each)}",
        ]
        if listing.left_out:
            notes.append(f"{listing.left_out} files are in no class folder or table and are left out")
        if len(self.own.shown) != len(self.own.parts["train"]):
            notes.append(f"class weights: {len(self.own.shown)} training samples are shown in an epoch")
        if rare := [words for words, row in zip(each, counts, strict=True) if row[0] < RARE or row.min() == 0]:
            log.warning(
                "data.folder: %d of %d classes have few samples (%s): %s; a split without any has no figure for it",
                *(len(rare), len(each), ", ".join(self.own.parts), ", ".join(rare[:5])),
            )
        provenance.notes += notes
        return self.own.splits, provenance

    def prototypes(self) -> Tensor:
        return self.own.prototypes()

    def images(self) -> DataModule:
        return self.own.images()

    def sheet(self) -> Sheet:
        return self.own.sheet()

    def where(self) -> str:
        self.place()
        return "own, found"

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.own.trainer = self.trainer
        return self.own.on_after_batch_transfer(batch, dataloader_idx)
