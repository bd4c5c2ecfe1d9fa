"""Accuracy when the test images are disturbed: by Gaussian noise, and by the fast gradient sign method (FGSM).

    noise:  x' = clip(x + sigma n, 0, 1), n standard normal, drawn anew for each pixel
    FGSM:   x' = clip(x + epsilon sign(dL/dx), 0, 1), L the method's own loss against the true class
            (Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572)

sigma and epsilon are in units of the pixel, which lies in [0, 1]. The network is in evaluation mode; surrogate
gradients stand in for the derivative of its spikes.

Gradient through the encoder: spikes are drawn at random, so dx is taken straight through to their mean, which for
``direct`` and ``rate`` is x and for ``signed_poisson`` (x - mean) / (2 std), clipped. dL/dx is then a positive factor
times the sum over t of dL/dframe[t], and only its sign counts: the attack uses that sum, of one draw of the spikes.
Where the mean is clipped the true derivative is 0 and the attack moves the pixel all the same. The disturbed image is
encoded with fresh spikes. Latency coding has no mean that grows with the pixel, and is refused.

A weak attack on a network with random input says less than a strong one; read the curves as upper bounds of accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from snnlab.data.contract import Batch, DataModule
from snnlab.data.encoders import Direct, Rate, SignedPoisson
from snnlab.errors import InputError
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.methods.base.method import Method

Curves = dict[str, list[float]]


def analyse(
    run: Stored,
    noise: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    fgsm: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2),
    samples: int = 1000,
    against: Stored | None = None,
) -> Analysis:
    """The accuracy curves of the run, and of the run ``against`` on the same images.

    Args:
        noise: standard deviations sigma, >= 0. The paper's are not established; these are ours.
        fgsm: step sizes epsilon, >= 0; ours too.
        samples: test images, the first ones of the split.
        against: a second run on the same data, e.g. a twin without norm, or an artificial network.

    Raises:
        InputError: when an option leaves its range, the data is no images, no gradient reaches them, or the two runs
            saw different data.
    """
    for name, sizes in (("noise", noise), ("fgsm", fgsm)):
        if any(size < 0 for size in sizes):
            raise InputError(f"robustness: {name} = {list(sizes)} must be 0 or more, in units of the pixel (0 to 1)")
    if samples < 1:
        raise InputError(f"robustness: samples = {samples} must be at least 1; 1000 is the default")
    runs = {"": run}
    if against is not None:
        runs["against/"] = against
        if against.data.provenance.hash != run.data.provenance.hash:
            raise InputError(
                f"{against.folder}: its data is {against.data.spec.name}, and that of {run.folder} is "
                f"{run.data.spec.name}; two runs are compared on the same images"
            )
    for stored in runs.values():
        check(stored)
    values: dict[str, Any] = {"samples": 0, "noise": list(noise), "fgsm": list(fgsm)}
    curves: dict[str, Curves] = {}
    for prefix, stored in runs.items():
        found, values["samples"] = disturbed(stored.method, run.data, noise, fgsm, samples)
        values |= {f"{prefix}accuracy_{kind}": accuracy for kind, accuracy in found.items()}
        curves[label(stored, curves)] = found
    return Analysis(values, {"robustness": figure(curves, noise, fgsm)})


def check(run: Stored) -> None:
    """Raise InputError where the run has no images that could be disturbed, or no scores of whole samples."""
    if not run.method.names_classes:
        raise InputError(
            f"{run.folder}: {type(run.method).__name__} gives no class scores whose loss could be attacked"
        )
    encoder = run.method.encoder
    if run.data.spec.kind != "image" or encoder is None:
        raise InputError(f"{run.folder}: data={run.data.spec.name} has no images to disturb; robustness is for those")
    if not isinstance(encoder, Direct | Rate | SignedPoisson):
        raise InputError(
            f"{run.folder}: FGSM through encoder={type(encoder).__name__.lower()} is not defined; robustness is for "
            "direct, rate and signed_poisson"
        )


def label(run: Stored, taken: dict[str, Curves]) -> str:
    """Name of a run in the figure: its method, and its folder where two runs have the same method."""
    name = type(run.method).__name__
    return f"{name} {run.folder.rstrip('/').rpartition('/')[2]}" if name in taken else name


def batches(data: DataModule, samples: int) -> Iterator[Batch]:
    """The first ``samples`` test samples, in batches."""
    left = samples
    for batch in data.test_dataloader():
        yield Batch(batch.inputs[:left], batch.labels[:left])
        left -= len(batch.labels)
        if left <= 0:
            return


def disturbed(
    method: Method, data: DataModule, noise: tuple[float, ...], fgsm: tuple[float, ...], samples: int
) -> tuple[Curves, int]:
    """Return accuracy for each size of each disturbance, and the number of images.

    Raises:
        InputError: when no gradient reaches any image, so that FGSM has no direction.
    """
    device = method.device
    right = {"noise": torch.zeros(len(noise), device=device), "fgsm": torch.zeros(len(fgsm), device=device)}
    normal = torch.Generator().manual_seed(0)  # of its own, so that two runs see the same noisy images
    seen, attacked = 0, torch.zeros((), dtype=torch.bool, device=device)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for batch in map(method.here, batches(data, samples)):
            directions = {
                "noise": torch.randn(batch.inputs.shape, generator=normal).to(device),
                "fgsm": ascent(method, batch).sign(),
            }
            for kind, sizes in (("noise", noise), ("fgsm", fgsm)):
                for i, size in enumerate(sizes):
                    images = (batch.inputs + size * directions[kind]).clamp(0, 1)
                    with torch.no_grad():
                        predicted = method.predictions(Batch(images, batch.labels))
                    right[kind][i] += (predicted == batch.labels).sum()
            seen += len(batch.labels)
            attacked = attacked | directions["fgsm"].any()
    if not attacked:
        raise InputError(
            f"{type(method).__name__}: no gradient of the loss reaches the images, so FGSM has no direction; "
            "robustness is for methods with surrogate gradients"
        )
    return {kind: (hits / seen).tolist() for kind, hits in right.items()}, seen


def ascent(method: Method, batch: Batch) -> Tensor:
    """Return sum over t of dL/dframe[t], [B, C, H, W]: along it the loss of each image rises.

    Zero where the method's scores have no gradient with respect to its input.
    """
    with torch.enable_grad():
        frames = method.frames(batch).detach().requires_grad_()  # [T, B, C, H, W]
        loss = method.loss(method.scores(frames), batch.labels)
        gradient = torch.autograd.grad(loss, frames, allow_unused=True)[0] if loss.requires_grad else None
    return torch.zeros_like(batch.inputs) if gradient is None else gradient.sum(0)


def figure(curves: dict[str, Curves], noise: tuple[float, ...], fgsm: tuple[float, ...]) -> Any:
    """Accuracy against the size of the noise, and of the attack; one colour a run."""
    import matplotlib.pyplot as plt

    picture, axes = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    for name, found in curves.items():
        for axis, kind, sizes in ((axes[0], "noise", noise), (axes[1], "fgsm", fgsm)):
            axis.plot(sizes, [100 * a for a in found[kind]], marker="o", markersize=2.5, label=name)
    axes[0].set(xlabel="Gaussian noise, sigma (pixel 0 to 1)", ylabel="test accuracy (%)")
    axes[1].set(xlabel="FGSM, epsilon (pixel 0 to 1)")
    axes[1].legend(frameon=False)
    return picture
