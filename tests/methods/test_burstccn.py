"""BurstCCN against its card: the backpropagation limit, cancellation, feedback alignment, and the updates."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct
from snnlab.errors import InputError
from snnlab.methods.burstccn import BurstCCN, continuous
from snnlab.methods.burstccn.burstccn import Activity
from snnlab.methods.burstccn.continuous import ContinuousBurstCCN, student_and_teacher
from snnlab.methods.burstccn.figures import angles_figure
from snnlab.metrics.angle import angle
from snnlab.models.mlp import MLP
from snnlab.models.small_conv import SmallConv
from snnlab.runs.wiring import run

SGD = partial(torch.optim.SGD, lr=0.3)


def make(hidden=(15, 15), inputs=(20,), classes=5, model=None, seed=1, **options):
    torch.manual_seed(seed)
    spec = DataSpec("pixels", "image", inputs, classes)
    options = {"W_gain": 1.0, **options}
    return BurstCCN(model or MLP(list(hidden)), spec, Direct(1), SGD, **options).double()


def shown(method, size=8):
    """Inputs of a batch and the output rates that they give."""
    inputs = torch.rand(size, *method.data.input_shape, dtype=torch.float64)
    return inputs, method.ascend(inputs)[2][-1]


def taught(method, scale, size=8):
    """Inputs, and targets whose error has the given standard deviation."""
    inputs, output = shown(method, size)
    return inputs, output + scale * torch.randn_like(output)


def by_autograd(method, inputs, target):
    """Gradients of the logged loss of any target by autograd."""
    loss = method.p0 / 2 * (method.scores(inputs[None]) - target).pow(2).sum(-1).mean()
    return torch.autograd.grad(loss, list(method.network.parameters()))


def by_rule(method, inputs, target):
    activity = method.react(inputs, target)
    method.set_gradients(activity, activity.errors)
    return [p.grad.clone() for p in method.network.parameters()]


# the invariants of the card -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("scale", "degrees", "gap"), [(0.03, 0.0009, 5e-5), (0.3, 0.05, 6e-4)])
def test_1_tied_pathways_and_small_errors_give_half_of_backpropagation(scale, degrees, gap):
    method = make(Y="tied", Q="tied")  # 20-15-15-5
    inputs, target = taught(method, scale)
    activity = method.react(inputs, target)
    exact = [error / method.p0 for error in method.backpropagated(activity, target)]  # of 1/2 |e - y|^2
    for i, (got, wanted) in enumerate(zip(activity.errors, exact, strict=True)):
        assert angle(got, wanted).item() < degrees
        assert abs((got.norm() / wanted.norm()).item() - 0.5) < (gap if i < 2 else 1e-12)


def test_1_the_gap_is_the_curvature_of_the_sigmoid_and_falls_with_the_square_of_the_error():
    method = make(Y="tied", Q="tied")
    inputs, output = shown(method)
    direction = torch.randn_like(output)
    angles = []
    for scale in (0.3, 0.03):
        activity = method.react(inputs, output + scale * direction)
        exact = method.backpropagated(activity, output + scale * direction)
        angles.append(angle(activity.errors[0], exact[0]).item())
    assert angles[0] / angles[1] == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize(
    ("Y", "Q"), [("random", "symmetric"), ("random", "tied"), ("symmetric", "symmetric"), ("tied", "tied")]
)
def test_2_without_a_teaching_signal_nothing_bursts_more_and_nothing_moves(Y, Q):
    method = make(Y=Y, Q=Q)
    inputs, output = shown(method)
    for target in (None, output):
        activity = method.react(inputs, target)
        assert all((p == 0.5).all() for p in activity.probabilities)
        assert all((v == 0).all() for v in activity.apical)
        assert all((g == 0).all() for g in by_rule(method, inputs, target))


def test_3_fixed_random_feedback_gives_half_of_feedback_alignment():
    method = make(Y="random", Q="tied")
    inputs, output = shown(method)
    target = output + 0.03 * torch.randn_like(output)
    activity = method.react(inputs, target)
    delta = (output - target) * output * (1 - output)
    for i in (1, 0):
        e, Y = activity.events[i], method.burst_weight(method.stages[i + 1])
        delta = delta @ Y * e * (1 - e)
        assert angle(activity.errors[i], delta).item() < 0.01
        assert (activity.errors[i].norm() / delta.norm()).item() == pytest.approx(0.5, abs=2e-4)
        assert angle(method.backpropagated(activity, target, aligned=True)[i], delta).item() < 1e-5


@pytest.mark.parametrize("learned", ["Q", "Y"])
def test_4_feedback_learning_alone_cancels_the_apical_potential(learned):
    rates = {"lr_Q": 0.05, "lr_Y": 0.0} if learned == "Q" else {"lr_Q": 0.0, "lr_Y": 0.05}
    method = make(Y="random", Q="random", **rates)
    optimizer = torch.optim.SGD(method.configure_optimizers().param_groups[1:], lr=0.05)  # feedback alone
    inputs, output = shown(method)
    sizes = []
    for _ in range(200):
        activity = method.react(inputs, output)
        sizes.append(sum(v.pow(2).sum() for v in activity.apical).item())
        method.set_gradients(activity, activity.errors)
        optimizer.step()
    assert all(after < before for before, after in pairwise(sizes))
    assert sizes[-1] < 0.05 * sizes[0]


def test_5_burst_probabilities_lie_in_0_to_1_and_bursts_are_fewer_than_events():
    method = make(Y="random", Q="random", Y_scale=3.0, W_gain=3.6)
    inputs, _ = shown(method)
    activity = method.react(inputs, torch.eye(5, dtype=torch.float64)[torch.arange(8) % 5])
    for p, e in list(zip(activity.probabilities, activity.events, strict=True))[:-1]:
        assert 0 < p.min() < 0.1 and 0.9 < p.max() < 1  # and they use the range
        assert (p * e < e).all()


# the updates ----------------------------------------------------------------------------------------------------------
CONV = SmallConv([3], hidden=6)


@pytest.mark.parametrize(("inputs", "model"), [((20,), None), ((1, 7, 7), CONV)])
def test_backpropagated_errors_give_the_gradients_of_autograd(inputs, model):
    method = make(inputs=inputs, model=model, gradient="backprop")
    x, target = taught(method, 1.0)
    activity = Activity(*method.ascend(x), [], [], [])
    method.set_gradients(activity, method.backpropagated(activity, target))
    for p, wanted in zip(method.network.parameters(), by_autograd(method, x, target), strict=True):
        torch.testing.assert_close(p.grad, wanted, atol=1e-14, rtol=1e-10)


@pytest.mark.parametrize(("inputs", "model"), [((20,), None), ((1, 7, 7), CONV)])
def test_tied_rule_equals_autograd_for_small_errors(inputs, model):
    method = make(inputs=inputs, model=model, Y="tied", Q="tied")
    x, output = shown(method)
    target = output + 1e-4 * torch.randn_like(output)
    for got, wanted in zip(by_rule(method, x, target), by_autograd(method, x, target), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=0)
        assert angle(got, wanted).item() < 1e-4


def test_one_training_step_is_the_update_of_the_card():
    method = make((3, 4), inputs=(2,), classes=2, Y="random", Q="random", lr_Q=0.01, lr_Y=0.02)
    optimizer = method.configure_optimizers()
    method.optimizers = lambda: optimizer
    method.log = lambda *_, **__: None
    images, labels = torch.rand(5, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    W = [s.weight.used.detach().clone() for s in method.stages]
    b = [s.weight.bias_values.used.detach().clone() for s in method.stages]
    Y, Q = ([getattr(p, n).detach().clone() for p in method.pathways.values()] for n in "YQ")
    method.training_step(Batch(images, labels), 0)

    e = [images]
    for weight, bias in zip(W, b, strict=True):
        e.append(torch.sigmoid(e[-1] @ weight.T + bias))
    y = nn.functional.one_hot(labels, 2).double()
    p = 0.5 * ((y - e[3]) * (1 - e[3]) + 1)
    beta, delta, v = p * e[3], [None, None, -(p - 0.5) * e[3]], [None, None]
    for layer in (1, 0):
        v[layer] = beta @ Y[layer] - e[layer + 2] @ Q[layer]
        p = torch.sigmoid(4 * v[layer] * (1 - e[layer + 1]))
        beta, delta[layer] = p * e[layer + 1], -(p - 0.5) * e[layer + 1]
    close = partial(torch.testing.assert_close, atol=1e-14, rtol=0)
    for layer, stage in enumerate(method.stages):
        close(stage.weight.used.detach(), W[layer] - 0.3 * delta[layer].T @ e[layer] / 5)
        close(stage.weight.bias_values.used.detach(), b[layer] - 0.3 * delta[layer].sum(0) / 5)
    for layer, pathways in enumerate(method.pathways.values()):
        close(pathways.Q.detach(), Q[layer] + 0.01 * e[layer + 2].T @ v[layer] / 5)
        close(pathways.Y.detach(), Y[layer] - 0.02 * e[layer + 2].T @ v[layer] / 5)


@pytest.mark.parametrize("gradient", ["burst", "backprop", "alignment"])
def test_every_gradient_lowers_the_loss_of_its_batch(gradient):
    method = make(gradient=gradient, Y="symmetric")
    optimizer = method.configure_optimizers()
    method.optimizers, logged = lambda: optimizer, []
    method.log = lambda name, value, **_: logged.append(name)
    batch = Batch(torch.rand(8, 20, dtype=torch.float64), torch.arange(8) % 5)
    losses = []
    for step in range(100):
        losses.append(method.loss(method.scores(method.frames(batch)), batch.labels).item())
        method.training_step(batch, step)
    assert losses[-1] < 0.9 * losses[0]
    assert "train/angle/weight1" in logged
    assert bool(method.label) == (gradient != "burst")


def looked_at(method, batch, batch_idx=0):
    """What a training step logs, as numbers."""
    optimizer, logged = method.configure_optimizers(), {}
    method.optimizers = lambda: optimizer
    method.log = lambda name, value, **_: logged.update(
        {name: float(value.compute() if hasattr(value, "compute") else value)}
    )
    method.training_step(batch, batch_idx)
    return logged


@pytest.mark.parametrize("gradient", ["burst", "backprop", "alignment"])
def test_the_logged_angle_is_that_of_the_update_to_backpropagation(gradient):
    method = make(gradient=gradient, Y="random")
    batch = Batch(torch.rand(8, 20, dtype=torch.float64), torch.arange(8) % 5)
    inputs = method.frames(batch)[0]
    exact = by_autograd(method, inputs, method.target(batch.labels, inputs))
    apical = [] if gradient != "burst" else method.react(inputs, method.target(batch.labels, inputs)).apical
    logged = looked_at(method, batch)
    for stage, reference in zip(method.stages, exact[::2], strict=True):
        found = logged[f"train/angle/{stage.name}"]
        assert found == pytest.approx(float(angle(stage.weight.stored.grad, reference)), abs=1e-6)
        if gradient == "backprop":
            assert found == pytest.approx(0, abs=1e-5)
    if gradient != "backprop":
        assert logged["train/angle/weight1"] > 10  # through random Y
    for stage, v in zip(method.stages, apical, strict=False):
        assert logged[f"train/apical/{stage.name}"] == pytest.approx(float((v**2).mean() ** 0.5))
    assert not [name for name in looked_at(method, batch, batch_idx=1) if "angle" in name]


def test_random_cancellation_bias_and_rates_are_those_asked_for():
    method = make(hidden=(60, 60), Y="random", Q="random", lr_Q=0.01)
    assert method.pathways["weight2"].Q.std().item() == pytest.approx(0.25, rel=0.1)  # p0 Y_scale
    assert all(stage.weight.bias_values is None for stage in make(bias=False).stages)
    rates = [group["lr"] for group in method.configure_optimizers().param_groups]
    assert rates == [0.3, 0.01]


def test_schedule_and_history_of_angles_outlive_a_resume(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["method=burstccn", "data=digits", "model.hidden=[16]", "logger=none", "trainer.max_epochs=3"]
    options += ["trainer.limit_train_batches=3", "callbacks.figures=false", "callbacks.progress=false"]
    options += ["method.scheduler={_target_:torch.optim.lr_scheduler.StepLR,_partial_:true,step_size:1,gamma:0.1}"]
    whole = run(compose(options))

    def stored(result):
        return torch.load(sorted(result.folder.glob("checkpoints/epoch*.ckpt"))[-1], weights_only=True)

    last = stored(whole)
    rate = last["optimizer_states"][0]["param_groups"][0]["lr"]  # of the epoch that would come next
    assert len(last["angles"]) == 3 and rate == pytest.approx(0.3e-3)
    record = whole.folder / "run.json"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "interrupted"'))
    sorted(whole.folder.glob("checkpoints/epoch*.ckpt"))[-1].unlink()
    again = stored(run(compose([*options, f"resume={whole.folder}"])))
    assert again["angles"] == last["angles"]
    assert all(torch.equal(again["state_dict"][k], v) for k, v in last["state_dict"].items())


def test_mixed_precision_trains(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["method=burstccn", "data=digits", "logger=none", "trainer.max_epochs=6", "callbacks.progress=false"]
    result = run(compose([*options, "trainer.precision=bf16-mixed", "callbacks.figures=false"]))
    assert result.metrics["test"]["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "10"], "--steps 10 must be at least 2000"),
        (["--tau-W", "0.05"], "--tau-W 0.05 must be at least the step, 0.1"),
        (["--tau-W", "nan"], "--tau-W nan must be at least the step, 0.1"),
        (["--figure", "/no/such/x.png"], "there is no folder /no/such"),
        (["--figure", "run.html"], "run.html must be a file that ends as a picture does: .png, .svg"),
        (["--figure", "run"], "run must be a file that ends as"),
    ],
)
def test_the_regression_refuses_what_it_cannot_do(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        continuous.main(arguments)
    assert ended.value.code == 2 and words in capsys.readouterr().err


def test_where_feedback_comes_from():
    method = make(Y="symmetric", Q="symmetric")
    with torch.no_grad():
        for stage in method.stages:
            stage.weight.stored.mul_(2)  # as an initialiser does
    method.prepare(None)
    for stage in method.stages[1:]:
        pathways = method.pathways[stage.name]
        torch.testing.assert_close(pathways.Y.detach(), stage.weight.used.detach())
        torch.testing.assert_close(pathways.Q.detach(), 0.5 * stage.weight.used.detach())
        assert pathways.Q.requires_grad and not pathways.Y.requires_grad
    before = make(Y="random").pathways["weight2"].Y
    method = make(Y="random")
    method.prepare(None)  # no second draw
    assert torch.equal(before, method.pathways["weight2"].Y) and before.std().item() == pytest.approx(0.5, rel=0.1)
    assert not list(make(Y="tied", Q="tied").pathways.parameters())
    assert not list(make(gradient="backprop").pathways.parameters())
    assert make(W_gain=3.6).stages[0].weight.used.std().item() == pytest.approx(3.6 * (2 / 35) ** 0.5, rel=0.1)


def test_events_are_averaged_over_time():
    method = BurstCCN(MLP([4]), DataSpec("events", "event", (2, 3, 3), 2, time_steps=7), None, SGD, input_gain=10.0)
    frames = torch.rand(7, 5, 2, 3, 3)
    torch.testing.assert_close(method.frames(Batch(frames, torch.zeros(5)))[0], 10 * frames.mean(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient": "bptt"}, "method.gradient = 'bptt' must be burst, backprop or alignment"),
        ({"Y": "learned"}, "method.Y = 'learned' must be random, symmetric or tied"),
        ({"Y_scale": 0}, "method.Y_scale = 0 must be positive"),
        ({"lr_Q": -1e-3}, "method.lr_Q = -0.001 must be 0 or more"),
        ({"p0": 1.0}, "method.p0 = 1.0 must lie between 0 and 1"),
        ({"p0": 0.2}, r"method.p0 = 0.2 must be sigma\(method.beta\) = 0.5, .* it is method.beta=-1.38629"),
        ({"beta": -1000.0}, r"method.p0 = 0.5 must be sigma\(method.beta\) = 0, "),
        ({"Y": "tied", "lr_Y": 0.1}, "method.lr_Y = 0.1 has nothing to move where method.Y=tied"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_another_baseline_works_with_its_offset():
    method = make(Y="tied", Q="tied", p0=0.2, beta=-1.3862943611198906, alpha=1 / 0.16)
    inputs, target = taught(method, 1e-3)
    activity = method.react(inputs, target)
    for got, wanted in zip(activity.errors, method.backpropagated(activity, target), strict=True):
        assert angle(got, wanted).item() < 0.01 and got.norm() / wanted.norm() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("model=recurrent_mlp", "a recurrent layer needs time"),
        ("model=mlp model.dropout=0.2", "layer dropout1 of this model is HeldDropout"),
        ("model=resnet9", "method=burstccn trains a chain of weights and rates"),
    ],
)
def test_models_that_are_no_chain_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        build(compose(["method=burstccn", "data=mnist", *model.split()]).config)


@pytest.mark.parametrize("model", ["small_conv", "lenet"])
def test_convolutional_chains_build(model):
    method = build(compose(["method=burstccn", "data=mnist", f"model={model}", "model.dropout=0"]).config).method
    assert method.scores(torch.rand(1, 2, 1, 28, 28)).shape == (2, 10)


# figures --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def drawn():
    import matplotlib.pyplot as plt

    yield lambda figure: figure.axes
    plt.close("all")


def test_the_angles_are_drawn_against_the_epoch(drawn):
    (axis,) = drawn(angles_figure([{"weight1": 70.0, "readout_weight": 0.0}, {"weight1": 60.0, "readout_weight": 1.0}]))
    *lines, right_angle = axis.lines
    assert [line.get_label() for line in lines] == ["weight1", "readout_weight"]
    assert [line.get_xydata().tolist() for line in lines] == [[[1, 70], [2, 60]], [[1, 0], [2, 1]]]
    assert set(right_angle.get_ydata()) == {90} and axis.get_ylim()[0] == 0
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["weight1", "readout_weight"]


def test_burst_probabilities_and_apical_potentials_are_drawn_by_layer(drawn):
    method = make(hidden=(15, 12))
    batch = Batch(torch.rand(200, 20, dtype=torch.float64), torch.arange(200) % 5)
    axes = drawn(method.bursts_figure(batch))
    inputs = method.frames(batch)[0]
    activity = method.react(inputs, method.target(batch.labels, inputs))
    shown = [(axes[i], p) for i, p in enumerate(activity.probabilities)]
    shown += [(axes[3 + i], v) for i, v in enumerate(activity.apical)]
    for axis, values in shown:
        bars = axis.patches
        heights = torch.tensor([bar.get_height() for bar in bars], dtype=torch.float64)
        assert heights.sum().item() == pytest.approx(1)  # shares of all units of all samples
        bins = torch.cat([torch.tensor([bar.get_x() for bar in bars]), torch.tensor([values.max()])]).double()
        counts = torch.histogram(values.flatten(), len(bars), range=(values.min().item(), values.max().item())).hist
        assert bins[0].item() == pytest.approx(values.min().item())
        torch.testing.assert_close(heights, counts / values.numel(), atol=1.5 / values.numel(), rtol=0)  # an edge
    assert [axis.get_title() for axis in axes[:3]] == ["weight1", "weight2", "readout_weight"]
    assert [set(axis.lines[0].get_xdata()) for axis in axes[:3]] == [{0.5}] * 3
    assert [axis.get_visible() for axis in axes[3:]] == [True, True, False]  # the readout has no apical potential


# continuous time ------------------------------------------------------------------------------------------------------
def test_continuous_time_rests_at_the_discrete_model():
    net = ContinuousBurstCCN([3, 6, 4, 2], torch.Generator().manual_seed(0))
    inputs, target = torch.tensor([0.2, 0.9, 0.4]).double(), torch.tensor([0.9, 0.1]).double()
    net.learn = lambda *_: None  # weights at rest
    for _ in range(20):
        net.step(inputs, target)
    method = make((6, 4), inputs=(3,), classes=2, Y="tied", Q="tied")
    with torch.no_grad():
        for stage, layer in zip(method.stages, net.layers, strict=True):
            stage.weight.stored.copy_(layer.weight)
    activity = method.react(inputs[None], target[None])
    for layer, p, e in zip(net.layers, activity.probabilities, activity.events, strict=True):
        torch.testing.assert_close(layer.events, e[0], atol=1e-12, rtol=0)
        torch.testing.assert_close(layer.probability, p[0], atol=1e-12, rtol=0)


def test_continuous_time_a_leaky_soma_follows_its_exponential():
    net = ContinuousBurstCCN([1, 1], torch.Generator().manual_seed(0), dt=0.01)
    drive = net.layers[0].weight[0, 0].item()
    for _ in range(10):
        net.step(torch.ones(1, dtype=torch.float64))
    assert net.layers[0].u.item() == pytest.approx(drive * (1 - 0.9**10), abs=1e-12)  # dt/tau = 0.1


def test_continuous_time_two_layers_by_hand():
    """(1) to (4) with numbers: 1-1-1, no bias at first, dt half of tau, two moments."""
    net = ContinuousBurstCCN([1, 1, 1], torch.Generator(), tau=0.1, tau_W=1.0, tau_mean=0.5, dt=0.05)
    low, high = net.layers
    low.weight, high.weight = torch.full((1, 1), 2.0).double(), torch.full((1, 1), -1.0).double()
    inputs, target = torch.ones(1).double(), torch.full((1,), 0.9).double()

    # dt/tau = 1/2: u_1 = 1, e_1 = sigma(1) = 0.731059; u_2 = -0.365529, e_2 = sigma(u_2) = 0.409622
    # p_2 = 1/2 (1 + (0.9 - 0.409622) 0.590378) = 0.644754; nothing has come down yet: a_1 = 0, p_1 = 1/2
    net.step(inputs, target)
    assert [low.u.item(), high.u.item()] == pytest.approx([1, -0.365529], abs=1e-6)
    assert [low.events.item(), high.events.item()] == pytest.approx([0.731059, 0.409622], abs=1e-6)
    assert [low.apical.item(), low.probability.item()] == [0, 0.5]
    assert high.probability.item() == pytest.approx(0.644754, abs=1e-6)
    assert [low.weight.item(), high.weight.item(), high.bias.item()] == [2, -1, 0]  # no rates were there to learn from
    assert [low.mean_events.item(), high.mean_bursts.item()] == [0, 0]

    # u_1 = 1.5, e_1 = 0.817574; u_2 = (-0.365529 - 0.817574) / 2 = -0.591552, e_2 = 0.356279
    # p_2 = 1/2 (1 + (0.9 - 0.356279) 0.643721) = 0.675003
    # of the moment before: v = (0.644754 - 0.5) 0.409622 (-1) = -0.059294; drive 4 (1 - 0.731059) v = -0.063786
    # a_1 = -0.031893, p_1 = sigma(a_1) = 0.492027; dt/tau_W = 0.05
    # db_2 = 0.05 0.144754 0.409622 = 0.0029647, dW_2 = db_2 0.731059 = 0.0021674; p_1 was 1/2: layer 1 rests
    net.step(inputs, target)
    assert [low.u.item(), high.u.item()] == pytest.approx([1.5, -0.591552], abs=1e-6)
    assert [low.events.item(), high.events.item()] == pytest.approx([0.817574, 0.356279], abs=1e-6)
    assert [low.apical.item(), low.probability.item()] == pytest.approx([-0.031893, 0.492027], abs=1e-6)
    assert high.probability.item() == pytest.approx(0.675003, abs=1e-6)
    assert [low.weight.item(), low.bias.item()] == [2, 0]
    assert [high.weight.item() + 1, high.bias.item()] == pytest.approx([0.0021674, 0.0029647], abs=1e-6)
    # dt/tau_mean = 0.1
    assert [low.mean_events.item(), high.mean_bursts.item()] == pytest.approx([0.0731059, 0.0264105], abs=1e-6)

    # p_1 - 1/2 = -0.0079730 of the moment before: db_1 = 0.05 (-0.0079730) 0.817574 = -0.00032592, dW_1 is the same
    # v = 0.175003 0.356279 (-0.9978326) = -0.062215, drive 4 (1 - 0.817574) v = -0.045398
    # a_1 = (-0.031893 - 0.045398) / 2 = -0.038646
    # db_2 = 0.05 0.175003 0.356279 = 0.0031175, dW_2 = db_2 0.817574 = 0.0025488
    net.step(inputs, target)
    assert [low.weight.item() - 2, low.bias.item()] == pytest.approx([-0.00032592] * 2, abs=1e-7)
    assert low.apical.item() == pytest.approx(-0.038646, abs=1e-6)
    assert [high.weight.item() + 1, high.bias.item()] == pytest.approx([0.0047162, 0.0060822], abs=1e-6)


def test_continuous_time_without_a_teacher_nothing_moves():
    net = ContinuousBurstCCN([3, 5, 2], torch.Generator().manual_seed(0))
    before = [layer.weight.clone() for layer in net.layers]
    for _ in range(50):
        net.step(torch.rand(3, dtype=torch.float64))
    assert all(torch.equal(layer.weight, weight) for layer, weight in zip(net.layers, before, strict=True))
    assert all((layer.probability == 0.5).all() for layer in net.layers)
    ratio = net.layers[0].mean_bursts / net.layers[0].mean_events
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.5), atol=0.02, rtol=0)


def test_continuous_time_a_student_learns_a_teachers_signal():
    run = student_and_teacher(seed=0, steps=4000, quiet=200, tau_W=1.0)  # fast weights for a short test
    assert run.last < 0.05 * run.first
    assert run.last < 0.5 * run.targets.var().item()  # better than the mean of the target


def test_continuous_time_refuses_an_unstable_step():
    with pytest.raises(ValueError, match=r"dt = 0\.2 must be positive and at most tau = 0\.1"):
        ContinuousBurstCCN([3, 1], torch.Generator(), dt=0.2)
