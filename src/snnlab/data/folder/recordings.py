"""One's own recordings of events: looked through once, then read when a batch asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.binning import Binning
from snnlab.data.contract import DataSpec, Provenance, Splits
from snnlab.data.events.module import EventModule
from snnlab.data.files import progress, remember, sha256_of
from snnlab.data.folder.listing import Listing, content_hash
from snnlab.data.formats.apart import read_apart
from snnlab.data.formats.event_hdf5 import read_hdf5
from snnlab.data.formats.recording import FILES, read_recording
from snnlab.data.loader import Loader
from snnlab.data.recordings import Events, StoredRecordings
from snnlab.data.splits import Subset
from snnlab.errors import InputError
from snnlab.questions.named_classes import NamedClasses

VERSION = 1  # of all that turns files into events
MOST_PIXELS = 4096  # a side of a sensor that is guessed from its events
IN_MEMORY = 30_000_000  # events of all recordings that are kept once they were read
BATCH_BYTES = 2**31  # of the frames of one batch


class Format(NamedTuple):
    """How files are read that do not say it themselves: order of columns, unit of times."""

    order: str | None
    unit: str | None


class Look(NamedTuple):
    """What was seen of one recording."""

    sha256: str
    events: int
    width: int  # one more than the largest x
    height: int
    duration_us: int
    sensor: tuple[int, int] | None


def look(path: Path, form: Format) -> Look:
    """Read a recording through that ``tried`` has passed; raise InputError where it cannot be read."""
    events, sensor = read_recording(path, *form)
    return Look(
        sha256_of(path), len(events.t), int(events.x.max()) + 1, int(events.y.max()) + 1, int(events.t[-1]), sensor
    )


def tried(paths: Sequence[Path], form: Format) -> Sequence[Path]:
    """Return ``paths``; HDF5 files, which can hang whoever reads them, have been read in another process before.

    Raises: InputError: one that cannot be read.
    """
    if files := [path for path in paths if FILES.get(path.suffix.lower()) is read_hdf5]:
        read_apart(progress(files, "trying HDF5 files"), *form)
    return paths


def looks(listing: Listing, form: Format, cache: Path) -> list[Look]:
    """Return what was seen of every recording; they are read through once, then as often as a file changes."""
    paths, what = listing.paths, f"recordings {VERSION} {form}"
    seen = remember(cache, what, paths, lambda: [look(path, form) for path in progress(tried(paths, form), "reading")])
    return [Look(*row)._replace(sensor=tuple(row[5]) if row[5] else None) for row in seen]


def sensor_of(listing: Listing, form: Format, cache: Path, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return width and height: as given, else as the first file names them, else by the largest x and y of all.

    Raises: InputError: a place so far out that it can be no pixel.
    """
    if given is not None:
        return given
    first = listing.paths[0]
    named = remember(
        cache, f"sensor {VERSION} {form}", [first], lambda: read_recording(tried([first], form)[0], *form).sensor
    )
    if named is not None:
        return tuple(named)
    seen = looks(listing, form, cache)
    for path, one in zip(listing.paths, seen, strict=True):
        if max(one.width, one.height) > MOST_PIXELS:
            raise InputError(
                f"{path} has events up to x = {one.width - 1}, y = {one.height - 1}, and names no sensor; "
                "data.sensor=[WIDTH,HEIGHT] gives one, data.order the order of the columns"
            )
    return max(one.width for one in seen), max(one.height for one in seen)


class FolderRecordings(EventModule):
    """Recordings of a ``Listing``.

    Args:
        listing: the files and their labels.
        parts: indices of train, val and test.
        shown: indices of the training samples of an epoch.
        form: how files are read that do not say it themselves.
        binning: how events become frames, of the sensor that was given or found.
        augmentation: of training batches, in pixels of the sensor.

    Batches: inputs [T, B, P, H, W] float32, labels [B], no signals.
    Raises:  InputError: a recording that cannot be read or lies outside of the sensor, or batches that are too large.
    """

    def __init__(
        self,
        loader: Loader,
        listing: Listing,
        parts: dict[str, np.ndarray],
        shown: np.ndarray,
        form: Format,
        binning: Binning,
        augmentation: EventAugmentation,
    ) -> None:
        super().__init__(loader, binning, augmentation)
        self.listing, self.parts, self.shown, self.form = listing, parts, shown, form
        frame, count = (binning.time_steps, *binning.frame_shape), loader.batch_size
        if (size := 4 * count * int(np.prod(frame))) > BATCH_BYTES:
            raise InputError(
                f"data.folder: a batch of {count} x {list(frame)} takes {size / 2**30:.1f} GiB; a smaller data.size, "
                "data.batch_size or data.time_steps would do"
            )

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            *("folder", "event", self.binning.frame_shape, len(self.listing.classes)),
            time_steps=self.binning.time_steps,
            time_step=self.time_step,
            question=NamedClasses(self.listing.classes),
            sizes={name: len(part) for name, part in self.parts.items()},
        )

    def load(self) -> tuple[Splits, Provenance]:
        seen, sensor = looks(self.listing, self.form, self.cache), (self.binning.width, self.binning.height)
        for path, one in zip(self.listing.paths, seen, strict=True):
            if one.sensor not in (None, sensor):
                raise InputError(
                    f"{path} is of a sensor of {one.sensor[0]} x {one.sensor[1]} pixels, and it is read as of "  # type: ignore[index]
                    f"{sensor[0]} x {sensor[1]}; keep recordings of one sensor in a folder; "
                    "data.sensor is for files that name none"
                )
            if one.width > sensor[0] or one.height > sensor[1]:
                raise InputError(
                    f"{path} has events up to x = {one.width - 1}, y = {one.height - 1}, off the sensor of "
                    f"{sensor[0]} x {sensor[1]} pixels; data.sensor=[WIDTH,HEIGHT] gives another"
                )
        read: Any = partial(_events, self.listing.folder, tuple(self.listing.names), self.form)
        if sum(one.events for one in seen) <= IN_MEMORY:
            read = lru_cache(maxsize=None)(read)
        digest = content_hash(self.listing, [one.sha256 for one in seen])
        recordings = StoredRecordings(read, len(seen))
        augmented, plain = self.datasets(recordings, self.listing.labels, ("folder", VERSION, digest, *self.form))
        splits = Splits(
            Subset(augmented, self.shown), Subset(plain, self.parts["val"]), Subset(plain, self.parts["test"])
        )
        lasts = [one.duration_us / 1e6 for one in seen]
        return splits, Provenance(
            source="original",
            hash=digest,
            sizes=dict(self.spec.sizes),
            notes=[
                f"recordings: sensor {sensor[0]} x {sensor[1]}, {sum(one.events for one in seen):,} events, "
                f"{min(lasts):.3f} to {max(lasts):.3f} s"
            ],
        )


def _events(folder: Path, names: tuple[str, ...], form: Format, index: int) -> Events:
    return read_recording(folder / names[index], *form).events
