"""OTTT against its card: exact where the paper proves it, different where it approximates, flat in memory."""

import json

import pytest
import torch
from torch import Tensor, nn

from snnlab.callbacks.memory import LiveBytes
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct, Rate
from snnlab.errors import InputError
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.trace import Traced
from snnlab.methods.ottt import OTTT
from snnlab.models.mlp import MLP
from snnlab.models.nf_resnet import NFResNet
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv
from snnlab.runs.wiring import run
from snnlab.weights.find import weight_of

EVENTS = DataSpec("vectors", "event", (6,), 3, time_steps=5)
IMAGES = DataSpec("pictures", "image", (1, 8, 8), 3)
SGD = lambda lr: lambda parameters: torch.optim.SGD(parameters, lr=lr)  # noqa: E731


def make(model, spec=EVENTS, encoder=None, lr=0.1, **options):
    torch.manual_seed(1)
    method = OTTT(model, spec, encoder, SGD(lr), **{"first_scale": 3.0} | options).double()
    for layer in method.network.modules():  # larger than the authors' start and scale, so that small nets spike
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(weight_of(layer).stored, 0.0, 0.5)
    return method


def events(steps=5, batch=6, seed=0):
    torch.manual_seed(seed)
    return Batch((torch.rand(steps, batch, 6) < 0.6).double(), torch.randint(0, 3, (batch,)))


def gradients(method, batch, take_step=None):
    """Gradients by name of one batch, through the method's own training loop."""
    method.zero_grad()
    method.learn(batch, Tensor.backward, take_step or (lambda: None))
    return {name: p.grad.clone() for name, p in method.network.named_parameters() if p.grad is not None}


def compare(model, **options):
    """Largest difference between OTTT_A and its BPTT twin, by parameter, relative to the largest gradient."""
    ottt = gradients(make(model, first_trace=True, **options), events())
    bptt = gradients(make(model, first_trace=True, gradient="bptt", **options), events())
    assert ottt.keys() == bptt.keys() and all(grad.abs().max() > 0 for grad in bptt.values())
    return {name: ((ottt[name] - bptt[name]).abs().max() / bptt[name].abs().max()).item() for name in ottt}


@pytest.mark.parametrize("readout_trace", [True, False])
def test_weights_into_one_spiking_layer_have_the_gradient_of_bptt(readout_trace):
    found = compare(MLP([8]), readout_trace=readout_trace)
    weight, gain = (f"layers.weight1.layer.parametrizations.weight.{part}" for part in ("original", "0.gain"))
    assert found.pop(weight) < 1e-10 and found.pop(gain) < 1e-10
    assert found.pop("layers.weight1.layer.bias") > 1e-3  # paired with 1, not with the trace of 1
    assert found.pop("layers.readout_weight.layer.bias") < 1e-10
    assert (found.pop("layers.readout_weight.layer.parametrizations.weight.original") < 1e-10) is not readout_trace
    assert not found


@pytest.mark.parametrize(("readout_trace", "decay"), [(True, 0.5), (False, 0.0)])
def test_the_readout_learns_from_the_trace_or_from_the_spikes(readout_trace, decay):
    method, batch = make(MLP([8]), readout_trace=readout_trace), events()
    grads = gradients(method, batch)
    layer = method.network.layers["readout_weight"].layer
    trace, expected = 0.0, 0.0
    with torch.no_grad():
        hidden = method.network.unroll(batch.inputs)[1]["hidden1"][0]
    for spikes in hidden:
        trace = decay * trace + spikes
        outputs = (spikes @ layer.weight.detach().T + layer.bias.detach()).requires_grad_()
        (g,) = torch.autograd.grad(method.loss(outputs, batch.labels) / 5, outputs)
        expected = expected + 2.74 * g.T @ trace  # sum of g[t] ahat[t]^T, or of g[t] s[t]^T
    assert hidden.sum() > 0
    found = grads["layers.readout_weight.layer.parametrizations.weight.original"]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_two_hidden_layers_differ_from_bptt_in_the_first_and_not_at_one_step():
    found = compare(MLP([8, 7]), readout_trace=False)
    differences = {name.split(".")[1]: value for name, value in found.items() if name.endswith("original")}
    assert differences["weight1"] > 1e-3
    assert differences["weight2"] < 1e-10 and differences["readout_weight"] < 1e-10
    one = [make(MLP([8, 7]), gradient=gradient) for gradient in ("ottt", "bptt")]
    ottt, bptt = (gradients(method, events(steps=1)) for method in one)
    for name in ottt:
        torch.testing.assert_close(ottt[name], bptt[name], atol=1e-12, rtol=0)


