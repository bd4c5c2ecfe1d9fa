"""Desire backpropagation against its card: desires, updates in numbers, traces, batches; loop against neurons."""

import pytest
import torch
from torch.nn import functional

from snnlab.config.compose import compose
from snnlab.data.contract import DataSpec
from snnlab.data.encoders import IntegrateAndFire
from snnlab.errors import InputError
from snnlab.methods.desire_bp import DesireBP
from snnlab.metrics.unique_accuracy import UniqueAccuracy
from snnlab.models.mlp import MLP
from snnlab.models.resnet import ResNet
from snnlab.models.small_conv import SmallConv
from snnlab.neurons.delayed_lif import DelayedLIF
from snnlab.runs.wiring import run

LABELS = torch.tensor([0, 1, 2, 1, 0])


CONV = {"model": SmallConv([3], 9), "least_sum_conv": 0.01}


def make(hidden=(12, 9), shape=(1, 4, 4), classes=3, steps=20, seed=0, model=None, **options):
    """A method in float64, weights drawn with ``seed``."""
    torch.manual_seed(seed)
    spec = DataSpec("pixels", "image", shape, classes)
    return DesireBP(model or MLP(list(hidden)), spec, IntegrateAndFire(steps), **options).double()


def images(samples=5, shape=(1, 4, 4), steps=20, seed=1):
    drawn = torch.rand(samples, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return IntegrateAndFire(steps)(drawn)


def present(method, frames, labels, way, lr=0.01, lrs=None, drawn=7):
    """Learn from all samples; what happened, and the weights that came of it."""
    layers = method.chain()
    torch.manual_seed(drawn)
    alive, signs = method.draw(frames, layers)
    lrs = [lr] * len(layers) if lrs is None else lrs
    if way == "kernel":
        counts, active = method.run_kernel(frames, labels, layers, alive, signs, lrs)
    elif way == "batch":
        counts, active = method.learn(frames, labels, layers, alive, signs, lrs)
    else:
        found = []
        for b in range(len(labels)):
            one = slice(b, b + 1)
            sign = None if signs is None else [part[one] for part in signs]
            kept = [mask[one] for mask in alive]
            found.append(method.learn(frames[:, one], labels[one], layers, kept, sign, lrs))
        counts, active = (torch.cat(part) for part in zip(*found, strict=True))
    return counts, active, weights(method)


def weights(method):
    return [layer.weight.used.detach().clone() for layer in method.chain()]


def moved(before, after):
    return [new - old for old, new in zip(before, after, strict=True)]


# the invariants of the card -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["kernel", "one by one"])
def test_1_outputs_near_their_targets_ask_for_nothing(way):
    """The output of class 0 fires at 18 of 20 steps, r = 18 / 16, the others not at all."""
    frames, changes = torch.ones(20, 1, 1, 4, 4, dtype=torch.float64), []
    for label in (0, 1):
        method = make()
        for layer, value in zip(method.chain(), (1.0, 1.0, -1.0), strict=True):
            layer.weight.write(torch.full_like(layer.weight.used, value))
        last = method.chain()[-1].weight.used.detach().clone()
        last[0] = 1
        method.chain()[-1].weight.write(last)
        before = weights(method)
        counts, active, after = present(method, frames, torch.tensor([label]), way)
        assert counts.tolist() == [[18, 0, 0]]
        changes.append((active.tolist(), moved(before, after)))
    (quiet, none), (loud, some) = changes
    assert quiet == [[0, 0, 0]] and all((change == 0).all() for change in none)
    assert loud == [[12, 9, 2]] and all(change.abs().sum() > 0 for change in some)


@pytest.mark.parametrize("way", ["kernel", "one by one"])
def test_2_a_spike_moves_weights_by_the_trace_and_the_sign_of_the_desire(way):
    """v = 0.5, 0.375, 0.78125, 1.0859: the first output fires at step 3, where the trace is 0.75^3 + 0.75, 1, 0."""
    frames = torch.zeros(20, 1, 1, 1, 3, dtype=torch.float64)
    for t, i in ((0, 0), (2, 0), (3, 1), (5, 2)):
        frames[t, ..., i] = 1
    expected = 0.01 * torch.tensor([0.75**3 + 0.75, 1, 0], dtype=torch.float64)
    for label, sign in ((0, 1), (1, -1)):
        method = make([], (1, 1, 3), 2, least_error=0.0)
        weight = method.chain()[0].weight
        weight.write(torch.tensor([[0.5, 0.5, 0.1], [0, 0, 0]], dtype=torch.float64))
        before = weights(method)
        counts, _, after = present(method, frames, torch.tensor([label]), way)
        (change,) = moved(before, after)
        assert counts.tolist() == [[1, 0]]
        torch.testing.assert_close(change[0], sign * expected, rtol=0, atol=1e-15)
        assert (change[1] == 0).all()  # desired or not, it is silent


@pytest.mark.parametrize("model", [MLP([12, 9]), SmallConv([3, 4], 9)])
def test_3_the_desires_are_signs_of_a_vector_jacobian_product(model):
    method = make(model=model, least_sum_conv=0.01)
    layers = method.chain()
    rates = [part.sum(0) / 16 for part in fired(method, images())]
    desires = method.desires(layers, rates, LABELS, None)
    target = functional.one_hot(LABELS, 3).double()
    assert torch.equal(desires[-1][0], (2 * target - 1) * ((target - rates[-1]).abs() > 0.3))
    for index in range(len(layers) - 1, 0, -1):
        sigma, direction = desires[index]
        below = torch.zeros_like(rates[index - 1], requires_grad=True)
        x = below
        for part in layers[index].reading:
            x = part(x)
        layers[index].weight.layer(x).backward((sigma * (direction - rates[index]).abs()).detach())
        g = method.summed(layers[index], sigma * (direction - rates[index]).abs(), rates[index - 1])
        torch.testing.assert_close(g, below.grad, rtol=0, atol=1e-12)
        least = 0.05 if layers[index - 1].weight.dense else 0.01
        assert torch.equal(desires[index - 1][0], g.sign() * (g.abs() >= least))
        assert torch.equal(desires[index - 1][1], (g > 0).double())
    assert desires[0][0].abs().sum() > 0


def fired(method, frames):
    """What each layer fires [T, B, ...], without dropout."""
    found = []
    for layer in method.chain():
        x = torch.stack([layer.gather(frame) for frame in frames])
        currents = torch.stack([layer.weight.layer(frame) for frame in x])
        out = layer.neuron(currents)
        if isinstance(layer.neuron, DelayedLIF):
            found.append(method.fired(layer.neuron, currents))
        else:
            found.append(out)
        frames = out
    return found


def test_4_traces_stay_below_their_bound():
    method = make()
    traces = method.traces(torch.full((200, 1, 1), 1 / 0.7, dtype=torch.float64))  # a kept spike enters as 1
    assert traces.min() == 1 and traces.max() <= 4
    assert traces[-1].item() == pytest.approx(4, abs=1e-12)
    assert traces[2].item() == pytest.approx(1 + 0.75 + 0.75**2)


@pytest.mark.parametrize("options", [{}, CONV])
def test_5_a_batch_is_the_sum_of_its_samples_at_frozen_weights(options):
    frames = images()
    method = make(**options)
    before = weights(method)
    _, _, after = present(method, frames, LABELS, "batch")
    whole = moved(before, after)
    summed = [torch.zeros_like(change) for change in whole]
    for b in range(5):
        alone = make(**options)
        _, _, after = present(alone, frames[:, b : b + 1], LABELS[b : b + 1], "one by one")
        summed = [total + change for total, change in zip(summed, moved(before, after), strict=True)]
    assert whole[0].abs().sum() > 0
    for change, total in zip(whole, summed, strict=True):
        torch.testing.assert_close(change, total, rtol=0, atol=1e-13)


# the sixth, of the encoder, is in tests/data/test_encoders.py
# the rest of the rule -------------------------------------------------------------------------------------------------
def test_the_update_of_a_convolution():
    """lr / places of the output times the correlation of the input's counts with (d - r) D."""
    method = make(**CONV)
    frames, layers, before = images(1), method.chain(), weights(method)
    rates = [part.sum(0) / 16 for part in fired(method, frames)]
    sigma, direction = method.desires(layers, rates, LABELS[:1], None)[0]
    _, _, after = present(method, frames, LABELS[:1], "one by one")
    signal = (direction - rates[0]) * sigma.abs()
    expected = torch.nn.grad.conv2d_weight(frames.sum(0), before[0].shape, signal, padding=1)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(after[0] - before[0], 0.01 / 16 * expected, rtol=0, atol=1e-13)


def test_what_is_fired_arrives_a_step_later():
    neuron = DelayedLIF(0.5, 1.0)
    spikes = neuron(torch.tensor([1.5, 0.5, 0.4, 0.0])[:, None])
    assert spikes[:, 0].tolist() == [0, 1, 0, 0]  # v = 1.5 -> 0.5, 0.75, 0.775, 0.3875
    assert neuron(torch.tensor([0.0, 1.0])[:, None])[:, 0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="threshold"):
        DelayedLIF(0.5, 0.0)


def test_ties_are_errors():
    scores = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 1.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0], [1.0, 2.0, 2.0]])
    metric = UniqueAccuracy(3)
    metric.update(scores, torch.tensor([0, 0, 1, 0, 2]))
    assert metric.compute().item() == pytest.approx(1 / 5)
    metrics = make().make_metrics()
    metrics["accuracy_argmax"].update(scores, torch.tensor([0, 0, 1, 0, 2]))
    assert metrics["accuracy_argmax"].compute().item() == pytest.approx(3 / 5)


