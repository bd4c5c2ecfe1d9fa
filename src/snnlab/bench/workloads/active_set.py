"""The backward of a linear layer and its LIF neurons: active entries alone against all of them, by their share.

    all         the platform's fused backward of both layers, the surrogate masked
    active      the same gradient from the active entries (layers/active_set.py)

The backward alone is timed, on the same membranes. The share is set by the reach of the surrogate; the gradient of the
input is asked for behind the first layer only, where as large a share of the layer below is active. Both gradients are
compared before anything is timed. ``active_set.png`` is the crossover.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.bench.workloads.rounds import Job
from snnlab.bench.workloads.workload import Bench, Case, Report
from snnlab.errors import InputError, RunFailure
from snnlab.kernels.active import nonzero
from snnlab.layers.network import Network
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import FastSigmoid, Truncated
from snnlab.style import INK, STYLE

DECAY = 0.9048374180359595


def measure(
    bench: Bench,
    layers: list[str] = ["784x200", "200x200", "800x800"],  # noqa: B006
    batch: list[int] = [128, 128, 64],  # noqa: B006
    spikes: list[float] = [0.42, 1.0, 1.0],  # noqa: B006
    percent: list[float] = [10.0, 5.0, 2.0, 1.0],  # noqa: B006
    time_steps: int = 100,
) -> Report:
    """Compare both for each layer, inputs x outputs, and each share of active entries; the first layer is the net's.

    Args:
        batch: of each layer.
        spikes: share of the inputs of each layer that are spikes, in percent.
        percent: shares of the entries that are active.

    Raises:
        InputError: when a layer is not written as 784x200, or the lists are of different lengths.
        RunFailure: when the two disagree.
    """
    if not len(layers) == len(batch) == len(spikes):
        raise InputError(f"active_set: layers, batch and spikes = {layers}, {batch}, {spikes} need one entry a layer")
    ratios: dict[str, dict[str, float]] = {}
    for place, (layer, size, share) in enumerate(zip(layers, batch, spikes, strict=True)):
        sizes = layer.split("x")
        if len(sizes) != 2 or not all(each.isdigit() and int(each) for each in sizes):
            raise InputError(f"active_set: layers = {layer} must be inputs x outputs, e.g. 784x200")
        inputs, outputs = map(int, sizes)
        generator = torch.Generator().manual_seed(bench.seed)
        weight = torch.randn(outputs, inputs, generator=generator) * (20 * (1 - DECAY) / inputs**0.5)
        frames = (torch.rand(time_steps, size, inputs, generator=generator) < share / 100).float()
        upstream = torch.randn(time_steps, size, outputs, generator=generator)
        for active in percent:
            below = None
            if place:
                below = torch.rand(frames.shape, generator=generator) < active / 100
            reach = reach_of(weight, frames, active / 100)
            nets = {"all": net(weight, reach, False), "active": net(weight, reach, True)}
            found = {name: gradients(each, frames, upstream, below) for name, each in nets.items()}
            check(layer, found["all"], found["active"], below)
            jobs = {name: job(each, frames, upstream, below) for name, each in nets.items()}
            title = f"{layer}, batch {size}, {share:g} % spikes, {active:g} % active"
            case: Case = bench.compare(title, jobs, "all", share=1 / len(layers) / len(percent), keep=jobs)
            ratios.setdefault(f"{layer}, batch {size}", {})[f"{active:g} %"] = round(case.ratio("active").median, 2)
    return Report({"active_over_all": ratios}, {"crossover": crossover(ratios)})


def net(weight: Tensor, reach: float, skip: bool) -> Network:
    """The layer and its neurons."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data.copy_(weight)
    surrogate = Truncated(FastSigmoid(0.01, strict=True), reach, skip)
    return Network([("weight", linear), ("neurons", LIF(DECAY, 1.0, "soft", detach_reset=True, surrogate=surrogate))])


def reach_of(weight: Tensor, frames: Tensor, share: float) -> float:
    """A distance of v from its threshold that this share of the entries is below; it lies between those of two."""
    asked: list[Tensor] = []
    found = net(weight, 1.0, False)
    found.layers["neurons"].spike.register_forward_pre_hook(lambda _, args: asked.append(args[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        found(frames)
    distances = torch.stack(asked).abs().flatten().sort().values
    last = max(1, round(share * len(distances))) - 1
    return float(distances[last : last + 2].mean())


def run(network: Network, frames: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor]:
    """The layer's input, as spikes of a layer below whose active entries are known, and the neurons' spikes."""
    given = frames.detach().requires_grad_(below is not None)
    if below is not None:
        given.active = below  # type: ignore[attr-defined]
    return given, network(given)


def gradients(network: Network, frames: Tensor, upstream: Tensor, below: Tensor | None) -> tuple[Tensor, Tensor | None]:
    entries: Any = None if below is None else nonzero(below.float())
    given, spikes = run(network, frames, entries)
    spikes.backward(upstream)
    (weight,) = network.parameters()
    return weight.grad, given.grad  # type: ignore[return-value]


def check(layer: str, whole: Any, sparse: Any, below: Tensor | None) -> None:
    """Raise RunFailure unless both gradients agree, that of the input where the layer below is active."""
    pairs = [(whole[0], sparse[0])]
    if below is not None:
        pairs.append((whole[1] * below, sparse[1] * below))
    for a, b in pairs:
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max())):
            raise RunFailure(f"active_set: the two disagree for {layer}, so their times mean nothing")


def job(network: Network, frames: Tensor, upstream: Tensor, below: Tensor | None) -> Job:
    """The seconds of a backward, behind a forward that is not counted."""
    entries: Any = None if below is None else nonzero(below.float())

    def backward() -> float:
        network.zero_grad()
        _, spikes = run(network, frames, entries)
        started = time.perf_counter()
        spikes.backward(upstream)
        return time.perf_counter() - started

    return backward


def crossover(ratios: dict[str, dict[str, float]]) -> Any:
    """Time over that of all entries against the share of active ones, a line a layer; below 1 it gains."""
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.2, 3.4))
        for name, found in ratios.items():
            axis.plot([float(key.split()[0]) for key in found], list(found.values()), marker="o", label=name)
        axis.axhline(1, color=INK, linewidth=0.8, linestyle="--")
        axis.set(xscale="log", xlabel="active entries [%]", ylabel="backward, time / all entries")
        ticks = sorted({float(key.split()[0]) for found in ratios.values() for key in found})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)
    return figure
