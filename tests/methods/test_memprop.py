"""MEMprop: the gradient against finite differences, twins, refusals, a short run that learns."""

from __future__ import annotations

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import DataSpec
from snnlab.errors import InputError
from snnlab.methods.memprop import MEMprop
from snnlab.models.mlp import MLP
from snnlab.weights.devices import devices_inside

SPEC = DataSpec("values", "sequence", (6,), 3, time_steps=20)
LABELS = torch.arange(5) % 3


def make(**options):
    torch.manual_seed(0)
    return MEMprop(MLP([4]), SPEC, None, torch.optim.SGD, **options).double()


def frames():
    return torch.rand(20, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("code", ["voltage", "sigmoid", "peak"])
@pytest.mark.parametrize("weights", ["pairs", "plain"])
def test_autograd_is_finite_differences(code, weights):
    """No surrogate anywhere; of the peak code, as long as no maximum comes or goes."""
    method, given = make(code=code, weights=weights), frames()
    parameters = list(method.network.parameters())
    if code == "peak":
        hidden = method.network.layers["hidden1"](method.network.layers["weight1"](given))
        assert (hidden != 0).any()

    def loss():
        return method.loss(method.scores(given), LABELS)

    gradients = torch.autograd.grad(loss(), parameters)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    generator, step = torch.Generator().manual_seed(2), 1e-5
    for parameter, gradient in zip(parameters, gradients, strict=True):
        way = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        ends = []
        with torch.no_grad():
            for side in (step, -2 * step):
                parameter += side * way
                ends.append(loss().item())
            parameter += step * way
        measured, exact = (ends[0] - ends[1]) / (2 * step), float((gradient * way).sum())
        assert measured == pytest.approx(exact, rel=1e-6, abs=1e-10)


def test_held_with_the_linear_code_is_linear_and_else_not():
    given, zero = frames(), torch.zeros_like(frames())
    for held in (True, False):
        scores = make(held=held, bias=False).scores
        off = (scores(2 * given) - 2 * scores(given) + scores(zero)).abs().max()
        assert bool(off < 1e-12) is held


def test_pairs_at_the_start_are_the_plain_weights():
    torch.testing.assert_close(make().scores(frames()), make(weights="plain").scores(frames()))


def test_devices_and_pairs_together_and_apart():
    for words in ("method.weights=plain", "method.weights=pairs"):
        parts = build(compose(["method=memprop", "data=digits", "hardware=memristor", words]).config)
        assert len(list(devices_inside(parts.method.network))) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"readout_width": 0.0}, "readout_width"),
        ({"reach": -1.0}, "reach = -1.0"),
        ({"neuron_options": {"held": True}}, "set method.held"),
        ({"neuron_options": {"kapa": 1.0}}, "nearest: kappa"),
        ({"code": "rate"}, "must be voltage"),
    ],
)
def test_refusals(options, words):
    with pytest.raises((InputError, ValueError), match=words):
        make(**options)