def test_dropped_neurons_neither_fire_nor_learn():
    method = make(model=MLP([12, 9], 0.5), input_dropout=0.3)
    frames, layers, before = images(1), method.chain(), weights(method)
    torch.manual_seed(7)
    alive, _ = method.draw(frames, layers)
    _, _, after = present(method, frames, LABELS[:1], "kernel")
    gone = [mask[0].flatten() == 0 for mask in alive]
    assert all(0 < mask.sum() < mask.numel() for mask in gone)
    changes = moved(before, after)
    assert all(change.abs().sum() > 0 for change in changes)
    for index, change in enumerate(changes):
        assert (change[:, gone[index]] == 0).all()
        if index < 2:
            assert (change[gone[index + 1]] == 0).all()


# the loop -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dropout", "options"),
    [
        (0.0, {}),
        (0.3, {"input_dropout": 0.2}),
        (0.0, {"desire": "random"}),
        (0.3, {"decay": 0.5, "threshold": 0.7, "margin": 2, "least_error": 0.1, "least_sum": 0.3}),
    ],
)
def test_the_compiled_loop_learns_as_the_neurons_do(dropout, options):
    first, second = (make(model=MLP([30, 20], dropout), **options) for _ in range(2))
    frames, before = images(), weights(first)
    # in float64 the sums differ by their order alone; no potential lies that close to the threshold
    for a, b in zip(*(present(m, frames, LABELS, way) for m, way in ((first, "kernel"), (second, "-"))), strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
    assert all(change.abs().sum() > 0 for change in moved(before, weights(first)))


@pytest.mark.parametrize("way", ["kernel", "one by one"])
def test_a_learning_rate_of_0_leaves_a_layer_as_it_was(way):
    method = make()
    before = weights(method)
    _, _, after = present(method, images(), LABELS, way, lrs=[0.0, 0.0, 0.01])
    changes = moved(before, after)
    assert (changes[0] == 0).all() and (changes[1] == 0).all() and changes[2].abs().sum() > 0


# runs -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lr": 0}, "method.lr = 0 must be positive"),
        ({"lr_conv": -1.0}, "method.lr_conv = -1.0 must be positive"),
        ({"lr": float("nan")}, "method.lr = nan must be positive"),
        ({"threshold": 0.0}, "method.threshold = 0.0 must be positive"),
        ({"decay": 1.0}, r"method.decay = 1.0 must lie in \[0, 1\)"),
        ({"input_dropout": 1.0}, r"method.input_dropout = 1.0 must lie in \[0, 1\)"),
        ({"margin": -1}, "method.margin = -1 must be 0 or more"),
        ({"margin": 20}, "method.margin = 20 must be below the 20 steps"),
        ({"least_error": -0.1}, "method.least_error = -0.1 must be 0 or more"),
        ({"least_sum": 0.0}, "method.least_sum = 0.0 must be positive"),
        ({"least_sum_conv": 0.0}, "method.least_sum_conv = 0.0 must be positive"),
        ({"update": "all"}, "method.update = 'all' must be sample or batch"),
        ({"learn": "none"}, "method.learn = 'none' must be all or readout"),
        ({"desire": "none"}, "method.desire = 'none' must be propagated or random"),
        ({"model": ResNet(4, [[4, 1]], [])}, "trains chains of weights and spiking neurons"),
    ],
)
def test_refusals(options, told):
    with pytest.raises(InputError, match=told) as error:
        make(**options)
    assert "\n" not in str(error.value)


