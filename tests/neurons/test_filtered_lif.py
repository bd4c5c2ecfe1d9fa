"""The doubly filtered LIF neuron: one equation in two forms, the eligibility trace, the box, causality."""

from __future__ import annotations

import pytest
import torch

from snnlab import kernels
from snnlab.neurons.filtered_lif import Box, FilteredLIF, measure
from snnlab.neurons.surrogate import Triangle


@pytest.fixture
def currents() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(30, 4, 6, dtype=torch.float64) * 0.02


def test_a_case_made_by_hand() -> None:
    neuron = FilteredLIF(1).double()
    neuron.bias.data.fill_(-0.5)
    currents = torch.zeros(4, 1, 1, dtype=torch.float64)
    currents[0] = 0.015
    spikes, states = neuron.unroll(currents)
    q0 = 0.015 / 0.15  # 0.1
    p = [0.0, q0 * 10, 0.9 * q0 * 10 + 0.85 * q0 * 10]  # the input of step 0 is felt at step 1
    assert states.q[0].item() == pytest.approx(q0, abs=1e-12)
    assert [states.p[t].item() for t in range(3)] == pytest.approx(p, abs=1e-12)
    assert spikes[:3, 0, 0].tolist() == [0, 1, 1]  # v[1] = 1 - 0.5
    assert states.r[2].item() == -1.0
    assert states.r[3].item() == pytest.approx(-1.65, abs=1e-12)
    assert states.v[2].item() == pytest.approx(p[2] - 0.5 - 1.0, abs=1e-12)


def test_forward_equals_the_step_loop_with_all_gradients(currents: torch.Tensor) -> None:
    neuron = FilteredLIF(6).double()
    torch.nn.init.uniform_(neuron.bias, -0.3, 0.3)
    grads = []
    for form in ("forward", "unroll"):
        x = currents.clone().requires_grad_()
        spikes = neuron(x) if form == "forward" else neuron.unroll(x)[0]
        weights = torch.linspace(-1, 1, spikes.numel(), dtype=torch.float64).view_as(spikes)
        grads.append((spikes, *torch.autograd.grad((spikes * weights).sum(), [x, neuron.bias])))
    assert torch.equal(grads[0][0], grads[1][0])
    assert 0.05 < grads[0][0].mean() < 0.95
    for one, other in zip(grads[0][1:], grads[1][1:], strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
    assert grads[0][1].abs().sum() > 0


def test_gradient_of_v_with_respect_to_the_weight_is_the_eligibility_trace() -> None:
    torch.manual_seed(1)
    inputs = (torch.rand(12, 1, 3, dtype=torch.float64) < 0.3).double()
    weight = (torch.randn(2, 3, dtype=torch.float64) * 0.01).requires_grad_()
    neuron = FilteredLIF(2).double()
    _, states = neuron.unroll(inputs @ weight.T)
    trace_q = torch.zeros(3, dtype=torch.float64)
    trace_p = torch.zeros(3, dtype=torch.float64)
    for t in range(12):  # the paper filters the input: P uses Q of the step before
        trace_p = 0.9 * trace_p + trace_q / (1 - 0.9)
        trace_q = 0.85 * trace_q + inputs[t, 0] / (1 - 0.85)
        for neuron_index in range(2):
            (grad,) = torch.autograd.grad(states.v[t, 0, neuron_index], weight, retain_graph=True)
            expected = torch.zeros_like(grad)
            expected[neuron_index] = trace_p
            torch.testing.assert_close(grad, expected, atol=1e-9, rtol=1e-12)


def test_box_is_one_on_a_half_open_interval() -> None:
    x = torch.tensor([-0.51, -0.5, -0.49, 0.0, 0.5, 0.51])
    assert Box().derivative(x).tolist() == [0, 0, 1, 1, 1, 0]
    assert Box().antiderivative(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 0.5, 1]


def test_causality_and_batch_independence(currents: torch.Tensor) -> None:
    neuron = FilteredLIF(6).double()
    changed = currents.clone()
    changed[20:] += 1
    assert torch.equal(neuron(changed)[:20], neuron(currents)[:20])
    assert torch.equal(neuron(currents[:, 1:3]), neuron(currents)[:, 1:3])


def test_channels_of_a_convolution_share_a_bias() -> None:
    neuron = FilteredLIF(2)
    neuron.bias.data = torch.tensor([-1.0, 1.0])
    assert neuron(torch.zeros(1, 3, 2, 4, 4)).mean((0, 1, 3, 4)).tolist() == [0, 1]


def test_a_measured_gain_gives_the_free_membrane_the_deviation_1_and_is_measured_once(currents: torch.Tensor) -> None:
    neuron, plain = (
        FilteredLIF(6, gain="measured", bias=-0.5, surrogate=Triangle()).double(),
        FilteredLIF(6, bias=0).double(),
    )
    assert torch.equal(neuron.unroll(currents)[1].p, plain.unroll(currents)[1].p)  # until it is measured
    measure(neuron, currents)
    p = neuron.unroll(currents)[1].p  # the trace of resets is apart from it
    assert p.std(correction=0).item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(p, plain.unroll(currents)[1].p * neuron.gain)
    assert neuron.bias.tolist() == [-0.5] * 6
    before = neuron.gain.clone()
    measure(neuron, 100 * currents)  # a net that is trained further
    again = FilteredLIF(6, gain="measured").double()
    again.load_state_dict(neuron.state_dict())
    measure(again, 100 * currents)
    assert torch.equal(neuron.gain, before) and torch.equal(again.gain, before)
    silent = FilteredLIF(6, gain="measured")
    measure(silent, torch.zeros(5, 2, 6))
    assert silent.gain == 1 and not silent.measured
    measure(plain, currents)
    assert not hasattr(plain, "gain")


def test_a_measured_neuron_runs_fused_with_the_numbers_of_its_step(currents: torch.Tensor) -> None:
    neuron = FilteredLIF(6, gain="measured", bias=-0.5, surrogate=Triangle()).double()
    measure(neuron, currents)
    path, found = kernels.Path(), []
    for form in (neuron, lambda x: neuron.unroll(x)[0]):
        x = currents.clone().requires_grad_()
        with kernels.using(path):
            spikes = form(x)
        weights = torch.linspace(-1, 1, spikes.numel(), dtype=torch.float64).view_as(spikes)
        found.append((spikes, *torch.autograd.grad((spikes * weights).sum(), [x, neuron.bias])))
    assert path.taken() == {"fused": ["FilteredLIF"], "step": []}
    assert 0.05 < found[0][0].mean() < 0.95
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_bad_values_are_told() -> None:
    with pytest.raises(ValueError, match=r"decay_synapse = 1.0 must lie in \[0, 1\)"):
        FilteredLIF(3, decay_synapse=1.0)
    with pytest.raises(ValueError, match="features = 0"):
        FilteredLIF(0)
    neuron = FilteredLIF(3)
    with pytest.raises(ValueError, match="start the batch with initial_state"):
        neuron.step(torch.zeros(2, 3), neuron.initial_state(torch.zeros(4, 3)))
