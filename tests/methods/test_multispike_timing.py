"""Multi-spike timing (reconstruction): its losses, its reset, latency XOR, and EventProp on the same net."""

import math

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct, Latency, Rate
from snnlab.errors import InputError
from snnlab.layers.spike_time_network import STEPS, ExactNeuron
from snnlab.methods.eventprop import EventProp
from snnlab.methods.multispike_fast_deep import MultispikeFastDeep
from snnlab.methods.multispike_timing import MultispikeTiming
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv

IMAGES = DataSpec("images", "image", (1, 2, 3), 3)
INF = float("inf")


def make(hidden=(8,), spec=IMAGES, encoder=None, **options):
    torch.manual_seed(2)
    encoder = Latency(16) if encoder is None and spec is IMAGES else encoder
    options = {"weight_range": (0.0, 4.0), "readout_range": (0.0, 2.0)} | options
    return MultispikeTiming(MLP(list(hidden)), spec, encoder, torch.optim.Adam, **options)


def batch_of(count=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(count, 1, 2, 3, generator=draw), torch.arange(count) % 3)


def test_it_is_labelled_a_reconstruction():
    assert MultispikeTiming.label == "Multi-spike timing (reconstruction)"
    parts = build(compose(["method=multispike_timing", "data=digits", "model.hidden=[4]"]).config)
    assert "(reconstruction)" in parts.method.label


def test_the_loss_is_a_softmax_of_first_spikes_and_pulls_the_label_forward():
    times = torch.tensor([[[0.010, 0.1], [0.015, INF], [INF, INF]]], requires_grad=True)
    losses = []
    for early in (0.0, 0.5):
        method = make(tau_soft=0.005, early=early, tau_early=0.02, duration=0.2)
        losses.append(method.loss(method.read(times), torch.tensor([1])))
    parts = [math.exp(-t / 0.005) for t in (0.010, 0.015, 0.2)]  # a silent neuron counts as one at T
    assert losses[0].item() == pytest.approx(-math.log(parts[1] / sum(parts)), abs=1e-6)
    extra = losses[1] - losses[0]
    assert extra.item() == pytest.approx(0.5 * math.expm1(0.015 / 0.02), abs=1e-6)
    (grad,) = torch.autograd.grad(extra, times, retain_graph=True)
    assert grad[0, 1, 0].item() == pytest.approx(0.5 * math.exp(0.75) / 0.02, rel=1e-5)
    (grad,) = torch.autograd.grad(losses[1], times)
    assert grad[0, 1, 0] > 0 > grad[0, 0, 0] and not grad[0, 2].any() and not grad[..., 1].any()


