"""What docs/faq.md says of SpikingJelly, snnTorch and norse: their neuron and ours beside it, on the same currents.

Needs the peers (``make bench`` has them in .venv-bench):  .venv-bench/bin/python tests/oracles/other_libraries.py
Spikes must be equal, and the gradient of the currents where the row says so; exit code 1 otherwise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import ATan, FastSigmoid, Sigmoid

Run = Callable[[Tensor], Tensor]
GRADIENT, SPIKES, NEITHER = "gradient", "spikes", "neither"


def jelly(node: str, **options: object) -> Run:
    from spikingjelly.activation_based import neuron

    made = getattr(neuron, node)(step_mode="m", **options)

    def run(currents: Tensor) -> Tensor:
        made.reset()
        return made(currents)

    return run


def leaky(**options: object) -> Run:
    import snntorch

    made = snntorch.Leaky(**options)

    def run(currents: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(currents[0]), []
        for current in currents:
            fired, v = made(current, v)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def norse_cell(name: str, **options: object) -> Run:
    import norse.torch

    cell = getattr(norse.torch, name)(**options)

    def run(currents: Tensor) -> Tensor:
        state, spikes = None, []
        for current in currents:
            fired, state = cell(current, state)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def rows() -> dict[str, tuple[Run, Run, str]]:
    """By what it is called there: theirs, ours, and what is the same: spikes, their gradient too, or neither."""
    from snntorch import surrogate as torch_curves
    from spikingjelly.activation_based import surrogate as jelly_curves

    strict = ATan(strict=True)
    box = -1 / math.log(0.9), -1 / math.log(0.8)  # ms, of tau_mem_inv = 100 / s and tau_syn_inv = 200 / s by Euler
    return {
        "spikingjelly LIFNode()": (
            jelly("LIFNode"),
            LIF(0.5, leak="scaled", reset="hard", surrogate=Sigmoid()),
            GRADIENT,
        ),
        "spikingjelly LIFNode(tau=4.0, decay_input=False)": (
            jelly("LIFNode", tau=4.0, decay_input=False),
            LIF(0.75, reset="hard", surrogate=Sigmoid()),
            GRADIENT,
        ),
        "spikingjelly LIFNode(v_reset=None, detach_reset=True, ATan())": (
            jelly("LIFNode", v_reset=None, detach_reset=True, surrogate_function=jelly_curves.ATan()),
            LIF(0.5, leak="scaled", reset="soft", detach_reset=True, surrogate=ATan()),
            GRADIENT,
        ),
        "spikingjelly IFNode()": (jelly("IFNode"), LIF(1.0, reset="hard", surrogate=Sigmoid()), GRADIENT),
        "spikingjelly ParametricLIFNode()": (jelly("ParametricLIFNode"), PLIF(2.0, surrogate=Sigmoid()), GRADIENT),
        "snntorch Leaky(beta=0.9, reset_mechanism='zero')": (
            leaky(beta=0.9, reset_mechanism="zero"),
            LIF(0.9, reset="hard", detach_reset=True, surrogate=strict),
            GRADIENT,
        ),
        "snntorch Leaky(beta=0.9, reset_mechanism='zero', fast_sigmoid(25))": (
            leaky(beta=0.9, reset_mechanism="zero", spike_grad=torch_curves.fast_sigmoid(25)),
            LIF(0.9, reset="hard", detach_reset=True, surrogate=FastSigmoid(1 / 25, strict=True)),
            GRADIENT,
        ),
        "snntorch Leaky(beta=0.9, reset_delay=False, threshold=2.5)": (
            leaky(beta=0.9, reset_delay=False, threshold=2.5),
            LIF(0.9, 2.5, reset="soft", surrogate=strict),
            GRADIENT,
        ),
        "snntorch Leaky(beta=0.9, threshold=2.5)": (
            leaky(beta=0.9, threshold=2.5),
            LIF(0.9, 2.5, reset="soft", surrogate=strict),
            NEITHER,
        ),
        "norse LIFBoxCell()": (
            norse_cell("LIFBoxCell"),
            LIF(0.9, leak="scaled", reset="hard", surrogate=strict),
            SPIKES,
        ),
        "norse LIFCell(), one step earlier": (
            norse_cell("LIFCell"),
            lambda currents: torch.cat([CubaLIF(*box, surrogate=FastSigmoid(0.01, True))(currents)[1:], currents[:0]]),
            SPIKES,
        ),
    }


def main() -> int:
    torch.manual_seed(0)
    currents = 2.5 * torch.rand(100, 4, 16, dtype=torch.float64)  # a soft reset leaves v below the threshold
    wrong = 0
    for name, (theirs, ours, same) in rows().items():
        found = []
        for run in (theirs, ours):
            x = currents.clone().requires_grad_()
            spikes = run(x)
            spikes = spikes[: len(currents) - 1]
            spikes.backward(torch.linspace(0, 1, spikes.numel(), dtype=x.dtype).view_as(spikes))
            found.append((spikes, x.grad))
        (a, da), (b, db) = found
        off, apart = int((a != b).sum()), (da - db).abs().max().item()
        held = {GRADIENT: off == 0 and apart < 1e-5, SPIKES: off == 0, NEITHER: off > 0}[same]
        wrong += not held
        print(
            f"{name:70} {int(a.sum()):5} spikes, {off:4} differ, gradient apart {apart:.1e}{'' if held else '  WRONG'}"
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