@pytest.mark.parametrize("model", [MLP([8, 7]), RecurrentMLP([8])], ids=["mlp", "recurrent"])
def test_without_leak_memory_it_is_backpropagation_at_each_step(model):
    method = make(model, decay=0.0)
    batch = events()
    grads = gradients(method, batch)
    layers, expected = method.network.layers, {}
    spikes = torch.zeros(6, 8, dtype=torch.float64)
    for frame in batch.inputs:
        method.zero_grad()
        x = frame
        for name, layer in layers.items():
            if isinstance(layer, Traced):
                x = nn.functional.linear(x, layer.layer.weight, layer.layer.bias)
            elif name.startswith("hidden"):
                if isinstance(layer, Recurrent):
                    x = x + nn.functional.linear(spikes, layer.weight.layer.weight)
                    x = layer.neuron.spike(x - 1.0)
                    spikes = x.detach()
                else:
                    x = layer.spike(x - 1.0)
        (method.loss(x, batch.labels) / 5).backward()
        for name, p in method.network.named_parameters():
            expected[name] = expected.get(name, 0) + p.grad
    for name in grads:
        torch.testing.assert_close(grads[name], expected[name], atol=1e-12, rtol=0)


def test_the_recurrent_weight_pairs_the_signal_with_the_trace_of_the_recurrent_spikes():
    method = make(RecurrentMLP([8]))
    batch = events()
    grads = gradients(method, batch)
    layers = method.network.layers
    W, R, out = layers["weight1"].layer, layers["hidden1"].weight.layer, layers["readout_weight"].layer
    assert (out.weight == 2.74 * weight_of(out).stored).all() and (R.weight == 2.74 * weight_of(R).stored).all()
    v = spikes = trace = torch.zeros(6, 8, dtype=torch.float64)
    expected = torch.zeros(8, 8, dtype=torch.float64)
    with torch.no_grad():
        for frame in batch.inputs:
            trace = 0.5 * trace + spikes
            v = 0.5 * (v - spikes) + frame @ W.weight.T + W.bias + spikes @ R.weight.T
            spikes = (v >= 1).double()
            u = spikes @ out.weight.T + out.bias
            with torch.enable_grad():
                leaf = u.requires_grad_()
                (g,) = torch.autograd.grad(method.loss(leaf, batch.labels) / 5, leaf)
            s = torch.sigmoid(4 * (v - 1))
            expected += ((g @ out.weight) * 4 * s * (1 - s)).T @ trace
    assert spikes.sum() > 0 and expected.abs().max() > 0
    torch.testing.assert_close(grads["layers.hidden1.weight.layer.parametrizations.weight.original"], 2.74 * expected)


def peak_bytes(steps, gradient, **options):
    torch.manual_seed(0)
    encoder = options.pop("encoder", Rate)(steps)
    method = OTTT(RecurrentMLP([40]), IMAGES, encoder, SGD(0.1), gradient=gradient, **options)
    optimizer = method.configure_optimizers()
    batch = Batch(torch.rand(32, 1, 8, 8), torch.randint(0, 3, (32,)))

    def take_step():
        optimizer.step()
        optimizer.zero_grad()

    with LiveBytes() as counted:
        method.learn(batch, Tensor.backward, take_step)
    return counted.peak


STEPS = [2, 8, 32, 64]  # the card's T = 2 and 12 lie between


@pytest.mark.parametrize("options", [{}, {"update": "online"}, {"encoder": Direct}], ids=str)
def test_memory_does_not_grow_with_time(options):
    peaks = [peak_bytes(steps, "ottt", **options) for steps in STEPS]
    assert max(peaks) / min(peaks) < 1.1


def test_memory_of_the_twin_grows_linearly_with_time():
    peaks = [peak_bytes(steps, "bptt") for steps in STEPS]
    slopes = [(b - a) / (t - s) for a, b, s, t in zip(peaks, peaks[1:], STEPS, STEPS[1:], strict=False)]
    assert max(slopes) / min(slopes) < 1.1 and peaks[-1] > 10 * peaks[0]


