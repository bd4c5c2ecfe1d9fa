"""Events to tensors: one pass over the events of a batch, each scattered to its place in [T, B, P, H, W].

    t_bin = (t - t_first) * T // (t_last - t_first + 1)     by number of steps: each recording is cut in T equal parts
    t_bin = t // window_us                                  by microseconds, from t = 0
    t_bin = i * T // n                                      by events: the i-th of n, so that each step holds n / T
    place = (t_bin, sample, polarity, (y - top) // downsample, (x - left) // downsample)
    place = (t_bin, sample, polarity, (y - top) * size // height, (x - left) * size // width)      with ``size``

Events that fall outside of the T steps or of the crop are dropped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from snnlab.data.recordings import Events, Recordings
from snnlab.errors import InputError


@dataclass(frozen=True)
class Binning:
    """How events become frames.

    Args:
        height, width: of the sensor, pixels.
        time_steps: T.
        window_us: length of a step in microseconds; None cuts each recording in T equal parts.
        mode: ``count`` adds events up, ``occupancy`` is 1 where at least one event fell, ``mean`` is the count divided
            by the sensor's pixels that fell together, which undoes the stripes of an uneven ``size``.
        polarity: ``channels`` keeps OFF and ON apart (P = 2), ``merged`` does not (P = 1).
        crop: (left, top, width, height) to keep, None for the whole sensor.
        downsample: side of the square of pixels that becomes one.
        size: side of the frame, pixels, in place of ``downsample``; None leaves it to that.
        split: ``time`` cuts by the clock, ``events`` gives each step the same number of events.

    Shapes: recordings -> [T, B, P, H, W] float32, (P, H, W) = ``frame_shape``.
    Raises: InputError when an argument leaves its range.
    """

    height: int
    width: int
    time_steps: int
    window_us: int | None = None
    mode: Literal["count", "occupancy", "mean"] = "count"
    polarity: Literal["channels", "merged"] = "channels"
    crop: tuple[int, int, int, int] | None = None
    downsample: int = 1
    size: int | None = None
    split: Literal["time", "events"] = "time"

    def __post_init__(self) -> None:
        if self.time_steps < 1:
            raise InputError(f"binning: time_steps = {self.time_steps} must be at least 1")
        if self.window_us is not None and self.window_us < 1:
            raise InputError(
                f"binning: window_us = {self.window_us} must be at least 1 microsecond; null uses time_steps"
            )
        left, top, width, height = self.window
        if min(left, top) < 0 or min(width, height) < 1 or left + width > self.width or top + height > self.height:
            raise InputError(
                f"binning: crop = {self.crop} (left, top, width, height) leaves the {self.width} x {self.height} sensor"
            )
        side = min(width, height) if min(width, height) > 1 else max(width, height)  # a line of sensors has one side
        if not 1 <= self.downsample <= side:
            raise InputError(f"binning: downsample = {self.downsample} must lie in 1 to {side}, the side of the frame")
        if self.size is not None and not 1 <= self.size <= min(width, height):
            raise InputError(
                f"binning: size = {self.size} must lie in 1 to {min(width, height)}; null keeps all pixels"
            )
        if self.size is not None and self.downsample != 1:
            raise InputError(f"binning: size = {self.size} and downsample = {self.downsample} exclude each other")
        if self.split == "events" and self.window_us is not None:
            raise InputError(f"binning: split = events has no use for window_us = {self.window_us}; set it to null")
        choices_of = {
            "mode": ("count", "occupancy", "mean"),
            "polarity": ("channels", "merged"),
            "split": ("time", "events"),
        }
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise InputError(f"binning: {name} = {getattr(self, name)} must be one of {', '.join(choices)}")

    @property
    def window(self) -> tuple[int, int, int, int]:
        return self.crop or (0, 0, self.width, self.height)

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        rows, columns = self.places
        return 2 if self.polarity == "channels" else 1, int(rows[-1]) + 1, int(columns[-1]) + 1

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row of the frame of each row of the window, int64 [height], and the same of its columns [width]."""
        _, _, width, height = self.window
        rows, columns = np.arange(height), np.arange(width)
        if self.size is not None:
            return rows * self.size // height, columns * self.size // width
        return rows // self.downsample, columns // self.downsample

    def __call__(self, recordings: Recordings) -> Tensor:
        return self.finished(self.counts(recordings))

    def finished(self, counts: Tensor) -> Tensor:
        """Return the frames of ``counts`` [T, B, P, H, W], which may be changed in place."""
        if self.mode == "mean":
            rows, columns = self.places
            counts /= torch.from_numpy(np.outer(np.bincount(rows), np.bincount(columns)).astype(np.float32))
        return counts

    def counts(self, recordings: Recordings) -> Tensor:
        """Return the number of events in each place [T, B, P, H, W]; with ``occupancy`` 1 at most."""
        frames = np.empty(
            (self.time_steps, len(recordings), *self.frame_shape), np.float32
        )  # the kernel writes all of it
        p = recordings.events.p
        if len(p) and (int(p.max()) > 1 or int(p.min()) < 0):  # it is an index: another one lies outside of the frame
            raise InputError(f"binning: a polarity of {p.max() if p.max() > 1 else p.min()} must be 0 (OFF) or 1 (ON)")
        left, top, width, height = self.window
        rows, columns = self.places
        _scatter()(
            *recordings.events,
            recordings.offsets,
            frames,
            np.int64(self.window_us or 0),
            (left, top, width, height),
            rows,
            columns,
            self.frame_shape[1:] != (height, width),
            self.mode == "occupancy",
            self.split == "events",
        )
        return torch.from_numpy(frames)


