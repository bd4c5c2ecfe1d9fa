"""Curves: area, symmetry, peak, and the gradient of their own antiderivative."""

import math

import pytest
import torch

from snnlab.neurons.surrogate import CURVES, FastSigmoid, Gaussian, Rectangle, Triangle, make_surrogate

PEAKS = dict.fromkeys(CURVES, 1.0) | {"gaussian": 0.9974, "multi_gaussian": 0.7319, "damped_triangle": 0.3}
AREAS = {"fast_sigmoid": 0.2, "multi_gaussian": 0.425, "damped_triangle": 0.3}


@pytest.mark.parametrize("name", CURVES)
def test_area_peak_and_symmetry(name):
    curve = make_surrogate(name)
    # a substitution x = tan(s) makes the tails finite
    s = torch.linspace(-math.pi / 2 + 1e-6, math.pi / 2 - 1e-6, 2_000_001, dtype=torch.float64)
    x = torch.tan(s)
    area = torch.trapezoid(curve.derivative(x) * (1 + x * x), s).item()
    assert area == pytest.approx(AREAS.get(name, 1.0), abs=1e-4)
    assert curve.derivative(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(PEAKS[name], abs=1e-4)
    points = torch.linspace(0.01, 3, 50, dtype=torch.float64)
    torch.testing.assert_close(curve.derivative(points), curve.derivative(-points))


@pytest.mark.parametrize("name", CURVES)
def test_derivative_is_that_of_the_antiderivative(name):
    curve = make_surrogate(name)
    x = torch.linspace(-1.3, 1.3, 41, dtype=torch.float64) + 0.0123
    step = 1e-6
    difference = (curve.antiderivative(x + step) - curve.antiderivative(x - step)) / (2 * step)
    torch.testing.assert_close(curve.derivative(x), difference, atol=1e-6, rtol=0)
    assert curve.antiderivative(torch.tensor(-1e6, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_unit_area_holds_at_every_width(width):
    x = torch.linspace(-20, 20, 4_000_001, dtype=torch.float64)
    for curve in (Rectangle(width), Triangle(width), Gaussian(width)):
        assert torch.trapezoid(curve.derivative(x), x).item() == pytest.approx(1, abs=1e-4)


def test_fast_sigmoid_of_slope_ten():
    x = torch.tensor([-0.1, 0.0, 0.1], dtype=torch.float64)
    assert FastSigmoid(0.1).derivative(x).tolist() == pytest.approx([0.25, 1.0, 0.25])


@pytest.mark.parametrize("name", CURVES)
def test_heaviside_forward_curve_backward(name):
    curve = make_surrogate(name)
    x = torch.tensor([-0.2, 0.0, 0.2], requires_grad=True)
    spikes = curve(x)
    assert spikes.tolist() == [0, 1, 1]
    spikes.sum().backward()
    torch.testing.assert_close(x.grad, curve.derivative(x.detach()))


def test_unknown_curve_and_bad_width_are_named():
    with pytest.raises(ValueError, match="surrogate = 'bell' is unknown; choose one of rectangle"):
        make_surrogate("bell")
    with pytest.raises(ValueError, match="Rectangle: width = -1 must be positive"):
        Rectangle(-1)
