"""Films of images by the camera model, made when a batch needs them and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from snnlab.data import camera as camera_model
from snnlab.data.camera import Camera
from snnlab.data.files import keep, made_once, progress
from snnlab.data.formats.npy import read_npz
from snnlab.data.recordings import Events, Recordings
from snnlab.errors import InputError

BLOCK = 100  # films of one cache file


@dataclass
class Films:
    """The recordings of one split, answering like ``Recordings`` (``take``, ``[index]``, ``len``).

    Args:
        camera: the sensor, screen and path.
        images: uint8 [N, 1, h, w], white being ``white``.
        which: for each film the index of its image.
        split: 0 for training images, 1 for test images; a film's random numbers come from (seed, split, film).
        image_side: sensor pixels that the side of an image covers.
        image_hash: SHA-256 of the images' data set, part of the cache key.
        folder: of the cache; blocks of 100 films are written atomically and filmed again when unreadable.
    """

    camera: Camera
    images: np.ndarray
    white: int
    which: np.ndarray
    split: int
    image_side: float
    image_hash: str
    folder: Path
    blocks: dict[int, Recordings] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.which)

    @property
    def key(self) -> str:
        """Name of everything that determines the films: camera, images, scale, version of the model."""
        parts = [camera_model.VERSION, asdict(self.camera), self.image_side, self.image_hash]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> tuple[object, ...]:
        """What determines every event of the split, in order."""
        return "films", self.key, self.split, hashlib.sha256(self.which.astype(np.int64).tobytes()).hexdigest()

    def __getitem__(self, index: int) -> Events:
        block, place = divmod(int(index), BLOCK)
        return self._block(block)[place]

    def take(self, indices: Sequence[int] | np.ndarray) -> Recordings:
        needed = sorted({int(i) // BLOCK for i in indices} - self.blocks.keys())
        if len(needed) > 5:
            for block in progress(needed, "filming"):
                self._block(block)
        return Recordings.pack([self[i] for i in indices])

    def _block(self, block: int) -> Recordings:
        if block not in self.blocks:
            which = self.which[block * BLOCK : (block + 1) * BLOCK].astype(np.int64)
            name = f"{self.split}-{block:04d}-{hashlib.sha256(which.tobytes()).hexdigest()[:8]}.npz"
            path = self.folder / self.key / name
            self.blocks[block] = made_once(
                path.with_name(".lock"), lambda: _read(path, len(which)), lambda: self._film(path, block, which)
            )
        return self.blocks[block]

    def _film(self, path: Path, block: int, which: np.ndarray) -> Recordings:
        images = torch.from_numpy(self.images[which]).float() / self.white
        names = [(self.split, block * BLOCK + i) for i in range(len(which))]
        films = self.camera.film(images, self.image_side, names)
        keep(path, lambda file: np.savez(file, of=_name(path), offsets=films.offsets, **films.events._asdict()))
        return films


def _read(path: Path, count: int) -> Recordings | None:
    """Return a cached block, or None when it is missing, broken (the zip's CRCs are checked) or another one."""
    try:
        *columns, offsets, of = read_npz(path, (*Events._fields, "offsets", "of"))
    except InputError:
        return None
    films = Recordings(Events(*columns), offsets)
    whole = len(films) == count and {len(column) for column in columns} == {int(offsets[-1])}
    return films if whole and np.array_equal(of, _name(path)) else None


def _name(path: Path) -> np.ndarray:
    """Which block it is, by what determines its films."""
    return np.array(f"{path.parent.name}/{path.name}")
