"""Neurons on levels: whole-numbered arithmetic against int64, the fused form against step, gradients, saturation."""

import pytest
import torch

from snnlab import kernels
from snnlab.neurons.ahp import AHP
from snnlab.neurons.alif import ALIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.plif import PLIF
from snnlab.neurons.whole import Levels, keep_on_levels, on_levels, power_of_two

UNIT = 2.0**-10


def integer_lif(currents, threshold, kept, low, high, reset, shift=None):
    """The chip's neuron on whole numbers [T, N] in int64."""
    v, spikes = torch.zeros_like(currents[0]), []
    for current in currents:
        if shift is None:
            v = v.sign() * ((v.abs() * kept) >> 12)
        else:
            lost = v >> shift
            v = v - torch.where((lost == 0) & (v > 0), 1, lost)
        v = v + current
        fired = v >= threshold
        spikes.append(fired)
        v = torch.where(fired, v - threshold if reset == "soft" else torch.zeros_like(v), v).clamp(low, high)
    return torch.stack(spikes)


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("decay", ["4096ths", "shifts"])
def test_spikes_are_those_of_whole_numbers(reset, decay):
    generator = torch.Generator().manual_seed(0)
    whole = torch.randint(-600, 900, (300, 200), generator=generator)
    kept = 3895
    neuron = LIF(kept / 4096 if decay == "4096ths" else 1 - 2.0**-4, reset=reset)
    keep_on_levels(neuron, Levels(UNIT, -4000, 4000, decay))
    spikes = neuron((whole * UNIT).unsqueeze(1))[:, 0].bool()
    shift = 4 if decay == "shifts" else None
    expected = integer_lif(whole, 1024, kept, -4000, 4000, reset, shift)
    assert torch.equal(spikes, expected) and 0.02 < spikes.float().mean() < 0.5


@pytest.mark.parametrize(
    ("neuron", "decay"),
    [
        (lambda: LIF(0.9, reset="soft"), "any"),
        (lambda: LIF(3686 / 4096, reset="hard", leak="last"), "4096ths"),
        (lambda: LIF(0.875, reset="soft"), "shifts"),
        (lambda: PLIF(4.0), "any"),
        (lambda: ALIF(0.9), "any"),
        (lambda: AHP(40, decay=3891 / 4096, tau_a=700.0), "4096ths"),
    ],
)
def test_the_fused_form_is_step(neuron, decay):
    layer, path = neuron(), kernels.Path("auto")
    keep_on_levels(layer, Levels(2.0**-12, -(2**15), 2**15 - 1, decay))
    currents = torch.randn(25, 6, 40, generator=torch.Generator().manual_seed(3)).mul(160).round().div(64)
    one, two = currents.clone().requires_grad_(), currents.clone().requires_grad_()
    with kernels.using(path):
        fused = layer(one)
    assert path.fused == {type(layer).__name__} and fused.any()
    looped, _ = layer.unroll(two)
    signal = torch.randn(fused.shape, generator=torch.Generator().manual_seed(4))
    fused.backward(signal)
    looped.backward(signal)
    assert torch.equal(fused, looped)
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_the_fused_form_rounds_currents_as_step_does(reset):
    layer, path = LIF(3686 / 4096, reset=reset), kernels.Path("auto")
    keep_on_levels(layer, Levels(UNIT, -(2**15), 2**15 - 1, "4096ths", whole=True))
    currents = torch.randn(25, 6, 40, generator=torch.Generator().manual_seed(5))  # of no whole numbers
    one, two = currents.clone().requires_grad_(), currents.clone().requires_grad_()
    with kernels.using(path):
        fused = layer(one)
    looped, states = layer.unroll(two)
    assert path.fused == {"LIF"} and 0.02 < fused.mean() < 0.5 and torch.equal(fused, looped)
    assert torch.equal(states.v / UNIT, (states.v / UNIT).round())
    signal = torch.randn(fused.shape, generator=torch.Generator().manual_seed(6))
    fused.backward(signal)
    looped.backward(signal)
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-7)


def test_states_are_rounded_and_saturate_where_no_gradient_passes():
    neuron = LIF(1.0, threshold=100.0, reset="none")
    keep_on_levels(neuron, Levels(0.25, -4, 3))
    currents = torch.tensor([[[0.3, 0.5, -9.0]], [[0.3, 0.5, 0.0]]], requires_grad=True)
    _, states = neuron.unroll(currents)
    assert states.v[:, 0].tolist() == [[0.25, 0.5, -1.0], [0.5, 0.75, -1.0]]
    states.v[-1].sum().backward()
    assert currents.grad[:, 0].tolist() == [[1, 0, 0], [1, 0, 1]]  # 1.0 is past the highest; -9 is past the lowest


def test_a_neuron_stays_what_it_was_for_everybody_else():
    neuron = ALIF(0.9)
    keep_on_levels(neuron, Levels(UNIT, -1, 1))
    assert isinstance(neuron, ALIF) and type(neuron).__name__ == "ALIF" and type(neuron) is on_levels(ALIF)
    assert not hasattr(ALIF(0.9), "levels")


def test_powers_of_two():
    assert [power_of_two(x) for x in (1.0, 0.75, 0.5, 3.0)] == [1.0, 1.0, 0.5, 4.0]
