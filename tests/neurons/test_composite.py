"""The parts of SSNN-BP's composite neuron: the low-pass, the stochastic rate, the gradient units, winner-take-all."""

import math

import pytest
import torch

from snnlab.neurons.composite import CompositeNeuron, bernoulli, uniform
from snnlab.neurons.low_pass import LowPass
from snnlab.neurons.winner_take_all import WinnerTakeAll


def test_low_pass_of_a_constant_is_the_geometric_series():
    currents = torch.full((20, 2, 3), 0.5, dtype=torch.float64)
    v = LowPass(k=0.1)(currents)
    assert v[-1, 0, 0].item() == pytest.approx(0.5 * (1 - 0.9**20), abs=1e-12)
    assert LowPass(k=1.0)(currents).equal(currents)


def test_low_pass_that_starts_from_the_mean():
    currents = torch.rand(30, 2, 3, dtype=torch.float64)
    running = currents.cumsum(0) / torch.arange(1, 31, dtype=torch.float64).view(-1, 1, 1)
    torch.testing.assert_close(LowPass(0.0, "mean")(currents), running, atol=1e-12, rtol=0)
    v = LowPass(0.1, "mean")(currents)
    torch.testing.assert_close(v[:10], running[:10], atol=1e-12, rtol=0)
    torch.testing.assert_close(v[10], 0.9 * v[9] + 0.1 * currents[10], atol=1e-12, rtol=0)


@pytest.mark.parametrize("start", ["zero", "mean"])
@pytest.mark.parametrize(
    "make",
    [
        lambda low: low,
        lambda low: CompositeNeuron(low),
        lambda low: CompositeNeuron(low, "sigmoid"),
        lambda low: WinnerTakeAll(low),
        lambda low: WinnerTakeAll(low, "gumbel"),
    ],
)
def test_steps_and_forward_give_the_same_spikes(start, make):
    layer, currents = make(LowPass(0.2, start)), 2 * torch.randn(9, 3, 7)  # 21 numbers a step: no multiple of 4
    torch.manual_seed(5)
    whole = layer(currents)
    torch.manual_seed(5)
    stepped, states = layer.unroll(currents)
    assert whole.equal(stepped)
    torch.testing.assert_close(states.v, LowPass(0.2, start)(currents))


def test_low_pass_goes_on_from_a_state_and_refuses_one_of_another_batch():
    filter_, currents = LowPass(0.1, "mean"), torch.rand(12, 2, 3)
    first, state = filter_.carry(currents[:5], filter_.initial_state(currents[0]))
    rest, _ = filter_.carry(currents[5:], state)
    assert torch.cat([first, rest]).equal(filter_(currents))
    with pytest.raises(ValueError, match=r"LowPass.step: state v is \[2, 3\], current is \[4, 3\]"):
        filter_.carry(torch.rand(5, 4, 3), state)


def test_bernoulli_meets_its_probability_within_five_sigma():
    torch.manual_seed(0)
    p = torch.tensor([-0.5, 0.0, 0.001, 0.3, 0.9, 1.0, 1.7])
    steps = 40_000
    rates = bernoulli(p.expand(steps, 7), uniform(p.expand(steps, 7))).mean(0)
    for rate, wanted in zip(rates.tolist(), p.clamp(0, 1).tolist(), strict=True):
        assert abs(rate - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / steps) + 2**-17
    u = uniform(torch.zeros(400, 1001))
    assert u.min() >= -(2**15) and u.max() < 2**15 and abs(u.mean()) < 5 * 2**16 / math.sqrt(12 * u.numel())


def test_the_rate_is_bounded_and_the_gate_is_its_derivative():
    v = torch.tensor([-0.2, 0.0, 0.4, 1.0, 1.3])
    relu, sigmoid = CompositeNeuron(LowPass()), CompositeNeuron(LowPass(), "sigmoid")
    assert relu.gate(v).tolist() == [0, 0, 1, 0, 0]
    p = torch.sigmoid(v)
    torch.testing.assert_close(sigmoid.gate(v), p * (1 - p))
    torch.manual_seed(0)
    torch.testing.assert_close(sigmoid.fire(v.expand(40_000, 5)).mean(0), p, atol=0.0125, rtol=0)  # 5 sigma


def test_gradient_streams_carry_sign_and_size_and_are_clipped_at_the_scale():
    torch.manual_seed(0)
    neuron, g = CompositeNeuron(LowPass(), scale=0.5), torch.tensor([0.1, -0.1, 0.0, 0.8, -0.8])
    plus, minus = neuron.gradient_streams(g.expand(40_000, 5))
    assert (plus * minus).sum() == 0
    torch.testing.assert_close((plus - minus).mean(0), torch.tensor([0.2, -0.2, 0, 1, -1]), atol=0.01, rtol=0)
    assert neuron.clipped(g).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LowPass(1.5), r"LowPass: k = 1.5 must lie in \[0, 1\]"),
        (lambda: LowPass(0.0), "k = 0 never moves from zero; start=mean"),
        (lambda: LowPass(0.1, "one"), "start = 'one' must be zero or mean"),
        (lambda: CompositeNeuron(LowPass(), "tanh"), "rate = 'tanh' must be relu or sigmoid"),
        (lambda: CompositeNeuron(LowPass(), scale=0), "scale = 0 must be positive"),
        (lambda: WinnerTakeAll(LowPass(), "max"), "draw = 'max' must be categorical or gumbel"),
    ],
)
def test_bad_values_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
