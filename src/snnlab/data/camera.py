"""A model of a dynamic vision sensor (DVS) that films a digit moving on a screen.

    L(r, t) = log(dark + (1 - dark) image(r - path(t)))        log intensity at pixel r, image scaled up smoothly
    path(t) = radius (cos a, sin a), a = 2 pi t / period + phase, phase random per film
    ON  event where L - L_ref >= threshold_on(r)               then L_ref = L_ref + threshold_on(r)
    OFF event where L - L_ref <= -threshold_off(r)             then L_ref = L_ref - threshold_off(r)
    thresholds = threshold (1 + mismatch N(0, 1)) per pixel and polarity: one fixed pattern for the whole sensor

After an event a pixel is silent for the refractory time, held in reset: at its end L_ref = L. Between two positions of
the path (4 ms apart) L is taken as linear in time, which gives each crossing its microsecond. Background noise is a
Poisson process per pixel with random polarity.

The recordings that this stands for are MNIST-DVS (Serrano-Gotarredona, Linares-Barranco 2015,
doi 10.3389/fnins.2015.00481), digits moved slowly on a monitor before a 128 x 128 DVS. Their exact path is not
published; a slow circle of a few pixels stands for it, and the flicker of the monitor is left out. Only the 26 x 26
window is filmed (sensor columns and rows 48 to 73) that the usual crop of those recordings keeps.
Model of the pixel: Lichtsteiner, Posch, Delbruck 2008, doi 10.1109/JSSC.2007.914337.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.data.contract import check_range
from snnlab.data.recordings import Events, Recordings

VERSION = 1  # of the model: films of another version are filmed again
SIDE, CORNER = 26, 48  # window of the sensor: columns and rows CORNER to CORNER + SIDE - 1
FRAME_US = 4000  # path positions are this far apart
FINE = 2  # texture samples per sensor pixel


@dataclass(frozen=True)
class Camera:
    """The sensor, the screen and the path.

    Args:
        threshold: mean of the contrast thresholds, in units of log intensity.
        mismatch: their relative standard deviation from pixel to pixel.
        refractory_us: silence of a pixel after an event, microseconds.
        noise_hz: background events per pixel and second.
        radius: of the path, sensor pixels; 0 holds the digit still.
        period_s: seconds of one turn.
        dark: luminance of a black screen pixel, that of a white one being 1.
        duration_us: length of a film, microseconds.
        seed: of the mismatch pattern, the phases and the noise.

    Raises: InputError when an argument leaves its range.
    """

    threshold: float = 0.3
    mismatch: float = 0.03
    refractory_us: int = 500
    noise_hz: float = 0.1
    radius: float = 2.0
    period_s: float = 1.0
    dark: float = 0.1
    duration_us: int = 2_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("camera: threshold", self.threshold, 0.01, 5, "0.1 to 0.5 is usual for a DVS")
        check_range("camera: mismatch", self.mismatch, 0, 0.3, "0.03 is usual")
        check_range("camera: refractory_us", self.refractory_us, 0, 1_000_000, "500 is usual")
        check_range("camera: noise_hz", self.noise_hz, 0, 1000, "0.1 is usual")
        check_range("camera: radius", self.radius, 0, 8, "2 keeps a digit in the window")
        check_range("camera: period_s", self.period_s, 0.05, 100, "1 is slow and smooth")
        check_range("camera: dark", self.dark, 0.001, 0.99, "0.1 is usual for a monitor")
        check_range("camera: duration_us", self.duration_us, FRAME_US, 100_000_000, "2000000 is usual")
        check_range("camera: seed", self.seed, 0, 2**63 - 1)

    def film(self, images: Tensor, image_side: float, films: Sequence[tuple[int, int]]) -> Recordings:
        """Film each of ``images``.

        Args:
            images: [N, 1, h, w] in [0, 1].
            image_side: sensor pixels that the side of an image covers.
            films: two numbers that name each film (split, index); with the seed they determine its phase and noise,
                whatever is filmed before or beside it.

        Returns: N recordings, x and y in 0 to 25, t in 0 to duration_us - 1, sorted by time.
        """
        textures, thresholds = self._textures(images, image_side), self._thresholds()
        return Recordings.pack([self._one(t, thresholds, film) for t, film in zip(textures, films, strict=True)])

    def _textures(self, images: Tensor, image_side: float) -> np.ndarray:
        """Return log intensity [N, S, S]: the images scaled up smoothly on a dark canvas wide enough for the path."""
        margin = math.ceil(self.radius) + 1
        canvas = (SIDE + 2 * margin) * FINE
        check_range("camera: image_side", image_side, 1, SIDE)
        rimmed = functional.pad(images.float(), (1, 1, 1, 1))  # so that bright border pixels fade out as inner ones do
        side = round(image_side * FINE * rimmed.shape[-1] / images.shape[-1])
        scaled = functional.interpolate(rimmed, size=(side, side), mode="bicubic", align_corners=False).clamp(0, 1)
        before = (canvas - side) // 2
        placed = functional.pad(scaled, (before, canvas - side - before) * 2)
        return torch.log(self.dark + (1 - self.dark) * placed)[:, 0].numpy()

    def _thresholds(self) -> np.ndarray:
        """Return [2, 26, 26]: thresholds of OFF and ON events, the pattern of this sensor."""
        spread = np.random.default_rng([self.seed, 2**32]).standard_normal((2, SIDE, SIDE))
        return (self.threshold * np.clip(1 + self.mismatch * spread, 0.1, None)).astype(np.float32)

    def _one(self, texture: np.ndarray, thresholds: np.ndarray, film: tuple[int, int]) -> Events:
        rng = np.random.default_rng([self.seed, *film])
        times = np.minimum(np.arange(0, self.duration_us + FRAME_US, FRAME_US), self.duration_us)
        angle = 2 * np.pi * (times * 1e-6 / self.period_s + rng.random())
        middle = math.ceil(self.radius) + 1
        # The digit moves by +path over the sensor, so a pixel looks at the texture displaced by -path.
        path = (FINE * (middle - self.radius * np.stack([np.cos(angle), np.sin(angle)]))).astype(np.float64)

        count = rng.poisson(self.noise_hz * SIDE * SIDE * self.duration_us * 1e-6)
        noise_t = np.sort(rng.integers(0, self.duration_us, count))
        noise_pixel = rng.integers(0, 2 * SIDE * SIDE, count)

        room = 30_000 + count
        while True:
            columns = (
                np.empty(room, np.uint8),
                np.empty(room, np.uint8),
                np.empty(room, np.uint32),
                np.empty(room, np.uint8),
            )
            used = _kernel()(texture, path, times, thresholds, self.refractory_us, noise_t, noise_pixel, *columns)
            if used >= 0:
                return Events(*(column[:used].copy() for column in columns))
            room *= 4


@cache
def _kernel() -> Any:
    """Return the compiled film; numba is imported only by those who film."""
    from snnlab.kernels.compiled import njit

    @njit()
    def film(texture, path, times, thresholds, refractory, noise_t, noise_pixel, x, y, t, p):  # type: ignore[no-untyped-def]
        """Write the events to x, y, t, p and return their number, or -1 when they do not fit."""
        side = thresholds.shape[1]
        before = np.empty((side, side), np.float32)  # L at the frame's start
        reference = np.empty((side, side), np.float32)  # L_ref
        held = np.full((side, side), np.int64(-1))  # end of a reset that lasts beyond the frame
        last = np.full((side, side), np.int64(-(2**60)))  # time of the pixel's last event
        count, noise = 0, 0
        for k in range(len(times)):
            ix, iy = int(path[0, k]), int(path[1, k])
            fx, fy = np.float32(path[0, k] - ix), np.float32(path[1, k] - iy)
            w00, w01, w10, w11 = (1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx
            start, begin = count, times[k - 1] if k else 0
            step = times[k] - begin
            for row in range(side):
                top, low = texture[FINE * row + iy], texture[FINE * row + iy + 1]
                for column in range(side):
                    c = FINE * column + ix
                    now = w00 * top[c] + w01 * top[c + 1] + w10 * low[c] + w11 * low[c + 1]
                    old = before[row, column]
                    before[row, column] = now
                    if k == 0:
                        reference[row, column] = now
                        continue
                    if held[row, column] >= 0:
                        if held[row, column] >= times[k]:
                            continue
                        reference[row, column] = old + (now - old) * (held[row, column] - begin) / step
                        held[row, column] = -1
                    while True:
                        change = now - reference[row, column]
                        if change >= thresholds[1, row, column]:
                            level, polarity = reference[row, column] + thresholds[1, row, column], 1
                        elif change <= -thresholds[0, row, column]:
                            level, polarity = reference[row, column] - thresholds[0, row, column], 0
                        else:
                            break
                        if count == len(t):
                            return -1
                        when = begin + min(np.int64(step * (level - old) / (now - old)), step - 1)
                        x[count], y[count], t[count], p[count] = column, row, when, polarity
                        count += 1
                        reference[row, column] = level
                        if refractory > 0:
                            if when + refractory >= times[k]:  # still in reset when the frame ends
                                held[row, column] = when + refractory
                                break
                            reference[row, column] = old + (now - old) * (when + refractory - begin) / step
            while noise < len(noise_t) and noise_t[noise] < times[k]:
                if count == len(t):
                    return -1
                pixel = noise_pixel[noise] >> 1
                x[count], y[count], t[count], p[count] = (
                    pixel % side,
                    pixel // side,
                    noise_t[noise],
                    noise_pixel[noise] & 1,
                )
                count, noise = count + 1, noise + 1
            for i in range(start + 1, count):  # insertion sort by time: a frame holds few events
                ex, ey, et, ep = x[i], y[i], t[i], p[i]
                j = i - 1
                while j >= start and t[j] > et:
                    x[j + 1], y[j + 1], t[j + 1], p[j + 1] = x[j], y[j], t[j], p[j]
                    j -= 1
                x[j + 1], y[j + 1], t[j + 1], p[j + 1] = ex, ey, et, ep
            kept = start
            for i in range(start, count):  # noise keeps the refractory time too
                if np.int64(t[i]) - last[y[i], x[i]] >= refractory:
                    last[y[i], x[i]] = t[i]
                    x[kept], y[kept], t[kept], p[kept] = x[i], y[i], t[i], p[i]
                    kept += 1
            count = kept
        return count

    return film


def films_per_second(films: int = 200) -> float:
    """Measure the camera on one core: two-second films per second, after a first one that compiles the kernel."""
    import time

    from snnlab.data.images.digits import WHITE, read_digits

    images = torch.from_numpy(read_digits()[0][:films]).float() / WHITE
    names = [(0, i) for i in range(len(images))]
    camera = Camera()
    camera.film(images[:1], 20, names[:1])
    start = time.perf_counter()
    camera.film(images, 20, names)
    return len(images) / (time.perf_counter() - start)
