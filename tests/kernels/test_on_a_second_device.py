"""What the fused forms do on a device other than the CPU: traced there, nothing mixed, nothing read, the CPU's bits.

The tracer takes no tensors of a class of its own, so what is traced lies on torch's device without numbers, "meta".
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from second_device import DEVICE, second_device, without_form
from snnlab import kernels
from snnlab.kernels import cpu, fuse
from snnlab.kernels.program import trace
from snnlab.layers.over_time import over_time
from snnlab.neurons.choice import NEURONS, choose_neuron
from snnlab.neurons.filtered_lif import FilteredLIF
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.neurons.plif import PLIF

UNITS = 5
MIXING = ("egru", "ltc")  # their units, by a product inside
CASES = [*(name for name in NEURONS if name not in MIXING), "plif with a threshold", "filtered_lif"]
FUSED = [("lif", True), ("ahp", False), ("alif", False), ("plif with a threshold", False)]


class There:
    """The kernels of cpu.py for what lies on the second device, called as those of gpu.py are: numbers in a tensor."""

    kernel = staticmethod(cpu.kernel)

    @staticmethod
    def numbers(program: Any, scalars: list[Tensor], like: Tensor) -> Tensor:
        fixed = torch.tensor([0.0, 1.0, *program.constants], dtype=like.dtype, device=like.device)
        return torch.cat([fixed, *(scalar.view(1) for scalar in scalars)])

    @staticmethod
    def run(function: Any, steps: int, neurons: int, numbers: Any, arrays: list[Any]) -> None:
        cpu.run(function, steps, neurons, tuple(numbers.held.numpy()), [array.held for array in arrays])


def made(name: str) -> Temporal:
    if name == "filtered_lif":
        return FilteredLIF(UNITS)
    if name == "plif with a threshold":
        return PLIF(2.5, 0.5, "soft", learn_threshold=True)
    make = choose_neuron(name, {}, {})
    neuron: Neuron = make(UNITS) if "features" in inspect.signature(make).parameters else make()
    return neuron


def passed(neuron: Temporal, currents: Tensor, same: bool) -> tuple[Tensor, ...]:
    """Outputs of a neuron and the gradients of its currents and parameters."""
    leaf = currents[:1].clone() if same else currents.clone()
    leaf.requires_grad_()
    outputs = neuron(leaf.expand(currents.shape))
    weights = torch.linspace(-1, 1, outputs.numel(), device=currents.device).view_as(outputs)
    return outputs, *torch.autograd.grad((outputs * weights).sum(), [leaf, *neuron.parameters()])


@pytest.mark.parametrize(("name", "same"), FUSED)
def test_a_fused_neuron_is_that_of_the_cpu(name: str, same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    neuron, currents = made(name), torch.randn(9, 4, UNITS)
    here, program = kernels.Path("auto"), trace(neuron, (UNITS,), torch.float32)
    with kernels.using(here):
        expected = passed(neuron, currents, same)
    with second_device() as reads:
        monkeypatch.setattr(fuse, "backend", lambda tensor: There if tensor.device == DEVICE else None)
        monkeypatch.setattr(fuse, "trace", lambda *_: program)
        neuron, currents, there = neuron.to(DEVICE), currents.to(DEVICE), kernels.Path("auto")
        with kernels.using(there):
            found = passed(neuron, currents, same)
        assert there.taken() == here.taken() and here.fused
        assert not reads and not without_form
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine.held, theirs)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CASES)
def test_a_neuron_is_traced_where_it_lies(name: str) -> None:
    neuron = made(name)
    here, there = (trace(neuron.to(place), (UNITS,), torch.float32, place) for place in ("cpu", "meta"))
    for part in ("forward", "backward", "constants", "kept", "sums", "output", "after", "grad_current", "grad_state"):
        assert getattr(here, part) == getattr(there, part)


def test_a_device_without_kernels_runs_step_by_step_and_reads_nothing() -> None:
    torch.manual_seed(0)
    conv, neuron = nn.Conv2d(2, 3, 3, padding=1), PLIF()
    spikes = (torch.rand(4, 3, 2, 16, 16) < 0.2).float()

    def run(path: kernels.Path) -> tuple[Tensor, ...]:
        with kernels.using(path):
            outputs = neuron(over_time(conv, spikes))
            return outputs, *torch.autograd.grad(outputs.sum(), [*conv.parameters(), *neuron.parameters()])

    expected = run(kernels.Path("step"))
    with second_device() as reads:
        conv, neuron, spikes = conv.to(DEVICE), neuron.to(DEVICE), spikes.to(DEVICE)
        path = kernels.Path("auto")
        found = run(path)
        assert path.taken() == {"fused": [], "step": ["PLIF"]} and not reads
        again = run(kernels.Path("half"))
        assert reads  # whether a convolution's input is spikes: half asks for less memory
    for mine, twice, theirs in zip(found, again, expected, strict=True):
        assert torch.equal(mine.held, theirs) and torch.equal(twice.held, theirs)  # type: ignore[attr-defined]
