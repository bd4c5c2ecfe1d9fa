"""The stochastic readout: its basis against the card's numbers, its two forms, causality."""

from __future__ import annotations

import pytest
import torch

from snnlab.neurons.stochastic_readout import StochasticReadout, raised_cosines


def test_basis_reference_values() -> None:
    """Unit test 6 of the card."""
    phi = raised_cosines(8, 10)
    assert phi[0].tolist() == pytest.approx([1] + [0] * 9, abs=1e-12)
    assert phi[3, :5].tolist() == pytest.approx([0, 0.5838, 0.9304, 0.3348, 0.0071], abs=1e-4)
    assert phi[3, 5:].abs().max() < 1e-12
    assert phi[7, 5:].tolist() == pytest.approx([0.1183, 0.4340, 0.7420, 0.9380, 1], abs=1e-4)
    single = [1, 0.9451, 0.8660, 0.7926, 0.7277, 0.6707, 0.6205, 0.5758, 0.5359, 0.5]
    assert raised_cosines(1, 10)[0].tolist() == pytest.approx(single, abs=1e-4)
    assert phi.sum(0)[1:7].tolist() == pytest.approx([2] * 6, abs=1e-6)


def brute_force(readout: StochasticReadout, inputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Equation (1) term by term: inputs [T, B, N_in], y [T, B, N_out] -> u [T, B, N_out]."""
    u = readout.bias[:, 0] + torch.zeros_like(y)
    for t in range(len(inputs)):
        for lag in range(min(10, t + 1)):
            u[t] += torch.einsum("bj,kjm,m->bk", inputs[t - lag], readout.weight, readout.phi[:, lag])
            if t - 1 - lag >= 0:
                u[t] += readout.feedback[:, 0] * readout.phi_feedback[lag] * y[t - 1 - lag]
    return u


@pytest.fixture
def readout() -> StochasticReadout:
    torch.manual_seed(0)
    return StochasticReadout(5, 3).double()


@pytest.fixture
def inputs() -> torch.Tensor:
    torch.manual_seed(1)
    return (torch.rand(25, 4, 5) < 0.4).double()


def test_potential_and_feedback_are_equation_1(readout: StochasticReadout, inputs: torch.Tensor) -> None:
    y = readout(inputs)
    u = readout.conditional(readout.potential(inputs), y.unsqueeze(1))[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(u, brute_force(readout, inputs, y), atol=1e-12, rtol=1e-12)


def test_step_loop_equals_forward_for_the_same_seed(readout: StochasticReadout, inputs: torch.Tensor) -> None:
    torch.manual_seed(2)
    y = readout(inputs)
    torch.manual_seed(2)
    stepped, states = readout.unroll(inputs)
    assert torch.equal(y, stepped)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    u = readout.conditional(readout.potential(inputs), y.unsqueeze(1))[:, 0]
    torch.testing.assert_close(states.v, u, atol=1e-12, rtol=1e-12)


def test_what_is_sampled_comes_with_its_potential_also_beyond_a_block_of_steps(readout: StochasticReadout) -> None:
    torch.manual_seed(2)
    potential = torch.randn(300, 2, 3, dtype=torch.float64)
    y, u = readout.sampled(potential, samples=4)
    torch.testing.assert_close(u, readout.conditional(potential, y).detach(), atol=1e-12, rtol=1e-12)
    trace = torch.zeros_like(y)
    for t in range(300):
        for lag in range(min(t, 10)):
            trace[t] += readout.phi_feedback[lag] * y[t - 1 - lag]
    torch.testing.assert_close(readout.own_past(y), trace, atol=1e-12, rtol=1e-12)


def test_sampling_frequencies_are_the_probabilities() -> None:
    readout = StochasticReadout(1, 2)
    y = readout.sample(torch.tensor([[[0.7, -1.0]]]), samples=40_000)
    expected = torch.sigmoid(torch.tensor([0.7, -1.0]))
    assert y.shape == (1, 40_000, 1, 2)
    torch.testing.assert_close(y.mean((0, 1, 2)), expected, atol=0.01, rtol=0)


def test_feedback_acts_on_the_own_neuron_only(readout: StochasticReadout) -> None:
    y = torch.zeros(12, 1, 1, 3, dtype=torch.float64)
    y[0, 0, 0, 1] = 1
    u = readout.conditional(torch.zeros(12, 1, 3, dtype=torch.float64), y)[:, 0, 0]
    assert u[:, [0, 2]].abs().sum() == 0
    assert u[0, 1] == 0
    torch.testing.assert_close(u[1:11, 1], readout.feedback[1] * readout.phi_feedback)
    assert u[11, 1] == 0  # memory of 10 steps


def test_causality_and_batch_independence(readout: StochasticReadout, inputs: torch.Tensor) -> None:
    changed = inputs.clone()
    changed[15:] = 1 - changed[15:]
    assert torch.equal(readout.potential(changed)[:15], readout.potential(inputs)[:15])
    torch.testing.assert_close(readout.potential(inputs[:, 1:3]), readout.potential(inputs)[:, 1:3])
    torch.manual_seed(3)
    before = readout(inputs)[:15]
    torch.manual_seed(3)
    assert torch.equal(readout(changed)[:15], before)


def test_follows_a_convolution() -> None:
    readout = StochasticReadout(2 * 3 * 3, 4)
    images = (torch.rand(7, 2, 2, 3, 3) < 0.5).float()
    torch.testing.assert_close(readout.potential(images), readout.potential(images.flatten(2)))
    torch.manual_seed(0)
    stepped = readout.unroll(images)[0]
    assert stepped.shape == (7, 2, 4)


def test_bad_values_are_told() -> None:
    with pytest.raises(ValueError, match="memory = 1 must be at least 2"):
        StochasticReadout(4, 4, memory=1)
    with pytest.raises(ValueError, match="does not hold 5 units"):
        StochasticReadout(5, 4).potential(torch.zeros(3, 2, 4))


def test_centring_is_the_uncentred_readout_with_another_bias(inputs: torch.Tensor) -> None:
    torch.manual_seed(0)
    centred = StochasticReadout(5, 3, centred=True).double()
    plain = StochasticReadout(5, 3).double()
    plain.load_state_dict({k: v for k, v in centred.state_dict().items() if k not in ("mean", "seen")})
    centred.follow(inputs)
    centred.follow(1 - inputs)
    torch.testing.assert_close(centred.mean, torch.full((5,), 0.5).double())  # the mean of both batches
    shift = torch.einsum("kjm,j,m->k", plain.weight, centred.mean, plain.phi.sum(1))
    difference = plain.potential(inputs) - centred.potential(inputs)
    torch.testing.assert_close(difference[9:], shift.expand_as(difference[9:]))  # from the filters' memory on
    torch.manual_seed(1)
    y = centred(inputs)
    torch.manual_seed(1)
    assert torch.equal(y, centred.unroll(inputs)[0])


def test_the_running_mean_forgets_after_a_hundred_batches() -> None:
    readout = StochasticReadout(2, 1, centred=True)
    for _ in range(200):
        readout.follow(torch.ones(1, 1, 2))
    readout.follow(torch.zeros(1, 1, 2))
    assert readout.mean.tolist() == pytest.approx([0.99, 0.99], abs=1e-5)


def test_feedback_and_bias_may_start_within_the_bound_of_the_weights():
    """sqrt(6 / ((2048 + 64) 8)) = 0.01884; of their own Xavier start: sqrt(6 / 65) = 0.304."""
    torch.manual_seed(0)
    for start, bound in (("weights", 0.01884), ("own", 0.30382)):
        readout = StochasticReadout(2048, 64, start=start)
        assert readout.weight.abs().max().item() == pytest.approx(0.01884, rel=1e-3)
        for parameter in (readout.feedback, readout.bias):
            assert 0.9 * bound < parameter.abs().max().item() <= bound
