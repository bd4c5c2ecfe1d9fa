"""A program holds as long as what ``step`` can see does; what cannot be seen keeps the loop."""

from __future__ import annotations

import os
import random
import sys
import time
import types
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.kernels.sight import sight
from snnlab.layers.blocks import sized
from snnlab.neurons.choice import NEURONS, choose_neuron
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import ATan, Rectangle, Triangle
from take import take

LEVEL = 1.0
TABLE = {"level": 1.0}


def helper(v: Tensor) -> Tensor:
    return v * LEVEL


class State(NamedTuple):
    v: Tensor


class Own(Neuron):
    """Integrates, fires at 1; a subclass changes ``current``."""

    gain = 1.0

    def initial_state(self, current: Tensor) -> State:
        return State(torch.zeros_like(current))

    def current(self, c: Tensor) -> Tensor:
        return c

    def step(self, current: Tensor, state: State) -> tuple[Tensor, State]:
        v = 0.8 * state.v + self.current(current)
        spikes = (v >= 1).to(v.dtype)
        return spikes + (v - v.detach()), State(v - v.detach() * spikes)


class Activated(Own):
    def __init__(self) -> None:
        super().__init__()
        self.act: nn.Module = nn.Identity()

    def current(self, c):
        return self.act(c)


class ByGlobal(Own):
    def current(self, c):
        return helper(c) * TABLE["level"]


class ByClass(Own):
    def current(self, c):
        return c * self.gain


class Scale(nn.Module):
    factor = 1.0

    def forward(self, c):
        return c * self.factor


class Listed(Own):
    def __init__(self) -> None:
        super().__init__()
        self.inner = [{"factor": np.array([1.0])}]
        self.parts = [Scale()]  # not registered

    def current(self, c):
        return self.parts[0](c) * float(self.inner[0]["factor"][0])


class PythonRandom(Own):
    def current(self, c):
        return c * (1 + 0.1 * random.random())


class NumpyRandom(Own):
    def current(self, c):
        return c * float(1 + 0.1 * np.random.rand())


class OwnGenerator(Own):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def current(self, c):
        return c * float(1 + 0.1 * self.rng.random())


class Appending(Own):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []

    def current(self, c):
        self.log.append(1)
        return c * (1 + 0.1 * len(self.log))


class CountingInADict(Own):
    def __init__(self) -> None:
        super().__init__()
        self.count = {"steps": [0]}

    def current(self, c):
        self.count["steps"][0] += 1
        return c * (1 + 0.1 * self.count["steps"][0])


class Closing(Own):
    def __init__(self) -> None:
        super().__init__()
        calls = []

        def change(c):
            calls.append(1)
            return c * (1 + 0.1 * len(calls))

        self.change = change

    def current(self, c):
        return self.change(c)


class Iterating(Own):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = iter(range(1, 10_000))

    def current(self, c):
        return c / next(self.numbers)


OTHER = types.ModuleType("other")
exec("FACTOR = 1.0\n\n\ndef change(c):\n    return c * FACTOR\n", vars(OTHER))


class ByModule(Own):
    def current(self, c):
        return c * OTHER.FACTOR


class ByFunctionOfModule(Own):
    def current(self, c):
        return OTHER.change(c)


class ByImport(Own):
    def current(self, c):
        import other

        return c * other.FACTOR


class ByOtherClass(Own):
    def current(self, c):
        return c * Scale.factor


class ByProperty(Own):
    @property
    def factor(self):
        return 1.0

    def current(self, c):
        return c * self.factor


class ByObject(Own):
    def __init__(self) -> None:
        super().__init__()
        self.held = Held()

    def current(self, c):
        return self.held.change(c)


class Held:
    factor = 1.0

    def change(self, c):
        return c * self.factor


class ByClock(Own):
    def current(self, c):
        return c * (1 + 0.0 * time.monotonic())


class ByEnvironment(Own):
    def current(self, c):
        return c * float(os.environ.get("NO_SUCH_FACTOR", "1.0"))


class ByGradMode(Own):
    def current(self, c):
        return c if torch.is_grad_enabled() else 2 * c


def run(neuron: Neuron, steps: int = 12) -> tuple[Tensor, Tensor]:
    """Spikes and gradient of the same currents."""
    c = (torch.randn(steps, 3, 5, generator=torch.Generator().manual_seed(3)) + 0.4).requires_grad_()
    outputs = neuron(c)
    outputs.sum().backward()
    return outputs.detach(), c.grad


def act(neuron, _):
    neuron.act = nn.Tanh()


def replace_surrogate(neuron, _):
    neuron.spike = ATan(1.0)


def replace_curve_in_place(neuron, _):
    neuron.spike = Rectangle(2.0)


def change_global(_, patch):
    patch.setattr(f"{__name__}.LEVEL", 1.5)


def change_table(_, patch):
    patch.setitem(TABLE, "level", 1.5)


def change_helper(_, patch):
    patch.setattr(f"{__name__}.helper", lambda v: v * 0.7)


