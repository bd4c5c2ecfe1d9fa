"""EventProp: its losses, exact gradients through whole networks, loss shaping, the regulariser, what a test records."""

import math
from typing import get_args

import pytest
import torch

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct, Latency, Rate
from snnlab.errors import InputError
from snnlab.layers.spike_time_network import STEPS, ExactOutput
from snnlab.methods.eventprop import EventProp, Objective
from snnlab.methods.multispike_fast_deep import MultispikeFastDeep
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv
from snnlab.simulators import leaky_output
from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.stepped import Stepped

IMAGES = DataSpec("images", "image", (1, 2, 3), 3)
EVENTS = DataSpec("events", "event", (2, 1, 2), 2, time_steps=4)
OBJECTIVES = get_args(Objective)
INF = float("inf")


def make(hidden=(6,), model=MLP, spec=IMAGES, encoder=None, seed=2, **options):
    torch.manual_seed(seed)
    encoder = Latency(16) if encoder is None and spec is IMAGES else encoder
    usual = {"weight_mean": 2.4, "weight_std": 1.0, "readout_mean": 1.5, "readout_std": 1.0}
    return EventProp(model(list(hidden)), spec, encoder, torch.optim.Adam, **usual | options)


def batch_of(count=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(count, 1, 2, 3, generator=draw), torch.arange(count) % 3)


def spikes_of(method, frames):
    return [times.isfinite() for times in method.network.trains(frames).values()]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", [MLP, RecurrentMLP])
def test_gradient_of_every_loss_equals_finite_differences(objective, model):
    """The card's first invariant through two layers, recurrent or not: 1e-7 in float64."""
    options = {"readout_mean": 3.0} if objective == "first_spike" else {}
    method = make(model=model, objective=objective, recurrent_std=0.3, **options).double()
    batch = batch_of()
    frames = method.frames(batch).double()

    def loss():
        return method.loss(method.scores(frames), batch.labels)

    fired = spikes_of(method, frames)
    assert fired[1].sum() >= 8
    grads = dict(zip(method.state_dict(), torch.autograd.grad(loss(), list(method.parameters())), strict=False))
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            flat, numeric = parameter.view(-1), torch.empty(parameter.numel(), dtype=torch.float64)
            for i, value in enumerate(flat.tolist()):
                sums = []
                for sign in (2, 1, -1, -2):  # fourth order
                    flat[i] = value + sign * 1e-4
                    sums.append(loss().item())
                    assert all(map(torch.equal, fired, spikes_of(method, frames)))  # no spike made or lost
                flat[i] = value
                numeric[i] = (-sums[0] + 8 * sums[1] - 8 * sums[2] + sums[3]) / 12e-4
            error = (grads[name].view(-1) - numeric).abs().max()
            assert error < 1e-7 * max(1.0, numeric.abs().max().item()), (name, error)


def test_the_losses_are_those_of_the_docstring():
    batch = batch_of()
    for objective in OBJECTIVES:
        method = make(objective=objective)
        frames = method.frames(batch)
        scores = method.scores(frames)
        loss = method.loss(scores, batch.labels)
        if objective == "first_spike":
            t = method.network(frames)[0].clamp(max=0.05)  # [B, classes]
            of_label = t.gather(1, batch.labels[:, None])
            expected = torch.nn.functional.cross_entropy(-t / 5e-4, batch.labels)
            expected += 3e-3 * (torch.exp(of_label / 6.4e-3) - 1).mean()
        else:
            v = method.network.neuron("readout").at_points(
                method.network.trains(frames)["hidden1"], method.network.weights["readout"].used
            )
            x = torch.linspace(0, 1, len(v))[:, None, None]
            if objective == "avg_xentropy":
                each = torch.stack(
                    [torch.nn.functional.cross_entropy(now, batch.labels, reduction="none") for now in v]
                )
                expected = torch.trapezoid(each, x[:, 0], dim=0).mean()
            else:
                g = {
                    "sum": torch.ones_like(x),
                    "sum_weigh_linear": 1 - x,
                    "sum_weigh_exp": torch.exp(-x),
                    "sum_weigh_sigmoid": 1 / (1 + torch.exp((x - 0.5) / 0.2)),
                }.get(objective)
                if objective == "max":
                    read = v.amax(0)
                elif g is None:
                    continue  # simulators/test_leaky_output.py
                else:
                    read = torch.trapezoid(g * v, x, dim=0)
                expected = torch.nn.functional.cross_entropy(read, batch.labels)
                assert torch.equal(scores.argmax(1), read.argmax(1))
        assert loss.item() == pytest.approx(expected.item(), abs=2e-4), objective


