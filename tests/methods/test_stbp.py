"""STBP against its card: the recursion, the hand-worked example, the spatial baseline, finite differences."""

import math

import pytest
import torch
from torch import nn

from snnlab.data.contract import DataSpec
from snnlab.methods.stbp import STBP
from snnlab.models.mlp import MLP
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import CURVES, make_surrogate
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.weights.deep_rewiring import DeepRewiring

SPEC = DataSpec("vectors", "event", (3,), 2, time_steps=5)


def make(hidden, spec=SPEC, **options):
    torch.manual_seed(1)
    method = STBP(MLP(hidden), spec, None, torch.optim.Adam, **options)
    return method.double()


def one_synapse(weight, **options):
    method = make([], DataSpec("one", "event", (1,), 1, time_steps=2), bias=False, **options)
    nn.init.constant_(method.network.layers["readout_weight"].weight, weight)
    return method


@pytest.mark.parametrize(
    ("weight", "target", "detach", "expected"),
    [(0.6, 0, False, 1.88), (0.6, 0, True, 2.00), (0.4, 1, False, -2.12), (0.4, 1, True, -2.20)],
)
def test_scalar_example_of_the_card(weight, target, detach, expected):
    method = one_synapse(weight, detach_reset=detach)
    rate = method.scores(torch.ones(2, 1, 1, dtype=torch.float64))
    ((rate - target) ** 2).sum().backward()
    assert method.network.layers["readout_weight"].weight.grad.item() == pytest.approx(expected, abs=1e-12)


def test_the_papers_soft_gate_has_another_gradient():
    """f = tau exp(-o / tau) is the hard gate tau (1 - o) in value where o = 0; its slope there is 1 / tau times larger.

    w = 0.4, tau = 0.2, both steps silent, u[0] = 0.4: the gate's term of dL/dw is 0.08 hard and 0.4 soft, on -2.2.
    """
    tau, w = 0.2, torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    spike = make_surrogate("rectangle", strict=True)
    slopes = []
    for gate in (lambda o: tau * (1 - o), lambda o: tau * torch.exp(-o / tau)):
        u = o = total = torch.zeros((), dtype=torch.float64)
        values = []
        for _ in range(2):
            u = u * gate(o) + w
            o = spike(u - 0.5)
            total = total + o
            values.append(u.item())
        assert values == pytest.approx([0.4, 0.48], abs=1e-12)
        slopes.append(torch.autograd.grad((total / 2 - 1) ** 2, w)[0].item())
    assert slopes == pytest.approx([-2.12, -1.8], abs=1e-12)  # the first is test_scalar_example_of_the_card's
    assert (slopes[1] + 2.2) / (slopes[0] + 2.2) == pytest.approx(1 / tau, abs=1e-9)
    assert gate(torch.ones(())).item() == pytest.approx(tau * math.exp(-1 / tau))  # 0.0013 at a spike, not 0


