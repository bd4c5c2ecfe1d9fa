"""SSNN-BP (reconstruction) against its card: streams, winners, coincidences, and the limit of long trains."""

import math

import pytest
import torch
from torch import nn

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Rate
from snnlab.errors import InputError
from snnlab.layers.coincidence import Coincidences
from snnlab.methods.ssnn_bp import SSNNBP, ssnn_bp
from snnlab.models.mlp import MLP
from snnlab.neurons.low_pass import LowPass
from snnlab.neurons.winner_take_all import WinnerTakeAll
from snnlab.weights.linear import LinearWeight

Z = torch.tensor([1.0, 0.0, -1.0])
P = torch.tensor([0.6652, 0.2447, 0.0900])
TEACHER = torch.tensor([[0.0, 1.0, 0.0]])  # label 1


def make(inputs, hidden, classes, time_steps, **options):
    """A method for images of ``inputs`` pixels in float64; what it logs is kept in ``method.logged``."""
    spec = DataSpec("pixels", "image", (inputs,), classes)
    method = SSNNBP(MLP([hidden]), spec, Rate(time_steps), **options).double()
    method.logged = {}
    method.log_dict = lambda values, **_: method.logged.update({k: float(v) for k, v in values.items()})
    return method


def set_weights(method, first=None, bias1=None, second=None, bias2=None):
    """Fill weights and biases; those not named become 0."""
    one, _, two, _ = method.parts()
    given = ((one.weight, first), (one.bias, bias1), (two.weight, second), (two.bias, bias2))
    with torch.no_grad():
        for parameter, values in given:
            parameter.zero_()
            if values is not None:
                parameter += torch.as_tensor(values, dtype=parameter.dtype)


def batch(image, label, samples=1):
    image = torch.as_tensor(image, dtype=torch.float64)
    return Batch(image.expand(samples, -1), torch.full((samples,), label))


def change(method, shown, eta=1.0):
    """What one presentation does to each parameter."""
    before = [p.detach().clone() for p in method.network.parameters()]
    method.present(shown, eta)
    return [p.detach() - b for p, b in zip(method.network.parameters(), before, strict=True)]


# the invariants of the card -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("draw", ["categorical", "gumbel"])
def test_1_and_2_winners_follow_softmax_and_streams_carry_the_error(draw):
    torch.manual_seed(0)
    layer, steps = WinnerTakeAll(LowPass(1.0), draw), 100_000
    winners = layer.compete(Z.expand(steps, 1, 3))
    assert (winners.sum(-1) == 1).all()
    sigma = torch.sqrt(P * (1 - P) / steps)
    assert ((winners.mean((0, 1)) - P).abs() <= 5 * sigma + 5e-5).all()  # the card gives four digits
    plus, minus = layer.error_streams(winners, TEACHER)
    assert ((plus - minus).sum(-1) == 0).all() and (plus * minus).sum() == 0
    assert plus.sum(-1).max() == 1 and minus.sum(-1).max() == 1
    wanted = torch.tensor([0.6652, -0.7553, 0.0900])
    assert (((plus - minus).mean((0, 1)) - wanted).abs() <= 5 * sigma + 1e-4).all()


def runs_of_coincidences(steps, runs, quantum):
    """Updates [runs, 3] of the weights from one input of rate 0.4 to a layer driven by Z."""
    layer, readout, updates = nn.Linear(1, 3), WinnerTakeAll(LowPass(1.0)), []
    winners = readout(Z.expand(steps, runs, 3))
    plus, minus = readout.error_streams(winners, TEACHER)
    x = (torch.rand(steps, runs, 1) < 0.4).float()
    for run in range(runs):
        counter = Coincidences(LinearWeight(layer))
        counter.add((plus - minus)[:, run : run + 1], x[:, run : run + 1])
        updates.append(-quantum * counter.take()[0][1][:, 0])
    return torch.stack(updates)


def test_3_mean_and_spread_of_coincidence_updates():
    torch.manual_seed(0)
    runs = 200
    updates = runs_of_coincidences(1000, runs, 1e-3)
    p = P[0].item() * 0.4
    sd = math.sqrt(1000 * p * (1 - p)) * 1e-3
    assert (p, sd) == pytest.approx((0.26608, 0.01397), abs=1e-5)
    for row, wanted in enumerate((-0.26608, 0.3021, -0.0360)):
        spread = math.sqrt(abs(wanted) * (1 - abs(wanted)) / 1000)
        assert abs(updates[:, row].mean().item() - wanted) <= 5 * spread / math.sqrt(runs) + 5e-5
        assert abs(updates[:, row].std().item() - spread) <= 5 * spread / math.sqrt(2 * runs)


