"""BNTT against its card: unit tests 1 to 8, the step loop, and the shared norm that collapses in evaluation."""

import pytest
import torch
from torch import nn

from snnlab.config.compose import compose
from snnlab.data.contract import DataSpec
from snnlab.data.encoders import SignedPoisson
from snnlab.errors import InputError
from snnlab.layers.batch_norm_through_time import BatchNormThroughTime, SharedBatchNorm, normalise_together
from snnlab.methods.base.step_schedule import StepSchedule
from snnlab.methods.bntt import BNTT
from snnlab.models.mlp import MLP
from snnlab.models.small_conv import SmallConv


def make(model=None, shape=(6,), steps=25, classes=3, **options):
    torch.manual_seed(1)
    spec = DataSpec("vectors", "event", shape, classes, time_steps=steps)
    return BNTT(model or MLP([20, 15]), spec, None, torch.optim.SGD, **options).double()


def spikes_in(steps=25, batch=8, shape=(6,), seed=2):
    torch.manual_seed(seed)
    return (torch.rand(steps, batch, *shape) < 0.5).double()


def norms(method):
    return {n: m for n, m in method.network.layers.items() if isinstance(m, BatchNormThroughTime | SharedBatchNorm)}


def randomise(method):
    """Norms as after some training: gamma around 1, running averages of their own."""
    torch.manual_seed(3)
    for norm in norms(method).values():
        nn.init.uniform_(norm.gamma, 0.5, 1.5)
        nn.init.normal_(norm.running_mean, 0.0, 0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)


def test_1_a_single_step_is_conv_batch_norm_threshold_and_knows_no_leak():
    frames = torch.rand(1, 9, 2, 8, 8, dtype=torch.float64)
    outputs = []
    for decay in (0.95, 0.1):
        method = make(SmallConv([4], hidden=7), (2, 8, 8), steps=1, decay=decay)
        layers = method.network.layers
        outputs.append(method.scores(frames))
    x = frames[0]
    x = nn.functional.batch_norm(layers["weight1"](x), None, None, torch.ones(4).double(), None, True, 0.1, 1e-4)
    x = nn.functional.avg_pool2d((x > 1).double(), 2).flatten(1)
    x = layers["weight_hidden"](x)
    x = nn.functional.batch_norm(x, None, None, torch.ones(7).double(), None, True, 0.1, 1e-4)
    expected = layers["readout_weight"]((x > 1).double())
    assert expected.abs().sum() > 0
    for output in outputs:
        torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)


def test_2_with_gamma_zero_the_rest_of_the_run_adds_nothing():
    method, t0 = make().eval(), 10
    randomise(method)
    for norm in norms(method).values():
        norm.gamma.data[t0:] = 0
    with torch.no_grad():
        u_out, record = method.network.unroll(spikes_in())
    residual = torch.stack([record[name][1].v.flatten(1).amax(1) for name in ("hidden1", "hidden2")]).amax(0)  # [T]
    quiet = next(t for t in range(t0, 25) if residual[t] < 1)  # the decay transient is over
    assert record["hidden2"][0][: t0 + 1].sum() > 0 and quiet < 24
    assert all(record[name][0][quiet + 1 :].sum() == 0 for name in ("hidden1", "hidden2"))
    assert torch.equal(u_out[-1], u_out[quiet])
    torch.testing.assert_close(method.scores_over_time(spikes_in())[quiet] * (quiet + 1), u_out[-1])


def test_3_weights_before_a_norm_have_no_scale():
    method = make(eps=1e-12)
    frames, labels = spikes_in(), torch.randint(0, 3, (8,))
    layers = method.network.layers
    scores = method.scores(frames)
    method.loss(scores, labels).backward()
    for name in ("weight1", "weight2"):
        W, G = layers[name].weight.detach(), layers[name].weight.grad
        assert G.norm() > 0
        assert abs((W * G).sum().item()) < 1e-4 * (W.norm() * G.norm()).item()
        layers[name].weight.data.mul_(7.0)
    torch.testing.assert_close(method.scores(frames), scores, atol=1e-9, rtol=0)