def test_weights_of_one_are_the_plain_sum(monkeypatch):
    """The card's third invariant: the quadrature of any g, with g = 1, is the closed form of sum, gradients too."""
    monkeypatch.setattr(
        leaky_output,
        "weights_of",
        lambda shape, times, firing, tau, inputs, of=leaky_output.weights_of: (
            of("sigmoid", times, firing, tau, inputs)[0],
            torch.ones_like(of("sigmoid", times, firing, tau, inputs)[1]),
        ),
    )
    found = []
    for objective in ("sum", "sum_weigh_sigmoid"):
        method = make(objective=objective).double()
        batch = batch_of()
        scores = method.scores(method.frames(batch).double())
        method.loss(scores, batch.labels).backward()
        found.append((scores.detach(), *(p.grad for p in method.parameters())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)
    since = torch.rand(5, dtype=torch.float64)
    exponential = leaky_output.mean_response(since, 1e-12, 0.02, 0.005)
    torch.testing.assert_close(exponential, leaky_output.mean_response(since, 0.0, 0.02, 0.005), rtol=1e-9, atol=0)


def test_the_same_net_as_multispike_fast_deep():
    """The card's fourth invariant: tau_m = 2 tau_s and w tau_m are one net, its times, its loss and its gradient."""
    batch = batch_of(6)
    tau = 0.01
    ours = make(objective="first_spike", tau_membrane=tau, tau_early=0.005, early=0.01, readout_mean=3.0).double()
    torch.manual_seed(0)
    theirs = MultispikeFastDeep(
        MLP([6]),
        IMAGES,
        Latency(16),
        torch.optim.Adam,
        objective="first",
        threshold=1.0,
        readout_threshold=1.0,
        tau_synapse=0.005,
        duration=0.05,
        input_window=(0.0, 0.02),
        tau_loss=5e-4,
        early=0.01,
    ).double()
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine / tau)
    found = []
    for method in (ours, theirs):
        frames = method.frames(batch).double()
        trains = method.network.trains(frames)
        loss = method.loss(method.scores(frames), batch.labels)
        loss.backward()
        found.append((trains, loss.detach(), [p.grad for p in method.parameters()]))
    assert found[0][0]["hidden1"].isfinite().sum() >= 15
    hidden = [trains["hidden1"] for trains, *_ in found]
    assert torch.equal(hidden[0].isfinite(), hidden[1].isfinite())
    torch.testing.assert_close(*(h[hidden[0].isfinite()] for h in hidden), rtol=1e-6, atol=0)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=0)
    for a, b in zip(found[0][2], found[1][2], strict=True):
        assert (a - b / tau).norm() < 1e-6 * a.norm() and a.any()


def test_a_shaped_loss_sees_early_spikes_and_a_plain_sum_does_not():
    """One spike through a weight of 1 at t: d/dt of int V dt is -eps(T - t), nothing where it has long decayed."""
    slopes = {}
    for objective in ("sum", "sum_weigh_exp"):
        method = make(objective=objective, duration=0.5, input_window=(0.0, 0.02))
        times = torch.full((1, 6, 1), 0.01, dtype=torch.float64, requires_grad=True)
        method.double().scored({"input": times, "hidden1": times})[0, 0].backward()
        slopes[objective] = times.grad.norm().item()
    assert slopes["sum_weigh_exp"] > 1e6 * slopes["sum"]


