"""A descent: the camera looks down at rough ground while its height falls along a ramp. How long until it lands?

    z(t) = 1 - t / T_c                  height, in that of the start: a ramp, and T_c - t is left exactly
    g(p, t) = z(t) p + t v              the spot of the ground that pixel p looks at                            (1)
    L(p, t) = contrast sum_i a_i B(k_i z) cos(k_i g + phi_i)    log luminance: waves in all directions          (2)
    B(k) = exp(-(blur k)^2 / 2)         what a lens of that blur leaves of a wave

p is in pixels from the middle, the spot in what a pixel sees of the ground at the start, v drawn for each sequence: it
is a drift sideways, and moves where the flow of the picture springs from, not the time. Wavelengths 2 pi / |k_i| are
drawn uniformly in their logarithm, directions and phases uniformly, and a_i = sqrt(2 / waves), so that L has the
standard deviation ``contrast``, drawn for each sequence, before the blur.

Source: as expanding_disc.py; landings are among what that overview is about, and it names no such data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnlab.data.contract import check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.approach import Approach, ChangeCamera, Scene
from snnlab.errors import InputError


class LandingRamp(Approach):
    """Descents onto a textured plane.

    Args:
        wavelength: shortest and longest of the ground's waves, in pixels at the start.
        waves: how many there are.
        drift: fastest speed sideways along each axis, pixels (at the start's height) a second; 0 comes straight down.
        contrast: smallest and largest standard deviation of the ground's log luminance; as in Approach.
        blur: of the lens, pixels.
        side, threshold, mismatch, noise_hz: of the camera; see approach.py.
        steps, dt, contact, train_sequences, val_sequences, test_sequences, task_seed: as in Approach.

    Batches: inputs [T, B, 2, side, side], counts of OFF and ON events; labels [T, B, 1], seconds.
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        wavelength: list[float] = [1.0, 32.0],  # noqa: B006
        waves: int = 32,
        drift: float = 4.0,
        contrast: list[float] = [0.4, 1.2],  # noqa: B006
        blur: float = 0.5,
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
        camera = ChangeCamera("landing_ramp", side, threshold, mismatch, noise_hz, task_seed)
        sizes = (train_sequences, val_sequences, test_sequences)
        super().__init__(loader, "landing_ramp", camera, steps, dt, contact, contrast, *sizes)
        if len(wavelength) != 2 or not 0.01 <= wavelength[0] <= wavelength[1] <= 1e6:
            raise InputError(
                f"data.landing_ramp: wavelength = {list(wavelength)} must be two numbers of pixels in 0.01 to 1e6, the "
                "shorter first; [1.0, 32.0] is usual"
            )
        check_range("data.landing_ramp: waves", waves, 1, 10_000, "32 is usual")
        check_range("data.landing_ramp: drift", drift, 0, 1000, "pixels a second; 0 comes straight down")
        check_range("data.landing_ramp: blur", blur, 0, 100, "pixels; 0.5 is usual")
        self.wavelength, self.waves = (float(wavelength[0]), float(wavelength[1])), waves
        self.drift, self.blur = drift, blur

    def scene(self, rngs: Sequence[np.random.Generator]) -> Scene:
        axis = np.arange(self.camera.side) - (self.camera.side - 1) / 2
        k, phase, speed = (
            np.empty((2, len(rngs), self.waves)),
            np.empty((len(rngs), self.waves)),
            np.empty((2, len(rngs))),
        )
        low, high = np.log(self.wavelength)
        for i, rng in enumerate(rngs):
            number, angle = (
                2 * np.pi / np.exp(rng.uniform(low, high, self.waves)),
                rng.uniform(0, 2 * np.pi, self.waves),
            )
            k[:, i] = number * np.sin(angle), number * np.cos(angle)
            phase[i] = rng.uniform(0, 2 * np.pi, self.waves)
            speed[:, i] = rng.uniform(-self.drift, self.drift, 2)
        amplitude = (self.contrasts(rngs) * np.sqrt(2 / self.waves))[:, None]  # [B, 1]
        along = speed[0, :, None] * k[0] + speed[1, :, None] * k[1]  # [B, waves], radians a second

        def seen(distance: np.ndarray, time: float) -> np.ndarray:
            kz = k * distance[None, :, None]
            left = amplitude * np.exp(-((self.blur**2) * (kz**2).sum(0)) / 2)  # a_i B(k_i z)
            rows = (kz[0][..., None] * axis + (phase + along * time)[..., None]).astype(np.float32)  # [B, waves, H]
            columns = (kz[1][..., None] * axis).astype(np.float32)
            # cos(row + column) = cos row cos column - sin row sin column: two products of matrices
            left = left[..., None].astype(np.float32)
            even = (left * np.cos(rows)).transpose(0, 2, 1) @ np.cos(columns)
            return even - (left * np.sin(rows)).transpose(0, 2, 1) @ np.sin(columns)

        return seen

    def drawn(self) -> tuple[Any, ...]:
        return self.wavelength, self.waves, self.drift, self.contrast, self.blur