def test_4_the_same_input_at_every_step_leaves_the_same_statistics():
    norm = BatchNormThroughTime(5, 25).double()
    z = torch.randn(12, 5, dtype=torch.float64)
    outputs = norm(z.expand(25, 12, 5))
    for rows in (outputs, norm.running_mean, norm.running_var):
        assert torch.equal(rows, rows[:1].expand_as(rows))
    torch.testing.assert_close(norm.running_mean[0], 0.1 * z.mean(0))
    torch.testing.assert_close(norm.running_var[0], 0.9 + 0.1 * z.var(0))


@pytest.mark.parametrize("shape", [(5,), (5, 4, 3)])
def test_5_every_step_and_channel_is_centred_and_scaled_by_gamma(shape):
    norm = BatchNormThroughTime(5, 4).double()
    nn.init.uniform_(norm.gamma, 0.2, 2.0)
    z = torch.randn(4, 12, *shape, dtype=torch.float64) * 0.02 + 3
    dims = [1, *range(3, z.dim())]
    var = z.var(dims, correction=0)
    out = norm(z)
    torch.testing.assert_close(out.mean(dims), torch.zeros_like(var), atol=1e-12, rtol=0)
    torch.testing.assert_close(out.std(dims, correction=0), norm.gamma.detach() * (var / (var + 1e-4)).sqrt())


@pytest.mark.parametrize("threshold", [1.0, 0.5])
def test_6_the_surrogate_is_a_triangle_of_height_0_3(threshold):
    spike = make(threshold=threshold).make_neuron().spike
    u = torch.linspace(0, 3, 3001, dtype=torch.float64).requires_grad_()  # in units of the threshold
    v = u.detach() * threshold
    v.requires_grad_()
    spike(v - threshold).sum().backward()
    assert v.grad[1000].item() == pytest.approx(0.3, abs=1e-12)
    assert v.grad[0].item() == pytest.approx(0, abs=1e-12) and v.grad[2000:].abs().max().item() < 1e-12
    assert torch.trapezoid(v.grad, u.detach()).item() == pytest.approx(0.3, abs=1e-6)
    expected = 0.3 * (1 - (u - 1).abs()).clamp(min=0)
    torch.testing.assert_close(v.grad, expected.detach(), atol=1e-12, rtol=0)
    assert spike(torch.zeros(1)).item() == 0  # equality stays silent


def test_7_the_state_holds_T_norms_and_no_bias_and_never_stretches():
    method = make(steps=25)
    randomise(method)
    state = method.state_dict()
    for name, units in (("norm1", 20), ("norm2", 15)):
        for part in ("gamma", "running_mean", "running_var"):
            assert state[f"network.layers.{name}.{part}"].shape == (25, units)
    assert not [key for key in state if "bias" in key or "beta" in key]
    with pytest.raises(RuntimeError, match="trained for 25 time steps and has no statistics for 26"):
        make(steps=26).load_state_dict(state)
    with pytest.raises(ValueError, match="run at most 25, or train with more"):
        method.scores(spikes_in(26))
    shorter = make(steps=10)
    shorter.load_state_dict(state)
    frames = spikes_in(10)
    expected = method.eval().scores(frames)
    assert expected.abs().sum() > 0 and torch.equal(shorter.eval().scores(frames), expected)
    assert len(state["network.layers.norm1.gamma"]) == 25  # the stored weights stay as they were


def test_7_the_step_loop_ends_where_the_norm_does():
    norm = BatchNormThroughTime(3, 2)
    state = norm.initial_state(torch.zeros(4, 3))
    for _ in range(2):
        _, state = norm.step(torch.randn(4, 3), state)
    with pytest.raises(ValueError, match="step 3 has no statistics"):
        norm.step(torch.randn(4, 3), state)


def test_8_the_reset_is_detached():
    neuron = make().make_neuron()
    v = torch.linspace(-1, 3, 41, dtype=torch.float64).requires_grad_()
    spikes, state = neuron.step(torch.full_like(v, 0.4), neuron.initial_state(v)._replace(v=v))
    (slope,) = torch.autograd.grad(state.v.sum(), v)
    assert 0 < spikes.sum() < 41
    torch.testing.assert_close(slope, torch.full_like(v, 0.95), atol=1e-15, rtol=0)