def correlation_bias(k, pairing):
    """Coincidences of output errors and hidden spikes beyond those of independent streams, per step."""
    torch.manual_seed(0)
    method = make(2, 2, 2, 100, k=k, start="mean", pairing=pairing, weight_range=None)
    set_weights(method, bias1=0.5, second=[[2.0, 0.0], [0.0, 2.0]])  # hidden rates 0.5, whatever the input
    with_ = change(method, batch([0.5, 0.5], 0, samples=1000))
    weight, bias = with_[2], with_[3]
    return (weight - 0.5 * bias.unsqueeze(1)).abs().max().item() / 1000


def test_4_shared_spikes_bias_the_update_less_the_smaller_k():
    bias = [correlation_bias(k, "same") for k in (1.0, 0.3, 0.1, 0.03)]
    assert bias == sorted(bias, reverse=True) and bias[0] > 0.05 and bias[3] < 0.1 * bias[0]


@pytest.mark.parametrize("pairing", ["delayed", "independent"])
def test_4_independent_streams_are_unbiased_at_any_k(pairing):
    noise = 0.5 * math.sqrt(0.5 / 100_000)  # of d (h - 1/2) with d in {-1, 0, 1}, half of the steps silent
    tolerance = 5 * noise + (0.5 / 100 if pairing == "delayed" else 0)  # the first step's spikes meet no error
    assert correlation_bias(1.0, pairing) < tolerance < 0.05


def test_5_variance_of_the_update_falls_with_the_length_of_the_train():
    torch.manual_seed(0)
    short, long = (runs_of_coincidences(steps, 600, 1 / steps)[:, 0].std() for steps in (100, 400))
    assert (short / long).item() == pytest.approx(2, rel=0.1)


def test_6_long_trains_make_one_step_of_sgd_of_the_rate_network():
    torch.manual_seed(4)
    method = make(6, 8, 3, 10_000, k=0.0, start="mean", weight_range=None)
    twin = make(6, 8, 3, 10_000, gradient="backprop", weight_range=None)
    first, _, second, _ = method.parts()
    set_weights(method, 0.4 * torch.randn(8, 6), 0.3 + 0.1 * torch.randn(8), torch.randn(3, 8), 0.1 * torch.randn(3))
    for mine, theirs in zip(
        (first, second), (twin.network.layers[n] for n in ("weight1", "readout_weight")), strict=True
    ):
        theirs.load_state_dict(mine.state_dict())
    shown, before = batch(torch.rand(6), 2), [p.detach().clone() for p in twin.network.parameters()]
    updates = change(method, shown)
    twin.backpropagate(shown, 1.0)
    for mine, after, start in zip(updates, twin.network.parameters(), before, strict=True):
        step = after.detach() - start
        assert nn.functional.cosine_similarity(mine.flatten(), step.flatten(), 0) > 0.99
        assert (mine.norm() / step.norm()).item() == pytest.approx(1, abs=0.1)


def test_7_negated_output_weights_swap_the_hidden_streams():
    torch.manual_seed(0)
    method = make(3, 5, 3, 50, weight_range=None)
    weights = torch.randn(3, 5)
    streams = []
    for sign in (1, -1):
        set_weights(method, bias1=0.5, second=sign * weights, bias2=[200.0, 0, 0])  # class 0 wins in both
        torch.manual_seed(1)
        x = torch.ones(50, 2, 3, dtype=torch.float64)
        teacher = torch.tensor([[0.0, 1, 0], [0, 0, 1]], dtype=torch.float64)
        signals, _, _ = method.advance(x, method.parts()[0].weight, teacher, method.initial_states(teacher))
        streams.append((signals.d1_plus, signals.d1_minus))
    assert streams[0][0].sum() > 20 and streams[0][1].sum() > 20
    assert streams[0][0].equal(streams[1][1]) and streams[0][1].equal(streams[1][0])


def test_8_a_right_and_confident_output_learns_nothing():
    torch.manual_seed(0)
    method = make(4, 6, 3, 100, start="mean", weight_range=None)
    set_weights(method, torch.rand(6, 4), 0.1, torch.rand(3, 6), [0, 0, 100.0])
    assert all(c.abs().sum() == 0 for c in change(method, batch([0.2, 0.9, 0.5, 1.0], 2, samples=5)))
    assert method.logged["train/error_spikes"] == 0 and method.logged["train/silent_errors"] == 1
    assert method.logged["train/pulses"] > 0 and method.logged["train/coincidences"] == 0


