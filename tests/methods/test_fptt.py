"""FPTT against its card: what it is without its regulariser, where it comes to rest, flat memory, cut gradients."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnlab.callbacks.memory import LiveBytes
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Rate
from snnlab.errors import InputError
from snnlab.layers.trace import detached
from snnlab.methods.fptt import FPTT
from snnlab.methods.fptt.dynamic_regularizer import DynamicRegularizer
from snnlab.methods.stbp import STBP
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.questions.value_at_end import ValueAtEnd, answers_figure
from snnlab.runs.wiring import run

EVENTS = DataSpec("vectors", "event", (6,), 3, time_steps=10)
VALUES = DataSpec("sums", "sequence", (2,), 1, time_steps=10, question=ValueAtEnd(answer_steps=1))
SGD = lambda lr: lambda parameters: torch.optim.SGD(parameters, lr=lr)  # noqa: E731


def make(spec=EVENTS, model=None, lr=0.1, encoder=None, **options):
    torch.manual_seed(1)
    method = FPTT(model or RecurrentMLP([8]), spec, encoder, SGD(lr), **{"gradient_clip": None} | options).double()
    for layer in method.network.modules():  # larger than PyTorch's start, so that small nets spike
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.5)
    return method


def batch_of(spec=EVENTS, steps=10, size=6):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.rand(steps, size, *spec.input_shape, dtype=torch.float64, generator=generator) * 2
    if not spec.question.has_classes:
        return Batch(inputs, torch.rand(size, 1, dtype=torch.float64, generator=generator))
    return Batch(inputs, torch.arange(size) % spec.classes)


def teach(method, batch, backward=Tensor.backward):
    """One batch; returns scores and loss of ``learn``, and how many steps the optimizer took."""
    optimizer, taken = method.configure_optimizers(), []

    def take_step():
        optimizer.step()
        optimizer.zero_grad()
        taken.append(1)

    return *method.learn(batch, backward, take_step), len(taken)


def weights(method):
    return [p.detach().clone() for p in method.parameters()]


# invariants of the card -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("neuron", ["ltc", "alif", "lif"])
def test_without_alpha_it_is_sgd_on_instantaneous_losses(neuron):
    """Invariant 1, ten steps."""
    method, other = (
        make(VALUES, alpha=0.0, parts=None, part_steps=1, neuron=neuron, readout="leaky") for _ in range(2)
    )
    batch, states = batch_of(VALUES), None
    teach(method, batch)
    for t, frame in enumerate(batch.inputs, start=1):
        output, states = other.network.step(frame, detached(states))
        parameters = list(other.parameters())
        loss = t / 10 * ((output - batch.labels) ** 2).mean()
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters, grads, strict=True):
                p -= 0 if g is None else 0.1 * g
    start = weights(make(VALUES, parts=None, part_steps=1, neuron=neuron, readout="leaky"))
    for a, b in zip(weights(method), weights(other), strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=0)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(weights(method), start, strict=True))


def test_a_convex_loss_comes_to_rest_at_its_optimum():
    """Invariant 2: W = Wbar and lambda = dl/dW = 0."""
    torch.manual_seed(0)
    A, target = torch.randn(5, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    curvature = A @ A.T / 5 + torch.eye(5, dtype=torch.float64)
    W = nn.Parameter(torch.randn(5, dtype=torch.float64))
    regulariser = DynamicRegularizer([W], 0.5, 0.5, 0.0).double()
    regulariser.begin()
    for _ in range(2000):
        W.grad = curvature @ (W.detach() - target)
        regulariser.add_gradient()
        with torch.no_grad():
            W -= 0.1 * W.grad
        regulariser.follow()
    mean, dual = regulariser.kept("mean")[0], regulariser.kept("dual")[0]
    for found, expected in ((W, target), (mean, target), (dual, 0 * target)):
        assert (found - expected).abs().max() < 1e-12


def test_the_regulariser_is_its_equations():
    """W = 3, Wbar = 1, lambda = 0.5, alpha 0.5, beta 0.25: dR/dW = 1 - 0.5; after W = 2: lambda 0, Wbar 1.25."""
    W = nn.Parameter(torch.tensor([1.0]))
    regulariser = DynamicRegularizer([W], 0.5, 0.25, 0.0)
    regulariser.begin()
    regulariser.dual0.fill_(0.5)
    with torch.no_grad():
        W.fill_(3.0)
    regulariser.add_gradient()
    assert W.grad.item() == pytest.approx(0.5)
    with torch.no_grad():
        W.fill_(2.0)
    regulariser.follow()
    assert (regulariser.dual0.item(), regulariser.mean0.item()) == pytest.approx((0.0, 1.25))
    regulariser.begin()  # a second time changes nothing
    assert regulariser.mean0.item() == pytest.approx(1.25)
    regulariser.settle()
    assert W.item() == pytest.approx(1.25)


STEPS = [50, 500]  # the card's


def peak_bytes(steps, **options):
    torch.manual_seed(0)
    spec = DataSpec("sums", "sequence", (2,), 1, time_steps=steps, question=ValueAtEnd(answer_steps=1))
    method = FPTT(RecurrentMLP([16]), spec, None, SGD(0.1), strength=0.0, **options)
    batch = Batch(torch.rand(steps, 8, 2), torch.rand(8, 1))
    with LiveBytes() as counted:
        teach(method, batch)
    return counted.peak


@pytest.mark.parametrize("readout", ["liquid", "membrane"])
def test_memory_does_not_grow_with_time(readout):
    """Invariant 3, for parts of 5 steps; the twin's grows."""
    small, large = (peak_bytes(t, parts=None, part_steps=5, readout=readout) for t in STEPS)
    assert large / small < 1.05
    if readout == "liquid":
        small, large = (peak_bytes(t, gradient="bptt") for t in (10, 100))
        assert large > 5 * small