def test_a_shift_is_an_offset_of_every_step_and_channel():
    torch.manual_seed(0)
    z = torch.randn(3, 7, 5, dtype=torch.float64)
    for norm, shape in ((BatchNormThroughTime(5, 3, shift=True), (3, 5)), (SharedBatchNorm(5, shift=True), (5,))):
        assert norm.double().beta.shape == shape and not norm.beta.any()
        plain = norm(z)
        nn.init.normal_(norm.beta)
        offset = norm.beta.expand(3, 5)[:, None]
        torch.testing.assert_close(norm(z), plain + offset)
        state, stepped = norm.initial_state(z[0]), []
        for current in z:
            out, state = norm.step(current, state)
            stepped.append(out)
        torch.testing.assert_close(torch.stack(stepped), norm(z))
        mean, var = torch.zeros(3, 5).double(), torch.ones(3, 5).double()
        shared_out = normalise_together(z, norm.gamma.expand(3, 5), norm.beta.expand(3, 5), mean, var, 0.1, 1e-4)
        torch.testing.assert_close(shared_out, norm(z))
    fewer = BatchNormThroughTime(5, 2, shift=True)
    stored = BatchNormThroughTime(5, 3, shift=True)
    nn.init.normal_(stored.beta)
    fewer.load_state_dict(stored.state_dict())
    assert torch.equal(fewer.beta, stored.beta[:2])
    assert "beta" not in BatchNormThroughTime(5, 3).state_dict()


