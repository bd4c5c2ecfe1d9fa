"""A linear layer by gathering rows of its weights against a matrix product, by the share of spikes.

    product     x W' + b by the matrix product of PyTorch
    gather      the sum of b and of the columns of W where x is 1

Forward, x random 0 and 1. Both are compared before anything is timed; ``spike_linear.SPARSE`` is the share below which
layers gather, and it has to lie where gather wins in every row.
"""

from __future__ import annotations

import torch

from snnlab.bench.workloads.rounds import Job
from snnlab.bench.workloads.workload import Bench, Case, Report
from snnlab.errors import InputError, RunFailure
from snnlab.layers.spike_linear import SPARSE, gather


def measure(
    bench: Bench,
    layers: list[str] = ["784x800", "2312x200", "1156x2048", "512x512", "2048x2048"],  # noqa: B006
    percent: list[int] = [1, 3, 5, 8, 12, 20],  # noqa: B006
    rows: int = 2000,
) -> Report:
    """Compare both for each layer, inputs x outputs, and each share of spikes, on ``rows`` samples.

    Raises:
        InputError: when a layer is not written as 784x800.
        RunFailure: when the two disagree.
    """
    faster: dict[str, dict[str, float]] = {}
    cases = len(layers) * len(percent)
    for layer in layers:
        sizes = layer.split("x")
        if len(sizes) != 2 or not all(size.isdigit() and int(size) for size in sizes):
            raise InputError(f"sparse_linear: layers = {layer} must be inputs x outputs, e.g. 784x800")
        inputs, outputs = map(int, sizes)
        generator = torch.Generator().manual_seed(bench.seed)
        weight, bias = torch.randn(inputs, outputs, generator=generator), torch.randn(outputs, generator=generator)
        for share in percent:
            x = (torch.rand(rows, inputs, generator=generator) < share / 100).float()
            if not torch.allclose(gather(x, weight, bias), torch.addmm(bias, x, weight), rtol=1e-3, atol=1e-3):
                raise RunFailure(f"sparse_linear: the two disagree for {layer}, so their times mean nothing")
            jobs: dict[str, Job] = {
                "product": lambda x=x, w=weight, b=bias: discard(torch.addmm(b, x, w)),  # type: ignore[misc]
                "gather": lambda x=x, w=weight, b=bias: discard(gather(x, w, b)),  # type: ignore[misc]
            }
            case: Case = bench.compare(f"{layer}, {share} % spikes", jobs, "product", share=1 / cases, keep=jobs)
            faster.setdefault(layer, {})[f"{share} %"] = round(1 / case.ratio("gather").median, 2)
    return Report({"gather_is_faster_by": faster, "layers_gather_below": SPARSE})


def discard(result: torch.Tensor) -> None:
    """A job that returns nothing is timed from outside."""