def test_events_shorter_than_the_margin_are_refused():
    spec = DataSpec("events", "event", (1, 4, 4), 3, time_steps=4)
    with pytest.raises(InputError, match=r"method.margin = 4 must be below the 4 steps"):
        DesireBP(MLP([4]), spec, None)


DIGITS = ["method=desire_bp", "data=digits", "logger=none", "callbacks.progress=false", "callbacks.figures=false"]
DIGITS += ["model.hidden=[20]", "trainer.limit_train_batches=5", "trainer.limit_val_batches=1"]
DIGITS += ["trainer.limit_test_batches=1", "model.dropout=0.2", "trainer.max_epochs=2"]


def last_of(result):
    return torch.load(sorted(result.folder.glob("checkpoints/epoch*.ckpt"))[-1], weights_only=True)


def same(first, second):
    states = first["state_dict"], second["state_dict"]
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_run_again_and_a_resumed_run_are_equal_to_the_bit(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    whole = run(compose(DIGITS))
    last = last_of(whole)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(3e-4 * 0.960789**2)
    assert same(last, last_of(run(compose([*DIGITS, "paths.output=again"]))))
    assert not same(last, last_of(run(compose([*DIGITS, "paths.output=other", "seed=1"]))))
    record = whole.folder / "run.json"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "interrupted"'))
    sorted(whole.folder.glob("checkpoints/epoch*.ckpt"))[-1].unlink()
    again = run(compose([*DIGITS, f"resume={whole.folder}"]))
    assert again.folder == whole.folder and same(last, last_of(again))


def test_the_twins(monkeypatch, tmp_path):
    """The hidden layers of one are as they were drawn; those of the other learn something else."""
    monkeypatch.chdir(tmp_path)
    found = {}
    for twin in ("learn=all", "learn=readout", "desire=random"):
        result = run(compose([*DIGITS, f"method.{twin}", f"paths.output={twin[:5]}{twin[-4:]}"]))
        found[twin] = last_of(result)["state_dict"]["network.layers.weight1.weight"]
    drawn = compose([*DIGITS, "trainer.max_epochs=1", "method.learn=readout", "paths.output=drawn"])
    start = last_of(run(drawn))["state_dict"]["network.layers.weight1.weight"]
    assert torch.equal(found["learn=readout"], start)
    for twin in ("learn=all", "desire=random"):
        assert not torch.equal(found[twin], start)
    assert not torch.equal(found["learn=all"], found["desire=random"])