def test_autograd_equals_the_recursion_of_the_card():
    method = make([4], bias=False)
    layers = method.network.layers
    frames = (torch.rand(5, 2, 3) < 0.7).double()
    labels = torch.tensor([0, 1])
    method.loss(method.scores(frames), labels).backward()

    W1, W2 = (layers[name].weight.detach() for name in ("weight1", "readout_weight"))
    decay, threshold, T = 0.2, 0.5, len(frames)
    u, o = [], []  # per layer [T, B, N]
    below = frames
    for W in (W1, W2):
        v, s, us, os = torch.zeros(2, len(W)), torch.zeros(2, len(W)), [], []
        for x in below:
            v = decay * v * (1 - s) + x @ W.T
            s = (v > threshold).double()
            us.append(v)
            os.append(s)
        u.append(torch.stack(us).double())
        o.append(torch.stack(os))
        below = o[-1]

    def h(x):
        return ((x - threshold).abs() < 0.5).double()

    rate = o[1].mean(0)
    direct = 2 * (rate - nn.functional.one_hot(labels, 2)) / rate.numel() / T  # dL/do[t] of the last layer
    grads, error_above = [], None
    for layer in (1, 0):
        eps = torch.zeros_like(u[layer][0])
        errors = []
        for t in reversed(range(T)):
            delta = direct if layer == 1 else error_above[t] @ W2
            delta = delta + eps * u[layer][t] * -decay if t < T - 1 else delta
            eps = delta * h(u[layer][t]) + (eps * decay * (1 - o[layer][t]) if t < T - 1 else 0)
            errors.append(eps)
        errors = torch.stack(errors[::-1])
        source = o[0] if layer == 1 else frames
        grads.append(torch.einsum("tbo,tbi->oi", errors, source))
        error_above = errors
    torch.testing.assert_close(layers["readout_weight"].weight.grad, grads[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(layers["weight1"].weight.grad, grads[1], atol=1e-6, rtol=0)


def gradients(method, frames, labels):
    method.zero_grad()
    method.loss(method.scores(frames), labels).backward()
    return [p.grad.clone() for p in method.network.parameters()]


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.2), (5, 0.0)])
def test_sdbp_equals_stbp_where_there_is_no_path_in_time(steps, decay):
    frames, labels = (torch.rand(steps, 6, 3) < 0.7).double(), torch.randint(0, 2, (6,))
    full = gradients(make([4], decay=decay), frames, labels)
    spatial = gradients(make([4], decay=decay, gradient="sdbp"), frames, labels)
    assert sum(g.abs().sum() for g in full) > 0
    for a, b in zip(full, spatial, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_sdbp_differs_from_stbp_in_time():
    frames, labels = (torch.rand(5, 6, 3) < 0.7).double(), torch.randint(0, 2, (6,))
    full, spatial = (gradients(make([4], gradient=g), frames, labels) for g in ("stbp", "sdbp"))
    assert any((a - b).abs().max() > 1e-6 for a, b in zip(full, spatial, strict=True))


def test_one_step_equals_a_feed_forward_net_with_the_curve_as_derivative():
    method = make([4])
    frames = torch.rand(1, 6, 3, dtype=torch.float64)
    labels = torch.randint(0, 2, (6,))
    got = gradients(method, frames, labels)
    spike, x = make_surrogate("rectangle", strict=True), frames[0]
    for name in ("weight1", "readout_weight"):
        layer = method.network.layers[name]
        x = spike(nn.functional.linear(x, layer.weight, layer.bias) - 0.5)
    method.zero_grad()
    method.loss(x, labels).backward()
    for a, p in zip(got, method.network.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, atol=1e-12, rtol=0)


class Smooth(nn.Module):
    """The curve's antiderivative in place of the step: a network that finite differences can check."""

    def __init__(self, curve):
        super().__init__()
        self.curve = curve

    def forward(self, x):
        return self.curve.antiderivative(x)


@pytest.mark.parametrize("curve", CURVES)
def test_smooth_network_equals_central_differences(curve):
    method = make([4], surrogate=curve)
    for neuron in method.network.neurons().values():
        assert isinstance(neuron, LIF)
        neuron.spike = Smooth(neuron.spike)
    frames, labels = torch.rand(4, 3, 3, dtype=torch.float64), torch.tensor([0, 1, 1])
    grads = gradients(method, frames, labels)
    with torch.no_grad():
        for parameter, grad in zip(method.network.parameters(), grads, strict=True):
            flat, step = parameter.view(-1), 1e-6
            for i in range(0, flat.numel(), 3):
                value = flat[i].item()
                flat[i] = value + step
                above = method.loss(method.scores(frames), labels)
                flat[i] = value - step
                below = method.loss(method.scores(frames), labels)
                flat[i] = value
                assert ((above - below) / (2 * step)).item() == pytest.approx(grad.view(-1)[i].item(), abs=2e-6)


def test_plif_neuron_and_every_reset_compose():
    for neuron in ("lif", "plif"):
        for reset in ("soft", "hard", "none"):
            method = make([4], neuron=neuron, reset=reset)
            assert method.scores(torch.rand(5, 2, 3, dtype=torch.float64)).shape == (2, 2)


def test_a_readout_that_never_fires_and_its_largest_value():
    spec = DataSpec("one", "event", (1,), 1, time_steps=4)
    method = make([], spec, bias=False, readout="leaky", readout_decay=0.5, score="max")
    nn.init.ones_(method.network.layers["readout_weight"].weight)
    frames = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64).view(4, 1, 1)  # v = 1, 1.5, 0.75, 1.375
    assert method.scores(frames).item() == pytest.approx(1.5)
    assert method.scores_over_time(frames).flatten().tolist() == pytest.approx([1, 1.5, 1.5, 1.5])
    mean = make([], spec, bias=False, readout="leaky", readout_decay=0.5)
    nn.init.ones_(mean.network.layers["readout_weight"].weight)
    assert mean.scores(frames).item() == pytest.approx((1 + 1.5 + 0.75 + 1.375) / 4)