def test_memory_does_not_grow_with_the_time_of_encoded_images():
    peaks = []
    for steps in (10, 60):
        spec = DataSpec("pictures", "image", (1, 4, 4), 3)
        method = FPTT(RecurrentMLP([16]), spec, Rate(steps), SGD(0.1), parts=None, part_steps=5)
        with LiveBytes() as counted:
            teach(method, Batch(torch.rand(8, 1, 4, 4), torch.randint(0, 3, (8,))))
        peaks.append(counted.peak)
    assert peaks[1] / peaks[0] < 1.15  # q has a [K, K] for each part


@pytest.mark.parametrize("readout", ["liquid", "leaky", "membrane"])
def test_one_part_without_alpha_is_backpropagation_through_time(readout):
    """Invariant 4, and the twin is that."""
    batch, options = batch_of(), {"readout": readout}
    one, twin = make(parts=1, alpha=0.0, **options), make(gradient="bptt", **options)
    reference = make(**options)
    reference.loss(reference.scores(batch.inputs), batch.labels).backward()
    for method in (one, twin):
        *_, steps = teach(method, batch)
        assert steps == 1
        for p, q in zip(method.parameters(), reference.parameters(), strict=True):
            expected = q.detach() - (0 if q.grad is None else 0.1 * q.grad)
            torch.testing.assert_close(p.detach(), expected, atol=1e-10, rtol=0)
    assert sum(p.grad is not None and p.grad.abs().max() > 0 for p in reference.parameters()) >= 5


def test_no_gradient_reaches_an_input_before_the_last_boundary():
    """Invariant 6."""
    method, batch = make(parts=4, lr=1e-4), batch_of(steps=12)
    leaf = batch.inputs.clone().requires_grad_()
    reached = []

    def backward(loss):
        (grad,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        reached.append((grad.abs().sum((1, 2)) > 0).nonzero().flatten().tolist())
        loss.backward()

    teach(method, Batch(leaf, batch.labels), backward)
    assert reached == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


# the rest of the algorithm --------------------------------------------------------------------------------------------
def test_states_are_carried_from_part_to_part():
    method, batch = make(parts=5, lr=0.0), batch_of()
    scores, *_ = teach(method, batch)
    torch.testing.assert_close(scores, method.scores(batch.inputs), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({"parts": 10}, 200, [20 * p for p in range(1, 11)]),
        ({"parts": 4}, 10, [2, 5, 7, 10]),
        ({"parts": 10}, 3, [1, 2, 3]),
        ({"parts": None, "part_steps": 4}, 10, [4, 8, 10]),
        ({"gradient": "bptt"}, 10, [10]),
    ],
)
def test_parts_end_where_they_should(options, steps, expected):
    assert make(**options).ends(steps) == expected