def test_the_regulariser_is_of_the_mean_number_of_spikes(monkeypatch):
    method = make(nu_upper=2.0, lbd_upper=0.3, lbd_lower=0.7)
    counts = torch.tensor([[4.0, 0.0], [2.0, 1.0]], requires_grad=True)
    penalty = method.penalty({"hidden1": counts})
    assert penalty.item() == pytest.approx(0.5 * 0.3 * 1.0**2 + 0.5 * 0.7 * 1.5**2)
    penalty.backward()
    torch.testing.assert_close(counts.grad, torch.tensor([[0.15, -0.525], [0.15, -0.525]]))
    assert make().penalty({"hidden1": counts}) == 0.0
    for target, options in ((0.0, {"nu_upper": 0.0, "lbd_upper": 1.0}), (5.0, {"nu_upper": 5.0, "lbd_lower": 1.0})):
        method = make(hidden=(12,), **options)
        monkeypatch.setattr(method, "log", lambda *a, **k: None)
        monkeypatch.setattr(method, "loss", lambda scores, labels: scores.sum() * 0)
        optimizer, batch = torch.optim.Adam(method.parameters(), lr=0.05), batch_of(6)
        means = []
        for step in range(25):
            optimizer.zero_grad()
            method.training_step(batch, step).backward()
            optimizer.step()
            counts = {}
            method.network.trains(method.frames(batch), counts)
            means.append(counts["hidden1"].mean().item())
        assert abs(means[-1] - target) < 0.5 * abs(means[0] - target)


def test_a_silent_readout_of_the_label_is_woken():
    """wake (1 - max V / theta) where it is silent, nothing where it fires; other readouts may stay silent."""
    method = make(objective="first_spike", readout_mean=0.05, readout_std=0.0, wake=0.5)
    batch = batch_of()
    trains = method.network.trains(method.frames(batch))
    assert trains["readout"].isinf().all()
    v = method.network.neuron("readout").simulator.membrane(
        torch.linspace(0, 0.05, 4001),
        trains["hidden1"],
        method.network.weights["readout"].used,
        trains["readout"],
        method.network.neuron("readout").firing,
    )
    waking = method.waking(trains, batch.labels)
    assert waking.item() == pytest.approx(0.5 * (1 - v.amax(0)[:, 0]).mean().item(), abs=1e-4)
    waking.backward()
    assert (method.network.layers["readout_weight"].weight.grad <= 0).all()
    fired = make(objective="first_spike", readout_mean=5.0)
    assert fired.waking(fired.network.trains(fired.frames(batch)), batch.labels) == 0.0


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("time_step", [None, 5e-4])
def test_training_lowers_every_loss(objective, time_step, monkeypatch):
    method = make(hidden=(20,), objective=objective, time_step=time_step, tau_loss=2e-3)
    monkeypatch.setattr(method, "log", lambda *a, **k: None)
    optimizer, batch, losses = torch.optim.Adam(method.parameters(), lr=0.03), batch_of(6), []
    for step in range(60):
        optimizer.zero_grad()
        loss = method.training_step(batch, step)
        loss.backward()
        assert all(p.grad.isfinite().all() for p in method.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.87 * losses[0]


def test_time_steps_come_near_the_events():
    batch = batch_of()
    exact, stepped = (make(model=RecurrentMLP, objective="sum", time_step=step) for step in (None, 1e-5))
    assert type(exact.simulator) is CurrentBased and type(stepped.simulator) is Stepped
    a, b = (method.scores(method.frames(batch)) for method in (exact, stepped))
    torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-2)


def test_input_spikes_are_dropped_in_training_only():
    method = make(input_dropout=0.5)
    frames = torch.zeros(2, 500, 1, 2, 3)
    gone = method.dropped(frames).isinf()
    assert 0.4 < gone.double().mean() < 0.6 and not torch.equal(gone[0], gone[1])
    assert make().dropped(frames) is frames
    assert torch.equal(method.scores(method.frames(batch_of())), method.scores(method.frames(batch_of())))


