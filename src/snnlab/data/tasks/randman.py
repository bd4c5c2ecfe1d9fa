"""Randman: classes are smooth random manifolds of spike times, one spike per input unit.

Each class has its own manifold, each unit i its own function of a point x in [0, 1]^D:
    f_i(x) = product over d of sum over k = 0 ... K-1 of theta_k / (k + 1)^alpha sin(2 pi (k x_d f_k + phi_k))     (1)
with theta, f, phi uniform on [0, 1) for every class, unit, dimension and k, theta_0 = 0, and K where the spectrum has
fallen to a thousandth, at most 1000. A larger alpha is smoother. Points x are uniform; over the samples of a class
    y_i = (f_i - min f_i) / (max f_i - min f_i)                     (2)
    unit i fires once, at step floor(fraction * steps * y_i)        (3)
so the counts are the same for all classes, and only the times tell them apart.

Source: Zenke, Vogels 2021, Neural Computation 33:899 (fzenke/randman); fraction, alpha and sizes as in the Randman
notebook of Rossbroich, Gygax, Zenke 2022 (fmi-basel/stork). The random numbers are our own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snnlab.data.contract import Batch, BatchedDataset, DataSpec, Provenance, Splits, check_range
from snnlab.data.loader import Loader
from snnlab.data.splits import Subset, stratified_order
from snnlab.data.tasks.task import Task

TIME_STEP = 0.002  # seconds, as in the authors' notebook
PRECISION, HARMONICS = 1e-3, 1000  # where the spectrum ends


def manifold(points: np.ndarray, units: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Return f [S, units] of points [S, D] on one random manifold: equation (1)."""
    samples, dimensions = points.shape
    harmonics = HARMONICS if alpha < 1 else min(math.ceil(PRECISION ** (-1 / alpha)), HARMONICS)
    k = np.arange(harmonics)
    values = np.ones((samples, units))
    theta, f, phi = rng.random((3, units, dimensions, harmonics))
    theta[..., 0] = 0
    for unit in range(units):
        for d in range(dimensions):
            phase = np.outer(points[:, d], k * f[unit, d]) + phi[unit, d]
            values[:, unit] *= np.sin(2 * np.pi * phase) @ (theta[unit, d] / (k + 1.0) ** alpha)
    return values


def spike_times(
    classes: int, units: int, samples: int, dimensions: int, alpha: float, last: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the step of each spike [classes * samples, units] in [0, last) and the labels."""
    times = np.empty((classes, samples, units), np.int16)
    for label in range(classes):
        rng = np.random.default_rng([seed, label])
        values = manifold(rng.random((samples, dimensions)), units, alpha, rng)
        low, high = values.min(0), values.max(0)
        y = (values - low) / np.maximum(high - low, np.finfo(float).tiny)  # (2)
        times[label] = np.minimum(np.floor(last * y), math.ceil(last) - 1)  # (3); y = 1 belongs to the last step
    return times.reshape(-1, units), np.repeat(np.arange(classes), samples)


class SpikeTimes(BatchedDataset):
    """Samples of one spike per unit: times [S, units] in steps, labels [S]."""

    def __init__(self, times: np.ndarray, labels: np.ndarray, steps: int) -> None:
        super().__init__()
        self.times = torch.from_numpy(times.astype(np.int64))
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.steps = steps

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        batch = self.batch([index])
        return batch.inputs[:, 0], int(batch.labels[0])

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        times = self.times[index]
        inputs = torch.zeros(self.steps, *times.shape).scatter_(0, times.unsqueeze(0), 1.0)
        return Batch(inputs, self.labels[index])


class Randman(Task):
    """Classification of random manifolds, generated when it is set up; 80 % train, 10 % validation, 10 % test.

    Args:
        classes, units: K and N.
        samples: per class.
        dimensions: D of each manifold.
        alpha: fall of its spectrum, >= 0.
        steps: T.
        fraction: share of the steps in which spikes lie, in (0, 1].
        randman_seed: of the manifolds and points, which do not depend on the seed of the run.

    Batches: inputs [T, B, N], one spike per unit, labels [B].
    Raises:  InputError: an argument out of range.
    """

    def __init__(
        self,
        loader: Loader,
        classes: int = 10,
        units: int = 20,
        samples: int = 1000,
        dimensions: int = 1,
        alpha: float = 1.0,
        steps: int = 100,
        fraction: float = 0.5,
        randman_seed: int = 1,
    ) -> None:
        super().__init__(loader)
        check_range("data.classes", classes, 2, 1000, "10 is usual")
        check_range("data.units", units, 1, 100_000, "20 is usual")
        check_range("data.samples", samples, 10, 1_000_000, "1000 per class are usual; a tenth is for the test")
        check_range("data.dimensions", dimensions, 1, 100, "1 is usual; more is harder")
        check_range("data.alpha", alpha, 0, 100, "1 is usual; 2 is smoother and easier")
        check_range("data.steps", steps, 1, 10_000, "100 is usual")
        check_range("data.fraction", fraction, 1 / steps, 1, "0.5 is usual")
        check_range("data.randman_seed", randman_seed, 0, 2**63 - 1)
        self.classes, self.units, self.samples, self.dimensions = classes, units, samples, dimensions
        self.alpha, self.steps, self.fraction, self.randman_seed = alpha, steps, fraction, randman_seed

    @property
    def spec(self) -> DataSpec:
        held = self.classes * self.samples // 10
        sizes = {"train": self.classes * self.samples - 2 * held, "val": held, "test": held}
        return DataSpec(
            "randman", "task", (self.units,), self.classes, time_steps=self.steps, time_step=TIME_STEP, sizes=sizes
        )

    def load(self) -> tuple[Splits, Provenance]:
        last = self.fraction * self.steps
        times, labels = spike_times(
            self.classes, self.units, self.samples, self.dimensions, self.alpha, last, self.randman_seed
        )
        order, sizes = stratified_order(labels), self.spec.sizes
        whole = SpikeTimes(times, labels, self.steps)
        ends = np.cumsum([sizes["test"], sizes["val"]])
        test, val, train = np.split(order, ends)
        content = hashlib.sha256(times.tobytes() + labels.tobytes() + f"{self.steps}".encode()).hexdigest()
        notes = [
            f"generated by formula: {self.classes} manifolds of {self.dimensions} dimensions, alpha {self.alpha}, "
            f"seed {self.randman_seed}; hash of the spike times and labels"
        ]
        return (
            Splits(Subset(whole, train), Subset(whole, val), Subset(whole, test)),
            Provenance(source="synthetic", hash=content, sizes=dict(sizes), notes=notes),
        )