def change_class(_, patch):
    patch.setattr(ByClass, "gain", 0.7)


def change_method(_, patch):
    patch.setattr(Own, "current", lambda self, c: c * 0.7)


def change_property(_, patch):
    patch.setattr(ByProperty, "factor", property(lambda self: 0.7))


def change_module(_, patch):
    patch.setattr(OTHER, "FACTOR", 0.7)


def change_other_class(_, patch):
    patch.setattr(Scale, "factor", 0.7)


def change_class_of_object(_, patch):
    patch.setattr(Held, "factor", 0.7)


def change_method_of_object(_, patch):
    patch.setattr(Held, "change", lambda self, c: c * 0.7)


def change_inner(neuron, _):
    neuron.inner[0]["factor"][0] = 0.6


def change_part(neuron, _):
    neuron.parts[0].factor = 0.3


CHANGES = [
    (lambda: LIF(surrogate=Rectangle(1.0)), replace_surrogate),
    (lambda: LIF(surrogate=Rectangle(1.0)), replace_curve_in_place),
    (Activated, act),
    (ByGlobal, change_global),
    (ByGlobal, change_table),
    (ByGlobal, change_helper),
    (ByClass, change_class),
    (Own, change_method),
    (ByProperty, change_property),
    (ByModule, change_module),
    (ByFunctionOfModule, change_module),
    (ByImport, change_module),
    (ByOtherClass, change_other_class),
    (ByObject, change_class_of_object),
    (ByObject, change_method_of_object),
    (Listed, change_inner),
    (Listed, change_part),
]


@pytest.mark.parametrize(
    ("make", "change"), CHANGES, ids=[f"{change.__name__}-{i}" for i, (_, change) in enumerate(CHANGES)]
)
def test_what_step_sees_may_change_between_two_sequences(make, change, monkeypatch):
    monkeypatch.setitem(sys.modules, "other", OTHER)
    found = []
    for fused in (True, False):
        path = take(monkeypatch, fused)
        neuron = make()
        before = run(neuron)
        with monkeypatch.context() as patch:
            change(neuron, patch)
            found.append((*before, *run(neuron), *run(make())))
        if fused:
            assert path.fused and not path.looped, path.taken()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert not torch.equal(found[1][1], found[1][3])  # the change is one


EFFECTS = [PythonRandom, NumpyRandom, OwnGenerator, Appending, CountingInADict, Closing, Iterating]
EFFECTS += [ByClock, ByEnvironment, ByGradMode]


@pytest.mark.parametrize("make", EFFECTS)
def test_a_step_with_effects_of_its_own_keeps_its_loop(make, monkeypatch):
    found = []
    for fused in (True, False):
        path = take(monkeypatch, fused)
        random.seed(0)
        np.random.seed(0)
        neuron = make()
        found.append((*run(neuron), *run(neuron)))
        assert path.looped and not path.fused
        found[-1] += (torch.tensor([random.random(), np.random.rand()]),)  # tracing has drawn nothing
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_a_first_forward_in_inference_mode_leaves_later_gradients(monkeypatch):
    take(monkeypatch)
    neuron, expected = LIF(surrogate=Triangle()), run(LIF(surrogate=Triangle()))
    with torch.inference_mode():
        neuron(torch.randn(4, 3, 5))
    for a, b in zip(run(neuron), expected, strict=True):
        assert torch.equal(a, b)
    assert expected[1].any()


def test_a_hook_on_a_part_of_a_neuron_is_called(monkeypatch):
    path = take(monkeypatch)
    neuron, calls = Activated(), []
    handle = neuron.act.register_forward_hook(lambda *_: calls.append(1))
    run(neuron, steps=7)
    assert len(calls) == 7 and path.looped == {"Activated"}
    handle.remove()
    path.forget()
    run(neuron)
    assert path.fused == {"Activated"}


class Silent(Own):
    """Its spikes carry no gradient."""

    def step(self, current, state):
        v = 0.8 * state.v + current
        return (v >= 1).to(v.dtype), State(v)


@pytest.mark.parametrize("fused", [True, False])
def test_outputs_that_no_gradient_reaches_do_not_ask_for_one(fused, monkeypatch):
    path = take(monkeypatch, fused)
    assert not Silent()(torch.randn(4, 2, 3, requires_grad=True)).requires_grad
    assert bool(path.fused) is fused


class Zeroed(Own):
    def current(self, c):
        return c * 0.0


def test_nothing_times_infinity_is_not_nothing(monkeypatch):
    c = torch.tensor([1.0, torch.inf, torch.nan]).repeat(4, 1, 1)
    found = []
    for fused in (True, False):
        take(monkeypatch, fused)
        found.append(Zeroed()(c).isnan())
    assert torch.equal(*found) and found[0].any()
    assert kernels.current().looped


@pytest.mark.parametrize("name", sorted(set(NEURONS) - {"egru"}))  # which takes a whole sequence in a way of its own
def test_the_neurons_of_the_house_can_be_seen(name):
    sight(sized(choose_neuron(name), 3))
