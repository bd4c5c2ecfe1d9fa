"""A memristor: what a voltage does to its state, and weights as pairs of conductances."""

import math

import pytest
import torch

from snnlab.errors import InputError
from snnlab.methods.vdsp.rules import Memristor as Rule
from snnlab.weights.memristor import Memristor


def test_a_voltage_between_the_thresholds_does_nothing_and_beyond_them_moves_the_state():
    x, device = torch.tensor(0.2), Memristor()
    assert device.change(x, torch.tensor(0.4)) == 0 and device.change(x, torch.tensor(-0.5)) == 0
    assert device.change(x, torch.tensor(1.0)).item() == pytest.approx(math.e - math.exp(0.5))  # (1), f_p = 1
    slow = math.exp(5 * (0.2 + 0.5 - 1)) * 0.2 / 0.5
    assert device.change(x, torch.tensor(-1.0)).item() == pytest.approx(-slow * (math.e - math.exp(0.5)), rel=1e-6)
    ends = device.change(torch.tensor([1.0, 0.0]), torch.tensor([2.0, -2.0]))
    assert not ends.any()  # no further than the ends


def test_the_rule_of_vdsp_is_this_device():
    w, v = torch.rand(50), 2 * torch.rand(50) - 1
    assert torch.equal(Rule(v_prog=0.2).change(w, v, 0.01), 0.01 * Memristor().change(w, 0.2 - v))


def test_a_weight_comes_back_from_its_pair_inside_the_range_and_is_clipped_outside():
    device = Memristor()
    scale = 1 / (device.high - device.low)
    weights = torch.tensor([-2.0, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    plus, minus = device.pair(weights, scale)
    assert torch.allclose(scale * (plus - minus), weights.clamp(-1, 1), atol=1e-12)
    assert all(bool(((g >= device.low) & (g <= device.high + 1e-18)).all()) for g in (plus, minus))


def test_conductances_are_those_of_its_states():
    device = Memristor(states=4)
    g = device.conductance(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert len(g.unique()) == 4 and g[0] == device.low and g[-1].item() == pytest.approx(device.high)


@pytest.mark.parametrize("wrong", [{"low": 1.0}, {"vthp": -1.0}, {"x_p": 1.0}, {"states": 1}])
def test_what_no_memristor_has_is_refused(wrong):
    with pytest.raises(InputError, match="memristor: "):
        Memristor(**wrong).check()
