"""Sparse spiking gradient descent: the card's neuron and readout, its twins, penalties, counters and a cold start."""

import math

import pytest
import torch

from snnlab.data.contract import DataSpec
from snnlab.data.encoders import Latency
from snnlab.errors import InputError
from snnlab.layers.active_set import counting
from snnlab.methods.sparse_bp import SparseBP
from snnlab.models.mlp import MLP
from snnlab.neurons.surrogate import FastSigmoid, Truncated
from snnlab.runs.in_process import run

SPEC = DataSpec("vectors", "event", (50,), 4, time_steps=30)
BETA = math.exp(-1 / 10)


def make(hidden=(40, 30), spec=SPEC, seed=0, **options):
    torch.manual_seed(seed)
    return SparseBP(MLP(list(hidden)), spec, None, torch.optim.SGD, **options)


def frames(rate=0.05, dtype=torch.float32):
    return (torch.rand((30, 8, 50), generator=torch.Generator().manual_seed(1)) < rate).to(dtype)


SHORT = ["method=sparse_bp", "data=digits", "logger=none", "callbacks.progress=false", "callbacks.figures=false"]
SHORT += ["model.hidden=[40,40]", "encoder.time_steps=40", "trainer.limit_test_batches=2"]

LABELS = torch.arange(8) % 4


def gradients(method, given):
    method.zero_grad()
    method.loss(method.scores(given), LABELS).backward()
    return [p.grad.clone() for p in method.network.parameters()]


def test_the_neuron_and_the_readout_of_the_card_by_hand():
    method = make([1], DataSpec("one", "event", (1,), 1, time_steps=3)).double()
    method.network.layers["weight1"].weight.data.fill_(1.2)
    method.network.layers["readout_weight"].weight.data.fill_(1.0)
    given = torch.tensor([1.0, 0, 1], dtype=torch.float64).view(3, 1, 1)
    seen = method.network.layers["hidden1"].unroll(1.2 * given)
    v = [1.2 - 1, (1.2 - 1) * BETA, (1.2 - 1) * BETA**2 + 1.2 - 1]  # the threshold is subtracted where it was crossed
    assert seen[0].flatten().tolist() == [1, 0, 1]
    assert torch.allclose(seen[1].v.flatten(), torch.tensor(v, dtype=torch.float64), atol=1e-12)
    o = [(1 - BETA), (1 - BETA) * BETA, (1 - BETA) * (BETA**2 + 1)]
    assert torch.allclose(method.network(given).flatten(), torch.tensor(o, dtype=torch.float64), atol=1e-12)
    assert method.scores(given).item() == pytest.approx(sum(o), abs=1e-12)
    method.score = "max"
    assert method.scores(given).item() == pytest.approx(max(o), abs=1e-12)
    assert torch.allclose(method.scores_over_time(given)[-1], method.scores(given))


def test_equality_stays_silent_and_is_active():
    neuron = make().make_neuron()
    assert neuron(torch.ones(1, 1, 1)).item() == 0
    assert neuron.spike.derivative(torch.zeros(1)).item() == 1