@pytest.mark.parametrize("update_every", [None, 1])
def test_9_weights_move_in_whole_quanta(update_every):
    torch.manual_seed(0)
    method = make(4, 6, 3, 40, scale=0.5, update_every=update_every, weight_range=None)
    for eta in (0.1, 0.03):
        quantum = eta / 40
        for moved, scale in zip(change(method, batch([0.2, 0.9, 0.5, 1.0], 2), eta), (0.5, 0.5, 1, 1), strict=True):
            pulses = moved / (quantum * scale)
            assert pulses.abs().max() >= 1
            torch.testing.assert_close(pulses, pulses.round(), atol=1e-6, rtol=0)


def test_9_a_step_moves_a_weight_by_one_quantum_at_most():
    torch.manual_seed(0)
    method, largest = make(4, 6, 3, 1, start="mean", weight_range=None), 0.0
    for _ in range(40):
        largest = max(largest, *(c.abs().max().item() for c in change(method, batch([0.5] * 4, 0), eta=0.01)))
    assert largest == pytest.approx(0.01, abs=1e-12)


def test_10_the_share_of_clipped_drives_is_logged():
    torch.manual_seed(0)
    method = make(2, 4, 2, 50, start="mean", scale=0.5, weight_range=None)
    # class 0 always wins, the label is 1: g = W2[0] - W2[1] = 0.4, 0.6, -0.4, -0.6 at every step
    set_weights(method, bias1=0.5, second=[[0.4, 0.6, -0.4, -0.6], [0] * 4], bias2=[100.0, 0])
    moved = change(method, batch([0.5, 0.5], 1), eta=1.0)
    assert method.logged["train/clipped"] == 0.5
    assert moved[1][1].item() == pytest.approx(-0.5) and moved[1][3].item() == pytest.approx(0.5)  # 0.6 is cut to s
    assert moved[1][0].item() == pytest.approx(-0.4, abs=5 * 0.5 * math.sqrt(0.8 * 0.2 / 50))


# what the options do --------------------------------------------------------------------------------------------------
def test_metrics_count_error_spikes_and_coincidences():
    torch.manual_seed(0)
    method = make(2, 4, 2, 10, start="mean", weight_range=None)
    set_weights(method, bias1=1.5, bias2=[100.0, 0])  # hidden units fire at every step, their gate is shut
    method.present(batch([1.0, 1.0], 1, samples=3), 0.1)
    assert method.logged["train/error_spikes"] == 20  # one positive and one negative per step
    assert method.logged["train/silent_errors"] == 0
    assert method.logged["train/coincidences"] == 2 * 4 * 10 / (2 * 4 + 4 * 2)
    assert method.logged["train/pulses"] == (2 + 4 + 2) * 10


def test_weights_stay_in_the_device_range_and_on_its_levels():
    torch.manual_seed(0)
    method = make(4, 6, 3, 40, weight_range=0.25, rounding=1 / 64)
    method.present(batch([0.2, 0.9, 0.5, 1.0], 2, samples=4), 5.0)
    for parameter in method.network.parameters():
        assert parameter.abs().max() <= 0.25 and (parameter * 64).frac().abs().max() == 0
    assert max(p.abs().max() for p in method.network.parameters()) == 0.25


def test_online_updates_change_the_very_presentation():
    runs = {}
    for update_every in (None, 1, 5):
        torch.manual_seed(0)
        method = make(4, 6, 3, 40, start="mean", update_every=update_every)
        method.present(batch([0.2, 0.9, 0.5, 1.0], 2, samples=2), 2.0)
        runs[update_every] = method.logged["train/error_spikes"]
    assert runs[1] < runs[None] and runs[5] < runs[None]


@pytest.mark.parametrize("options", [{}, {"pairing": "delayed"}, {"update_every": 1}, {"rate": "sigmoid"}])
def test_two_patterns_are_learned(options):
    torch.manual_seed(0)
    method = make(6, 10, 2, 20, start="mean", **options)
    images = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], dtype=torch.float64)
    shown = Batch(images, torch.tensor([0, 1]))
    for _ in range(60):
        scores = method.present(shown, 0.3)
    assert scores.diagonal().min() > 0.8
    with torch.no_grad():
        assert method.scores(method.frames(shown)).diagonal().min() > 0.8


