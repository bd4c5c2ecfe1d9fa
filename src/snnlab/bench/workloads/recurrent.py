"""Cells whose step mixes units by a product, a sequence forward and backward, against ``torch.nn.GRU``.

    gru         torch.nn.GRU: 6 units^2 products a step
    egru        EGRU behind a linear layer, as a network calls it: 6 units^2; egru_step is its loop over ``step``
    egru_dense  the same without events: the GRU's own equations
    ltc         FPTT's liquid neuron behind a linear layer, its spikes returning to it: 6 units^2
    products    the products of the GRU alone, forward and backward: the floor

Inputs are [T, batch, units], as many as there are units; gradients reach every weight and no input. The forms of EGRU
are first held against each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.errors import InputError
from snnlab.layers.recurrent import Recurrent
from snnlab.neurons.egru import EGRU
from snnlab.neurons.ltc import LTC
from snnlab.neurons.surrogate import MultiGaussian


def measure(
    bench: Bench,
    units: list[int] = [128, 512],  # noqa: B006
    time_steps: list[int] = [28, 200],  # noqa: B006
    batch: int = 128,
) -> Report:
    """Time every size of ``units`` with every one of ``time_steps``.

    Raises:
        InputError: when a number is below 1.
    """
    for name, numbers in (("units", units), ("time_steps", time_steps), ("batch", [batch])):
        if not numbers or min(numbers) < 1:
            raise InputError(f"recurrent: {name} = {numbers} must be 1 or more; 128 units, 28 steps are quickest")
    for size in units:
        for steps in time_steps:
            torch.manual_seed(bench.seed)
            inputs = torch.randn(steps, batch, size)
            jobs, notes = jobs_of(inputs)
            share = 1 / (len(units) * len(time_steps))
            bench.compare(f"{size} units, T = {steps}, batch {batch}", jobs, "gru", notes, share, ("egru", "ltc"))
    return Report()


def jobs_of(inputs: Tensor) -> tuple[dict[str, Callable[[], None]], dict[str, str]]:
    """The competitors on inputs [T, B, N], and what is to be said of them."""
    size = inputs.shape[2]
    gru, into, through = nn.GRU(size, size), nn.Linear(size, 3 * size), nn.Linear(size, size)
    cell, dense = EGRU(size), EGRU(size, events=False)
    liquid = Recurrent(LTC(size, surrogate=MultiGaussian(strict=True)), nn.Linear(size, size))

    def stepped(x: Tensor) -> Tensor:
        with kernels.using(kernels.Path("step")):
            return cell(x)  # type: ignore[no-any-return]

    forms: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]] = {
        "gru": (lambda x: gru(x)[0], gru),
        "egru": (lambda x: cell(into(x)), cell),
        "egru_step": (lambda x: stepped(into(x)), cell),
        "egru_dense": (lambda x: dense(into(x)), dense),
        "ltc": (lambda x: liquid(through(x)), liquid),
    }
    with torch.no_grad():
        off = float((cell(into(inputs)) - stepped(into(inputs))).abs().max())
        rates = {name: float((forms[name][0](inputs) != 0).float().mean()) for name in ("egru", "ltc")}
    jobs = {name: job(form, module, inputs) for name, (form, module) in forms.items()}
    jobs["products"] = products(inputs)
    notes = {
        "gru": "torch.nn.GRU",
        "egru": f"as one operation, off step by {off:.0e}; {rates['egru']:.2f} events a unit and step",
        "ltc": f"loop over step; {rates['ltc']:.2f} spikes a unit and step",
        "products": "no equations, 6 units^2 a step",
    }
    return jobs, notes


def job(form: Callable[[Tensor], Tensor], module: nn.Module, inputs: Tensor) -> Callable[[], None]:
    def run() -> None:
        module.zero_grad(set_to_none=True)
        form(inputs).sum().backward()

    return run


def products(inputs: Tensor) -> Callable[[], None]:
    """One product a step with what returns, the inputs' and the weights' gradients for all steps at once."""
    steps, batch, size = inputs.shape
    weight, flat = torch.randn(size, 3 * size), inputs.reshape(steps * batch, size)
    wide = torch.randn(steps * batch, 3 * size)

    def run() -> None:
        flat @ weight
        for x in inputs:
            (x @ weight) @ weight.t()
        for _ in range(2):
            flat.t() @ wide

    return run
