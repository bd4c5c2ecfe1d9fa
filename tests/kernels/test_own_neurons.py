"""Whatever somebody writes into ``step``: fused or not, the numbers are those of the loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.kernels import fuse
from snnlab.kernels.program import trace
from snnlab.kernels.record import Unsupported
from snnlab.layers.network import Composite, Network
from snnlab.layers.over_time import over_time
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import Triangle, make_surrogate
from take import take


class State(NamedTuple):
    v: Tensor


class Own(Neuron):
    """A soft reset of v = 0.9 v + c; the subclasses differ in one thing."""

    def __init__(self):
        super().__init__()
        self.spike = Triangle()
        self.start = nn.Parameter(torch.tensor(0.3))
        self.bias = nn.Parameter(torch.linspace(-0.2, 0.2, 4))
        self.register_buffer("seen", torch.zeros(()))
        self._threshold, self.held = 1.0, SimpleNamespace(threshold=1.0)

    def initial_state(self, current):
        return State(torch.zeros_like(current))

    def membrane(self, c, v):
        return 0.9 * v + c

    def step(self, c, state):
        v = self.membrane(c, state.v)
        k = self.spike(v - 1)
        return k, State(v - k)


class Learned(Own):
    def initial_state(self, current):
        return State(self.start * torch.ones_like(current))


class FromCurrent(Own):
    def initial_state(self, current):
        return State(0.5 * current)


class RandomStart(Own):
    def initial_state(self, current):
        return State(torch.rand_like(current))


class Noisy(Own):
    def membrane(self, c, v):
        return 0.9 * v + c + torch.randn(1)


class NoisyUnits(Own):
    def membrane(self, c, v):
        return 0.9 * v + c + torch.randn(c.shape[1:])


class NoisySamples(Own):
    def membrane(self, c, v):
        return 0.9 * v + c + torch.randn(c.shape)


class Counting(Own):
    def membrane(self, c, v):
        self.seen += 1
        return 0.9 * v + c * (1 + 0.1 * self.seen)


class Replacing(Own):
    def membrane(self, c, v):
        self.seen = self.seen + 1
        return 0.9 * v + c * (1 + 0.1 * self.seen)


class Remembering(Own):
    def step(self, c, state):
        output, after = super().step(c, state)
        self.last = after.v.detach()
        return output, after


class Hidden(Own):
    def step(self, c, state):
        v = self.membrane(c, state.v)
        k = self.spike(v - self._threshold)
        return k, State(v - k * self.held.threshold)


class TwoThresholds(Own):
    def step(self, c, state):
        v = self.membrane(c, state.v)
        fired = (v > 1) + (v > 0.5)
        both = (v > 1) * (v > 0.5)
        return fired.to(v.dtype) + 0.1 * v, State(v - fired.to(v.dtype) + 0.1 * both.to(v.dtype))


class Whole(Own):
    def step(self, c, state):
        v = self.membrane(c, state.v)
        fired = (v > 1).long() + (v > 0.5).long()
        return fired.to(v.dtype) + 0.1 * v, State(v - 0.3 * fired)


class Cubed(Own):
    def membrane(self, c, v):
        return 0.5 * v + c**3 + 0.1 * v**2 - 0.1 * c.abs() ** 1.5


class InPlace(Own):
    def step(self, c, state):
        v = self.membrane(c, state.v)
        k = self.spike(v - 1)
        with torch.no_grad():
            v.detach().mul_(1 - k)
        return k, State(v)


class Expanded(Own):
    def membrane(self, c, v):
        return 0.9 * v + c + self.bias.expand_as(c)


class Zeros(Own):
    def membrane(self, c, v):
        return torch.where(v > 2, torch.zeros(c.shape, dtype=c.dtype), 0.9 * v) + c + torch.ones(c.shape) / 8


class Clamped(Own):
    def membrane(self, c, v):
        return (0.9 * v).clamp(-1, 2) + c


CASES = [Learned, FromCurrent, RandomStart, Noisy, NoisyUnits, NoisySamples, Counting, Replacing, Remembering, Hidden]
CASES += [TwoThresholds, Whole, Cubed, InPlace, Expanded, Zeros, Clamped]
FUSED = {Hidden, TwoThresholds, Expanded, Zeros, Clamped, RandomStart}


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    take(monkeypatch, True)


def shown(make, fused, monkeypatch):
    """Two sequences, of another T and B, and one after numbers were set: outputs, gradients, buffers, random state."""
    take(monkeypatch, fused)
    neuron, found = make(), []
    torch.manual_seed(0)
    for steps, batch in ((7, 3), (5, 4), (7, 1)):
        c = (torch.randn(steps, batch, 4, generator=torch.Generator().manual_seed(steps)) * 1.5).requires_grad_()
        outputs = neuron(c)
        found.append(outputs.detach().clone())
        weights = torch.linspace(-1, 1, outputs.numel()).view_as(outputs)
        if outputs.requires_grad:
            grads = torch.autograd.grad((outputs * weights).sum(), [c, *neuron.parameters()], allow_unused=True)
            found += [torch.zeros(()) if g is None else g for g in grads]
        if hasattr(neuron, "last"):
            found.append(neuron.last)
        neuron._threshold, neuron.held.threshold = neuron._threshold * 0.5, neuron.held.threshold * 1.5
    return [*found, neuron.seen, torch.rand(1)]


@pytest.mark.parametrize("make", CASES)
def test_a_neuron_of_ones_own_gives_the_numbers_of_its_loop(make, monkeypatch):
    got = shown(make, True, monkeypatch)
    assert bool(kernels.current().fused) == (make in FUSED), kernels.current().taken()
    expected = shown(make, False, monkeypatch)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6 * max(1.0, float(b.abs().max())))


def test_tracing_leaves_the_module_as_it_was():
    neuron = Remembering()
    before = vars(neuron).keys()
    with pytest.raises(Unsupported, match="step sets last"):
        trace(neuron, (4,), torch.float32)
    assert vars(neuron).keys() == before and neuron.seen == 0


@pytest.mark.parametrize("surrogate", ["triangle", "damped_triangle", "atan"])
def test_a_current_that_is_not_a_number_stays_none(surrogate, monkeypatch):
    grads = []
    for fused in (True, False):
        take(monkeypatch, fused)
        neuron = LIF(0.9, 1.0, "soft", surrogate=make_surrogate(surrogate))
        c = torch.ones(6, 2, 5)
        c[1, 0, 2] = torch.nan
        c.requires_grad_()
        neuron(c).sum().backward()
        grads.append(c.grad.isnan())
    assert torch.equal(*grads) and grads[0].any()


def test_outputs_may_be_changed_in_place():
    c = torch.randn(4, 2, 3, requires_grad=True)
    LIF()(c).mul_(2).sum().backward()
    assert c.grad is not None


@pytest.mark.parametrize("layer", [LIF(), nn.Linear(30, 30), nn.AvgPool2d(2)], ids=["neuron", "linear", "pool"])
def test_a_second_derivative_is_refused(layer):
    c = torch.randn(5, 300, *((2, 30, 30) if isinstance(layer, nn.AvgPool2d) else (30,)), requires_grad=True)
    outputs = layer(c) if isinstance(layer, LIF) else over_time(layer, c * c)
    with pytest.raises(RuntimeError, match="first derivatives only; take kernels=step"):
        torch.autograd.grad(outputs.sum(), c, create_graph=True)


def test_a_linear_layer_may_see_more_dimensions():
    layer, x = nn.Linear(30, 7), torch.rand(5, 3, 20, 30)
    torch.testing.assert_close(over_time(layer, x), layer(x))


def test_an_expansion_without_a_gradient_takes_none(monkeypatch):
    weight, found = torch.randn(2, 3, requires_grad=True), []
    for fused in (True, False):
        take(monkeypatch, fused)
        with torch.no_grad():
            c = weight.expand(5, 2, 3)
        weight.grad = None
        PLIF()(c).sum().backward()
        found.append(weight.grad)
    assert found == [None, None]


def test_a_number_that_changes_with_every_batch_does_not_fill_the_memory():
    neuron = LIF()
    for i in range(fuse.MOST + 5):
        neuron.threshold = 1 + i / 100
        neuron(torch.ones(2, 1, 3))
    assert len(fuse._programs[neuron]) == fuse.MOST


def test_a_program_that_cannot_be_compiled_is_told_once(monkeypatch, caplog):
    from snnlab.kernels import cpu

    def broken(*_):
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(cpu, "kernel", broken)
    neuron, c = Own(), torch.randn(5, 2, 4)
    first, second = neuron(c), neuron(c)
    assert kernels.current().taken() == {"fused": [], "step": ["Own"]}
    take(monkeypatch, False)
    assert torch.equal(first, neuron(c)) and torch.equal(second, first)
    assert [r.message for r in caplog.records] == ["kernels: Own is not usable (no compiler); it runs step by step"]
    assert kernels.current().taken() == {"fused": [], "step": ["Own"]}


# currents that are written over ---------------------------------------------------------------------------------------
class Shortcut(Composite):
    """What comes in, plus what the body makes of it."""

    def __init__(self, body):
        super().__init__(body=body)

    def initial_state(self, current):
        return {}

    def step(self, current, state):
        output, state = self.body.step(current, state)
        return current + output, state

    def flow(self, signal, enter):
        return signal.join(enter(self.body, signal))

    def forward(self, currents):
        return currents + self.body(currents)


class Squashed(nn.Linear):
    def forward(self, x):
        return super().forward(x).tanh()


class Sigmoid(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).sigmoid()


def branch():
    body = Network([("n1", LIF()), ("w2", nn.Linear(6, 6))])
    return [("w1", nn.Linear(5, 6)), ("block", Shortcut(body)), ("n2", LIF())]


def maps():
    return [("up", nn.Unflatten(1, (5, 1, 1))), ("b", Sigmoid(5)), ("n", LIF(threshold=0.4))]


@pytest.mark.parametrize(
    "layers",
    [branch, lambda: [("w", Squashed(5, 6)), ("n", LIF(threshold=0.3))], maps],
    ids=["branch", "subclass", "norm"],
)
def test_currents_that_somebody_else_needs_are_not_written_over(layers, monkeypatch):
    found = []
    for fused in (True, False):
        take(monkeypatch, fused)
        torch.manual_seed(0)
        network = Network(layers())
        outputs = network(torch.randn(8, 3, 5, generator=torch.Generator().manual_seed(1)) * 2)
        outputs.mul(torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
        found.append([outputs.detach(), *(p.grad for p in network.parameters())])
    assert found[0][0].any()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("where", ["identity", "everywhere", "linear"])
def test_hooks_see_currents(where, monkeypatch):
    found = []
    for fused in (True, False):
        take(monkeypatch, fused)
        torch.manual_seed(0)
        network = Network([("w", nn.Linear(5, 6)), ("i", nn.Identity()), ("n", LIF())])
        seen = []

        def look(module, _inputs, output, seen=seen):
            if isinstance(module, nn.Linear | nn.Identity):
                seen.append(output)

        if where == "everywhere":
            hook = nn.modules.module.register_module_forward_hook(look)
        else:
            hook = (network.layers["i"] if where == "identity" else network.layers["w"]).register_forward_hook(look)
        network(torch.randn(8, 3, 5)).sum().backward()
        hook.remove()
        found.append([s.detach().flatten() for s in seen])
    assert found[0] and all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_hooks_of_the_backward_and_a_replaced_forward_are_called():
    layer, calls = nn.Linear(5, 6), []
    layer.register_full_backward_hook(lambda *_: calls.append(1))
    over_time(layer, torch.rand(900, 1, 5, requires_grad=True)).sum().backward()
    assert calls == [1]
    layer = nn.Linear(5, 6)
    layer.forward = lambda x: x[:, :1]
    assert over_time(layer, torch.rand(900, 2, 5)).shape == (900, 2, 1)


def test_a_subclass_that_draws_is_asked_at_every_step():
    class Draws(nn.Identity):
        def forward(self, x):
            return x + torch.rand(x.shape)

    outputs = over_time(Draws(), torch.zeros(1, 2, 3).expand(4, 2, 3))
    assert not torch.equal(outputs[0], outputs[1])


def test_whoever_saved_the_currents_is_told_that_they_are_gone():
    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * 2
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    c = Saves.apply(torch.randn(5, 2, 3, requires_grad=True))
    kernels.offer(c)
    outputs = LIF()(c)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_an_offer_is_taken_once():
    c = torch.randn(5, 2, 3)
    kernels.offer(c)
    assert kernels.accept(c) and not kernels.accept(c)
