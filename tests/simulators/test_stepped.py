"""The simulator in steps: on the grid, near the exact one, and its adjoint near the exact gradient."""

import math

import pytest
import torch

from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.simulator import Firing
from snnlab.simulators.stepped import Stepped

FIRING = Firing(1.0, 5.0, 60.0, 20)


def layer(seed=0, samples=2, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    times = 30 * torch.rand(samples, 6, 1, generator=draw, dtype=torch.float64)
    weight = 3.0 + 2.0 * torch.randn(4, 6, generator=draw, dtype=torch.float64)
    recurrent = 0.6 * torch.randn(4, 4, generator=draw, dtype=torch.float64)
    return times.to(dtype), weight.to(dtype), recurrent.to(dtype)


def by_hand(times, weight, recurrent, tau_m, dt):
    """The docstring of stepped.py for one sample, a step at a time."""
    steps = round(60 / dt)
    at = torch.ceil(times[..., 0] / dt - 1e-4).long()
    v, i = torch.zeros(len(weight), dtype=weight.dtype), torch.zeros(len(weight), dtype=weight.dtype)
    phi = 5 / (tau_m - 5) * (math.exp(-dt / tau_m) - math.exp(-dt / 5))
    found = [[] for _ in weight]
    for n in range(steps):
        v, i = v * math.exp(-dt / tau_m) + i * phi, i * math.exp(-dt / 5)
        fired = v >= 1
        for j in fired.nonzero()[:, 0].tolist():
            found[j].append(n * dt)
        v = torch.where(fired, 0.0, v)
        if recurrent is not None:
            i = i + recurrent @ fired.to(i.dtype)
        i = i + weight @ (at == n).to(i.dtype)
    return found


@pytest.mark.parametrize("recurs", [False, True])
@pytest.mark.parametrize("dt", [0.1, 0.5])
def test_spikes_equal_those_by_hand(recurs, dt):
    times, weight, recurrent = layer(samples=3)
    recurrent = recurrent if recurs else None
    got = Stepped(20.0, dt, 60.0).simulate(times, weight, FIRING, recurrent)
    for b in range(3):
        for j, expected in enumerate(by_hand(times[b], weight, recurrent, 20.0, dt)):
            assert got.times[b, j][got.times[b, j].isfinite()].tolist() == pytest.approx(expected[:20], abs=1e-9)
    assert got.counts.sum() >= 15


@pytest.mark.parametrize("recurs", [False, True])
def test_times_and_gradients_come_near_the_exact_ones(recurs):
    times, weight, recurrent = layer(seed=1)
    found = []
    for simulator in (CurrentBased(20.0), Stepped(20.0, 0.001, 60.0)):
        variables = [each.clone().requires_grad_() for each in (times, weight, recurrent)]
        got = simulator.simulate(*variables[:2], FIRING, variables[2] if recurs else None).times
        torch.where(got.isfinite(), got, torch.zeros_like(got)).sum().backward()
        found.append([got.detach(), *(each.grad for each in variables[: 3 if recurs else 2])])
    exact, stepped = found
    assert torch.equal(exact[0].isfinite(), stepped[0].isfinite()) and exact[0].isfinite().sum() >= 8
    assert (exact[0] - stepped[0])[exact[0].isfinite()].abs().max() < 0.03
    for a, b in zip(exact[1:], stepped[1:], strict=True):
        assert (a - b).norm() < 0.02 * a.norm()


def test_the_gradient_is_that_of_neurons_that_fire_in_one_step():
    """Two equal neurons that reach each other: errors of both are those behind the step, and so equal."""
    times = torch.tensor([[[0.0]]], dtype=torch.float64)
    weight = torch.full((2, 1), 25.0, dtype=torch.float64, requires_grad=True)
    recurrent = torch.tensor([[0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    got = Stepped(20.0, 0.5, 60.0).simulate(times, weight, FIRING._replace(most=3), recurrent).times
    assert torch.equal(got[0, 0], got[0, 1]) and got[0, 0, 1].isfinite()
    got[..., 1].sum().backward()
    assert weight.grad[0] == weight.grad[1] != 0 and recurrent.grad[0, 1] == recurrent.grad[1, 0] != 0


def test_float32_threads_and_bad_steps():
    times, weight, _ = layer(samples=40)
    before = torch.get_num_threads()
    found = []
    for dtype, number in ((torch.float64, 1), (torch.float64, 2), (torch.float32, 1)):
        try:
            torch.set_num_threads(number)
            got = Stepped(20.0, 0.25, 60.0).simulate(times.to(dtype), weight.to(dtype), FIRING).times.double()
        finally:
            torch.set_num_threads(before)
        found.append(got)
    assert torch.equal(found[0], found[1])
    assert (found[0] == found[2]).double().mean() > 0.999  # all on the grid
    for step in (0.0, -1.0, 31.0):
        with pytest.raises(ValueError, match=f"time_step = {step} must be positive and at most half"):
            Stepped(20.0, step, 60.0)
