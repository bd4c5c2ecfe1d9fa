"""The HDF5 files of the Heidelberg spiking data sets: a recording is read without reading the others.

Format: spikes/times (seconds) and spikes/units (0 to 699), one array per recording; labels; extra/speaker; extra/keys,
the words. The times are float16: 0.5 ms apart near the end of a recording.
Source: Cramer, Stradmann, Schemmel, Zenke 2022, doi 10.1109/TNNLS.2020.3044364; https://zenkelab.org/datasets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data import limits
from snnlab.data.files import open_file, remember
from snnlab.data.formats import hdf5_trial
from snnlab.data.formats.apart import unreadable
from snnlab.data.recordings import Events
from snnlab.errors import InputError, one_line

CHANNELS = 700
LONGEST_US = 60_000_000  # of a recording; a spoken word lasts about a second


class SpikeFile:
    """One HDF5 file of spikes; a recording is read when it is asked for, the file is opened once per process.

    HDF5 runs in circles on some damaged files, so each is read through once beforehand in another process
    (hdf5_trial.py), which ``cache`` remembers until the file changes.

    Raises: InputError: missing, no HDF5 file, cut short, another layout, or a channel or label out of range.
    """

    def __init__(self, path: Path, classes: int, cache: Path) -> None:
        self.path, self.classes, self.cache = path, classes, cache
        self._open: dict[int, Any] = {}  # by process: a handle does not survive a fork

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "classes": self.classes, "cache": self.cache, "_open": {}}

    @cached_property
    def labels(self) -> np.ndarray:
        """Classes [N], int64."""
        labels = self._read(lambda file: file["labels"][()]).astype(np.int64)
        spikes = self._read(lambda file: (len(file["spikes/times"]), len(file["spikes/units"])))
        if labels.ndim != 1 or spikes != (len(labels), len(labels)):
            raise InputError(
                f"{self.path} holds {labels.size} labels, {spikes[0]} times, {spikes[1]} units; they must number alike"
            )
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= self.classes:
            found = f"label {labels.max()}" if len(labels) else "no recording"
            raise InputError(f"{self.path} holds {found}, labels must lie in 0 to {self.classes - 1}")
        return labels

    @cached_property
    def speakers(self) -> np.ndarray:
        """Number of the speaker of each recording [N], int64."""
        return np.asarray(self._read(lambda file: file["extra/speaker"][()])).astype(np.int64)

    def events(self, index: int) -> Events:
        """Return recording ``index``: x the channel, t in microseconds of the file's own clock."""
        times, units = self._read(lambda file: (file["spikes/times"][index], file["spikes/units"][index]))
        t = np.rint(times.astype(np.float64) * 1e6)  # float64 first: float16 ends at 65504
        x = units.astype(np.uint16)
        bad = len(t) != len(x) or (len(t) and not (t.min() >= 0 and t.max() < LONGEST_US and x.max() < CHANNELS))
        if bad:
            raise InputError(
                f"{self.path}: recording {index} has {len(t)} times and {len(x)} units, or one out of range "
                f"(units 0 to {CHANNELS - 1}, times 0 to {LONGEST_US // 10**6} s); the file is corrupt"
            )
        order = np.argsort(t, kind="stable")
        return Events(x[order], np.zeros(len(x), np.uint8), t[order].astype(np.uint32), np.ones(len(x), np.uint8))

    def check(self) -> None:
        """Read the labels and one recording; raise InputError where that fails."""
        self.events(len(self.labels) - 1)

    def _read(self, what: Callable[[Any], Any]) -> Any:
        import h5py

        try:
            if os.getpid() not in self._open:
                remember(self.cache, "read through", [self.path], self._read_through)
                self._open = {os.getpid(): h5py.File(self.path, "r")}
            return what(self._open[os.getpid()])
        except KeyError as error:
            raise InputError(
                f"{self.path} is no file of the Heidelberg data sets ({str(error.args[0])[:80]}); download it again"
            ) from error
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # one line of what HDF5 says
            raise self._unreadable(one_line(error)[:160]) from error

    def _read_through(self) -> bool:
        open_file(self.path).close()
        command = [sys.executable, "-P", hdf5_trial.__file__, str(self.path), str(limits.EVENTS)]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if why := ended.stdout.strip():
            raise self._unreadable(why)
        if ended.returncode:
            raise unreadable(self.path, ended.returncode)
        return True

    def _unreadable(self, why: str) -> InputError:
        return InputError(f"{self.path} cannot be read ({why}); it is missing or corrupt: copy it again")
