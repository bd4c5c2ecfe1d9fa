"""What tasks of an approach share: a camera comes nearer to something at a steady speed; how much time is left?

    z(t) = 1 - t / T_c                            the distance, in that of the start
    T_c  = exp(uniform on log contact)            seconds from the first step to contact, one for each sequence     (1)
    label at step k = T_c - (k + 1) dt            at the end of the step, exactly                                   (2)

The camera is one of changes. A pixel sees the log luminance L; after each step of dt seconds
    n = trunc((L - L_ref) / threshold)            events of the step: n ON where n > 0, -n OFF where n < 0          (3)
    L_ref = L_ref + n threshold
with L_ref = L at the start, and the threshold of each pixel and polarity drawn once for the whole camera, normal about
``threshold`` by ``mismatch`` of it. Noise is a Poisson process of each pixel with random polarity. A step holds counts:
where inside it an event lay is not kept.
The scene of each task is one file beside this one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from snnlab.data.contract import Batch, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.tasks.task import GeneratedSequences, Task, generated, split_sizes
from snnlab.errors import InputError
from snnlab.questions.time_to_contact import TimeToContact, weighted_median

FARTHEST = 1e4  # seconds
CAMERA = 3  # in the place of the number of a split, of which there are three: random numbers of the camera
Scene = Callable[[np.ndarray, float], np.ndarray]  # distances [B], time in seconds -> log luminance [B, H, W]


@dataclass(frozen=True)
class ChangeCamera:
    """Events of a pixel that reports changes, step by step; see (3).

    Args:
        side: pixels of its square sensor.
        threshold: mean contrast threshold, in log luminance.
        mismatch: relative standard deviation of the thresholds.
        noise_hz: background events per pixel and second.
        seed: of the thresholds.

    Raises: InputError: an argument out of range; the name of the data set is in ``of``.
    """

    of: str
    side: int = 32
    threshold: float = 0.2
    mismatch: float = 0.03
    noise_hz: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(f"data.{self.of}: side", self.side, 8, 512, "pixels; 32 is usual")
        check_range(f"data.{self.of}: threshold", self.threshold, 0.01, 5, "0.1 to 0.5 is usual for a DVS")
        check_range(f"data.{self.of}: mismatch", self.mismatch, 0, 0.3, "0.03 is usual")
        check_range(f"data.{self.of}: noise_hz", self.noise_hz, 0, 1000, "0.1 is usual")

    def thresholds(self) -> np.ndarray:
        """Return [2, H, W]: thresholds of OFF and ON events."""
        spread = np.random.default_rng([self.seed, CAMERA, 0]).standard_normal((2, self.side, self.side))
        return (self.threshold * np.clip(1 + self.mismatch * spread, 0.1, None)).astype(np.float32)

    def watch(self, luminances: Iterator[np.ndarray], steps: int) -> np.ndarray:
        """Return counts [T, B, 2, H, W] of OFF and ON events, of log luminances [B, H, W] at 0, dt, ..., T dt."""
        reference = next(luminances).copy()
        off, on = self.thresholds()
        counts = np.empty((steps, len(reference), 2, *reference.shape[1:]), np.float32)
        for k, luminance in enumerate(luminances):
            change = luminance - reference
            counts[k, :, 0] = np.trunc(np.maximum(-change, 0) / off)
            counts[k, :, 1] = np.trunc(np.maximum(change, 0) / on)
            reference += counts[k, :, 1] * on - counts[k, :, 0] * off
        return counts

    def noise(self, rng: np.random.Generator, steps: int, dt: float) -> np.ndarray:
        """Return counts [T, 2, H, W] of background events."""
        return rng.poisson(self.noise_hz * dt / 2, (steps, 2, self.side, self.side)).astype(np.float32)


def rate_error(task: Approach, sequences: int = 512, bins: int = 64) -> float:
    """Relative error of the best answer to the number of events of a step alone, without where they are.

    The best answer of each of ``bins`` equally frequent numbers is taken from training sequences, at most so many, and
    scored on test sequences. Who does not stay below it may have counted.
    """
    task.setup()
    assert task.splits is not None
    found = []
    for split in (task.splits.train, task.splits.test):
        batches = [
            split.batch(range(i, min(i + 64, len(split), sequences))) for i in range(0, min(len(split), sequences), 64)
        ]
        counts = torch.cat([batch.inputs.sum((2, 3, 4)).flatten() for batch in batches])
        found.append((counts, torch.cat([batch.labels.flatten() for batch in batches])))
    (seen, known), (counts, right) = found
    edges = seen.quantile(torch.linspace(0, 1, bins + 1)[1:-1]).unique()
    places, asked = torch.bucketize(seen, edges), torch.bucketize(counts, edges)
    answers = torch.stack(
        [
            weighted_median(known[places == k], 1 / known[places == k]) if bool((places == k).any()) else known.median()
            for k in range(len(edges) + 1)
        ]
    )
    return float(((answers[asked] - right).abs() / right).mean())


class Approaches(GeneratedSequences):
    """Sequence number n of a split is always the same: its random numbers come from (task_seed, split, n)."""

    def __init__(self, size: int, split: int, seed: int, task: Approach) -> None:
        super().__init__(size, split, seed)
        self.task = task

    def batch(self, indices: Sequence[int]) -> Batch:
        task = self.task
        rngs = [self.rng(index) for index in indices]
        low, high = np.log(task.contact)
        contact = np.exp([rng.uniform(low, high) for rng in rngs])  # (1)
        scene = task.scene(rngs)
        times = np.arange(task.steps + 1) * task.dt
        counts = task.camera.watch((scene(1 - time / contact, time) for time in times), task.steps)
        if task.camera.noise_hz:
            for k, rng in enumerate(rngs):
                counts[:, k] += task.camera.noise(rng, task.steps, task.dt)
        labels = (contact - times[1:, None]).astype(np.float32)[..., None]  # (2)
        return Batch(torch.from_numpy(counts), torch.from_numpy(labels))


class Approach(Task):
    """Shared form of the two tasks.

    Args:
        name: of the data set.
        camera: what films the scene.
        steps: T.
        dt: seconds of a step.
        contact: shortest and longest time to contact at the start, seconds; the shortest is longer than the sequence by
            half a step or more.
        contrast: smallest and largest, in log luminance; drawn for each sequence, so that the number of events does not
            tell how fast the camera comes.
        train_sequences, val_sequences, test_sequences: per epoch.
        task_seed: of scenes and camera, which do not depend on the seed of the run.

    Batches: inputs [T, B, 2, side, side], counts of OFF and ON events; labels [T, B, 1], seconds.
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        name: str,
        camera: ChangeCamera,
        steps: int,
        dt: float,
        contact: Sequence[float],
        contrast: Sequence[float],
        train_sequences: int,
        val_sequences: int,
        test_sequences: int,
    ) -> None:
        super().__init__(loader)
        check_range(f"data.{name}: steps", steps, 1, 10_000, "50 is usual")
        check_range(f"data.{name}: dt", dt, 1e-6, 10, "seconds; 0.02 is usual")
        check_range(f"data.{name}: task_seed", camera.seed, 0, 2**32 - 1)
        least = (steps + 0.5) * dt
        if len(contact) != 2 or not least <= contact[0] <= contact[1] <= FARTHEST:
            raise InputError(
                f"data.{name}: contact = {list(contact)} must be two times of seconds, the shortest first, at least "
                f"{least:.6g} (the sequence and half a step) and at most {FARTHEST:.0f}; [1.2, 3.0] is usual for 1 s"
            )
        self.camera, self.steps, self.dt = camera, steps, dt
        self.contact = (float(contact[0]), float(contact[1]))
        if len(contrast) != 2 or not 0.01 <= contrast[0] <= contrast[1] <= 10:
            raise InputError(
                f"data.{name}: contrast = {list(contrast)} must be two numbers in 0.01 to 10, in log luminance, the "
                "smaller first; [1.0, 2.0] is usual"
            )
        self.contrast = (float(contrast[0]), float(contrast[1]))
        self.sizes = split_sizes(name, train_sequences, val_sequences, test_sequences)

    @abstractmethod
    def scene(self, rngs: Sequence[np.random.Generator]) -> Scene:
        """Draw one scene for each generator; return what gives their log luminance at a distance each and a time."""

    def contrasts(self, rngs: Sequence[np.random.Generator]) -> np.ndarray:
        """Draw a contrast for each generator, uniform in its logarithm."""
        low, high = np.log(self.contrast)
        return np.exp([rng.uniform(low, high) for rng in rngs])

    @abstractmethod
    def drawn(self) -> tuple[Any, ...]:
        """What the scenes depend on, beside the seed."""

    @property
    def spec(self) -> DataSpec:
        return DataSpec(
            self.camera.of,
            "event",
            (2, self.camera.side, self.camera.side),
            classes=1,
            time_steps=self.steps,
            question=TimeToContact(),
            time_step=self.dt,
            sizes=dict(self.sizes),
        )

    def load(self) -> tuple[Splits, Provenance]:
        seed = self.camera.seed
        splits = Splits(*(Approaches(size, split, seed, self) for split, size in enumerate(self.sizes.values())))
        recipe = (
            f"{self.camera.of} 1: {self.camera}, steps {self.steps}, dt {self.dt}, contact {self.contact}, "
            f"scene {self.drawn()}, sizes {self.sizes}"
        )
        return splits, generated(recipe, self.sizes)
