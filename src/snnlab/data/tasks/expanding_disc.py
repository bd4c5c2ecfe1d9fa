"""A disc that comes straight at the camera: how long until it is here?

    r(t) = r0 / (1 - t / T_c)      so that r / (dr/dt) = T_c - t exactly: the time to contact, whatever r0          (1)
    L(p) = +-contrast clip(r - |p - centre| + 1/2, 0, 1)      log luminance: the rim is one pixel wide               (2)

r0 and the contrast (uniform in their logarithm), the centre, and whether the disc is darker or brighter than what lies
behind it are drawn for each sequence, so that neither the radius nor the number of events tells much of the time.

Source: requirement (d.3) that we draw from Izzo, Hadjiivanov, Dold, Meoni, Blazquez 2022, arXiv:2212.05236, an overview
that names no such data set; range and camera are ours (approach.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnlab.data.contract import check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.approach import Approach, ChangeCamera, Scene
from snnlab.errors import InputError


class ExpandingDisc(Approach):
    """Discs on a collision course.

    Args:
        radius: smallest and largest r0, pixels.
        centre: farthest that the centre lies from the middle of the sensor, along each axis, pixels.
        side, threshold, mismatch, noise_hz: of the camera; see approach.py.
        steps, dt, contact, contrast, train_sequences, val_sequences, test_sequences, task_seed: as in Approach.

    Batches: inputs [T, B, 2, side, side], counts of OFF and ON events; labels [T, B, 1], seconds.
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        radius: list[float] = [2.0, 8.0],  # noqa: B006
        centre: float = 1.0,
        contrast: list[float] = [1.0, 2.0],  # noqa: B006
        side: int = 32,
        threshold: float = 0.2,
        mismatch: float = 0.03,
        noise_hz: float = 0.1,
        steps: int = 50,
        dt: float = 0.02,
        contact: list[float] = [1.2, 3.0],  # noqa: B006
        train_sequences: int = 8192,
        val_sequences: int = 256,
        test_sequences: int = 512,
        task_seed: int = 0,
    ) -> None:
        camera = ChangeCamera("expanding_disc", side, threshold, mismatch, noise_hz, task_seed)
        sizes = (train_sequences, val_sequences, test_sequences)
        super().__init__(loader, "expanding_disc", camera, steps, dt, contact, contrast, *sizes)
        if len(radius) != 2 or not 0 < radius[0] <= radius[1] <= side:
            raise InputError(
                f"data.expanding_disc: radius = {list(radius)} must be two numbers of pixels above 0 and up to side = "
                f"{side}, the smaller first; [2.0, 8.0] is usual"
            )
        check_range("data.expanding_disc: centre", centre, 0, side / 2, "pixels; 0 is head-on in the middle")
        self.radius, self.centre = (float(radius[0]), float(radius[1])), centre

    def scene(self, rngs: Sequence[np.random.Generator]) -> Scene:
        half = (self.camera.side - 1) / 2
        axis = np.arange(self.camera.side) - half
        r0, y, x, sign = np.empty((4, len(rngs)))
        for k, rng in enumerate(rngs):
            r0[k], sign[k] = np.exp(rng.uniform(*np.log(self.radius))), rng.choice((-1, 1))
            y[k], x[k] = rng.uniform(-self.centre, self.centre, 2)
        away = np.hypot(axis[None, :, None] - y[:, None, None], axis[None, None] - x[:, None, None])
        height = (self.contrasts(rngs) * sign)[:, None, None]

        def seen(distance: np.ndarray, time: float) -> np.ndarray:
            radius = (r0 / distance)[:, None, None]  # (1)
            return (height * np.clip(radius - away + 0.5, 0, 1)).astype(np.float32)  # (2)

        return seen

    def drawn(self) -> tuple[Any, ...]:
        return self.radius, self.centre, self.contrast
