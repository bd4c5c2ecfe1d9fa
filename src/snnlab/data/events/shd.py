"""Spiking Heidelberg Digits: 10,420 recordings of the digits 0 to 9 in German and English, by 12 speakers.

Source: Cramer, Stradmann, Schemmel, Zenke 2022, doi 10.1109/TNNLS.2020.3044364. Batches and format: ``Heidelberg``.
The published files are a training and a test file; two of the speakers are heard in the test file only, so that
validation on other recordings of the same speakers promises more than the test holds.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from snnlab.data.augmentation import EventAugmentation
from snnlab.data.contract import check_range
from snnlab.data.events.heidelberg import Heidelberg, Indices, published
from snnlab.data.formats.heidelberg_hdf5 import SpikeFile
from snnlab.data.loader import Loader
from snnlab.data.splits import stratified_order
from snnlab.errors import InputError


class SHD(Heidelberg):
    """Spoken digits as spikes of 700 channels, 20 classes; arguments as in Heidelberg, and

    Args:
        val_fraction: part of the training recordings that validates; fixed and stratified by class.
        val_speaker: in place of it, all training recordings of that speaker; null takes val_fraction.
    """

    title = "shd"
    folders = ("shd", "SHD", "hsd")
    classes = 20
    files: ClassVar = {  # MD5 of the zips as published
        "shd_train.h5": published("shd_train.h5", "f3252aeb598ac776c1b526422d90eecb"),
        "shd_test.h5": published("shd_test.h5", "1503a5064faa34311c398fb0a1ed0a6f"),
    }
    full: ClassVar = {"shd_train.h5": 8156, "shd_test.h5": 2264}

    def __init__(
        self,
        loader: Loader,
        download: bool = False,
        unverified: bool = False,
        time_steps: int = 100,
        window_us: int | None = 14_000,
        mode: Literal["count", "occupancy"] = "count",
        downsample: int = 5,
        val_fraction: float = 0.1,
        val_speaker: int | None = None,
        augmentation: EventAugmentation = EventAugmentation(),  # noqa: B008  frozen
    ) -> None:
        check_range("data.shd: val_fraction", val_fraction, 0.001, 0.9, "0.1 is usual")
        self.val_fraction, self.val_speaker = val_fraction, val_speaker
        super().__init__(loader, download, unverified, time_steps, window_us, mode, downsample, augmentation)

    def split(self, files: list[SpikeFile]) -> Indices:
        train, test = files
        count = len(train.labels)
        if self.val_speaker is None:
            order = stratified_order(train.labels)
            chosen = order[: max(1, round(count * self.val_fraction))]
        else:
            chosen = np.flatnonzero(train.speakers == self.val_speaker)
            if len(chosen) == 0:
                there = ", ".join(map(str, np.unique(train.speakers)))
                raise InputError(
                    f"data.shd: val_speaker = {self.val_speaker} speaks in no training recording; {there} do"
                )
        rest = np.setdiff1d(np.arange(count), chosen)
        return Indices(rest, np.sort(chosen), np.arange(len(test.labels)))

    def full_sizes(self) -> dict[str, int]:
        if self.val_speaker is not None:
            return {"test": self.full["shd_test.h5"]}
        val = round(self.full["shd_train.h5"] * self.val_fraction)
        return {"train": self.full["shd_train.h5"] - val, "val": val, "test": self.full["shd_test.h5"]}

    def notes(self) -> list[str]:
        how = f"{self.val_fraction:g} of the recordings of" if self.val_speaker is None else f"{self.val_speaker} among"
        return [f"validation: {how} the training speakers; the test file has two speakers who are in no training file"]