def test_the_surrogate_is_the_card_s():
    spike = make().make_neuron().spike
    x = torch.tensor([0.0, 0.01, -0.05, 0.19, -0.21, 0.3], dtype=torch.float64)
    expected = torch.where(x.abs() < 0.2, 1 / (100 * x.abs() + 1) ** 2, 0)
    assert torch.allclose(spike.derivative(x), expected, rtol=1e-12)
    dense = make(backward="dense").make_neuron().spike
    assert type(dense) is FastSigmoid and torch.allclose(dense.derivative(x), 1 / (100 * x.abs() + 1) ** 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_backwards(dtype):
    given, found = frames(dtype=dtype), {}
    for backward in ("sparse", "masked", "dense"):
        method = make(backward=backward).to(dtype)
        with counting() as counts:
            found[backward] = gradients(method, given)
        assert len(counts) == (2 if backward == "sparse" else 0)
    bound = 1e-5 if dtype == torch.float32 else 1e-10
    for sparse, masked in zip(found["sparse"], found["masked"], strict=True):
        assert masked.any() and (sparse - masked).abs().max() <= bound * masked.abs().max()
    assert not torch.allclose(found["dense"][0], found["masked"][0], rtol=0.01)
    everything = gradients(make(b_low=-math.inf).to(dtype), given)
    for sparse, dense in zip(everything, found["dense"], strict=True):
        assert (sparse - dense).abs().max() <= bound * dense.abs().max()


def test_weights_start_as_in_the_card():
    method = make([2000], DataSpec("wide", "event", (500,), 4, time_steps=3))
    weight = method.network.layers["weight1"].weight
    assert weight.std().item() == pytest.approx(20 * (1 - BETA) / math.sqrt(500), rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert method.network.layers["readout_weight"].weight.std().item() == pytest.approx(
        20 * (1 - BETA) / math.sqrt(2000), rel=0.05
    )
    own = make([200], init_scale=None).network.layers["weight1"].weight
    assert own.abs().max() <= 1 / math.sqrt(50)  # the authors' uniform weights for events
    biased = make(bias=True).network.layers["weight1"]
    assert not biased.bias.any()


def test_a_run_keeps_the_figures_and_learns(empty_data, tmp_path):
    train = run([*SHORT, "trainer.max_epochs=2", "method.optimizer.lr=0.01", f"paths.output={tmp_path}"]).metrics[
        "train"
    ]
    assert 0 < train["active_share"]["hidden1"] < 0.05
    share = train["active_share"]["hidden1"]
    # 1,437 training samples in batches of 50 and a last one of fewer
    assert train["weight_products"]["hidden1"] <= 1.01 * share * 40 * 50 * 40 * 64
    assert train["accuracy"] > 0.3


def test_where_no_neuron_is_active_nothing_is_learned_and_fluctuations_cure_it(empty_data, tmp_path):
    """The cold start: weights so small that no membrane comes near the threshold."""
    words = [*SHORT, "trainer.max_epochs=1", "trainer.limit_train_batches=10", f"paths.output={tmp_path}"]
    words += ["method.init_scale=0.5", "method.regularizer.lower_strength=0"]
    cold = run(words).metrics["train"]["active_share"]
    cured = run([*words, "init=fluctuation"]).metrics["train"]["active_share"]
    assert cold["hidden1"] == cold["hidden2"] == 0
    assert cured["hidden1"] > 0 and cured["hidden2"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"readout_decay": 1.0}, "method.readout_decay = 1.0 must lie in"),
        ({"b_low": 1.0}, "method.b_low = 1.0 must lie below"),
        ({"b_low": math.nan}, "method.b_low = nan must lie below"),
        ({"init_scale": 0.0}, "method.init_scale = 0.0 must be positive"),
        ({"decay": 1.0}, "set method.init_scale=null"),
    ],
)
def test_bad_values_are_refused(options, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        make(**options)


def test_the_latency_code_of_the_card():
    """t = tau ln(x / (x - 0.2)), one spike a pixel, none at or below 0.2."""
    encoder = Latency(100, curve="logarithmic")
    x = torch.tensor([1.0, 0.5, 0.3, 0.21, 0.201, 0.2, 0.1, 0.0]).view(1, 1, 1, 8)
    frames = encoder(x)
    expected = [4, 10, 21, 60, -1, -1, -1, -1]  # 4.46, 10.2, 21.97, 60.9, 106 is too late
    assert [int(f.argmax()) if f.any() else -1 for f in frames[:, 0, 0, 0].T] == expected
    assert frames.sum() == 4 and torch.equal(frames, torch.stack(list(encoder.frames(x))))
    times = encoder.times(x).flatten()
    assert times[1].item() == pytest.approx(20 * math.log(0.5 / 0.3), abs=1e-5)
    assert torch.equal(torch.isinf(times), torch.tensor([e < 0 for e in expected]))


def test_truncation_needs_a_reach():
    with pytest.raises(ValueError, match="reach = 0 must be positive"):
        Truncated(FastSigmoid(), 0)
