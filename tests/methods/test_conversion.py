"""The rectified network, its spiking twin, and the comparison of a run with a conversion."""

import json
import re

import pytest
import torch
from torch import nn

from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct, Latency, Rate
from snnlab.errors import InputError
from snnlab.evaluate import comparison
from snnlab.evaluate.accuracy_over_time import Curve
from snnlab.evaluate.ask import ask, evaluate
from snnlab.methods.ann import ANN
from snnlab.methods.conversion import Conversion, rank
from snnlab.metrics.multiply_accumulates import multiply_accumulates
from snnlab.models.lenet import LeNet
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.neurons.lif import LIF
from snnlab.runs.wiring import run

SPEC = DataSpec("pictures", "image", (1, 8, 8), 4)


class Pictures:
    """A data module of one training batch."""

    def __init__(self, images):
        self.images = images

    def train_dataloader(self):
        return [Batch(self.images, torch.zeros(len(self.images), dtype=torch.long))] * 3


def make(model=None, encoder=None, **options):
    torch.manual_seed(3)
    model = MLP([32, 16]) if model is None else model
    method = Conversion(model, SPEC, Direct(200) if encoder is None else encoder, torch.optim.Adam, **options)
    return method.double().eval()


def pictures(count=20):
    return torch.rand(count, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def batch_of(images):
    return Batch(images, torch.zeros(len(images), dtype=torch.long))


def test_ann_equals_a_plain_network_and_sees_the_mean_frame():
    torch.manual_seed(0)
    spec = DataSpec("events", "event", (1, 8, 8), 4, time_steps=6)
    method = ANN(MLP([5]), spec, None, torch.optim.Adam).double()
    frames = torch.rand(6, 3, 1, 8, 8, dtype=torch.float64)
    w1, w2 = (method.network.layers[n].weight for n in ("weight1", "readout_weight"))
    expected = (frames.mean(0).flatten(1) @ w1.T).clamp(min=0) @ w2.T
    torch.testing.assert_close(method.scores(method.frames(batch_of(frames))), expected, atol=1e-12, rtol=0)
    assert not method.network.neurons() and method.network.layers["weight1"].bias is None
    assert ANN(MLP([5]), spec, None, torch.optim.Adam, bias=True).network.layers["weight1"].bias is not None
    with pytest.raises(InputError, match="a recurrent layer needs time"):
        ANN(RecurrentMLP([5]), spec, None, torch.optim.Adam)


def test_multiply_accumulates_are_counted_by_hand():
    spec = DataSpec("pictures", "image", (1, 28, 28), 10)
    network = ANN(LeNet([20, 50]), spec, Direct(1), torch.optim.Adam).network
    counts = multiply_accumulates(network, torch.zeros(1, 1, 28, 28))
    assert counts == {
        "weight1": 24 * 24 * 20 * 25,
        "weight2": 8 * 8 * 50 * 20 * 25,
        "weight_hidden": 50 * 16 * 200,
        "readout_weight": 2000,
    }


@pytest.mark.parametrize("balance", ["spike", "activation"])
def test_scores_of_the_spiking_twin_approach_the_rectified_ones(balance):
    images = pictures()
    method = make(balance=balance)
    wanted = method.scores(method.frames(batch_of(images)))
    method.finish(Pictures(images))
    assert all(isinstance(n, LIF) for n in method.network.neurons().values()) and len(method.network.neurons()) == 2
    errors = []
    for steps in (50, 800):
        method.encoder.time_steps = steps
        errors.append((method.scores(method.frames(batch_of(images))) - wanted).abs().max().item())
    assert errors[1] < 0.03 * wanted.abs().max().item() and errors[1] < errors[0] / 4
    with method.as_rectified():
        assert torch.equal(method.scores(method.frames(batch_of(images))), wanted)
    assert method.finished


def test_thresholds_are_the_largest_currents():
    images = pictures()
    method = make(balance="activation")
    w1, w2 = (method.network.layers[n].weight for n in ("weight1", "weight2"))
    first = images.flatten(1) @ w1.T
    method.finish(Pictures(images))
    a1, a2 = first.max().item(), (first.clamp(min=0) @ w2.T).max().item()
    assert method.thresholds == pytest.approx({"hidden1": a1, "hidden2": a2 / a1})
    method = make(balance="spike", encoder=Direct(30))
    method.finish(Pictures(images))
    assert method.thresholds["hidden1"] == pytest.approx(a1)
    spikes = LIF(1.0, a1, "soft")(first.expand(30, *first.shape))
    assert method.thresholds["hidden2"] == pytest.approx((spikes @ w2.T).max().item())
    lower = make(percentile=90.0)
    lower.finish(Pictures(images))
    peaks = first.flatten().sort().values
    assert lower.thresholds["hidden1"] == peaks[576 - 1].item()  # 90 % of 20 x 32 units
    assert lower.thresholds["hidden1"] < method.thresholds["hidden1"]


def three_layers(balance, activations, **options):
    """A chain of one unit a layer whose activations on the one image are those given."""
    model = MLP([1] * len(activations))
    method = make(model, balance=balance, **options)
    before = 1.0
    for i, activation in enumerate(activations):
        weight = method.network.layers[f"weight{i + 1}"].weight
        nn.init.constant_(weight, activation / before / weight.shape[1])
        before = activation
    method.finish(Pictures(torch.ones(1, 1, 8, 8, dtype=torch.float64)))
    return method


def test_diehls_balance_divides_by_the_factor_before():
    """Activations 2.861, 3.392, 2.057: 2.861; 3.392 / 2.861 = 1.186; 2.057 / 1.186 = 1.735. Robust: 2.057 / 3.392."""
    activations = [2.861, 3.392, 2.057]
    found = list(three_layers("activation", activations).thresholds.values())
    assert found == pytest.approx([2.861, 1.185599, 1.734988], abs=1e-6)
    found = list(three_layers("robust", activations).thresholds.values())
    assert found == pytest.approx([2.861, 1.185599, 0.606427], abs=1e-6)


def test_an_average_pool_lies_between_two_balanced_layers():
    """20 images: the second activation is that of the means which the pool hands on."""
    images, method = pictures(), make(LeNet([3, 4], 6), balance="activation")
    first = method.current("conv1", images[None])[0]
    second = method.current("conv2", images[None])[0]
    conv1, conv2 = (method.network.layers[f"weight{i}"] for i in (1, 2))
    pooled = nn.functional.avg_pool2d(conv1(images).clamp(min=0), 2)
    torch.testing.assert_close(second, conv2(pooled), atol=1e-12, rtol=0)
    method.finish(Pictures(images))
    third = method.thresholds["hidden"] * method.thresholds["conv2"]  # A_3
    a = [first.max().item(), second.max().item()]
    assert method.thresholds["conv1"] == pytest.approx(a[0]) and method.thresholds["conv2"] == pytest.approx(
        a[1] / a[0]
    )
    with method.as_rectified():
        assert third == pytest.approx(method.current("hidden", images[None]).max().item())


def test_a_tie_fires_or_stays_silent():
    """Current 1, threshold 1: v = 1, 1, 1 with >=; strictly 1, 2, 2, a step later."""
    currents = torch.ones(4, 1, 1, dtype=torch.float64)
    fires, silent = (make(strict=strict).make_neuron(1.0)(currents).flatten().tolist() for strict in (False, True))
    assert fires == [1, 1, 1, 1] and silent == [0, 1, 1, 1]
    assert compose(["method=conversion", "data=digits"]).config["method"]["strict"] is True


@pytest.mark.parametrize(("percentile", "count", "place"), [(99.9, 1000, 999), (100, 7, 7), (50, 4, 2), (1e-9, 9, 1)])
def test_a_percentile_is_a_rank(percentile, count, place):
    assert rank(percentile, count) == place


def test_balancing_is_repeatable_whatever_the_generator():
    images = pictures()
    method = make(encoder=Rate(40))
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        method.finish(Pictures(images))
        assert torch.equal(torch.get_rng_state(), before)
        found.append(dict(method.thresholds))
    assert found[0] == found[1]


def test_scores_over_time_are_those_of_shorter_runs():
    images = pictures(3)
    method = make(LeNet([3, 4], 6), Direct(9), reset="hard")
    method.finish(Pictures(images))
    frames = method.frames(batch_of(images))
    over_time = method.scores_over_time(frames)
    for t in range(1, 10):
        torch.testing.assert_close(over_time[t - 1], method.scores(frames[:t]), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("spec", "encoder", "options", "message"),
    [
        (DataSpec("nmnist", "event", (2, 8, 8), 4, time_steps=5), None, {}, "conversion needs an encoder"),
        (SPEC, Latency(5), {}, "encoder=latency: conversion needs frames whose mean is the image"),
        (SPEC, Rate(5), {"percentile": 0.0}, r"percentile = 0.0 must lie in \(0, 100\]"),
        (SPEC, Rate(5), {"calibration": 0}, "calibration = 0 must be at least 1"),
        (SPEC, Rate(5), {"run": "nowhere"}, "nowhere holds no readable run.json"),
    ],
)
def test_what_cannot_be_converted_is_refused(spec, encoder, options, message):
    with pytest.raises(InputError, match=message):
        Conversion(MLP([4]), spec, encoder, torch.optim.Adam, **options)


QUICK = ["data=digits", "logger=none", "model.hidden=[32]", "callbacks.figures=false", "callbacks.progress=false"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An ann run, its conversion without training, and a spike_bp run, on the bundled digits."""
    out = f"paths.output={tmp_path_factory.mktemp('runs')}"
    ann = run(compose([*QUICK, out, "method=ann", "trainer.max_epochs=8"]))
    convert = ["method=conversion", f"method.run={ann.folder}", "encoder.time_steps=60"]
    conversion = run(compose([*QUICK, out, *convert]))
    spikes = run(compose([*QUICK, out, "method=spike_bp", "trainer.max_epochs=3", "encoder.time_steps=10"]))
    return ann, conversion, spikes


def test_a_stored_network_is_converted_without_training(runs, tmp_path):
    ann, conversion, _ = runs
    assert ann.metrics["test"]["accuracy"] > 0.75  # 8 epochs of 32 units
    assert ann.metrics["test"]["multiply_accumulates"] == 64 * 32 + 32 * 10
    assert conversion.metrics["test"]["ann_accuracy"] == pytest.approx(ann.metrics["test"]["accuracy"])
    assert conversion.metrics["val"]["accuracy"] == pytest.approx(ann.metrics["val"]["accuracy"])
    assert conversion.metrics["test"]["accuracy"] > ann.metrics["test"]["accuracy"] - 0.05
    assert set(conversion.metrics["test"]["firing_rate"]) == {"hidden1"}
    record = json.loads((conversion.folder / "run.json").read_text())
    assert record["status"] == "completed" and record["checkpoint"] == "checkpoints/epoch000.ckpt"
    assert evaluate(conversion.folder)["metrics"]["test"] == conversion.metrics["test"]
    import snnlab

    assert list(snnlab.load(conversion.folder).neurons()) == ["hidden1"]
    with pytest.raises(InputError, match=r"its weights do not fit; it has model=mlp .*conversion needs the same model"):
        run(compose([*QUICK[:2], "method=conversion", f"method.run={ann.folder}", "model.hidden=[33]"]))
    with pytest.raises(InputError, match="is a completed run of method=conversion"):
        run(compose([*QUICK, "method=conversion", f"method.run={conversion.folder}"]))


def test_the_comparison_of_two_runs_adds_up(runs):
    _, conversion, spikes = runs
    content, figures = ask(spikes.folder, "comparison", [f"against={conversion.folder}"])
    values = content["values"]
    assert set(figures) == {"comparison"}
    for side, stored in (("", spikes), ("_against", conversion)):
        layers = values[f"layers{side}"]
        total = sum(row["spikes_per_inference"] for row in layers.values())
        assert total == pytest.approx(values[f"spikes_per_inference{side}"], rel=1e-12)
        assert total == pytest.approx(stored.metrics["test"]["spikes_per_inference"], rel=0.02)  # drawn anew
        for row in layers.values():
            activity = row["spikes_per_inference"] / (row["neurons"] * values[f"steps{side}"])
            assert row["activity"] == pytest.approx(activity)
    assert values["steps"] == 10 and values["steps_against"] == 60 and values["ann_macs"] == 64 * 32 + 32 * 10
    assert values["speed_up"] == values["iso_steps"] / 10
    assert values["joule"] == pytest.approx(0.9e-12 * values["operations"])  # spiking input: nothing is analog
    assert values["compute_reduction"] == pytest.approx(values["ann_macs"] * 4.6 / (values["operations"] * 0.9))
    cheaper = ask(spikes.folder, "comparison", [f"against={conversion.folder}", "e_mac=0.9"])[0]["values"]
    assert cheaper["ann_joule"] == pytest.approx(values["ann_joule"] * 0.9 / 4.6)


def test_questions_that_make_no_sense_are_refused(runs):
    ann, conversion, spikes = runs
    usage = "comparison against=... [margin=0.01] [e_ac=0.9] [e_mac=4.6]"
    with pytest.raises(
        InputError, match=re.escape(f"comparison needs against=...: python -m snnlab.evaluate RUN {usage}")
    ):
        ask(spikes.folder, "comparison", [])
    with pytest.raises(InputError, match="nowhere is no run folder"):
        ask(spikes.folder, "comparison", ["against=nowhere"])
    with pytest.raises(InputError, match="ANN has no spiking layer"):
        ask(spikes.folder, "comparison", [f"against={ann.folder}"])
    with pytest.raises(InputError, match="margin = 2"):
        ask(spikes.folder, "comparison", [f"against={conversion.folder}", "margin=2.0"])


def curve(accuracy, *layers):
    counts = {f"l{i}": torch.tensor(layer, dtype=torch.float64) for i, layer in enumerate(layers)}
    return Curve(torch.tensor(accuracy, dtype=torch.float64), counts, dict.fromkeys(counts, 10))


def test_stopping_and_budgets_by_hand():
    ours = curve([0.5, 0.9], [4.0, 10.0], [1.0, 2.0])
    assert ours.spikes.tolist() == [5, 12]
    theirs = curve([0.2, 0.6, 0.9, 0.95], [10.0, 20.0, 30.0, 40.0])
    assert comparison.stopped(ours, theirs, 0.01) == (3, "reached the accuracy of the first run")
    weaker = curve([0.2, 0.845, 0.85, 0.84], [10.0, 20.0, 30.0, 40.0])
    assert comparison.stopped(ours, weaker, 0.01) == (2, "reached its own maximum less 0.01")
    assert comparison.accuracy_within(theirs, 25) == 0.6 and comparison.accuracy_within(theirs, 9) is None
    assert comparison.layer_table(ours)["l0"] == {"neurons": 10, "spikes_per_inference": 10.0, "activity": 0.5}


def test_analog_input_costs_multiplications(runs):
    _, conversion, spikes = runs
    change = ["encoder=direct", "encoder.time_steps=5"]
    values = ask(conversion.folder, "comparison", [f"against={spikes.folder}", *change])[0]["values"]
    assert values["analog_macs"] == 5 * 64 * 32 and values["iso_analog_macs"] == 0
    joule = (0.9 * values["operations"] + 4.6 * 5 * 64 * 32) * 1e-12
    assert values["joule"] == pytest.approx(joule)


def test_every_activation_is_a_plain_relu_until_the_end():
    method = make()
    assert [type(method.network.layers[n]) for n in method.rectified] == [nn.ReLU, nn.ReLU]
    assert method.trains and not method.finished


def test_small_numbers_are_printed_with_their_digits(capsys):
    from snnlab.evaluate.__main__ import print_values
    from snnlab.runs.wiring import metric_lines
    from snnlab.tables.rows import cell

    print_values({"joule": 4.84e-08, "rate": 4.84e-08, "accuracy": 0.98765, "silent": 0.0})
    words = capsys.readouterr().out.split()
    assert words == ["joule", "48.4", "nJ", "rate", "4.84e-08", "accuracy", "0.9877", "silent", "0.0000"]
    assert metric_lines({"rate": 1.25e-6})[0].endswith("1.25e-06")
    assert cell([4.84e-08]) == "4.84e-08" and cell([0.0]) == "0.0000" and cell([0.5, 0.7]) == "0.6000 ± 0.1414"
