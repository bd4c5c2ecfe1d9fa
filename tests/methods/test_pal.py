"""PAL: the self-predicting state, decay and alignment of the feedback, the gradient of its twin, one loop twice."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.methods.pal.circuit import Circuit, Constants
from snnlab.methods.pal.kernel import present
from snnlab.metrics.angle import angle

FILES = Constants(
    *(0.03, 0.1, 0.06, 0.1, 0.06, 0.06),
    *(0.01, 100.0, 0.1, 0.1, 0.01, 1e-6, 0.05, 0.02, 0.5),
    identity=False,
    tied=False,
)
QUIET = FILES._replace(noise=0.0)
STEPS = 100


def circuit(widths, seed, constants, span=1.0, back=1.0):
    """A circuit in the self-predicting state, weights uniform in +-span."""
    rng = np.random.default_rng(seed)
    weights = [rng.uniform(-span, span, (after, before)) for before, after in itertools.pairwise(widths)]
    made = Circuit(widths)
    for feedback in made.feedback:
        feedback[:] = rng.uniform(-back, back, feedback.shape)
    if constants.tied:
        made.tie(weights, constants)
    else:
        made.predict_itself(weights, constants)
    return made, weights, rng


def degrees(one, other):
    return float(angle(torch.from_numpy(np.ascontiguousarray(one)), torch.from_numpy(np.ascontiguousarray(other))))


@pytest.mark.parametrize("identity", [False, True])
def test_without_a_target_the_self_predicting_state_has_no_apical_potential_and_moves_no_weight(identity):
    constants = QUIET._replace(identity=identity)
    made, weights, rng = circuit([4, 6, 5, 3], 0, constants, 0.5, 0.5)
    before = [weight.copy() for weight in weights]
    inputs = rng.uniform(0, 1, 4)
    with np.errstate(all="raise"):
        for _ in range(400):  # to settle, with weights at rest
            apical = made.step(
                constants._replace(lr_interneuron=0, lr_lateral=0, lr_backward=0),
                weights,
                [0, 0, 0],
                inputs,
                None,
                None,
            )
    assert max(np.abs(v).max() for v in apical) < (1e-9 if identity else 1e-14)
    held = [interneuron.copy() for interneuron in made.interneuron]
    for _ in range(50):
        made.step(constants, weights, [50, 50, 50], inputs, None, None)
    for old, new in zip([*before, *held], [*weights, *made.interneuron], strict=True):
        assert np.abs(new - old).max() < 1e-9


def test_the_output_layer_predicts_its_answer_and_stands_at_its_target_once_it_is_learned():
    made, weights, rng = circuit([4, 6, 3], 1, QUIET)
    inputs = rng.uniform(0, 1, 4)
    idle = QUIET._replace(lr_interneuron=0, lr_lateral=0, lr_backward=0)
    for _ in range(50):
        made.step(idle, weights, [0, 0], inputs, None, None)
    hidden = 1 / (1 + np.exp(-0.1 / 0.19 * weights[0] @ inputs))
    answer = 0.1 / 0.13 * weights[1] @ hidden
    np.testing.assert_allclose(made.potential[1], answer, rtol=0, atol=1e-13)
    for _ in range(50):
        made.step(idle, weights, [0, 0], inputs, answer, None)  # the target is the answer: nothing is nudged
    np.testing.assert_allclose(made.potential[1], answer, rtol=0, atol=1e-13)
    target = answer + 0.4
    for _ in range(2):  # the output; what comes back down moves it a little more
        made.step(idle, weights, [0, 0], inputs, target, None)
    np.testing.assert_allclose(made.potential[1], answer + 0.06 / 0.19 * 0.4, rtol=0, atol=1e-12)


def test_prospective_rates_are_those_of_a_lagging_soma_with_its_derivative():
    """u lags behind with tau_eff; u + tau_eff du/dt by finite difference is what the circuit keeps, and at rest u."""
    made, weights, rng = circuit([3, 4, 2], 2, QUIET)
    idle = QUIET._replace(lr_interneuron=0, lr_lateral=0, lr_backward=0)
    tau = 1 / (0.03 + 0.1 + 0.06)
    u, inputs, target = np.zeros(4), rng.uniform(0, 1, 3), np.array([0.3, 0.8])
    for t in range(4000):
        shown = inputs if t > 2000 else inputs[::-1]
        below, above, side = shown.copy(), made.potential[1].copy(), made.inter_potential[0].copy()
        phi = [1 / (1 + np.exp(-p)) for p in (above, side)]
        apical = made.feedback[0].T @ phi[0] + made.lateral[0].T @ phi[1]
        moved = u + 0.01 / tau * (tau * (0.1 * weights[0] @ below + 0.06 * apical) - u)
        made.step(idle, weights, [0, 0], shown, target, None)
        np.testing.assert_allclose(u + tau * (moved - u) / 0.01, made.potential[0], rtol=0, atol=1e-11)
        u = moved
    np.testing.assert_allclose(u, made.potential[0], rtol=0, atol=2e-2)  # 20 ms are four time constants
    assert np.abs(u - made.potential[0]).max() < 0.05


def test_feedback_decays_without_noise_as_an_exponential():
    constants = QUIET._replace(alpha=0.001, lr_backward=50.0)
    made, weights, rng = circuit([3, 5, 4], 3, constants)
    start = made.feedback[0].copy()
    inputs, targets = rng.uniform(0, 1, (100, 3)), rng.uniform(0, 1, (100, 4))
    present(made, constants, weights, [0, 0], STEPS, inputs, targets, None)
    np.testing.assert_allclose(made.feedback[0], start * math.exp(-50 * 0.001 * 100), rtol=0.01)


def test_the_noise_has_the_deviation_and_the_memory_of_its_equation():
    constants = FILES._replace(noise=0.5, lr_interneuron=0, lr_lateral=0, lr_backward=0)
    made, weights, rng = circuit([2, 200, 2], 4, constants)
    seen = []
    for _ in range(1500):
        made.step(constants, weights, [0, 0], np.ones(2), None, rng.standard_normal(200))
        seen.append(made.noise[0].copy())
    settled = np.array(seen[200:])
    assert settled.std() == pytest.approx(
        0.5 / math.sqrt(2 - 0.1), rel=0.02
    )  # sigma^2 k / (1 - (1 - k)^2), k = dt / tau
    assert (settled[:-10] * settled[10:]).mean() / settled.var() == pytest.approx(0.9**10, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("error", [0.01, 0.1])
def test_tied_feedback_moves_forward_weights_along_the_gradient(seed, error):
    constants = QUIET._replace(tied=True)
    made, weights, rng = circuit([6, 10, 4], seed, constants)
    held = [torch.tensor(weight, requires_grad=True) for weight in weights]
    inputs = rng.uniform(0, 1, 6)
    hidden = torch.sigmoid(0.1 / 0.19 * held[0] @ torch.from_numpy(inputs))
    output = 0.1 / 0.13 * held[1] @ hidden
    target = output.detach() + error * torch.from_numpy(rng.choice([-1.0, 1.0], 4))
    # its error is phi(u) - phi(u_target): the gradient of the cross-entropy, whose slope the output's own cancels
    torch.nn.functional.binary_cross_entropy_with_logits(output, torch.sigmoid(target)).backward()
    for _ in range(60):
        made.step(constants, weights, [0, 0], inputs, target.numpy(), None)
    for change in made.change:
        change[:] = 0
    made.step(constants, weights, [1, 1], inputs, target.numpy(), None)
    for change, weight in zip(made.change, held, strict=True):
        found = degrees(-change, weight.grad.numpy())
        assert found < 5, found


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("widths", [[4, 7, 3], [5, 3, 9, 2]])
def test_the_compiled_loop_has_the_numbers_of_the_equations(widths, identity, tied):
    constants = FILES._replace(identity=identity, tied=tied, alpha=0.01, noise=0.1)
    sides = []
    for loop in (Circuit.present, present):
        made, weights, rng = circuit(widths, 5, constants, 0.3, 0.3)
        inputs, targets = rng.uniform(0, 1, (3, widths[0])), rng.uniform(0, 1, (3, widths[-1]))
        normal = rng.standard_normal((3, 20, sum(widths[1:-1])), np.float32)
        seen = loop(made, constants, weights, [5.0] * (len(weights) - 1) + [0.1], 20, inputs, targets, normal)
        sides.append([made.values, seen, *weights])
    for one, other in zip(*sides, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)


def test_feedback_turns_towards_the_forward_weights():
    """5-20-10, forward weights at rest: noise alone aligns B, while the same without learning does not move."""
    constants = FILES._replace(noise=0.05, alpha=1e-5, lr_backward=50.0, lr_lateral=5.0)
    made, weights, rng = circuit([5, 20, 10], 0, constants)
    assert degrees(made.feedback[0], weights[1]) > 80
    angles = []
    for _ in range(10):
        inputs, normal = rng.uniform(0, 1, (1000, 5)), rng.standard_normal((1000, STEPS, 20), np.float32)
        present(made, constants, weights, [0, 0], STEPS, inputs, None, normal)
        angles.append(degrees(made.feedback[0], weights[1]))
    assert angles[-1] < 40 and angles[2] < angles[0] - 10, angles


def method(*more):
    few = ["method=pal", "data=digits", "logger=none", "model.hidden=[8]"]
    return build(compose([*few, *more]).config).method


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("method.dt=0", r"method\.dt = 0.* must be positive"),
        ("method.noise=-1", r"method\.noise = -1.* must be 0 or more"),
        ("method.tau_high=0.001", r"method\.tau_high = 0\.001 must be at least method\.dt"),
        ("method.B_range=[1,-1]", r"method\.B_range = \[1.*\] must be two numbers, the lower first"),
        ("method.targets=[0.1,1.0]", r"method\.targets = .* higher"),
        ("model.hidden=[]", "method=pal trains a chain of weights and somata"),
        ("model=small_conv", "a microcircuit is fully connected"),
        ("model.dropout=0.5", "method=pal trains a chain of weights and somata"),
    ],
)
def test_what_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        method(words) if "small_conv" not in words else build(compose(["method=pal", "data=digits", words]).config)


def test_the_answer_is_the_settled_circuit_without_a_target():
    pal = method()
    inputs = torch.rand(1, 64)
    made, weights = Circuit(pal.widths, pal.circuit.numpy().copy()), pal.forward_weights()
    idle = pal.constants._replace(lr_interneuron=0, lr_lateral=0, lr_backward=0)
    for _ in range(60):
        made.step(idle, weights, [0, 0], inputs[0].double().numpy(), None, None)
    np.testing.assert_allclose(pal.scores(inputs[None]).detach().numpy()[0], made.potential[-1], rtol=0, atol=1e-6)


def test_seeds_make_a_batch_equal_to_the_bit_and_a_frozen_layer_rests():
    sides = []
    for _ in range(2):
        torch.manual_seed(3)
        pal = method()
        pal.freeze_layers(["weight1"])
        before = pal.forward_weights()
        torch.manual_seed(4)
        inputs, target = torch.rand(2, 64), torch.rand(2, 10)
        pal.present(inputs, target, 50.0, 0.5)
        after = pal.forward_weights()
        assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])
        sides.append([pal.circuit.numpy(), *after])
    assert all(np.array_equal(one, other) for one, other in zip(*sides, strict=True))
