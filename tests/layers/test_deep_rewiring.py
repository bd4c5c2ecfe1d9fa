"""Deep Rewiring: the number of connections and their signs never change, and what is useless moves on."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from snnlab.data.contract import DataSpec
from snnlab.initializers.kaiming import Kaiming
from snnlab.layers.network import Network
from snnlab.methods.stbp import STBP
from snnlab.models.mlp import MLP
from snnlab.weights.deep_rewiring import DeepRewiring


def rewired(**options):
    torch.manual_seed(0)
    network = Network([("one", nn.Linear(20, 10, bias=False)), ("two", nn.Linear(10, 5))])
    rewiring = DeepRewiring(**options)
    rewiring.start(network)
    return network, rewiring, list(rewiring.connections(network))


def test_start_is_sparse_and_signed():
    network, _, parts = rewired(connectivity=0.3)
    for layer, (theta, part), size in zip(network.layers.values(), parts, (200, 50), strict=True):
        assert part.active.sum() == round(0.3 * size)
        assert torch.equal(layer.weight != 0, part.active) and theta.shape == layer.weight.shape
        assert torch.equal(layer.weight.sign()[part.active], part.sign[part.active])
    # half of both signs, drawn connection by connection
    assert 0.3 < (parts[0][1].sign > 0).double().mean() < 0.7
    assert network.layers["two"].bias is not None


def test_dales_law_holds_behind_the_input():
    _, _, parts = rewired(connectivity=0.5, excitatory=0.8)
    inputs, hidden = (part.sign for _, part in parts)
    assert (inputs[0] != inputs[1]).any()  # spikes from outside are neither
    assert (hidden == hidden[0]).all() and hidden[0].tolist() == [1] * 8 + [-1] * 2


def test_a_connection_that_falls_below_zero_becomes_another_one():
    network, rewiring, parts = rewired(connectivity=0.25, l1=0.0)
    theta, part = parts[0]
    before = part.active.clone()
    fallen = before.nonzero()[:7]
    with torch.no_grad():
        theta[tuple(fallen.T)] = -0.1
    rewiring.step(network, rate=0.1)
    assert not part.active[tuple(fallen.T)].any()
    assert part.active.sum() == before.sum()
    woken = part.active & ~before
    assert woken.sum() == 7 and theta[woken].abs().sum() == 0
    assert torch.equal(parts[1][1].active, parts[1][0] > 0)  # nothing fell in the other layer


def test_the_drift_and_the_noise_are_those_of_the_algorithm():
    network, rewiring, parts = rewired(connectivity=0.5, l1=0.5)
    theta, part = parts[0]
    with torch.no_grad():
        theta.fill_(1.0)
    rewiring.step(network, rate=0.1)
    torch.testing.assert_close(theta[part.active], torch.full((100,), 0.95))
    assert theta[~part.active].abs().sum() == 0
    rewiring.l1, rewiring.temperature = 0.0, 0.2
    steps = []
    for _ in range(100):
        with torch.no_grad():
            theta.fill_(1000.0)
        rewiring.step(network, rate=0.1)
        steps.append(theta[part.active] - 1000)
    assert torch.stack(steps).std().item() == pytest.approx((2 * 0.1 * 0.2) ** 0.5, rel=0.05)


def test_dense_to_the_last_connection_still_counts():
    network, rewiring, parts = rewired(connectivity=0.97, l1=0.0)
    theta, part = parts[0]
    with torch.no_grad():
        theta.fill_(-1.0)
    rewiring.step(network, rate=0.1)
    assert part.active.sum() == round(0.97 * 200)


def test_an_initialiser_leaves_signs_and_zeros():
    network, rewiring, parts = rewired(connectivity=0.25)
    Kaiming()(network, torch.zeros(1, 1, 20))
    rewiring.settle(network)
    for layer, (_, part) in zip(network.layers.values(), parts, strict=True):
        assert torch.equal(layer.weight.sign(), part.sign * part.active)


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="connectivity = 1 must lie in"):
        DeepRewiring(connectivity=1)
    for name in ("l1", "temperature"):
        with pytest.raises(ValueError, match=f"{name} = -1 must be 0 or more"):
            DeepRewiring(**{name: -1})
    with pytest.raises(ValueError, match="excitatory = 2 must be a share"):
        DeepRewiring(excitatory=2)


def test_a_sparse_net_learns_and_keeps_its_law():
    """Which of two inputs of twenty is on: the connections must find them."""
    torch.manual_seed(0)
    spec = DataSpec("vectors", "event", (20,), 2, time_steps=5)
    options = {
        "decay": 0.8,
        "readout_decay": 0.5,
        "readout": "leaky",
        "criterion": "cross_entropy",
        "surrogate": "triangle",
        "width": 1.0,
    }
    rewiring = DeepRewiring(connectivity=0.1, l1=0.5)
    method = STBP(MLP([20]), spec, None, torch.optim.Adam, **options, rewiring=rewiring)
    method.prepare(None)
    parts = list(rewiring.connections(method.network))
    signs = [part.sign.clone() for _, part in parts]
    counts = [part.active.sum() for _, part in parts]
    first = parts[0][1].active.clone()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    for _ in range(80):
        labels = torch.randint(0, 2, (32,))
        frames = (torch.rand(5, 32, 20) < 0.1).float()
        frames[:, torch.arange(32), labels] = 1
        frames[:, torch.arange(32), 1 - labels] = 0
        scores = method.scores(frames)
        loss = method.loss(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rewiring.step(method.network, 0.02)
        assert [part.active.sum() for _, part in parts] == counts
    assert (scores.argmax(-1) == labels).float().mean() > 0.9
    assert (parts[0][1].active != first).sum() > 10
    for (theta, part), sign in zip(parts, signs, strict=True):
        assert torch.equal(part.sign, sign) and bool((theta[part.active] >= 0).all())
    assert parametrize.is_parametrized(method.network.layers["weight1"], "weight")
