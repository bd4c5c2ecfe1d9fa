"""Spiking Speech Commands: 105,829 recordings of 35 English words by many speakers.

Source: Cramer, Stradmann, Schemmel, Zenke 2022, doi 10.1109/TNNLS.2020.3044364, from Warden 2018, arXiv:1804.03209.
Batches and format: ``Heidelberg``; training, validation and test files as published.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.events.heidelberg import Heidelberg, Indices, published
from snnlab.data.formats.heidelberg_hdf5 import SpikeFile
from snnlab.data.loader import Loader


class SSC(Heidelberg):
    """Spoken commands as spikes of 700 channels, 35 classes; arguments as in Heidelberg."""

    title = "ssc"
    folders = ("ssc", "SSC", "hsd")
    classes = 35
    files: ClassVar = {  # MD5 of the zips as published
        "ssc_train.h5": published("ssc_train.h5", "d102be95e7144fcc0553d1f45ba94170"),
        "ssc_valid.h5": published("ssc_valid.h5", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
        "ssc_test.h5": published("ssc_test.h5", "a35ff1e9cffdd02a20eb850c17c37748"),
    }
    full: ClassVar = {"ssc_train.h5": 75_466, "ssc_valid.h5": 9_981, "ssc_test.h5": 20_382}

    def __init__(
        self,
        loader: Loader,
        download: bool = False,
        unverified: bool = False,
        time_steps: int = 100,
        window_us: int | None = 14_000,
        mode: Literal["count", "occupancy"] = "count",
        downsample: int = 5,
        augmentation: EventAugmentation = EventAugmentation(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(loader, download, unverified, time_steps, window_us, mode, downsample, augmentation)

    def split(self, files: list[SpikeFile]) -> Indices:
        return Indices(*(np.arange(len(file.labels)) for file in files))

    def full_sizes(self) -> dict[str, int]:
        return dict(zip(("train", "val", "test"), self.full.values(), strict=True))