def test_gamma_of_a_step_learns_from_its_own_step_only():
    norm = BatchNormThroughTime(3, 5)
    norm(torch.randn(5, 8, 3)).square()[2].sum().backward()
    assert (norm.gamma.grad != 0).any(1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("norm", ["bntt", "shared", "none"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("model", "shape"), [(MLP([20, 15]), (6,)), (SmallConv([4], hidden=7), (2, 8, 8))])
def test_step_loop_equals_forward_gradients_included(model, shape, training, norm):
    found = []
    for loop in (False, True):
        method = make(model, shape, steps=5, norm=norm).train(training)
        randomise(method)
        frames = spikes_in(5, 8, shape).requires_grad_()
        if loop:
            states, outputs = None, []
            for frame in frames:
                output, states = method.network.step(frame, states)
                outputs.append(output)
            u_out = torch.stack(outputs)
        else:
            u_out = method.network(frames)
        assert u_out.abs().sum() > 0
        (u_out**2).sum().backward()
        found.append([u_out.detach(), frames.grad, *(p.grad for p in method.parameters()), *method.buffers()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_the_shared_norm_is_an_ordinary_batch_norm_called_at_every_step():
    torch.manual_seed(0)
    ours, theirs = SharedBatchNorm(5), nn.BatchNorm2d(5, eps=1e-4)
    z = torch.randn(7, 6, 5, 3, 3) * torch.linspace(1, 4, 7).view(7, 1, 1, 1, 1)
    torch.testing.assert_close(ours(z), torch.stack([theirs(x) for x in z]))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(z), torch.stack([theirs.eval()(x) for x in z]))


def burst(seed, batch=60, steps=25):
    """A recording that is loud at first and silent, but for noise, later: frames [T, B, 12], labels [B]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (batch,), generator=generator)
    pattern = 1 + 0.05 * torch.eye(3).repeat_interleave(4, 1)[labels]  # [B, 12]
    loudness = 5 * 0.5 ** torch.arange(steps)
    noise = 0.01 * torch.randn(steps, batch, 12, generator=generator)
    return loudness.view(-1, 1, 1) * pattern + noise, labels


def burst_accuracy(norm, weights):
    """Train on 30 batches; accuracy on other samples with the running averages, and with those of the batch."""
    torch.manual_seed(weights)
    method = BNTT(MLP([30]), DataSpec("bursts", "event", (12,), 3, time_steps=25), None, torch.optim.SGD, norm=norm)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    for seed in range(30):
        frames, labels = burst(seed)
        optimizer.zero_grad()
        method.loss(method.scores(frames), labels).backward()
        optimizer.step()
    frames, labels = burst(1000, batch=200)
    right = [method.train(training).scores(frames).argmax(-1) == labels for training in (False, True)]
    return torch.stack(right).double().mean(1)


def test_a_shared_norm_collapses_in_evaluation_where_bntt_does_not():
    evaluation, training = torch.stack([burst_accuracy("bntt", weights) for weights in (2, 3)]).mean(0).tolist()
    assert evaluation > 0.99 and training > 0.98
    evaluation, training = torch.stack([burst_accuracy("shared", weights) for weights in (2, 3)]).mean(0).tolist()
    assert training > 0.98 and evaluation < 0.6  # of 3 classes: learned, and lost with one running average


def test_scores_are_the_summed_current_over_the_steps_run():
    method = make().eval()
    randomise(method)
    frames = spikes_in(12)
    currents = []

    def keep(_module, _inputs, output):
        currents.append(output)

    handle = method.network.layers["readout_weight"].register_forward_hook(keep)
    scores = method.scores(frames)
    handle.remove()
    u_out = currents[0].unflatten(0, (12, 8))
    torch.testing.assert_close(scores, u_out.sum(0) / 12)
    torch.testing.assert_close(method.scores_over_time(frames)[4], u_out[:5].sum(0) / 5)
    labels = torch.randint(0, 3, (8,))
    torch.testing.assert_close(method.loss(scores, labels), nn.functional.cross_entropy(scores, labels))


def test_a_batch_of_one_is_normalised_by_the_running_averages():
    for norm in ("bntt", "shared"):
        method = make(norm=norm)
        randomise(method)
        before = [b.clone() for b in method.buffers()]
        frames = spikes_in(batch=1)
        assert torch.equal(method.train().scores(frames), method.eval().scores(frames))
        assert all(torch.equal(a, b) for a, b in zip(before, method.buffers(), strict=True))


def test_weights_are_xavier_uniform_of_gain_two():
    weight = make(MLP([400]), (500,)).network.layers["weight1"].weight
    bound = 2 * (6 / 900) ** 0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=1e-2)


@pytest.mark.parametrize(
    ("epochs", "rates"),
    [
        (3, [1, 1, 0.1]),
        (10, [1, 1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001]),
        (1, [1]),
        (125, [1] * 63 + [0.1] * 25 + [0.01] * 25 + [0.001] * 12),
    ],
)
def test_the_learning_rate_falls_at_50_70_and_90_percent_of_any_training(epochs, rates):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = StepSchedule(optimizer, epochs)
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(rates)


@pytest.mark.parametrize(
    ("epochs", "lengths"), [(100, [51, 20, 20, 9]), (3, [3]), (10, [6, 2, 2]), (150, [76, 30, 30, 14])]
)
def test_the_authors_rate_falls_at_the_end_of_the_epochs_50_70_90(epochs, lengths):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = StepSchedule(optimizer, epochs, late=True)
    rates = []
    for _ in range(epochs):
        rates.append(round(optimizer.param_groups[0]["lr"], 9))
        optimizer.step()
        schedule.step()
    assert [rates.count(rate) for rate in sorted(set(rates), reverse=True)] == lengths
    assert compose(["method=bntt", "data=digits"]).config["method"]["scheduler"]["late"] is True


def test_images_take_their_time_steps_from_the_encoder():
    spec = DataSpec("pictures", "image", (1, 4, 4), 3)
    method = BNTT(MLP([5]), spec, SignedPoisson(7), torch.optim.SGD)
    assert method.network.layers["norm1"].gamma.shape == (7, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gain": 0.0}, "BNTT: gain = 0.0 must be positive"),
        ({"norm": "layer"}, "BNTT: norm = 'layer' must be bntt, shared or none"),
        ({"eps": 0.0}, "BatchNormThroughTime: eps = 0.0 must be positive"),
        ({"momentum": 2.0, "norm": "shared"}, "SharedBatchNorm: momentum = 2.0 must lie in (0, 1]"),
        ({"peak": -1.0}, "Triangle: peak = -1.0 must be positive"),
        ({"threshold": 0.0}, "threshold = 0.0 must be positive"),
        ({"steps": None}, "does not fix its number of time steps"),
    ],
)
def test_what_cannot_be_built_is_named(options, words):
    with pytest.raises((ValueError, InputError)) as error:
        make(**options)
    assert words in str(error.value)