@cache
def _scatter() -> Any:
    """Return the compiled kernel; numba is imported only by those who bin."""
    from snnlab.kernels.compiled import njit

    @njit()
    def scatter(x, y, t, p, offsets, frames, window_us, window, row_of, column_of, fewer, occupancy, by_events):  # type: ignore[no-untyped-def]
        left, top, width, height = window
        steps, samples, polarities, rows, columns = frames.shape
        flat = frames.reshape(steps, samples, polarities * rows * columns)
        scratch = np.zeros(flat.shape[2], np.float32)  # the frame being filled: it stays in the processor's cache
        for sample in range(samples):
            start, stop = offsets[sample], offsets[sample + 1]
            first, scale, span = np.int64(0), np.int64(1), window_us
            if by_events:
                scale, span = np.int64(steps), max(stop - start, 1)
            elif window_us == 0 and stop > start:
                first, scale, span = np.int64(t[start]), np.int64(steps), np.int64(t[stop - 1]) - np.int64(t[start]) + 1
            # Events come in order of time: the step advances at its end, which spares a division for each event.
            filling, step, step_end = np.int64(0), np.int64(0), span
            for i in range(start, stop):
                now = (i - start if by_events else np.int64(t[i]) - first) * scale
                if now < 0:
                    continue
                if now >= step_end or now < step_end - span:
                    step = now // span
                    step_end = (step + 1) * span
                column, row = np.int64(x[i]) - left, np.int64(y[i]) - top
                if step >= steps or column < 0 or row < 0 or column >= width or row >= height:
                    continue
                if fewer:
                    column, row = column_of[column], row_of[row]
                place = row * columns + column
                if polarities == 2:
                    place += np.int64(p[i]) * rows * columns
                while filling < step:
                    for k in range(len(scratch)):
                        flat[filling, sample, k] = scratch[k]
                        scratch[k] = 0
                    filling += 1
                if step == filling:
                    scratch[place] = 1 if occupancy else scratch[place] + 1
                else:  # an event out of order: its frame is written already
                    flat[step, sample, place] = 1 if occupancy else flat[step, sample, place] + 1
            while filling < steps:
                for k in range(len(scratch)):
                    flat[filling, sample, k] = scratch[k]
                    scratch[k] = 0
                filling += 1

    return scatter


def random_events(count: int, height: int = 34, width: int = 34, duration_us: int = 300_000, seed: int = 0) -> Events:
    """Return ``count`` uniformly random events, sorted by time."""
    rng = np.random.default_rng(seed)
    return Events(
        rng.integers(0, width, count, np.uint8),
        rng.integers(0, height, count, np.uint8),
        np.sort(rng.integers(0, duration_us, count, np.uint32)),
        rng.integers(0, 2, count, np.uint8),
    )


def events_per_second(
    recordings: int = 100, events: int = 4000, time_steps: int = 30, repeats: int = 10
) -> dict[str, float]:
    """Measure binning on one core: events per second of ours and of tonic's ``ToFrame`` on the same events.

    The defaults are the size of a batch of N-MNIST; the best of ``repeats`` counts. Both outputs are compared.
    """
    from tonic.transforms import ToFrame

    parts = [random_events(events, seed=i) for i in range(recordings)]
    packed, structured = Recordings.pack(parts), [part.structured() for part in parts]
    binning = Binning(34, 34, time_steps, window_us=10_000)
    theirs = ToFrame(sensor_size=(34, 34, 2), time_window=10_000, start_time=0, end_time=time_steps * 10_000)
    frames = binning(packed)  # compiles the kernel
    for i, events_of_one in enumerate(structured):
        assert np.array_equal(theirs(events_of_one), frames[:, i].numpy()), "ours and tonic's frames differ"

    def best(work: Any, count: int) -> float:
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return recordings * events / min(seconds)

    return {
        "snnlab": best(lambda: binning(packed), repeats),
        "tonic": best(lambda: [theirs(part) for part in structured], max(1, repeats // 5)),
    }