def test_online_and_accumulated_updates_agree_to_first_order():
    changes = {}
    for update in ("accumulate", "online"):
        method = make(RecurrentMLP([8]), lr=1e-6, update=update)
        before = [p.detach().clone() for p in method.network.parameters()]
        optimizer = method.configure_optimizers()
        taken = []

        def take_step(optimizer=optimizer, taken=taken):
            optimizer.step()
            optimizer.zero_grad()
            taken.append(1)

        method.learn(events(), Tensor.backward, take_step)
        assert len(taken) == (5 if update == "online" else 1)
        after = method.network.parameters()
        changes[update] = torch.cat([((a - b) / 1e-6).flatten() for a, b in zip(after, before, strict=True)])
    difference = (changes["online"] - changes["accumulate"]).norm() / changes["accumulate"].norm()
    assert 0 < difference < 1e-4


def test_its_gradient_points_along_that_of_the_spike_representation():
    decay, steps = 0.9, 100
    method = make(MLP([30, 20]), decay=decay, first_trace=True, scale=1.0, alpha=0.0)
    torch.manual_seed(3)
    frame, labels = torch.rand(12, 6, dtype=torch.float64), torch.randint(0, 3, (12,))
    grads = gradients(method, Batch(frame.expand(steps, 12, 6), labels))
    # the weighted rate of a neuron with constant mean input c is c / (decay threshold), cut to [0, 1] (theorem 1)
    x = frame
    for name in ("weight1", "weight2"):
        layer = method.network.layers[name].layer
        x = (nn.functional.linear(x, layer.weight, layer.bias) / decay).clamp(0, 1)
    readout = method.network.layers["readout_weight"].layer
    method.zero_grad()
    method.loss(nn.functional.linear(x, readout.weight, readout.bias), labels).backward()
    for name, p in method.network.named_parameters():
        if name.endswith("original"):
            assert torch.cosine_similarity(grads[name].flatten(), p.grad.flatten(), dim=0) > 0.1, name


def test_loss_is_the_mixture_of_the_card():
    scores, labels = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([2])
    entropy = -torch.log_softmax(scores, 1)[0, 2].item()
    square = (4 + 0 + 0) / 3
    for alpha in (0.0, 0.05, 1.0):
        found = make(MLP([4]), alpha=alpha).loss(scores, labels).item()
        assert found == pytest.approx((1 - alpha) * entropy + alpha * square, rel=1e-6)


def test_learning_returns_the_scores_of_the_network_and_validation_streams_to_the_same():
    method = make(SmallConv([4], hidden=9), IMAGES, Direct(4))
    batch = Batch(torch.rand(5, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1]))
    scores, loss = method.learn(batch, Tensor.backward, lambda: None)
    torch.testing.assert_close(scores, method.scores(method.frames(batch)), atol=1e-12, rtol=0)
    outputs = method.network(method.frames(batch))
    torch.testing.assert_close(loss, torch.stack([method.loss(u, batch.labels) for u in outputs]).mean())
    logged = {}
    method.log_scores = lambda split, scores, labels, loss: logged.update({split: scores})
    with torch.inference_mode():
        method.validation_step(batch, 0)
    torch.testing.assert_close(logged["val"], scores, atol=1e-12, rtol=0)


def test_only_weights_fed_by_spikes_have_trace_and_scale():
    layers = make(SmallConv([4, 5], hidden=9), IMAGES, Direct(4), first_scale=1.5).network.layers
    weights = {name: layer for name, layer in layers.items() if isinstance(layer, Traced)}
    assert {n: w.decay for n, w in weights.items()} == {
        "weight1": 0.0,
        "weight2": 0.5,
        "weight_hidden": 0.5,
        "readout_weight": 0.5,
    }
    scales = [w.layer.parametrizations.weight[0].scale for w in weights.values()]
    assert scales == [1.5, 2.74, 2.74, 2.74]
    assert not any(isinstance(layer, nn.Linear | nn.Conv2d) for layer in layers.values())


def test_feedback_starts_silent_and_learns_from_its_trace():
    blocks = make(MLP([4])).blocks()
    blocks.conv(1, 2, 3)
    path = dict(blocks.feedback(3, 2, (8, 8)))
    spikes = torch.ones(2, 3, 2, 2)
    current, _ = path["weight"].step(path["upsample"](spikes), path["weight"].initial_state(path["upsample"](spikes)))
    assert current.shape == (2, 2, 8, 8) and current.abs().max() == 0
    assert isinstance(path["weight"], Traced) and path["weight"].decay == 0.5
    current.sum().backward()
    assert weight_of(path["weight"].layer).stored.grad.abs().max() > 0