def test_counts_are_an_option():
    times = torch.tensor([[[0.01, 0.015, INF], [0.05, INF, INF], [INF, INF, INF]]], requires_grad=True)
    method = make(objective="count", targets=(15.0, 3.0))
    counts = method.read(times)
    assert counts.tolist() == [[2, 1, 0]]
    loss = method.loss(counts, torch.tensor([0]))
    assert loss.item() == (13**2 + 2**2 + 3**2) / 2
    loss.backward()
    torch.testing.assert_close(times.grad, torch.tensor([[[13.0, 13.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]))


@pytest.mark.parametrize("pair", [(0.02, 0.005), (0.02, 0.01), (0.01, 0.01)])
def test_eventprop_has_the_same_loss_and_gradient(pair):
    """Card, invariant 4: the same net and loss, two derivations; tau_m = 2 tau_I also beside the closed form."""
    tau_m, tau_s = pair
    shared = {"duration": 0.06, "input_window": (0.0, 0.03), "max_spikes": 30, "early": 3e-3}
    mine = make((12, 9), tau_membrane=tau_m, tau_synapse=tau_s, tau_soft=2e-3, tau_early=6e-3, **shared)
    options = {"tau_membrane": tau_m, "tau_synapse": tau_s, "tau_loss": 2e-3, "tau_early": 6e-3, **shared}
    others = [EventProp(MLP([12, 9]), IMAGES, Latency(16), torch.optim.Adam, objective="first_spike", **options)]
    if tau_m == 2 * tau_s:
        options = {"objective": "first", "threshold": 1.0, "readout_threshold": 1.0, "early": 0.0}
        options |= {"tau_synapse": tau_s, "tau_loss": 2e-3, "duration": 0.06, "input_window": (0.0, 0.03)}
        others.append(MultispikeFastDeep(MLP([12, 9]), IMAGES, Latency(16), torch.optim.Adam, **options))
    batch = batch_of(9)
    for other in others:
        scale = tau_m if isinstance(other, MultispikeFastDeep) else 1.0
        mine.early = other.early if isinstance(other, MultispikeFastDeep) else 3e-3
        found = []
        for method, factor in ((mine, 1.0), (other, scale)):
            method.double().zero_grad()
            for own, copied in zip(mine.parameters(), method.parameters(), strict=True):
                if method is not mine:
                    copied.data = own.detach() / factor
            frames = method.frames(batch._replace(inputs=batch.inputs.double()))
            trains = method.chain.trains(frames)
            loss = method.loss(method.scored(trains), batch.labels)
            loss.backward()
            found.append((loss.item(), [p.grad / factor for p in method.parameters()], trains))
        assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
        assert all(times.isfinite().sum() > 20 for times in found[0][2].values())
        for a, b in zip(found[0][1], found[1][1], strict=True):
            assert b.norm() > 0 and (a - b).norm() < 1e-6 * b.norm()


@pytest.mark.parametrize("reset", ["subtractive", "hard"])
def test_latency_xor_is_learned_within_500_updates(monkeypatch, reset):
    """The card's task, two inputs early or late and a bias: all 4 patterns, which no single layer can tell apart."""
    torch.manual_seed(0)
    spec = DataSpec("xor", "image", (1, 1, 3), 2)
    times = {"tau_membrane": 2.0, "tau_synapse": 1.0, "duration": 8.0, "input_window": (0.0, 3.0), "tau_soft": 0.3}
    ranges = {"weight_range": (0.0, 6.0), "readout_range": (-0.5, 2.0)}
    options = {"reset": reset, "early": 0.01, "tau_early": 2.0, **times, **ranges}
    method = MultispikeTiming(MLP([16]), spec, Latency(16), torch.optim.Adam, **options)
    frames = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [2.0, 2.0, 0.0]]).view(1, 4, 1, 1, 3)
    batch = Batch(frames[0], torch.tensor([0, 1, 1, 0]))
    monkeypatch.setattr(method, "frames", lambda batch: frames)
    monkeypatch.setattr(method, "log", lambda *a, **k: None)
    optimizer, right = torch.optim.Adam(method.parameters(), lr=0.03), []
    for update in range(500):
        optimizer.zero_grad()
        method.training_step(batch, update).backward()
        optimizer.step()
        method.on_train_batch_end(None, batch, update)
        right.append(int((method.scores(frames).argmax(1) == batch.labels).sum()))
        if right[-20:] == [4] * 20:
            break
    assert right[-1] == 4 and len(right) < 500 and right[0] < 4


@pytest.mark.parametrize(
    "options", [{}, {"reset": "hard"}, {"reset_height": 0.5}, {"tau_reset": 0.005}, {"tau_membrane": 0.01}]
)
def test_the_reset_and_the_time_constants_reach_the_network(options):
    method = make((8, 5), max_spikes=7, readout_max_spikes=9, threshold=0.8, readout_threshold=1.2, **options)
    layers = [layer for layer in method.network.layers.values() if isinstance(layer, ExactNeuron)]
    assert [(layer.threshold, layer.most) for layer in layers] == [(0.8, 7), (0.8, 7), (1.2, 9)]
    for layer in layers:
        assert layer.simulator.reset == options.get("reset", "subtractive")
        assert layer.simulator.tau_membrane == options.get("tau_membrane", 0.02)
        assert layer.simulator.tau_reset == options.get("tau_reset", layer.simulator.tau_membrane)
        assert layer.simulator.height == options.get("reset_height", 1.0)
    outputs, record = method.network.unroll(method.frames(batch_of()))
    assert outputs.isfinite().any() and record["readout"][1].v.shape == (STEPS, 4, 3)
    if method.max_spikes > record["hidden1"][0].sum(0).max():
        assert record["hidden1"][1].v.max() <= 0.8 + 1e-5
    losses = method.loss(method.scores(method.frames(batch_of())), batch_of().labels)
    losses.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in method.parameters())


