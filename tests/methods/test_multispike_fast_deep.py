"""Multi-spike Fast & Deep: losses, input times, layers, recovery of silent neurons, what the test records."""

import math

import pytest
import torch
from torch import nn

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct, Latency, Rate
from snnlab.errors import InputError
from snnlab.layers.spike_time_network import STEPS, ExactNeuron, SpikeTimeNetwork
from snnlab.methods.base.spike_times import SpikeCount
from snnlab.methods.multispike_fast_deep import MultispikeFastDeep
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv
from snnlab.simulators.event import spike_times

IMAGES = DataSpec("images", "image", (1, 2, 3), 3)
EVENTS = DataSpec("events", "event", (2, 1, 2), 2, time_steps=4)
INF = float("inf")


def make(hidden=(8,), spec=IMAGES, encoder=None, **options):
    torch.manual_seed(2)
    encoder = Latency(16) if encoder is None and spec is IMAGES else encoder
    options = {"weight_range": (0.0, 3.0), "readout_range": (0.0, 3.0), "readout_threshold": 0.2} | options
    return MultispikeFastDeep(MLP(list(hidden)), spec, encoder, torch.optim.Adam, **options)


def batch_of(count=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(count, 1, 2, 3, generator=draw), torch.arange(count) % 3)


def test_the_error_is_attached_to_every_spike():
    times = torch.tensor([[[0.1, 0.15, INF], [0.05, INF, INF], [INF, INF, INF]]], requires_grad=True)
    method = make(targets=(15.0, 3.0))
    counts = SpikeCount.apply(times, 0.2)
    assert counts.tolist() == [[2, 1, 0]]
    loss = method.loss(counts, torch.tensor([0]))
    assert loss.item() == (13**2 + 2**2 + 3**2) / 2
    loss.backward()
    # target - n, not divided by T = 0.2: too few spikes, so each of them should come earlier
    torch.testing.assert_close(times.grad, torch.tensor([[[13.0, 13.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]))


def test_time_to_first_spike_is_a_softmax():
    method = make(objective="first", tau_loss=0.005, early=0.0)
    times = torch.tensor([[[0.010, 0.1], [0.015, INF], [INF, INF]]], requires_grad=True)
    scores = method.read(times)
    loss = method.loss(scores, torch.tensor([1]))
    parts = [math.exp(-t / 0.005) for t in (0.010, 0.015, 0.2)]  # a silent neuron counts as one at T
    assert loss.item() == pytest.approx(-math.log(parts[1] / sum(parts)), abs=1e-6)
    loss.backward()
    p = torch.tensor(parts) / sum(parts)
    expected = (p - torch.tensor([0.0, 1.0, 0.0])) / -0.005
    torch.testing.assert_close(times.grad[0, :2, 0], expected[:2])
    assert not times.grad[..., 1].any() and not times.grad[0, 2].any()


def test_early_pulls_the_label_forward():
    times = torch.tensor([[[0.010], [0.015], [INF]]], requires_grad=True)
    losses = []
    for early in (0.0, 0.5):
        method = make(objective="first", early=early)
        losses.append(method.loss(method.read(times), torch.tensor([1])))
    extra = losses[1] - losses[0]
    assert extra.item() == pytest.approx(0.5 * math.expm1(0.015 / 0.13), abs=1e-6)
    (grad,) = torch.autograd.grad(extra, times)
    torch.testing.assert_close(grad, torch.tensor([[[0.0], [0.5 * math.exp(0.015 / 0.13) / 0.13], [0.0]]]))


def test_images_become_exact_times_and_events_the_starts_of_their_bins():
    encoder = Latency(16)
    batch = batch_of()
    batch.inputs[0, 0, 0, 0] = 0.01  # black: below half a step
    times = make(encoder=encoder, input_window=(0.05, 0.1)).frames(batch)
    x = batch.inputs
    expected = torch.where(x * 15 < 0.5, torch.inf, 0.05 + (16 - 15 * x) * 0.05 / 16)
    torch.testing.assert_close(times, expected[None])
    assert times[0, 0, 0, 0, 0] == INF

    events = torch.zeros(4, 1, 2, 1, 2)
    events[1, 0, 0, 0, 1], events[3, 0, 1, 0, 0], events[3, 0, 0, 0, 1] = 1, 3, 1
    found = make(spec=EVENTS).network.trains(make(spec=EVENTS).frames(Batch(events, torch.tensor([0]))))["input"]
    assert found.shape == (1, 4, 4)  # [B, N, K]
    assert [row[row < INF].tolist() for row in found[0]] == [
        [],
        [pytest.approx(0.025), pytest.approx(0.075)],
        [pytest.approx(0.075)],
        [],
    ]


def test_the_network_is_the_simulator_layer_by_layer():
    method = make(hidden=(8, 5), threshold=[0.2, 0.4], max_spikes=[5, 6], readout_max_spikes=40)
    layers = method.network.layers
    frames = method.frames(batch_of())
    outputs, record = method.network.unroll(frames)
    times = frames.flatten(2).permute(1, 2, 0)
    for weight, threshold, most in (("weight1", 0.2, 5), ("weight2", 0.4, 6), ("readout_weight", 0.2, 40)):
        times = spike_times(times, layers[weight].weight, threshold, 0.13, 0.2, most)
    assert torch.equal(outputs, times.permute(2, 0, 1)) and torch.equal(outputs, method.network(frames))
    assert outputs.isfinite().sum() > 10
    spikes, state = record["readout"]
    assert spikes.shape == state.v.shape == (STEPS, 4, 3)
    assert spikes.sum() == outputs.isfinite().sum()
    assert state.v.max() <= 0.2 + 1e-5  # never above the threshold, as no buffer is full


def test_training_lowers_both_losses_and_gradients_are_finite():
    for options in (
        {},
        {"objective": "first", "max_spikes": 1, "readout_max_spikes": 1, "tau_loss": 0.02, "early": 0.0},
    ):
        method = make(hidden=(20,), duration=0.3, **options)
        optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
        batch, losses = batch_of(6), []
        for _ in range(60):
            optimizer.zero_grad()
            loss = method.loss(method.scores(method.frames(batch)), batch.labels)
            loss.backward()
            assert all(p.grad.isfinite().all() for p in method.parameters())
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.5 * losses[0]


def test_a_silent_network_recovers(monkeypatch):
    method = make(weight_range=(-0.2, -0.1), readout_range=(-0.2, -0.1), bump=1e-2)
    monkeypatch.setattr(method, "log", lambda *a, **k: None)
    optimizer, batch = torch.optim.Adam(method.parameters(), lr=0.03), batch_of(6)
    rises = []
    for step in range(40):
        before = method.network.layers["weight1"].weight.detach().clone()
        optimizer.zero_grad()
        method.training_step(batch, step).backward()
        optimizer.step()
        method.on_train_batch_end(None, batch, step)
        rises.append((method.network.layers["weight1"].weight.detach() - before)[0, 0].item())
    assert rises[:3] == pytest.approx([0.01, 0.02, 0.04], abs=1e-6)  # silent each time: doubled each time
    with method.network.observe() as seen:
        scores = method.scores(method.frames(batch))
    assert all((spikes.sum((0, 1)) > 0).all() for spikes in seen.values())
    assert (scores > 0).all()
    assert not method.silent_hidden1.any()  # and no longer raised
    assert "silent_hidden1" in method.state_dict()  # a resumed run goes on with the same numbers


def raised(method, monkeypatch, hidden, readout, labels):
    """By how much a batch with these first spikes (inf: silent) raises the weights into each neuron."""
    monkeypatch.setattr(method, "log", lambda *a, **k: None)
    trains = {"hidden1": torch.tensor(hidden)[..., None], "readout": torch.tensor(readout)[..., None]}
    monkeypatch.setattr(method.network, "trains", lambda frames: trains)
    weights = [method.network.layers[name].weight for name in ("weight1", "readout_weight")]
    before = [weight.detach().clone() for weight in weights]
    batch = batch_of(len(labels))._replace(labels=torch.tensor(labels))
    method.training_step(batch, 0)
    method.on_train_batch_end(None, batch, 0)
    return [(weight.detach() - old)[:, 0].tolist() for weight, old in zip(weights, before, strict=True)]


def test_a_readout_is_silent_where_its_own_class_is_shown(monkeypatch):
    method = make(hidden=(2,), bump=0.5, silent_share=1.0, readout_silent_share=0.5)
    # class 0 fires for class 1 only, class 1 for its own in both samples, class 2 never, but it is not shown
    readout = [[INF, INF, INF], [INF, INF, INF], [0.1, 0.1, INF], [0.1, 0.1, INF]]
    hidden, of_class = raised(method, monkeypatch, [[0.1, 0.1]] * 4, readout, [0, 0, 1, 1])
    assert hidden == [0, 0] and of_class == pytest.approx([0.5, 0, 0])


def test_hidden_layers_and_readout_have_a_share_each(monkeypatch):
    hidden, readout = [[INF, 0.1], [INF, 0.1], [0.1, INF]], [[INF] * 3] * 3
    found = raised(
        make(hidden=(2,), bump=0.5, silent_share=0.5, readout_silent_share=1.0), monkeypatch, hidden, readout, [0, 1, 2]
    )
    assert found[0] == pytest.approx([0.5, 0]) and found[1] == [0, 0, 0]
    found = raised(
        make(hidden=(2,), bump=0.5, silent_share=0.9, readout_silent_share=0.9), monkeypatch, hidden, readout, [0, 1, 2]
    )
    assert found[0] == [0, 0] and found[1] == pytest.approx([0.5] * 3)


def test_a_bump_is_doubled_ten_times_at_most(monkeypatch):
    method = make(hidden=(2,), bump=2.0**-10)
    rises = [raised(method, monkeypatch, [[INF, 0.1]] * 3, [[0.1] * 3] * 3, [0, 1, 2])[0][0] for _ in range(13)]
    assert rises == pytest.approx([2.0 ** min(k, 10) / 1024 for k in range(13)], abs=1e-5)


def test_hidden_layers_and_readout_have_a_range_each():
    method = make(hidden=(40,), weight_range=(-1.0, 0.5), readout_range=(2.0, 3.0))
    for name, (low, high) in {"weight1": (-1.0, 0.5), "readout_weight": (2.0, 3.0)}.items():
        weight = method.network.layers[name].weight
        assert low <= weight.min() < low + 0.1 and high - 0.1 < weight.max() <= high


def test_bump_zero_leaves_silence(monkeypatch):
    method = make(weight_range=(-0.2, -0.1), bump=0.0)
    monkeypatch.setattr(method, "log", lambda *a, **k: None)
    before = [p.detach().clone() for p in method.parameters()]
    method.training_step(batch_of(), 0)
    method.on_train_batch_end(None, batch_of(), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def test_spikes_and_operations_are_recorded():
    method = make()
    frames = method.frames(batch_of())
    scores = method.observed_scores(frames)
    trains = method.network.trains(frames)
    sent = {name: times.isfinite().sum().item() for name, times in trains.items()}
    assert torch.equal(scores, trains["readout"].isfinite().sum(-1).float())
    rates = method.firing_rate.compute()
    assert rates["spikes_per_inference"] == (sent["hidden1"] + sent["readout"]) / 4
    assert rates["firing_rate/hidden1"].item() == pytest.approx(sent["hidden1"] / (4 * 8 * STEPS))
    assert method.synaptic_operations.compute() == (sent["input"] * 8 + sent["hidden1"] * 3) / 4


def test_scores_over_time_end_with_the_scores():
    for options in ({}, {"objective": "first"}):
        method = make(**options)
        frames = method.frames(batch_of())
        over_time = method.scores_over_time(frames)
        assert over_time.shape == (STEPS, 4, 3)
        torch.testing.assert_close(over_time[-1], method.scores(frames))
        assert (over_time.diff(dim=0) >= 0).all() and over_time[0].lt(over_time[-1]).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": Direct(4)}, "encoder=direct sends other numbers"),
        ({"input_window": (0.1, 0.3)}, "input_window"),
        ({"weight_range": (1.0, -1.0)}, "weight_range"),
        ({"targets": (15.0, -3.0)}, "targets"),
        ({"tau_loss": 0.0}, "tau_loss = 0.0"),
        ({"early": -1.0}, "early = -1.0"),
        ({"bump": -1.0}, "bump = -1.0"),
        ({"objective": "first", "tau_synapse": 0.002}, "duration / tau_synapse = 100 must be at most 80"),
        ({"silent_share": 1.5}, "silent_share = 1.5"),
        ({"threshold": 0.0}, "threshold = 0.0"),
        ({"max_spikes": 0}, "MultispikeFastDeep: max_spikes = 0 must be positive"),
        ({"readout_threshold": 0.0}, "MultispikeFastDeep: readout_threshold = 0.0 must be positive"),
        ({"readout_max_spikes": 0}, "readout_max_spikes = 0 must be positive"),
        ({"objective": "first", "tau_synapse": 0.0}, "tau_synapse = 0.0 must be positive"),
        ({"duration": 0.0}, "duration = 0.0 must be positive"),
        ({"threshold": [0.2, 0.4]}, r"method.threshold = \[0.2, 0.4\] has 2 numbers, and the model 1 hidden layer;"),
        ({"max_spikes": [3, 4, 5], "hidden": (8, 5)}, "has 3 numbers, and the model 2 hidden layers;"),
        ({"readout_max_spikes": 14}, r"readout_max_spikes = 14 cannot reach .* \[15.0, 3.0\]; give it 15 or more"),
        ({"threshold": []}, "at least one layer"),
        ({"spec": DataSpec("rows", "sequence", (3,), 2, time_steps=2)}, "data.sequence=rows sends analog values"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises((ValueError, InputError), match=words) as error:
        make(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SmallConv([4]), "method=multispike_fast_deep hands on spike times and knows no convolution; use model=mlp"),
        (RecurrentMLP([4]), "knows no recurrent layer; use model=mlp"),
        (MLP([4], dropout=0.2), "knows no dropout; use model.dropout=0"),
    ],
)
def test_other_layers_are_refused(model, words):
    spec = DataSpec("images", "image", (1, 28, 28), 3)
    with pytest.raises(InputError, match=words):
        MultispikeFastDeep(model, spec, Rate(4), torch.optim.Adam)


def test_a_chain_that_is_none_is_refused():
    neuron = ExactNeuron(1.0, 1.0, 1.0, 1)
    with pytest.raises(ValueError, match="Linear without bias and ExactNeuron in turn"):
        SpikeTimeNetwork([("a", nn.Linear(2, 2)), ("b", neuron)], 1.0)
    with pytest.raises(ValueError, match="in turn"):
        SpikeTimeNetwork([("a", nn.Linear(2, 2, bias=False))], 1.0)
    chain = SpikeTimeNetwork([("a", nn.Linear(2, 2, bias=False)), ("b", neuron)], 1.0)
    with pytest.raises(RuntimeError, match="no time steps"):
        chain.step(torch.zeros(1, 2))


def test_spike_times_of_16_bits_are_refused_before_anything_is_written():
    method = make()
    for precision in ("16-true", "bf16-true"):
        with pytest.raises(InputError, match=f"trainer.precision = {precision}: spike times need 32 bits; use 32-true"):
            method.check_precision(precision)
    for precision in ("32", "64-true", "bf16-mixed", "16"):
        method.check_precision(precision)


def test_the_last_number_serves_all_further_layers():
    method = make(
        hidden=(4, 5, 6), threshold=[0.2, 0.4], max_spikes=7, readout_max_spikes=15
    )  # 15: the target, no less
    layers = [layer for layer in method.network.layers.values() if isinstance(layer, ExactNeuron)]
    assert [(layer.threshold, layer.most) for layer in layers] == [(0.2, 7), (0.4, 7), (0.4, 7), (0.2, 15)]
    assert make(objective="first", readout_max_spikes=1).network.layers["readout"].most == 1  # no target to reach