def test_cross_entropy_of_the_scores():
    method, scores, labels = make([4], criterion="cross_entropy"), torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    expected = -torch.log_softmax(scores, 1)[torch.arange(6), labels].mean()
    assert method.loss(scores, labels).item() == pytest.approx(expected.item())


AT_END = DataSpec("bit", "task", (3,), 2, time_steps=8, question=ClassAtEnd(answer_steps=3))
MEMORY = {"neuron": "ahp", "neuron_options": {"ahp": 2, "tau_a": 50.0}, "threshold": 1.0, "decay": 0.9, "bias": False}


def test_a_leaky_readout_is_scored_on_the_last_steps():
    method = make([4], AT_END, **MEMORY, readout="leaky", readout_decay=0.8, criterion="cross_entropy")
    frames, labels = 2 * torch.rand(8, 5, 3, dtype=torch.float64), torch.randint(0, 2, (5,))
    spikes = method.network.layers["hidden1"](frames @ method.network.layers["weight1"].weight.T)
    v, read = torch.zeros(5, 2, dtype=torch.float64), []
    for s in spikes:
        v = 0.8 * v + s @ method.network.layers["readout_weight"].weight.T
        read.append(v)
    scores = torch.stack(read[-3:]).mean(0)
    torch.testing.assert_close(method.scores(frames), scores)
    expected = -scores.log_softmax(-1)[torch.arange(5), labels].mean()
    assert method.loss(scores, labels).item() == pytest.approx(expected.item(), abs=1e-12)


def test_a_neuron_is_told_its_width():
    method = make([4, 6], neuron="ahp", neuron_options={"ahp": 0.5})
    assert [(n.features, n.units) for n in method.network.neurons().values()] == [(4, 2), (6, 3), (2, 1)]


def test_rewiring_follows_each_step_of_the_optimizer(monkeypatch):
    rewiring = DeepRewiring(connectivity=0.5, l1=0.0)
    method = make([4], AT_END, **MEMORY, rewiring=rewiring)
    rates = []
    monkeypatch.setattr(rewiring, "step", lambda network, rate: rates.append(rate))
    monkeypatch.setattr(method, "optimizers", lambda: torch.optim.SGD(method.parameters(), lr=0.25))
    for step in (1, 1, 2):  # the second batch only gathers gradients
        monkeypatch.setattr(type(method), "global_step", step)
        method.on_train_batch_end(None, None, 0)
    assert rates == [0.25, 0.25]
    count = sum(int(part.active.sum()) for _, part in rewiring.connections(method.network))
    assert count == 6 + 4 and sum(int(p.count_nonzero()) for p in [layer.weight for layer in linear(method)]) == 10


def linear(method):
    return [method.network.layers[name] for name in ("weight1", "readout_weight")]