def test_box_of_the_theory_is_one_threshold_on_either_side():
    for options, width in (({"surrogate": "box", "threshold": 0.7}, 1.4), ({"surrogate": "sigmoid"}, 0.25)):
        (neuron,) = make(MLP([4]), **options).network.neurons().values()
        assert neuron.spike.width == width and neuron.detach_reset
    box = make(MLP([4]), surrogate="box").network.layers["hidden1"].spike
    assert box.derivative(torch.tensor([-1.01, -0.99, 0.0, 0.99, 1.01])).tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"update": "online", "gradient": "bptt"}, "method.update=online steps before the sequence has ended"),
        ({"alpha": 1.5}, "method.alpha = 1.5 must lie in [0, 1]"),
        ({"scale": 0.0}, "method.scale = 0.0 must be positive; 2.74 is the paper's"),
        ({"gradient_clip": -1.0}, "method.gradient_clip = -1.0 must be positive"),
    ],
)
def test_values_out_of_range_are_named(options, words):
    with pytest.raises(InputError) as error:
        make(MLP([4]), **options)
    assert words in str(error.value)


# whole runs -----------------------------------------------------------------------------------------------------------
QUICK = ["method=ottt", "data=digits", "logger=none", "model.hidden=[32]", "callbacks.figures=false"]


@pytest.fixture
def in_tmp(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_a_run_learns_and_tells_how_its_memory_grows(in_tmp):
    from snnlab.evaluate.ask import ask

    result = run(compose([*QUICK, "trainer.max_epochs=2"]))
    assert result.metrics["test"]["accuracy"] > 0.8
    content, figures = ask(result.folder, "memory_over_time", ["steps=[2,16]", "twin=method.gradient=bptt"])
    values = content["values"]
    assert values["growth of OTTT"] < 1.1 and values["growth of method.gradient=bptt"] > 2
    assert list(figures) == ["memory_over_time"] and json.dumps(values)
    with pytest.raises(InputError, match="must name numbers of at least 1"):
        ask(result.folder, "memory_over_time", ["steps=[0]"])


def test_the_schedule_falls_once_an_epoch_and_clipping_bounds_the_update(in_tmp):
    options = [*QUICK, "trainer.max_epochs=3", "trainer.limit_train_batches=2", "method.update=online"]
    seen = []
    parts = build(compose([*options, "method.gradient_clip=1e-4"]).config)
    learn = parts.method.learn

    def watched(batch, backward, take_step):
        def step():
            take_step()
            optimizer = parts.method.optimizers().optimizer
            momentum = [optimizer.state[p]["momentum_buffer"].norm() for p in parts.method.network.parameters()]
            seen.append((optimizer.param_groups[0]["lr"], torch.stack(momentum).norm().item()))

        return learn(batch, backward, step)

    parts.method.learn = watched
    from snnlab.runs.wiring import make_trainer

    make_trainer(parts.config, None, [], []).fit(parts.method, datamodule=parts.data)
    rates = [rate for rate, _ in seen]
    assert len(rates) == 3 * 2 * 5 and rates[0] == 0.1 and rates[9] == 0.1
    assert rates[10] == pytest.approx(0.075) and rates[20] == pytest.approx(0.025)
    assert (
        0 < max(size for _, size in seen) <= 1e-3 * (1 + 1e-3)
    )  # a momentum of 0.9 sums to at most 10 times the bound


def test_behind_a_residual_stream_the_readout_is_plain_and_starts_at_zero():
    """u = W x + b of the averaged stream, W = 0 at first: no trace, no 2.74; dL/dW = sum over t of g[t] x[t]^T."""
    torch.manual_seed(1)
    method = OTTT(NFResNet([4, 6], [1, 1]), IMAGES, Direct(4), SGD(0.1)).double()
    layer = method.network.layers["readout_weight"]
    assert type(layer) is nn.Linear and not weight_of(layer).constrained and not layer.weight.any()
    inside = method.network.leaves()["block1_weight1"]
    assert isinstance(inside, Traced)
    assert inside.layer.parametrizations.weight[0].scale == 2.74  # behind neurons, as ever
    batch = Batch(torch.rand(5, 1, 8, 8, dtype=torch.float64), torch.arange(5) % 3)
    seen = []
    layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0].detach()))
    found = gradients(method, batch)["layers.readout_weight.weight"]
    assert len(seen) == 4
    expected = torch.zeros_like(found)
    for x in seen:
        u = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)  # W = 0
        (g,) = torch.autograd.grad(method.loss(u, batch.labels) / 4, u)
        expected += g.T @ x
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
