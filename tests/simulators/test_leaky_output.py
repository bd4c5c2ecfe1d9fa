"""Units that never fire: means and the maximum of V against a fine grid, gradients against finite differences."""

import math

import pytest
import torch

from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.leaky_output import POINTS, largest_potential, mean_potential, potentials
from snnlab.simulators.simulator import Firing

FIRING = Firing(1.0, 5.0, 60.0, 1)
PAIRS = [(20.0, 5.0), (10.0, 5.0), (5.0, 5.0), (4.0, 9.0)]
SHAPES = ["constant", "linear", "exponential", "sigmoid", "input"]


def layer(seed=0):
    draw = torch.Generator().manual_seed(seed)
    times = 70 * torch.rand(3, 6, 2, generator=draw, dtype=torch.float64)  # some come too late
    times[0, 0, 1] = math.inf
    return times, torch.randn(4, 6, generator=draw, dtype=torch.float64)


def on_a_fine_grid(times, weight, tau_m, tau_s, points=12_000):
    grid = torch.linspace(0, 60, points + 1, dtype=torch.float64)
    silent = torch.full((len(times), len(weight), 1), math.inf, dtype=torch.float64)
    return grid, CurrentBased(tau_m).membrane(grid, times, weight, silent, FIRING._replace(tau_synapse=tau_s))


@pytest.mark.parametrize(("tau_m", "tau_s"), PAIRS)
def test_means_and_maxima_equal_those_of_a_fine_grid(tau_m, tau_s):
    times, weight = layer()
    firing = FIRING._replace(tau_synapse=tau_s)
    grid, v = on_a_fine_grid(times, weight, tau_m, tau_s)
    x = grid / 60
    for shape, g, tolerance in (
        ("constant", torch.ones_like(x), 1e-6),
        ("linear", 1 - x, 1e-6),
        ("exponential", torch.exp(-x), 1e-6),
        ("sigmoid", torch.sigmoid((0.5 - x) / 0.2), 3e-4),  # the trapezoidal rule at 256 steps
    ):
        expected = torch.trapezoid(g[:, None, None] * v, grid, dim=0) / 60
        got = mean_potential(times, weight, firing, tau_m, shape)
        assert (got - expected).abs().max() < tolerance * expected.abs().max()
    torch.testing.assert_close(potentials(times, weight, firing, tau_m, 120), v[::100], atol=1e-12, rtol=0)
    highest = largest_potential(times, weight, firing, tau_m)
    assert (highest >= v.amax(0) - 1e-12).all() and (
        highest - v.amax(0).clamp(min=0)
    ).max() < 1e-3  # a turn between two points


def test_the_error_of_the_trapezoidal_rule_is_what_is_said():
    """Below 1e-3 of the mean where the step is a tenth of tau_s, and of second order."""
    times, weight = layer()
    firing = FIRING._replace(tau_synapse=10 * 60 / POINTS)
    exact = mean_potential(times, weight, firing, 20.0, "constant")
    coarse = torch.trapezoid(potentials(times, weight, firing, 20.0), dx=1 / POINTS, dim=0)
    finer = torch.trapezoid(potentials(times, weight, firing, 20.0, 4 * POINTS), dx=1 / POINTS / 4, dim=0)
    error, finest = ((each - exact).abs().max() for each in (coarse, finer))
    assert error < 1e-3 * exact.abs().max() and finest < error / 4


def test_input_weights_follow_the_input():
    """g is as high as the input is busy, its mean is 1: where all spikes come early, late potentials count less."""
    times, weight = layer()
    early = torch.full((3, 2, 1), 0.5, dtype=torch.float64)
    by_input = mean_potential(times, weight, FIRING, 20.0, "input", early)
    grid, v = on_a_fine_grid(times, weight, 20.0, 5.0, 256)
    g = torch.exp(-(grid - grid[3]) / 20) * (grid >= grid[3])  # the point behind the spikes
    g = g / (torch.trapezoid(g, grid) / 60)
    torch.testing.assert_close(by_input, torch.trapezoid(g[:, None, None] * v, grid, dim=0) / 60, rtol=1e-9, atol=1e-12)
    silent = torch.full((3, 2, 1), math.inf, dtype=torch.float64)
    assert not mean_potential(times, weight, FIRING, 20.0, "input", silent).any()


@pytest.mark.parametrize("kind", [*SHAPES, "largest", "points"])
@pytest.mark.parametrize(("tau_m", "tau_s"), [(20.0, 5.0), (5.0, 5.0)])
def test_gradients_equal_finite_differences(kind, tau_m, tau_s):
    times, weight = layer()
    times[0, 0, 1] = 65.0
    firing, inputs = FIRING._replace(tau_synapse=tau_s), layer(3)[0]
    parts = torch.rand(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(t, w):
        if kind == "largest":
            return (parts * largest_potential(t, w, firing, tau_m)).sum()
        if kind == "points":
            return (parts * potentials(t, w, firing, tau_m, 50).tanh()).sum()
        return (parts * mean_potential(t, w, firing, tau_m, kind, inputs)).sum()

    assert torch.autograd.gradcheck(
        value, (times.requires_grad_(), weight.requires_grad_()), eps=1e-6, atol=1e-7, rtol=1e-5
    )


def test_float32_and_threads():
    times, weight = layer()
    times = times.repeat(20, 1, 1)
    found = []
    before = torch.get_num_threads()
    for dtype, number in ((torch.float64, 1), (torch.float64, 2), (torch.float32, 1)):
        w = weight.to(dtype, copy=True).requires_grad_()
        try:
            torch.set_num_threads(number)
            v = largest_potential(times.to(dtype), w, FIRING, 20.0)
            v.sum().backward()
        finally:
            torch.set_num_threads(before)
        found.append((v.detach().double(), w.grad.double()))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=1e-12)
    for a, b in zip(found[0], found[2], strict=True):
        assert (a - b).norm() < 1e-5 * a.norm()
