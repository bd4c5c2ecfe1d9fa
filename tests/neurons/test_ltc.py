"""ALIF and the liquid neuron: what they are when a part of them is held still, and their equations by hand."""

import math

import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.neurons.alif import ALIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.ltc import LTC, Gate, LiquidIntegrator
from snnlab.neurons.surrogate import make_surrogate
from take import take

RATE = 0.3
LOGIT = math.log(RATE / (1 - RATE))
SPIKE = make_surrogate("multi_gaussian", strict=True)


def held(neuron, rate=RATE):
    """The same module with every gate forced to ``rate``."""
    for gate in neuron.double().modules():
        if isinstance(gate, Gate):
            nn.init.zeros_(gate.weight)
            nn.init.constant_(gate.bias, math.log(rate / (1 - rate)))
    return neuron


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
def test_a_gate_held_still_gives_alif_and_lif(reset):
    """Invariant 5 of the card."""
    currents = 2 * torch.randn(60, 4, 5, dtype=torch.float64)
    adaptive = ALIF(1 - RATE, 0.4, reset, leak="scaled", surrogate=SPIKE, decay_adaptation=RATE, strength=0.7)
    pairs = [
        (LTC(5, 0.4, reset, surrogate=SPIKE, strength=0.7), adaptive),
        (LTC(5, 0.4, reset, surrogate=SPIKE, strength=0.0), LIF(1 - RATE, 0.4, reset, leak="scaled", surrogate=SPIKE)),
    ]
    for liquid, fixed in pairs:
        (spikes, states), (expected, others) = held(liquid).unroll(currents), fixed.unroll(currents)
        assert 0.05 < expected.mean() < 0.6 and torch.equal(spikes, expected)
        torch.testing.assert_close(states.v, others.v, atol=1e-12, rtol=0)


def test_alif_by_hand():
    neuron = ALIF(0.5, 1.0, "soft", surrogate=SPIKE, decay_adaptation=0.5, strength=1.0)
    spikes, states = neuron.unroll(torch.full((4, 1, 1), 1.2, dtype=torch.float64))
    # v before the reset: 1.2, 1.3, 1.85, 1.5; threshold: 1, 1.5, 1.25, 1.625
    assert spikes.flatten().tolist() == [1, 0, 1, 0]
    assert states.adaptation.flatten().tolist() == pytest.approx([0, 0.5, 0.25, 0.625])
    assert states.v.flatten().tolist() == pytest.approx([0.2, 1.3, 0.6, 1.5])


@pytest.mark.parametrize("strength", [0.0, 1.8])
def test_the_liquid_neuron_is_its_equations(strength):
    torch.manual_seed(2)
    neuron = LTC(6, 0.2, surrogate=SPIKE, strength=strength).double()
    currents = torch.randn(30, 3, 6, dtype=torch.float64)
    spikes, _ = neuron.unroll(currents)
    v = a = s = torch.zeros(3, 6, dtype=torch.float64)
    for current, fired in zip(currents, spikes, strict=True):
        M, m = neuron.membrane_gate.weight, neuron.membrane_gate.bias
        rate = torch.sigmoid(current @ M[:, :6].T + v @ M[:, 6:].T + m)
        v = v + rate * (current - v)
        if strength:
            N, n = neuron.adaptation_gate.weight, neuron.adaptation_gate.bias
            keep = torch.sigmoid(current @ N[:, :6].T + a @ N[:, 6:].T + n)
            a = keep * a + (1 - keep) * s
        s = (v > 0.2 + strength * a).double()
        assert torch.equal(s, fired)
        v = (1 - s) * v
    assert 0.05 < spikes.mean() < 0.6
    assert (neuron.adaptation_gate is None) == (strength == 0)


def test_maps_are_joined_over_channels_and_each_place_is_a_sample():
    neuron = LTC(3, surrogate=SPIKE).double()
    maps = torch.randn(9, 2, 3, 4, 5, dtype=torch.float64)
    places = maps.permute(0, 1, 3, 4, 2).reshape(9, 40, 3)
    spikes = neuron(places).reshape(9, 2, 4, 5, 3).permute(0, 1, 4, 2, 3)
    assert torch.equal(neuron(maps), spikes)


def test_gradients_reach_the_gates_and_equal_finite_differences():
    torch.manual_seed(0)
    neuron = LTC(3, 5.0, "none", surrogate=SPIKE).double()  # v is smooth where no spike resets it
    currents = torch.randn(6, 2, 3, dtype=torch.float64)
    weight = neuron.membrane_gate.weight

    def total():
        _, states = neuron.unroll(currents)
        return (states.v[-1] ** 2).sum()

    (grad,) = torch.autograd.grad(total(), weight)
    with torch.no_grad():
        for i in range(0, weight.numel(), 4):
            flat, step = weight.view(-1), 1e-6
            flat[i] += step
            above = total()
            flat[i] -= 2 * step
            below = total()
            flat[i] += step
            assert ((above - below) / (2 * step)).item() == pytest.approx(grad.view(-1)[i].item(), abs=1e-8)
    neuron(currents * 20).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in neuron.parameters())


def test_forward_is_unroll_and_causal():
    for neuron in (LTC(4, surrogate=SPIKE), ALIF(surrogate=SPIKE), LiquidIntegrator(4)):
        currents = torch.randn(20, 3, 4)
        outputs = neuron(currents)
        torch.testing.assert_close(outputs, neuron.unroll(currents)[0], atol=1e-6, rtol=0)
        changed = currents.clone()
        changed[12:] += 3
        assert torch.equal(neuron(changed)[:12], outputs[:12])
        torch.testing.assert_close(neuron(currents[:, 1:2])[:, 0], outputs[:, 1], atol=1e-6, rtol=0)


def test_alif_runs_fused_with_the_numbers_of_its_step(monkeypatch):
    neuron, currents = ALIF(0.8, surrogate=SPIKE).double(), torch.randn(25, 3, 4, dtype=torch.float64)
    results = []
    for enabled in (True, False):
        take(monkeypatch, enabled)
        leaf = currents.clone().requires_grad_()
        spikes = neuron(leaf)
        results.append((spikes.detach(), torch.autograd.grad((spikes * currents).sum(), leaf)[0]))
    assert torch.equal(results[0][0], results[1][0]) and results[0][0].sum() > 0
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-10, rtol=0)


def test_liquid_readout_with_a_gate_held_still_is_an_exponential_average():
    readout = held(LiquidIntegrator(2))
    v = readout(torch.ones(12, 1, 2, dtype=torch.float64))
    assert v[-1].flatten().tolist() == pytest.approx([1 - (1 - RATE) ** 12] * 2, abs=1e-12)


def test_blocks_tell_a_neuron_its_features_where_it_asks():
    blocks = Blocks(LTC, LiquidIntegrator)
    assert len(blocks.neuron(5).membrane_gate.bias) == 5
    assert len(blocks.recurrent(7).neuron.membrane_gate.bias) == 7
    assert len(dict(blocks.readout(7, 3))["readout"].gate.bias) == 3
    assert isinstance(Blocks(LIF, nn.Identity).neuron(5), LIF)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ALIF(decay_adaptation=1.5), "ALIF: decay_adaptation = 1.5 must lie in"),
        (lambda: ALIF(strength=-1), "ALIF: strength = -1 must not be negative"),
        (lambda: LTC(0), "LTC: features = 0 must be at least 1"),
        (lambda: LTC(2, threshold=0), "LTC: threshold = 0 must be positive"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_there_is_no_fixed_response_to_initialise_by():
    with pytest.raises(InputError, match="LTC: its membrane's response to one spike is not known"):
        LTC(4).response()
