"""The memristive neuron: rest, bounds, halved steps, no sustained spikes, peaks, three forms, refusals."""

from __future__ import annotations

import math

import pytest
import torch

from snnlab import kernels
from snnlab.neurons.memristive import Memristive

VOLT = {"current": 1.0, "centre": 0.0, "width": 1.0}  # currents in A, outputs in V
REGENERATIVE = {
    "kappa": 5.0,
    "tau1": 17.5,
    "tau2": 0.54,
    "v_on1": 36.2,
    "v_off1": 24.0,
    "v_on2": -8.27,
    "v_off2": -22.9,
}


def constant(amperes, steps=400):
    return torch.full((steps, 1, 1), amperes, dtype=torch.float64)


def test_rest_is_the_cards_and_is_kept():
    neuron = Memristive()
    assert neuron.rest == pytest.approx(18.3, abs=0.05)
    assert Memristive(v_on1=1e3, v_on2=1e3).rest == pytest.approx(25, abs=1e-4)  # both are off
    v = Memristive(**VOLT)(constant(0.0))
    assert (v - neuron.rest).abs().max() < 1e-9
    # from elsewhere it comes back there
    away = Memristive(**VOLT)
    state = away.initial_state(constant(0.0)[0])._replace(v=constant(3.0)[0], x1=constant(0.5)[0], x2=constant(0.5)[0])
    assert away.unroll(constant(0.0, 5000), state)[0][-1].item() == pytest.approx(neuron.rest, abs=1e-3)


def test_held_is_a_linear_circuit_by_hand():
    neuron = Memristive(held=True, **VOLT)
    g1, g2 = (neuron.g_off + x * (neuron.g_on - neuron.g_off) for x in (neuron.rest_x1, neuron.rest_x2))
    v, got = neuron.rest, neuron(constant(1e-3, 6)).flatten().tolist()
    for t in range(6):
        end = (1e-3 + g2 * 50) / (g1 + g2)
        v = end + (v - end) * math.exp(-(g1 + g2) / 1e-4)
        assert got[t] == pytest.approx(v, abs=1e-10)
    twice = neuron(constant(2e-3, 6)) - neuron.rest
    torch.testing.assert_close(twice, 2 * (neuron(constant(1e-3, 6)) - neuron.rest))


@pytest.mark.parametrize("sub_steps", [1, 4])
def test_states_stay_in_their_ranges_at_any_current(sub_steps):
    torch.manual_seed(0)
    currents = 10.0 ** torch.empty(200, 30, 1, dtype=torch.float64).uniform_(-5, 2)
    currents = currents * torch.where(torch.rand_like(currents) < 0.3, -1.0, 1.0)
    largest = []
    for constants in ({}, REGENERATIVE, {"tau1": 0.1, "tau2": 0.1}):
        outputs, states = Memristive(sub_steps=sub_steps, **VOLT, **constants).unroll(currents)
        assert torch.isfinite(outputs).all()
        for x in (states.x1, states.x2):
            assert x.min() >= 0 and x.max() <= 1
        largest.append(float(states.x1.max()))
    assert max(largest) > 0.99 and min(largest) > 0.3  # the range was gone through


@pytest.mark.parametrize(("amperes", "most"), [(1e-3, 3e-4), (5e-3, 1e-2)])
def test_a_halved_step_changes_little(amperes, most):
    one, two = (Memristive(sub_steps=n, **VOLT)(constant(amperes)) for n in (1, 2))
    assert 0 < (one - two).abs().max() / two.abs().max() < most
    half = Memristive(time_step=0.5, **VOLT)(constant(amperes, 800))[1::2]
    torch.testing.assert_close(half, two, atol=1e-9, rtol=0)


def test_phasic_no_sustained_spikes_at_the_released_constants():
    currents = torch.logspace(-5, -1, 61, dtype=torch.float64).expand(6000, 1, 61)
    peaks, states = Memristive("peak", **VOLT).unroll(currents)
    assert ((peaks != 0).sum(0) <= 1).all() and ((peaks != 0).sum(0) == 1).any()
    assert ((states.v[-1] - states.v[-200]).abs() < 1e-3 * states.v[-1].abs()).all()  # all of them settle


def test_regenerative_constants_spike_again_and_again():
    counts = [
        int((Memristive("peak", **VOLT, **REGENERATIVE).unroll(constant(amperes, 300))[0] != 0).sum())
        for amperes in (0.0, 2e-4, 1e-3, 1e-2, 5e-2)
    ]
    assert counts[0] == 0 and min(counts[1:4]) >= 3 and counts[4] <= 1


def test_codes_are_functions_of_the_voltage():
    torch.manual_seed(1)
    currents = 3e-3 * torch.rand(60, 4, 3, dtype=torch.float64)
    plain = Memristive(current=1.0)
    sent, states = plain.unroll(currents)
    torch.testing.assert_close(sent, (states.v - plain.rest) / 50)
    torch.testing.assert_close(Memristive("sigmoid", current=1.0)(currents), torch.sigmoid((states.v - 30) / 5))
    peaks = Memristive("peak", current=1.0)(currents)
    v = torch.cat([torch.full_like(states.v[:1], plain.rest), states.v])
    for t in range(1, 60):
        is_peak = (v[t] > v[t - 1]) & (v[t] >= v[t + 1]) & (v[t] > 30)
        torch.testing.assert_close(peaks[t], is_peak * (v[t] - plain.rest) / 50)
    assert 0 < (peaks != 0).double().mean() < 0.5


@pytest.mark.parametrize("constants", [{}, {"code": "sigmoid"}, {"code": "peak"}, {"held": True}, {"sub_steps": 3}])
def test_one_equation_in_three_forms(constants):
    torch.manual_seed(2)
    given = (1.5 * torch.randn(25, 3, 4, dtype=torch.float64)).requires_grad_()
    neuron, found = Memristive(**constants), []
    weight = torch.randn_like(given)
    for form in (lambda x: neuron.unroll(x)[0], neuron):
        for path in ("step", "auto"):
            with kernels.using(kernels.Path(path)):
                outputs = form(given)
                found.append((outputs.detach(), *torch.autograd.grad((outputs * weight).sum(), given)))
    for outputs, gradient in found[1:]:
        torch.testing.assert_close(outputs, found[0][0], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(gradient, found[0][1], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(neuron(given[:, :1]), found[0][0][:, :1], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"code": "rate"}, "must be voltage, sigmoid or peak"),
        ({"current": 0.0}, "current = 0.0 must be positive"),
        ({"r_off": 10.0}, "r_off = 10.0 must be at least r_on"),
        ({"e1": 60.0}, "must be below e2"),
        ({"kappa": 0.1}, "kappa"),
        ({"sub_steps": 0}, "sub_steps = 0"),
        ({"centre": math.nan}, "centre = nan"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=words):
        Memristive(**options)
