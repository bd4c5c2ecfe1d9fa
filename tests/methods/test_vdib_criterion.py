"""The criterion of VDIB against the numbers and enumerations of its card."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from snnlab.methods.vdib import criterion
from snnlab.neurons.stochastic_readout import StochasticReadout


@pytest.mark.parametrize("prior", [0.1, 0.3, 0.9])
def test_gradient_of_the_log_ratio_is_the_score_for_any_prior(prior: float) -> None:
    """Unit test 1: l_t averaged over neurons and divided by T has the derivative (y - p) / (N_out T)."""
    torch.manual_seed(0)
    steps, neurons = 7, 5
    u = torch.randn(steps, neurons, dtype=torch.float64, requires_grad=True)
    y = (torch.rand(steps, neurons) < 0.5).double()
    loss = (criterion.log_ratio(u, y, prior).mean(-1) / steps).sum()
    (grad,) = torch.autograd.grad(loss, u)
    torch.testing.assert_close(grad, (y - torch.sigmoid(u.detach())) / (neurons * steps), atol=1e-6, rtol=0)


def test_one_neuron_one_step() -> None:
    """Unit test 2: u = 0.7, r = 0.3, beta = 0.5, decoder loss 2 (y = 0) or 0.5 (y = 1)."""
    beta, prior = 0.5, 0.3
    u = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    losses = {0.0: 2.0, 1.0: 0.5}
    p = torch.sigmoid(u)
    exact = (1 - p) * losses[0.0] + p * losses[1.0] + beta * criterion.kl_divergence(u, prior)
    (gradient,) = torch.autograd.grad(exact, u)
    assert gradient.item() == pytest.approx(-0.161041, abs=1e-6)
    assert criterion.kl_divergence(u, prior).item() == pytest.approx(0.287374, abs=1e-6)

    def sampled(baseline: float) -> float:
        total = 0.0
        for value, loss in losses.items():
            y = torch.tensor(value, dtype=torch.float64)
            ell = loss + beta * criterion.log_ratio(u, y, prior).detach()
            score = criterion.gradient(u.detach(), y, ell - baseline, 0.0, prior)
            total += score.item() * (p if value else 1 - p).item()
        return total

    def with_exact_kl(baseline: float) -> float:
        total = 0.0
        for value, loss in losses.items():
            y = torch.tensor(value, dtype=torch.float64)
            grad = criterion.gradient(u.detach(), y, torch.tensor(loss - baseline), beta, prior)
            total += grad.item() * (p if value else 1 - p).item()
        return total

    for baseline in (0.0, 1.3, -7.0):
        assert sampled(baseline) == pytest.approx(-0.161041, abs=1e-6)
        assert with_exact_kl(baseline) == pytest.approx(-0.161041, abs=1e-6)

    # the optimal baseline: E[score^2 ell] / E[score^2], what the average of the authors converges to
    squares = {value: (value - p.item()) ** 2 * (p if value else 1 - p).item() for value in losses}
    ratio = {v: criterion.log_ratio(u, torch.tensor(v).double(), prior).item() for v in losses}
    ell = {v: loss + beta * ratio[v] for v, loss in losses.items()}
    optimum = sum(squares[v] * ell[v] for v in losses) / sum(squares.values())
    assert optimum == pytest.approx(1.385732, abs=1e-6)
    torch.manual_seed(0)
    ema = criterion.EMABaseline(factor=0.999)
    values = []
    for _ in range(20_000):
        value = float(torch.rand(()) < p.item())
        values.append(ema([torch.tensor(value - p.item())], torch.tensor(ell[value]))[0].item())
    assert sum(values[5_000:]) / 15_000 == pytest.approx(optimum, abs=0.02)


def test_1e_7_in_the_denominator_of_the_baseline_decides_for_small_scores() -> None:
    """One sample, ell = 2: b = 2 s^2 / (s^2 + 1e-7); of s = 1e-3.5 that is 1, of 1e-5 0.002, of 1 2, of 0 0."""
    scores = torch.tensor([1e-7**0.5, 1e-5, 1.0, 0.0], dtype=torch.float64)
    (found,) = criterion.EMABaseline(factor=0.01)([scores], torch.tensor(2.0, dtype=torch.float64))
    assert found.tolist() == pytest.approx([1.0, 2e-10 / (1e-10 + 1e-7), 2 / (1 + 1e-7), 0.0], abs=1e-12)


def test_enumerated_gradient_equals_finite_differences() -> None:
    """Unit test 3: all 2^(N T) outputs for N = 2, T = 2 with feedback, every parameter of the readout."""
    torch.manual_seed(0)
    steps, neurons, prior, beta = 2, 2, 0.3, 0.4
    readout = StochasticReadout(3, neurons).double()
    inputs = (torch.rand(steps, 1, 3) < 0.6).double()
    outputs = torch.tensor(list(itertools.product((0.0, 1.0), repeat=steps * neurons)), dtype=torch.float64)
    y = outputs.view(-1, steps, neurons).movedim(0, 1).unsqueeze(2)  # [T, 16, 1, N]
    decoder_loss = torch.rand(16, 1, dtype=torch.float64)

    def terms() -> tuple[Tensor, Tensor]:
        u = readout.conditional(readout.potential(inputs), y)
        return criterion.log_probability(u, y).sum((0, -1)), criterion.log_ratio(u, y, prior).mean(-1).mean(0)

    def objective() -> float:
        with torch.no_grad():
            log_p, ratio = terms()
            return float((log_p.exp() * (decoder_loss + beta * ratio)).sum())

    log_p, ratio = terms()
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)
    ell = (decoder_loss + beta * ratio).detach()
    expected = (log_p.exp().detach() * (ell - 0.7) * log_p).sum()  # any constant baseline
    gradients = torch.autograd.grad(expected, list(readout.parameters()))
    for parameter, gradient in zip(readout.parameters(), gradients, strict=True):
        flat, step = parameter.data.view(-1), 1e-5
        for index in range(0, flat.numel(), 3):
            kept = flat[index].item()
            flat[index] = kept + step
            above = objective()
            flat[index] = kept - step
            below = objective()
            flat[index] = kept
            assert gradient.reshape(-1)[index].item() == pytest.approx((above - below) / (2 * step), abs=1e-6)


def test_prior_equal_to_p_costs_nothing() -> None:
    """Unit test 4, first half."""
    u = torch.full((4, 3), math.log(0.3 / 0.7), dtype=torch.float64)
    y = (torch.rand(4, 3) < 0.5).double()
    assert criterion.log_ratio(u, y, 0.3).abs().max() < 1e-12
    assert criterion.kl_divergence(u, 0.3).abs().max() < 1e-12


def test_kl_is_the_expected_log_ratio_and_stays_finite() -> None:
    u = torch.linspace(-6, 6, 13, dtype=torch.float64)
    p = torch.sigmoid(u)
    both = [criterion.log_ratio(u, torch.full_like(u, value), 0.2) for value in (0.0, 1.0)]
    torch.testing.assert_close(criterion.kl_divergence(u, 0.2), (1 - p) * both[0] + p * both[1], atol=1e-12, rtol=0)
    extreme = torch.tensor([-200.0, 200.0])
    assert torch.isfinite(criterion.kl_divergence(extreme, 0.3)).all()
    assert torch.isfinite(criterion.log_ratio(extreme, 1 - (extreme > 0).float(), 0.3)).all()


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    ell = torch.tensor([[[1.0], [2.0], [6.0]]])  # [1, K, B]
    assert criterion.leave_one_out(ell, dim=1).flatten().tolist() == [4.0, 3.5, 1.5]


def test_credit_of_a_step() -> None:
    ell = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(4, 1, 1)
    assert criterion.credited(ell, "step", 2).flatten().tolist() == [1, 2, 4, 8]
    assert criterion.credited(ell, "window", 2).flatten().tolist() == [3, 6, 12, 8]
    assert criterion.credited(ell, "sequence", 2).flatten().tolist() == [15] * 4