def test_spikes_more_than_one_a_neuron_and_one_where_asked():
    many, one = make(), make(max_spikes=1, readout_max_spikes=1)
    trains = [method.network.trains(method.frames(batch_of()))["hidden1"] for method in (many, one)]
    assert (trains[0] < 0.06).sum(-1).max() > 1 and (trains[1] < 0.06).sum(-1).max() == 1
    assert torch.equal(trains[0][..., 0], trains[1][..., 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": Direct(4)}, "encoder=direct sends other numbers"),
        ({"spec": DataSpec("rows", "sequence", (3,), 2, time_steps=2)}, "data.sequence=rows sends analog values"),
        ({"input_window": (0.1, 0.3)}, "input_window"),
        ({"input_window": (0.02, 0.01)}, "must rise"),
        ({"weight_range": (1.0, -1.0)}, "weight_range"),
        ({"readout_range": (1.0, 1.0)}, "readout_range"),
        ({"targets": (15.0, -3.0)}, "targets"),
        ({"tau_soft": 0.0}, "MultispikeTiming: tau_soft = 0.0 must be positive"),
        ({"tau_early": INF}, "MultispikeTiming: tau_early = inf"),
        ({"tau_membrane": -1.0}, "MultispikeTiming: tau_membrane = -1.0"),
        ({"tau_synapse": float("nan")}, "MultispikeTiming: tau_synapse = nan"),
        ({"tau_reset": 0.0}, "MultispikeTiming: tau_reset = 0.0"),
        ({"reset_height": 0.0}, "MultispikeTiming: reset_height = 0.0"),
        ({"threshold": 0.0}, "MultispikeTiming: threshold = 0.0"),
        ({"readout_threshold": 0.0}, "MultispikeTiming: readout_threshold = 0.0"),
        ({"duration": 0.0}, "duration = 0.0 must be positive"),
        ({"early": -1.0}, "early = -1.0"),
        ({"early": 1.0, "tau_early": 5e-4}, "duration / tau_early = 120 must be at most 80"),
        ({"max_spikes": 0}, "MultispikeTiming: max_spikes = 0 must lie in 1 to 10,000"),
        ({"readout_max_spikes": 20000}, "readout_max_spikes = 20000 must lie in 1 to 10,000"),
        ({"objective": "count", "readout_max_spikes": 14}, "cannot reach .* give it 15 or more"),
        ({"reset": "hard", "reset_height": 0.5}, "method.reset_height = 0.5 shapes a subtractive reset"),
        ({"reset": "hard", "tau_reset": 0.02}, "method.tau_reset = 0.02 shapes a subtractive reset"),
        ({"bump": -1.0}, "bump = -1.0"),
        ({"silent_share": 1.5}, "silent_share = 1.5"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises((ValueError, InputError), match=words) as error:
        make(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SmallConv([4]), "method=multispike_timing hands on spike times and knows no convolution; use model=mlp"),
        (RecurrentMLP([4]), "knows no recurrent layer; use model=mlp"),
        (MLP([4], dropout=0.2), "knows no dropout; use model.dropout=0"),
    ],
)
def test_other_layers_are_refused(model, words):
    with pytest.raises(InputError, match=words):
        MultispikeTiming(model, DataSpec("images", "image", (1, 28, 28), 3), Rate(4), torch.optim.Adam)