def test_events_become_spikes_and_the_twin_sees_their_mean():
    spec = DataSpec("events", "event", (2, 1, 1), 2, time_steps=3)
    frames = torch.tensor([[[3.0, 0]], [[1, 1]], [[0, 2]]]).view(3, 1, 2, 1, 1)
    shown = Batch(frames, torch.tensor([0]))
    method = SSNNBP(MLP([4]), spec, None)
    assert method.frames(shown).flatten().tolist() == [1, 0, 1, 1, 0, 1]
    method.log_dict = lambda *_, **__: None
    assert method.present(shown, 0.1).sum().item() == pytest.approx(1)
    twin = SSNNBP(MLP([4]), spec, None, gradient="backprop")
    torch.testing.assert_close(twin.frames(shown).flatten(), torch.tensor([2 / 3, 2 / 3]))


def test_the_twin_has_rates_for_spikes_and_a_name_of_its_own():
    twin = make(4, 6, 3, 40, gradient="backprop")
    shown = batch([0.2, 0.9, 0.5, 1.0], 2)
    one, two = twin.network.layers["weight1"], twin.network.layers["readout_weight"]
    logits = two(one(shown.inputs).clamp(0, 1))
    torch.testing.assert_close(twin.scores(twin.frames(shown)), torch.softmax(logits, -1))
    assert not twin.network.neurons() and not twin.spiking_input
    assert twin.label == "rate-network twin of SSNN-BP (reconstruction)" and SSNNBP.label == "SSNN-BP (reconstruction)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["model.hidden=[8,8]"], "two layers of weights .* use model=mlp with one number in model.hidden"),
        (["model.hidden=[]"], "two layers of weights"),
        (["model.dropout=0.2"], "HeldDropout.*model.dropout=0"),
        (["model=small_conv"], "Conv2d"),
        (["model=recurrent_mlp"], "Recurrent"),
        (["model=recurrent_mlp", "method.gradient=backprop"], "two layers of weights"),
        (["encoder=direct", "encoder.time_steps=4"], "encoder=direct sends other numbers than 0 and 1"),
        (["data=nmnist", "method.pairing=independent"], "use method.pairing=delayed"),
        (["method.eta=0"], r"method.eta = 0(\.0)? must be positive"),
        (["method.rounding=2.0"], "leaves only 0 within method.weight_range"),
        (["method.update_every=0"], "must be at least 1 step"),
        (["method.k=0.0", "method.start=zero"], "k = 0.* never moves"),
        (["method.gradient=autograd"], "choose one of"),
    ],
)
def test_what_does_not_fit_is_refused_before_data_is_read(options, words, empty_data):
    with pytest.raises(InputError, match=words):
        build(compose(["method=ssnn_bp", "data=mnist", *options]).config)


def test_a_run_is_recorded_under_its_label(monkeypatch, tmp_path):
    from snnlab.runs.record import RunRecord
    from snnlab.runs.wiring import run
    from snnlab.tables.rows import named, rows_of

    monkeypatch.chdir(tmp_path)
    options = ["method=ssnn_bp", "data=digits", "logger=none", "model.hidden=[16]", "encoder.time_steps=5"]
    options += ["trainer.max_epochs=1", "trainer.limit_train_batches=3"]
    result = run(compose(options))
    record = RunRecord.read(result.folder)
    assert record.content["label"] == "SSNN-BP (reconstruction)" and record.content["method"] == "ssnn_bp"
    assert record.title() == "SSNN-BP (reconstruction) on digits, seed 0"
    assert named(rows_of([record.content])) == ["`method=ssnn_bp data=digits` SSNN-BP (reconstruction)"]
    assert {"error_streams.png", "spikes.png", "membranes.png"} <= {path.name for path in result.figures}
    assert record.content["metrics"]["train"].keys() >= {"error_spikes", "silent_errors", "clipped", "coincidences"}
    assert record.content["metrics"]["test"]["firing_rate"]["readout"] == pytest.approx(0.1)  # one of ten per step


def test_chunks_are_a_matter_of_memory(monkeypatch):
    """Forced to steps one by one, a presentation counts the same as in one piece where nothing is random."""
    logged = []
    for numbers in (1, 2**17):
        monkeypatch.setattr(ssnn_bp, "NUMBERS", numbers)
        method = make(2, 4, 2, 10, pairing="delayed", weight_range=None)
        set_weights(method, bias1=100.0, bias2=[1000.0, 0])
        moved = change(method, batch([1.0, 1.0], 1), eta=1.0)
        logged.append((method.logged, [m.tolist() for m in moved]))
    assert logged[0] == logged[1] and logged[0][1][2][0] != [0] * 4
