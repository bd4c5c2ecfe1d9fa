"""Time: decays and time constants by hand, and every neuron says which of its arguments are times."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import re
from typing import get_args

import pytest

import snnlab.neurons
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron, Temporal
from snnlab.neurons.time import Unit, decay, pull, seconds, tau


def neurons() -> list[type[Temporal]]:
    """Every layer with a state of neurons/, but the contracts themselves."""
    found = set()
    for module in pkgutil.iter_modules(snnlab.neurons.__path__):
        members = vars(importlib.import_module(f"snnlab.neurons.{module.name}")).values()
        found |= {member for member in members if inspect.isclass(member) and issubclass(member, Temporal)}
    return sorted(found - {Temporal, Neuron}, key=lambda kind: kind.__name__)


TIME = re.compile(r"decay|tau|time|refractory|memory|steps|^k$")
IN_TIME = re.compile(r"per step|in steps|x steps|seconds|\bms\b|time constant")


@pytest.mark.parametrize("kind", neurons(), ids=lambda kind: kind.__name__)
def test_every_argument_that_is_a_time_has_its_unit(kind: type[Temporal]) -> None:
    arguments = set(inspect.signature(kind).parameters)
    text = kind.__doc__ or ""
    expected = {name for name in arguments if TIME.search(name)}
    for names, what in re.findall(r"^ {8}([\w, ]+): ((?:.*\n {12})*.*)$", text, re.MULTILINE):
        if IN_TIME.search(what):
            expected |= {name.strip() for name in names.split(",")} & arguments
    assert expected <= set(kind.times) <= arguments
    assert set(kind.times.values()) <= set(get_args(Unit))


def test_a_decay_and_its_time_constant() -> None:
    assert decay(0.02, 0.001) == pytest.approx(0.951, abs=5e-4)  # as LIF's message says
    assert decay(0.02, 0.001) == math.exp(-0.001 / 0.02)
    assert tau(decay(0.02, 0.001), 0.001) == pytest.approx(0.02, rel=1e-12)
    assert (decay(math.inf, 0.001), tau(1.0, 0.001), tau(0.0, 0.001)) == (1.0, math.inf, 0.0)
    assert pull(0.02, 0.001) == pytest.approx(1 - decay(0.02, 0.001), rel=1e-12)
    assert pull(1e9, 0.001) == pytest.approx(1e-12, rel=1e-9)  # 1 - decay would have four digits of it
    assert pull(0.02, 0.0) == 0


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (math.exp(-0.1), "factor per step", 0.01),
        (1 - math.exp(-0.1), "share per step", 0.01),
        (2048, "4096ths per step", 0.001 / math.log(2)),
        (4, "per step", 0.00025),
        (0, "per step", math.inf),
        (20, "steps", 0.02),
        (True, "steps", 0.001),
        (100, "thresholds x steps", 0.1),
        (20.0, "ms", 0.02),
        (0.02, "s", 0.02),
    ],
)
def test_an_argument_in_seconds(value: float, unit: Unit, expected: float) -> None:
    assert seconds(value, unit, 0.001) == pytest.approx(expected)


def test_neurons_of_different_units_have_one_time_constant() -> None:
    cuba, lif = CubaLIF(tau_mem=20.0, time_step=1.0), LIF(decay=decay(0.02, 0.001))
    assert seconds(cuba.tau_mem, CubaLIF.times["tau_mem"], 0.001) == pytest.approx(0.02)
    assert seconds(lif.decay, LIF.times["decay"], 0.001) == pytest.approx(0.02)
    assert cuba.a == pytest.approx(lif.decay, rel=1e-12)


def test_what_is_no_time_is_refused() -> None:
    for wrong in ((0.0, 0.001), (-1.0, 0.001), (0.02, -1.0), (math.nan, 0.001)):
        with pytest.raises(ValueError, match="must be positive"):
            decay(*wrong)
        with pytest.raises(ValueError, match="must be positive"):
            pull(*wrong)
    for wrong in ((1.2, 0.001), (-0.1, 0.001), (0.5, 0.0)):
        with pytest.raises(ValueError, match="must lie in"):
            tau(*wrong)
    with pytest.raises(ValueError, match="unit = 'hours' is none"):
        seconds(1.0, "hours", 0.001)  # type: ignore[arg-type]
