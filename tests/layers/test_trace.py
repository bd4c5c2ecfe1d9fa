"""Traced weights: the trace, the split of value and gradient, three forms of one equation; standardised weights."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.initializers.kaiming import Kaiming
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.trace import Traced, detached
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.neurons.lif import LIF, LIFState
from snnlab.weights.find import weight_of
from snnlab.weights.standardised import EPSILON, Scaled, Standardised, parametrize_weight, weights_kept


def test_trace_of_spikes_1_0_1():
    spikes = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1)
    _, states = Traced(nn.Linear(1, 1), 0.5).unroll(spikes)
    assert states.trace_pre.flatten().tolist() == [1.0, 0.5, 1.25]


def test_value_from_the_spike_weight_gradient_from_the_trace():
    traced = Traced(nn.Linear(2, 1, bias=False), 0.5)
    traced.layer.weight.data = torch.tensor([[2.0, -1.0]])
    spikes = torch.tensor([[1.0, 0.0]], requires_grad=True)
    output = traced.apply_layer(spikes, torch.tensor([[0.25, 0.75]]))
    output.sum().backward()
    assert output.item() == 2.0
    assert traced.layer.weight.grad.tolist() == [[0.25, 0.75]]
    assert spikes.grad.tolist() == [[2.0, -1.0]]


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), (6,)),
    "conv": (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 5)),
    "strided conv": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), (2, 7, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_is_that_of_running_the_layer_on_spikes_and_on_the_trace(name):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = make().double()
    spikes = (torch.rand(3, *shape) < 0.4).double().requires_grad_()
    trace = torch.rand(3, *shape, dtype=torch.float64)
    output = Traced(layer, 0.5).apply_layer(spikes, trace)
    signal = torch.rand_like(output)
    found = torch.autograd.grad(output, [spikes, *layer.parameters()], signal)
    assert torch.equal(output, layer(spikes))
    (to_spikes,) = torch.autograd.grad(layer(spikes), spikes, signal)
    to_parameters = torch.autograd.grad(layer(trace), list(layer.parameters()), signal)
    for a, b in zip(found, (to_spikes, *to_parameters), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_step_loop_forward_and_unroll_are_one_equation(name, decay):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    traced = Traced(make(), decay).double()
    currents = torch.rand(5, 2, *shape, dtype=torch.float64, requires_grad=True)
    state, outputs = traced.initial_state(currents[0]), []
    for current in currents:
        output, state = traced.step(current, state)
        outputs.append(output)
    forms = [torch.stack(outputs), traced(currents), traced.unroll(currents)[0]]
    signal = torch.rand_like(forms[0])
    wanted = [currents, *traced.parameters()]
    grads = [torch.autograd.grad((form * signal).sum(), wanted) for form in forms]
    for form, grad in zip(forms, grads, strict=True):
        torch.testing.assert_close(form, forms[0], atol=1e-12, rtol=0)
        for a, b in zip(grad, grads[0], strict=True):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(traced(currents), forms[0], atol=1e-12, rtol=0)


def test_without_memory_the_trace_is_the_spike():
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    currents = torch.rand(5, 2, 6)
    plain = torch.autograd.grad(layer(currents).square().sum(), layer.weight)[0]
    for decay, same in ((0.0, True), (0.5, False)):
        traced = torch.autograd.grad(Traced(layer, decay)(currents).square().sum(), layer.weight)[0]
        assert torch.allclose(traced, plain, atol=1e-5) is same


def test_recurrent_weights_learn_from_the_trace_of_the_recurrent_spikes():
    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, 0.3)
    layer = Recurrent(LIF(0.0, 0.4), Traced(weight, 0.5))
    currents = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(4, 1, 1)
    state, traces = None, []
    for current in currents:
        state = layer.initial_state(current) if state is None else state
        _, state = layer.step(current, state)
        traces.append(state.weight.trace_pre.item())
    assert layer(currents).flatten().tolist() == [1, 1, 0, 0]
    assert traces == [0.0, 1.0, 1.5, 0.75]  # of the spikes one step late: 0, 1, 1, 0
    assert torch.equal(layer.unroll(currents)[0], layer(currents))


def test_detached_keeps_the_structure():
    v = torch.ones(2, requires_grad=True)
    states = {"a": LIFState(v * 2), "b": (v + 1, None), "c": {"d": 3}}
    found = detached(states)
    assert isinstance(found["a"], LIFState) and found["b"][1] is None and found["c"]["d"] == 3
    assert not found["a"].v.requires_grad and not found["b"][0].requires_grad
    assert torch.equal(found["a"].v, states["a"].v.detach())


# standardised weights -------------------------------------------------------------------------------------------------
def test_scale_is_the_inverse_deviation_of_a_spike():
    p = math.erfc(1 / math.sqrt(2)) / 2
    deviation = math.sqrt(p * (1 - p))
    assert deviation == pytest.approx(0.36535, abs=5e-6) and 1 / deviation == pytest.approx(2.7371, abs=5e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_rows_have_mean_0_and_the_square_sum_of_their_gain(name):
    layer = LAYERS[name][0]().double()
    parametrize_weight(layer, 1.0, standardise=True)
    gain = layer.parametrizations.weight[0].gain
    gain.data.uniform_(0.5, 2.0)
    stored, rows = weight_of(layer).stored.flatten(1), layer.weight.flatten(1)
    inputs = rows.shape[1]
    torch.testing.assert_close(rows.mean(1), torch.zeros_like(rows[:, 0]), atol=1e-12, rtol=0)
    # with var of N - 1, as in the authors' code: (N - 1) / (N + eps / var)
    expected = gain.flatten() ** 2 * (inputs - 1) / (inputs + EPSILON / stored.var(1))
    torch.testing.assert_close(rows.square().sum(1), expected, atol=1e-12, rtol=0)


def test_scale_in_the_weights_is_scale_on_the_spikes():
    torch.manual_seed(0)
    for standardise in (True, False):
        plain, scaled = nn.Linear(20, 5).double(), nn.Linear(20, 5).double()
        scaled.load_state_dict(plain.state_dict())
        parametrize_weight(plain, 1.0, standardise)
        parametrize_weight(scaled, 2.74, standardise)
        spikes = (torch.rand(7, 20) < 0.2).double().requires_grad_()
        outputs = [plain(2.74 * spikes), scaled(spikes)]
        grads = [
            torch.autograd.grad(out.square().sum(), [spikes, weight_of(layer).stored, layer.bias])
            for out, layer in zip(outputs, (plain, scaled), strict=True)
        ]
        torch.testing.assert_close(*outputs, atol=1e-12, rtol=0)
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-12)


@pytest.mark.parametrize("behind", [False, True])
def test_kept_weights_give_the_gradients_of_standardising_at_every_step(behind):
    torch.manual_seed(0)
    layer = nn.Linear(6, 4).double()
    parametrize_weight(layer, 2.74, standardise=True)
    if behind:  # a parametrization that acts on the standardised weight, as a chip's would
        register_parametrization(layer, "weight", Scaled(0.5))
    frames = torch.rand(5, 3, 6, dtype=torch.float64)

    def learn():
        for frame in frames:
            layer(frame).square().sum().backward()
        grads = [p.grad.clone() for p in layer.parameters()]
        layer.zero_grad()
        return grads

    every = learn()
    with weights_kept(layer):
        kept = layer.parametrizations.weight[0].kept
        assert layer.parametrizations.weight[0](torch.zeros(4, 6)) is kept
        for frame in frames:
            layer(frame).square().sum().backward()
    assert layer.parametrizations.weight[0].kept is None
    for a, p in zip(every, layer.parameters(), strict=True):
        assert a.abs().sum() > 0
        torch.testing.assert_close(p.grad, a, atol=1e-10, rtol=1e-10)


def test_kept_weights_are_let_go_when_a_step_fails():
    layer = parametrize_weight(nn.Linear(3, 2), 1.0, standardise=True)
    with pytest.raises(RuntimeError, match="stop"), weights_kept(layer):
        raise RuntimeError("stop")
    assert layer.parametrizations.weight[0].kept is None


def test_initialisers_reach_the_stored_weight():
    layer = parametrize_weight(nn.Linear(50, 40), 2.74, standardise=False)
    Kaiming(gain=3.0)(Network([("weight", layer)]), torch.zeros(1, 1, 50))
    assert weight_of(layer).stored.abs().max().item() == pytest.approx(3 * math.sqrt(6 / 50), rel=0.05)
    assert isinstance(layer.parametrizations.weight[0], Scaled) and Standardised not in map(type, layer.modules())


def test_spikes_into_traced_weights_are_counted():
    network = Network([("weight", Traced(parametrize_weight(nn.Linear(20, 50), 2.74, standardise=True), 0.5))])
    spikes = torch.zeros(4, 1, 20)
    spikes[0, 0, :3] = 1
    spikes[2, 0, 5:7] = 1
    counter = SynapticOperations()
    with counter.watch(network), torch.no_grad():
        network(spikes)
    assert counter.compute().item() == 250  # 2.74 is in the weights: a spike is one operation


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Traced(nn.Linear(2, 2), 1.5), "Traced: decay = 1.5 must lie in [0, 1]"),
        (lambda: Traced(nn.Flatten(), 0.5), "Traced: a Flatten has no trace rule; wrap a Linear or a Conv2d"),
    ],
)
def test_what_cannot_be_traced_is_named(make, words):
    with pytest.raises(ValueError) as error:
        make()
    assert words in str(error.value)