def test_spikes_potentials_and_operations_are_recorded():
    method = make(model=RecurrentMLP, hidden=(8,))
    frames = method.frames(batch_of(4))
    scores = method.observed_scores(frames)
    trains = method.network.trains(frames)
    assert list(trains) == ["input", "hidden1"]
    sent = {name: times.isfinite().sum().item() for name, times in trains.items()}
    assert sent["hidden1"] > 10 and torch.equal(scores, method.scores(frames))
    assert method.firing_rate.compute()["spikes_per_inference"] == sent["hidden1"] / 4
    # inputs reach 8 neurons, hidden spikes 3 outputs and 8 neurons of their own layer
    assert method.synaptic_operations.compute() == (sent["input"] * 8 + sent["hidden1"] * 11) / 4
    outputs, record = method.network.unroll(frames)
    assert torch.equal(outputs, method.network(frames)) and outputs.shape == (STEPS, 4, 3)
    assert list(record) == ["hidden1", "readout"] and torch.equal(record["readout"][0], outputs)
    assert record["hidden1"][1].v.max() <= 1 + 1e-4
    assert isinstance(method.network.layers["readout"], ExactOutput)
    with method.network.observe() as seen:
        method.network(frames)
    assert list(seen) == ["hidden1"] and seen["hidden1"].sum() == sent["hidden1"]


def test_scores_over_time_end_with_the_scores():
    for objective in OBJECTIVES:
        method = make(objective=objective)
        frames = method.frames(batch_of())
        over_time = method.scores_over_time(frames)
        assert over_time.shape == (STEPS, 3, 3)
        torch.testing.assert_close(over_time[-1], method.scores(frames))


def test_events_and_weights():
    method = make(spec=EVENTS, model=RecurrentMLP, hidden=(300,), recurrent_std=0.02, recurrent_mean=-0.1)
    events = torch.zeros(4, 1, 2, 1, 2)
    events[1, 0, 0, 0, 1], events[3, 0, 1, 0, 0] = 1, 3
    times = method.network.trains(method.frames(Batch(events, torch.tensor([0]))))["input"]
    assert times[0][times[0] < INF].tolist() == [pytest.approx(0.005), pytest.approx(0.015)]
    weight = method.network.returning["hidden1"].used
    assert weight.mean().item() == pytest.approx(-0.1, abs=1e-3)
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": Direct(4)}, "encoder=direct sends other numbers"),
        ({"input_window": (0.0, 0.06)}, "input_window"),
        ({"threshold": 0.0}, "threshold = 0.0"),
        ({"tau_membrane": -1.0}, "tau_membrane = -1.0"),
        ({"tau_synapse": INF}, "tau_synapse = inf"),
        ({"duration": 0.0}, "duration = 0.0"),
        ({"time_step": 0.0}, "time_step = 0.0"),
        ({"time_step": 0.04}, "time_step = 0.04 must be positive and at most half of duration"),
        ({"max_spikes": 0}, "max_spikes = 0"),
        ({"max_spikes": 10**6}, "max_spikes = 1000000 must lie in 1 to 10,000"),
        ({"tau_loss": 0.0}, "tau_loss = 0.0"),
        ({"early": -1.0}, "early = -1.0"),
        ({"weight_std": -1.0}, "weight_std = -1.0"),
        ({"lbd_upper": -1.0}, "lbd_upper = -1.0"),
        ({"nu_upper": -1.0}, "nu_upper = -1.0"),
        ({"input_dropout": 1.0}, "input_dropout = 1.0"),
        ({"objective": "first_spike", "tau_early": 5e-4}, "duration / tau_early = 100 must be at most 80"),
        (
            {"spec": DataSpec("rows", "sequence", (3,), 2, time_steps=2)},
            "rows sends analog values, and eventprop",
        ),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises((ValueError, InputError), match=words) as error:
        make(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SmallConv([4]), "method=eventprop hands on spike times and knows no convolution; use model=mlp"),
        (MLP([4], dropout=0.2), "knows no dropout; use model.dropout=0"),
    ],
)
def test_other_layers_are_refused(model, words):
    spec = DataSpec("images", "image", (1, 28, 28), 3)
    with pytest.raises(InputError, match=words):
        EventProp(model, spec, Rate(4), torch.optim.Adam)


def test_a_silent_net_is_finite():
    method = make(weight_mean=-1.0, weight_std=0.1)
    for objective in OBJECTIVES:
        method.objective = objective if objective != "first_spike" else "max"
        loss = method.loss(method.scores(method.frames(batch_of())), batch_of().labels)
        loss.backward()
        assert math.isfinite(loss.item()) and all(p.grad.isfinite().all() for p in method.parameters())
