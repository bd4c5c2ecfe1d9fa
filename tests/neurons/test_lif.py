"""LIF against hand-worked numbers, closed forms and its own three forms."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF, LIFState
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import Sigmoid, make_surrogate


def constant(current: float, steps: int) -> torch.Tensor:
    return torch.full((steps, 1, 1), current, dtype=torch.float64)


def test_case_made_by_hand():
    spikes, states = LIF(decay=0.9, threshold=1.0).unroll(constant(0.3, 8))
    assert spikes.flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 1]
    assert states.v[-1].item() == pytest.approx(0.0525, abs=5e-5)


def test_closed_form_below_threshold():
    _, states = LIF(decay=0.9, threshold=1.0).unroll(constant(0.05, 20))
    assert states.v[-1].item() == pytest.approx(0.05 * (1 - 0.9**20) / 0.1, abs=1e-12)  # geometric series


def test_charge_balance_of_the_soft_reset():
    currents = torch.rand(50, 4, 3, dtype=torch.float64)
    spikes, states = LIF(decay=1.0, threshold=0.7).unroll(currents)
    torch.testing.assert_close(currents.sum(0), 0.7 * spikes.sum(0) + states.v[-1], atol=1e-12, rtol=0)


def test_hard_reset_and_no_reset():
    _, hard = LIF(decay=1.0, threshold=1.0, reset="hard", v_reset=0.25).unroll(constant(0.6, 2))
    assert hard.v[-1].item() == 0.25
    spikes, none = LIF(decay=1.0, threshold=1.0, reset="none").unroll(constant(0.6, 3))
    assert none.v[-1].item() == pytest.approx(1.8) and spikes.flatten().tolist() == [0, 1, 1]


def test_equality_fires_unless_strict():
    assert LIF(decay=1.0, threshold=1.0)(constant(1.0, 1)).item() == 1
    assert (
        LIF(decay=1.0, threshold=1.0, surrogate=make_surrogate("rectangle", strict=True))(constant(1.0, 1)).item() == 0
    )


def test_leak_conventions():
    currents = torch.rand(30, 2, 5, dtype=torch.float64)
    first = LIF(0.8, 0.9, leak="first")
    assert torch.equal(LIF(0.8, 0.9, leak="last")(currents), first(currents))  # the same spikes, another stored v
    scaled = LIF(0.8, 1e9, leak="scaled")
    _, states = scaled.unroll(constant(0.37, 200))
    assert states.v[-1].item() == pytest.approx(0.37, abs=1e-12)  # v is driven to the current itself


def test_leak_after_integration_fires_at_the_step_of_the_closed_form():
    # spike-based backprop, unit test 7: fires when w (1 - l^n) / (1 - l) first exceeds the threshold
    weight, leak = 0.15, 0.99
    spikes = LIF(leak, 1.0, reset="hard", leak="last")(constant(weight, 20)).flatten()
    first = next(n for n in range(1, 20) if weight * (1 - leak**n) / (1 - leak) > 1)
    assert int(spikes.argmax()) + 1 == first


@pytest.mark.parametrize("neuron", [LIF(0.9), PLIF(2.0), LIF(0.7, reset="hard", leak="scaled"), Integrator(0.9)])
def test_causality_and_batch_independence(neuron):
    currents = torch.rand(60, 3, 7)
    changed = currents.clone()
    changed[50:] += 1
    assert torch.equal(neuron(currents)[:50], neuron(changed)[:50])
    assert torch.equal(neuron(currents)[:, 1:2], neuron(currents[:, 1:2]))


@settings(max_examples=25, deadline=None)
@given(
    steps=st.integers(1, 12),
    reset=st.sampled_from(["soft", "hard", "none"]),
    leak=st.sampled_from(["first", "scaled", "last"]),
    detach=st.booleans(),
)
def test_step_loop_forward_and_unroll_are_one_equation(steps, reset, leak, detach):
    torch.manual_seed(steps)
    neuron = LIF(0.8, 0.6, reset, detach, leak=leak, surrogate=Sigmoid())
    currents = torch.rand(steps, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(steps, 2, 3, dtype=torch.float64)
    state, outputs = neuron.initial_state(currents[0]), []
    for current in currents:
        spikes, state = neuron.step(current, state)
        outputs.append(spikes)
    forms = [torch.stack(outputs), neuron(currents), neuron.unroll(currents)[0]]
    grads = [torch.autograd.grad((form * weights).sum(), currents, retain_graph=True)[0] for form in forms]
    for form, grad in zip(forms, grads, strict=True):
        assert torch.equal(form, forms[0])
        torch.testing.assert_close(grad, grads[0], atol=1e-10, rtol=0)


def test_detached_reset_leaves_the_decay_as_the_only_path_in_time():
    neuron = LIF(0.9, 0.5, detach_reset=True, surrogate=Sigmoid())
    v = torch.tensor([[0.9]], requires_grad=True)
    _, state = neuron.step(torch.zeros(1, 1), LIFState(v))
    state.v.sum().backward()
    assert v.grad.item() == pytest.approx(0.9)


def test_detached_state_cuts_every_path_in_time():
    currents = torch.rand(5, 1, 2, requires_grad=True)
    LIF(0.9, 0.5, detach_state=True, surrogate=Sigmoid())(currents)[-1].sum().backward()
    assert currents.grad[:-1].abs().max() == 0 and currents.grad[-1].abs().min() > 0


def test_plif_learns_its_time_constant():
    neuron = PLIF(tau=4.0)
    assert neuron.tau.item() == pytest.approx(4.0)
    _, states = neuron.unroll(torch.full((1, 1, 1), 0.8))
    assert states.v.item() == pytest.approx(0.2)  # v + (current - v) / tau
    neuron(torch.rand(6, 4, 3)).sum().backward()
    assert neuron.w.grad is not None and neuron.w.grad.abs() > 0


def test_plif_reset_voltage_is_where_it_rests():
    _, states = PLIF(tau=2.0, threshold=5.0, v_reset=0.5).unroll(torch.zeros(60, 1, 1))
    assert states.v[-1].item() == pytest.approx(0.5, abs=1e-6)


def test_integrator_sums():
    outputs, states = Integrator(0.5).unroll(constant(1.0, 3))
    assert outputs.flatten().tolist() == [1.0, 1.5, 1.75] and states.v[-1].item() == 1.75


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(decay=1.2), "LIF: decay = 1.2 must lie in [0, 1]"),
        (lambda: LIF(threshold=0), "LIF: threshold = 0 must be positive"),
        (lambda: LIF(reset="sudden"), "LIF: reset = 'sudden' must be soft, hard or none"),
        (lambda: LIF(leak="never"), "LIF: leak = 'never' must be first, scaled or last"),
        (lambda: PLIF(tau=1.0), "PLIF: tau = 1.0 steps must be above 1"),
        (lambda: Integrator(-0.1), "Integrator: decay = -0.1 must lie in [0, 1]"),
    ],
)
def test_values_out_of_range_are_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)


def test_a_state_of_another_batch_is_refused():
    neuron = LIF()
    with pytest.raises(ValueError, match=r"LIF.step: state v is \[32, 4\], current is \[16, 4\]"):
        neuron.step(torch.zeros(16, 4), neuron.initial_state(torch.zeros(32, 4)))