def test_a_part_loss_by_hand():
    """K = 3, P = 4, part 2, uniform q = 1/3: 0.5 CE + 0.5 mean over samples and classes of -log p / 3."""
    method = make(parts=4, oracle=0.5)
    scores = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3]], dtype=torch.float64)
    labels, log_p = torch.tensor([0, 0, 2]), torch.log_softmax(scores, -1)
    expected = -0.5 * log_p[[0, 1, 2], labels].mean() - 0.5 * (log_p / 3).mean()
    assert method.part_loss(scores, labels, 1, 4).item() == pytest.approx(expected.item(), abs=1e-7)
    p, third = log_p.exp(), torch.full((3,), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(method.expected[1, 0], (third + p[:2].mean(0)) / 2, atol=1e-7, rtol=0)
    torch.testing.assert_close(method.expected[1, 1], third, atol=1e-7, rtol=0)
    torch.testing.assert_close(method.expected[1, 2], (third + p[2]) / 2, atol=1e-7, rtol=0)
    whole = method.part_loss(scores, labels, 3, 4)
    assert whole.item() == pytest.approx(nn.functional.cross_entropy(scores, labels).item(), abs=1e-7)


def test_the_released_weighting():
    """p - 1 + 1/P, and no step in the last part."""
    method = make(VALUES, parts=5, weighting="released")
    scores, labels = torch.full((2, 1), 3.0), torch.full((2, 1), 1.0)
    losses = [method.part_loss(scores, labels, part, 5).item() for part in range(4)]
    assert losses == pytest.approx([0.8, 4.8, 8.8, 12.8])
    *_, steps = teach(method, batch_of(VALUES))
    assert steps == 4
    fraction = make(VALUES, parts=5)
    assert [fraction.part_loss(scores, labels, p, 5).item() for p in (0, 4)] == pytest.approx([0.8, 4.0])


def test_weights_settle_where_they_are_told_to():
    after = {}
    for settle in ("sequence", "never"):
        method = make(settle=settle)
        teach(method, batch_of())
        after[settle] = weights(method), method.dynamic_regularizer.kept("mean")
    same = [torch.equal(w, m) for w, m in zip(*after["sequence"], strict=True)]
    assert all(same)
    assert any(not torch.equal(w, m) for w, m in zip(*after["never"], strict=True))


def test_the_membrane_is_read_after_its_reset():
    method, batch = make(readout="membrane"), batch_of()
    _, record = method.network.unroll(batch.inputs)
    spikes, states = record["hidden1"]
    expected = states.v @ method.reader.weight.T + method.reader.bias
    assert spikes.sum() > 0
    torch.testing.assert_close(method.readings(batch.inputs), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(method.scores(batch.inputs), expected[-1], atol=1e-12, rtol=0)


def test_a_spike_of_a_liquid_net_is_as_many_operations_as_it_has_synapses():
    """8 units return their spikes to 8; the membrane is read by none of them, and gates and inputs are analog."""
    method, batch = make(VALUES, readout="membrane"), batch_of(VALUES)
    method.observed_scores(batch.inputs)
    _, record = method.network.unroll(batch.inputs)
    spikes, _ = record["hidden1"]
    expected = 8 * spikes[:-1].sum().item() / 6  # the last ones have nowhere to go
    assert method.synaptic_operations.compute().item() == pytest.approx(expected) and expected > 0


def test_a_window_of_answers_is_their_mean():
    spec = DataSpec("recall", "event", (6,), 3, time_steps=10, question=ClassAtEnd(answer_steps=4))
    method, batch = make(spec, parts=2), batch_of()
    readings = method.readings(batch.inputs)
    torch.testing.assert_close(method.scores(batch.inputs), readings[6:].mean(0))
    over_time = method.scores_over_time(batch.inputs)
    torch.testing.assert_close(over_time[-1], readings[6:].mean(0))
    torch.testing.assert_close(over_time[1], readings[:2].mean(0))
    scores, *_ = teach(make(spec, parts=2, lr=0.0), batch)
    torch.testing.assert_close(scores, readings[6:].mean(0), atol=1e-12, rtol=0)


def test_stbp_takes_the_liquid_neuron_too():
    method = STBP(MLP([8]), EVENTS, None, SGD(0.1), neuron="ltc", neuron_options={"strength": 0.5}).double()
    method.loss(method.scores(batch_of().inputs), batch_of().labels).backward()
    gate = method.network.layers["hidden1"].membrane_gate
    assert len(gate.bias) == 8 and gate.weight.grad.abs().max() > 0


def test_convolutions_take_it():
    spec = DataSpec("maps", "event", (2, 8, 8), 3, time_steps=4)
    method = FPTT(SmallConv([4], hidden=8), spec, None, SGD(0.1), parts=2)
    before = weights(method)
    teach(method, Batch(torch.rand(4, 2, 2, 8, 8), torch.tensor([0, 2])))
    assert all(not torch.equal(a, b) for a, b in zip(before, weights(method), strict=True))


# runs -----------------------------------------------------------------------------------------------------------------
TINY = [
    *("experiment=fptt_adding", "data.steps=12", "data.train_sequences=60", "data.val_sequences=20"),
    *("data.test_sequences=20", "data.batch_size=20", "model.hidden=[8]", "method.parts=3", "method.settle=epoch"),
    *("logger=none", "callbacks.figures=false", "callbacks.progress=false", "trainer.max_epochs=3"),
]


def test_a_run_resumed_equals_one_never_interrupted(tmp_path, monkeypatch, empty_data):
    import lightning as L

    from snnlab.callbacks import progress

    monkeypatch.chdir(tmp_path)
    whole = run(compose(TINY))
    first = torch.load(max((whole.folder / "checkpoints").glob("*.ckpt")), weights_only=True)["state_dict"]
    assert first["dynamic_regularizer.begun"] and first["dynamic_regularizer.dual0"].abs().max() > 0

    class Stop(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 2 and batch_idx == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress, "make_progress", lambda *_: [Stop()])
        with pytest.raises(KeyboardInterrupt):
            run(compose([*TINY, "callbacks.progress=true"]))
    resumed = run(compose([*TINY, "callbacks.progress=true", "resume=auto"]))
    assert resumed.metrics == whole.metrics
    parts = build(compose(TINY).config)
    with torch.no_grad():
        batches = [next(iter(parts.data.test_dataloader()))]
        answered = [(parts.method.predictions(batch), batch.labels) for batch in batches]
        (axis,) = parts.data.spec.question.pictures(lambda: iter(answered), 1)["answers"]().axes
    assert len(axis.lines[0].get_xdata()) == 20
    content = json.loads((Path(resumed.folder) / "run.json").read_text())
    assert content["status"] == "completed" and "accuracy" not in content["metrics"]["test"]


def test_recipes_say_how_to_train_on_each_kind_of_data(empty_data):
    for options, read, neuron in (
        (["data=adding"], "membrane", "LTC"),
        (["data=digits"], "liquid", "LTC"),
        (["data=mnist", "data.sequence=rows"], "liquid", "LTC"),
        (["data=nmnist", "method.neuron=alif"], "liquid", "ALIF"),
    ):
        parts = build(compose(["method=fptt", *options]).config)
        assert parts.method.readout == read
        names = {type(layer).__name__ for layer in parts.method.network.modules()}
        assert neuron in names and "Recurrent" in names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parts": None}, "give one of them"),
        ({"parts": 4, "part_steps": 4}, "give one of them"),
        ({"parts": 0}, "method.parts = 0 must be at least 1"),
        ({"alpha": -1.0}, "method.alpha = -1.0 must not be negative"),
        ({"beta": 0.0}, "method.beta = 0.0 must lie in"),
        ({"rho": 2.0}, "method.rho = 2.0 must lie in"),
        ({"gradient_clip": 0.0}, "method.gradient_clip = 0.0 must be positive"),
        ({"weighting": "released"}, "negative weight"),
        ({"readout": "spikes"}, "must be liquid, leaky, membrane or trace"),
        ({"readout": "membrane", "model": MLP([])}, "use method.readout=liquid"),
        ({"neuron": "ltc2"}, "method.neuron = ltc2: choose one of"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(InputError, match=words):
        make(**options)


def test_answers_are_drawn_against_the_right_values():
    import matplotlib.pyplot as plt

    answers, labels = torch.rand(7, 2), torch.rand(7, 2)
    (axis,) = answers_figure(answers, labels).axes
    first, second, diagonal = axis.lines
    for k, line in enumerate((first, second)):
        assert (
            line.get_xdata().tolist() == labels[:, k].tolist() and line.get_ydata().tolist() == answers[:, k].tolist()
        )
    ends = [float(labels.min()), float(labels.max())]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == ends
    plt.close("all")
