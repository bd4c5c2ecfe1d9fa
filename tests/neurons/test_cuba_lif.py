"""The current-based LIF: a case by hand, its kernel in closed form, one equation in three forms, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from snnlab import kernels
from snnlab.errors import InputError
from snnlab.neurons.choice import choose_neuron
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.filtered_lif import FilteredLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.leak_corrected_lif import LeakCorrectedLIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.plif import PLIF
from snnlab.neurons.straight_through_integrator import StraightThroughIntegrator
from take import take


def test_a_case_made_by_hand():
    """a = b = 1/2: one current of 4 gives i = 4, 2, 1 ... and v = 0, 2 (fires), then 1 (fires) from the reset 0."""
    neuron = CubaLIF(1 / math.log(2), 1 / math.log(2), 1.0).double()
    currents = torch.zeros(5, 1, 1, dtype=torch.float64)
    currents[0] = 4
    spikes, states = neuron.unroll(currents)
    assert states.i.flatten().tolist() == pytest.approx([4, 2, 1, 0.5, 0.25])
    assert spikes.flatten().tolist() == [0, 1, 1, 0, 0]
    assert states.v.flatten().tolist() == pytest.approx([0, 0, 0, 0.5, 0.5])


@pytest.mark.parametrize("tau_syn", [10.0, 20.0])
def test_the_kernel_is_what_step_does_and_the_closed_form(tau_syn):
    neuron = CubaLIF(20.0, tau_syn, 2.0, threshold=1e9, reset="none").double()
    response = neuron.response()
    currents = torch.zeros(len(response.kernel), 1, 1, dtype=torch.float64)
    currents[0] = 1
    _, states = neuron.unroll(currents)
    torch.testing.assert_close(states.v.flatten(), response.kernel, atol=1e-15, rtol=0)
    if tau_syn == 10.0:
        a, b, t = math.exp(-0.1), math.exp(-0.2), torch.arange(len(response.kernel), dtype=torch.float64)
        torch.testing.assert_close(response.kernel, (1 - a) * (a**t - b**t) / (a - b), atol=1e-15, rtol=0)


@pytest.mark.parametrize(
    "membrane",
    [
        LIF(0.9, 1e9, "none"),
        LIF(0.9, 1e9, "none", leak="scaled"),
        LIF(0.0, 1e9, "none"),
        PLIF(3.0, 1e9, "none"),
        Integrator(0.8),
        StraightThroughIntegrator(0.8),
    ],
    ids=["first", "scaled", "forgetful", "plif", "integrator", "straight_through"],
)
def test_every_kernel_is_what_its_step_does(membrane):
    response = membrane.double().response()
    currents = torch.zeros(len(response.kernel), 1, 1, dtype=torch.float64)
    currents[0] = 1
    _, states = membrane.unroll(currents)
    torch.testing.assert_close(states.v.flatten().detach(), response.kernel, atol=1e-7, rtol=0)


def test_a_leak_that_comes_last_has_the_kernel_that_the_threshold_sees():
    for neuron in (LIF(0.9, 1e9, "none", leak="last"), LeakCorrectedLIF(0.9, 1e9)):
        response = neuron.double().response()
        currents = torch.zeros(len(response.kernel), 1, 1, dtype=torch.float64)
        currents[0] = 1
        _, states = neuron.unroll(currents)
        seen = states.v.flatten() / 0.9  # v before it leaks
        torch.testing.assert_close(seen, response.kernel, atol=1e-12, rtol=0)


def test_what_has_no_response_says_so_in_one_line():
    for neuron, words in ((FilteredLIF(3), "give the class a method response"), (LIF(1.0), "decay = 1 never forgets")):
        with pytest.raises(InputError, match=words) as error:
            neuron.response()
        assert "\n" not in str(error.value) and type(neuron).__name__ in str(error.value)


@pytest.mark.parametrize(("reset", "detach"), [("hard", True), ("soft", False), ("none", False)])
def test_fused_equals_step(reset, detach, monkeypatch):
    torch.manual_seed(0)
    neuron = CubaLIF(20.0, 10.0, 2.0, reset=reset, detach_reset=detach).double()
    currents = 3 * torch.randn(30, 4, 6, dtype=torch.float64)
    results = []
    for fused in (True, False):
        take(monkeypatch, fused)
        leaf = currents.clone().requires_grad_()
        spikes = neuron(leaf)
        assert bool(kernels.current().fused) is fused
        weights = torch.linspace(-1, 1, spikes.numel(), dtype=torch.float64).view_as(spikes)
        results.append((spikes, torch.autograd.grad((spikes * weights).sum(), leaf)[0]))
    assert torch.equal(results[0][0], results[1][0]) and 0.01 < results[0][0].mean() < 0.9
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-10, rtol=0)
    assert torch.equal(results[0][0], neuron.unroll(currents)[0])


def test_causality_and_batch_independence():
    neuron, currents = CubaLIF(20.0, 10.0, 2.0).double(), torch.randn(40, 5, 3, dtype=torch.float64)
    changed = currents.clone()
    changed[20:] += 3
    assert torch.equal(neuron(changed)[:21], neuron(currents)[:21])  # a current is felt one step later
    assert torch.equal(neuron(currents[:, 1:3]), neuron(currents)[:, 1:3])


def test_bad_values_are_refused():
    for options in ({"tau_mem": 0.0}, {"tau_syn": -1.0}, {"time_step": 0.0}, {"threshold": 0.0}, {"tau_mem": math.inf}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} = .* must be positive"):
            CubaLIF(**options)
    with pytest.raises(ValueError, match="reset = 'up' must be"):
        CubaLIF(reset="up")
    with pytest.raises(ValueError, match="detach_state cuts the gradient"):
        choose_neuron("cuba_lif", {}, {"detach_state": True})()
