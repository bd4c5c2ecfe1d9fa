"""BLiTNet against its card: fixed points, sums, a stack of ten layers, labels, signs, forcing; kernel and rules."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from snnlab import kernels
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct
from snnlab.errors import InputError
from snnlab.methods.blitnet import BLiTNet
from snnlab.methods.blitnet.readouts import fit_logistic, fit_ridge, force
from snnlab.methods.blitnet.rules import LEAST
from snnlab.models.local import Local
from snnlab.models.mlp import MLP
from snnlab.neurons.amplitude import Amplitude
from snnlab.runs.wiring import run
from snnlab.weights.both_signs import BothSignsLinear, BothSignsLocal2d


def make(model=None, side=6, classes=3, seed=0, **options):
    """A method on images of side x side pixels in float64, everything drawn with ``seed``."""
    torch.manual_seed(seed)
    spec = DataSpec("pixels", "image", (1, side, side), classes)
    options = {"p_excitatory": 0.5, "p_inhibitory": 0.5, "rate_low": 0.03, "rate_high": 0.25, **options}
    return BLiTNet(model or Local(3, 4, 1), spec, Direct(1), **options).double()


def patterns(samples, side=6, share=0.3, seed=1):
    """Waves [1, B, 1, side, side] of 0 and 1."""
    drawn = torch.rand(1, samples, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn < share).double()


def show(method, frames, eta=0.0, eta_theta=0.0):
    """Present with constant rates: amplitudes of each hidden layer."""
    rate = torch.ones(frames.shape[1], dtype=torch.float64)
    return method.present(frames, [(eta * rate, eta_theta * rate)] * len(method.stages()))


def hidden(method, number=0):
    """Weight and neurons of a hidden layer."""
    stage = method.stages()[number]
    return stage.weight.weight, stage.end.layer


def one_neuron(excitatory, inhibitory, theta=0.0, target=0.2, **options):
    """Two inputs, one neuron, weights as given, no constant input."""
    method = make(MLP([1]), side=1, **{"constant": 0.0, **options})
    layer = BothSignsLinear(2, 1).double()
    method.network.layers["weight1"] = layer
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[*excitatory, *(-w for w in inhibitory)]], dtype=torch.float64))
    neuron = hidden(method)[1]
    neuron.threshold.fill_(theta)
    neuron.get_buffer("target").fill_(target)
    return method, layer.weight[0], neuron


def wave(*pixels):
    return torch.tensor([[pixels]], dtype=torch.float64)  # [1, 1, I]


# the invariants of the card -------------------------------------------------------------------------------------------
def test_1_every_neuron_comes_to_fire_at_its_target_rate():
    method = make(learn="thresholds", constant=0.5)
    show(method, patterns(20000), eta_theta=0.02)
    show(method, patterns(20000, seed=2), eta_theta=0.001)
    (x,) = show(method, patterns(20000, seed=3), eta_theta=0.001)
    rates, target = (x > 0).double().mean(0), hidden(method)[1].get_buffer("target")
    assert (rates - target).abs().max() < 0.01 and target.max() - target.min() > 0.2


def test_2_rows_keep_their_sum_after_every_update():
    method = make(rule="paper", row_sum=2.0)
    weight = hidden(method)[0]
    before = weight.used.detach().clone()
    for sample in patterns(40).split(1, 1):
        show(method, sample, 0.05, 0.01)
        sums = weight.excitatory(weight.used.detach()).sum((3, 4, 5))
        assert (sums - 2.0).abs().max() < 1e-6
    assert (weight.used - before).abs().max() > 0.1


def test_2_an_active_unit_of_the_code_comes_to_one_half():
    method, _, _ = one_neuron([0.05, 0.1], [0.0, 0.0], rule="code")
    (x,) = show(method, wave(0.8, 1.0))
    (after,) = show(method, wave(0.8, 1.0), 0.3)
    (after,) = show(method, wave(0.8, 1.0))
    assert (after - x).item() == pytest.approx(0.3 * (0.5 - x.item()) * 1.8, abs=1e-12)
    for _ in range(60):
        show(method, wave(0.8, 1.0), 0.3)
    assert show(method, wave(0.8, 1.0))[0].item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("rule", ["paper", "code"])
def test_3_activity_does_not_vanish_over_ten_layers(rule):
    def stack(**options):
        options = {"p_excitatory": 0.1, "p_inhibitory": 0.1, "rule": rule, **options}
        return make(MLP([60] * 10), side=8, **options)

    def activity(method):
        return [(x > 0).double().mean().item() for x in show(method, patterns(300, 8, seed=5))]

    cured = stack()
    rate = 0.02 * (1 - torch.arange(3000) / 3000).double() ** 2
    cured.present(patterns(3000, 8), [(rate, 2 * rate)] * 10)
    mean = 0.14
    assert mean / 2 < activity(cured)[-1] < 2 * mean
    silent = activity(stack(p_inhibitory=0.0, constant=0.0, p_excitatory=1.0))
    assert silent[-1] == 0
    driven = stack(p_inhibitory=0.0, constant=0.0, p_excitatory=1.0, row_sum=8.0)
    assert activity(driven)[-1] > 0.9


def test_4_labels_are_of_no_use_to_features():
    learned = []
    for shift in (0, 1):
        method = make()
        shown = Batch(patterns(30)[0], (torch.arange(30) + shift) % 3)
        show(method, method.frames(shown), 0.05, 0.02)
        method.read(lambda shown=shown: [shown])
        learned.append(
            (hidden(method)[0].used, hidden(method)[1].threshold, method.network.layers["readout_weight"].weight)
        )
    assert all(torch.equal(*pair) for pair in list(zip(*learned, strict=True))[:2])
    assert not torch.equal(learned[0][2], learned[1][2])


@pytest.mark.parametrize("rule", ["paper", "code"])
def test_5_no_synapse_changes_its_sign_and_none_is_made(rule):
    method = make(rule=rule, balance=4.0)
    weight = hidden(method)[0]
    before = weight.used.detach().clone()
    show(method, patterns(300), 0.2, 0.05)
    after = weight.used.detach()
    assert torch.equal(after.sign(), before.sign()) and (after != before).any()
    assert weight.excitatory(after).min() >= 0 and (-weight.inhibitory(after)).min() >= 0
    assert after[after != 0].abs().min() < 2 * LEAST  # some have met their bound


def test_6_forcing_brings_the_label_to_one_half_and_the_others_to_silence():
    layer, neuron = BothSignsLinear(4, 3).double(), Amplitude(torch.zeros(3), torch.zeros(3)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.cat([torch.full((3, 4), 0.4), torch.full((3, 4), -0.2)], 1))
    p, f = torch.tensor([[0.2, 0.6, 0.0, 0.9]], dtype=torch.float64), torch.full((4,), 0.5, dtype=torch.float64)
    eta = 0.05
    for _ in range(400):
        force(layer, neuron, p, torch.tensor([1]), f, [eta])
    y = neuron.potential(layer(p))[0].clamp(0, 0.9)
    assert y[1].item() == pytest.approx(0.5, abs=eta / 10) and y[[0, 2]].max() <= eta / 10


def test_6_where_nothing_is_wrong_nothing_moves():
    layer, neuron = BothSignsLinear(1, 2).double(), Amplitude(torch.zeros(2), torch.zeros(2)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.75, -0.25], [0.25, -0.75]]))
    one, label = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])
    before = layer.weight.detach().clone()
    force(layer, neuron, one, label, one[0], [0.1])
    assert torch.equal(layer.weight, before) and torch.equal(neuron.threshold, torch.zeros(2).double())
    force(layer, neuron, one / 2, label, one[0], [0.1])  # d = 0.25: W += 0.1 0.25 0.5 / 1, theta -= 0.01
    moved = (layer.weight - before)[0]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.0125), rtol=0, atol=1e-12)


# by hand --------------------------------------------------------------------------------------------------------------
def test_the_code_by_hand():
    method, weight, neuron = one_neuron([0.3, 0.1], [0.1, 0.0], theta=0.05, rule="code")
    (x,) = show(method, wave(1.0, 0.0), 0.1, 0.01)  # I = 0.2, x = 0.15
    assert x.item() == pytest.approx(0.15)
    change = 0.1 * (0.5 - 0.15)
    expected = [0.3 + change, 0.1, -(0.1 + change) * (1 + 50 * 0.1 * 0.2), 0.0]
    assert weight.tolist() == pytest.approx(expected, abs=1e-12)
    assert neuron.threshold.item() == pytest.approx(0.05 + 0.01 * 0.8)


def test_the_paper_by_hand():
    method, weight, neuron = one_neuron([0.6, 0.4], [0.1, 0.2], theta=0.45, rule="paper", balance=2.0)
    shown = [wave(1.0, 0.0), wave(0.0, 1.0), wave(0.0, 1.0)]
    (x,) = show(method, shown[0], 0.1, 0.01)  # I = 0.5: fires; excitation 0.7, 0.4, then to the sum 1
    assert x.item() == pytest.approx(0.05)
    expected = [0.7 / 1.1, 0.4 / 1.1, -(0.2 * 1.2), -(0.2 * 1.2)]
    assert weight.tolist() == pytest.approx(expected, abs=1e-12)
    (x,) = show(
        method, shown[1], 0.1, 0.01
    )  # I = 0.36 - 0.24 > 0, but below theta = 0.458: inhibition shrinks by eta f
    assert x.item() == 0
    expected = [0.7 / 1.1, 0.4 / 1.1, -0.24 * 1.2, -(0.24 - 0.1 * 0.2) * 1.2]
    assert weight.tolist() == pytest.approx(expected, abs=1e-12)
    show(method, shown[2], 0.1, 0.01)  # it fired two samples before: the input that comes now is depressed
    depressed = [0.7 / 1.1, 0.4 / 1.1 - 0.1]
    assert weight.tolist()[:2] == pytest.approx([part / sum(depressed) for part in depressed], abs=1e-12)
    assert neuron.threshold.item() == pytest.approx(0.45 + 0.01 * (0.8 - 0.2 - 0.2))


def test_a_neuron_that_is_driven_too_far_sends_the_most():
    neuron = Amplitude(torch.tensor([0.1, 0.5]), torch.tensor([0.2, 0.0]), most=0.9)
    v = torch.tensor([[[0.3, 0.5]], [[2.0, 0.75]]])
    x = neuron(v)
    torch.testing.assert_close(x, torch.tensor([[[0.4, 0.0]], [[0.9, 0.25]]]))  # equality does not fire
    assert neuron.events(x).tolist() == [[[1, 0]], [[1, 1]]]
    with pytest.raises(ValueError, match="most = 0 must lie in"):
        Amplitude(torch.zeros(1), torch.zeros(1), most=0)
    with pytest.raises(ValueError, match="must not be negative"):
        Amplitude(-torch.ones(1), torch.zeros(1))


def test_inhibition_rests_where_the_rates_are_the_target():
    """(6) with [p > 0]: growth P(fires) against shrinkage f P(silent), so P(fires | input) = f / (1 + f)."""
    method, weight, _ = one_neuron([0.0, 0.0], [0.2, 0.0], rule="paper", balance=0.0, target=0.25, noise=0.5)
    torch.manual_seed(3)
    (x,) = show(method, torch.cat([wave(1.0, 0.0)] * 6000, 1), 0.002)
    assert (x[2000:] > 0).double().mean().item() == pytest.approx(0.2, abs=0.01)  # 0.5 u > w: w -> 0.4
    assert -weight[2].item() == pytest.approx(0.4, abs=0.02)


# weights, targets, kernel ---------------------------------------------------------------------------------------------
def test_weights_of_both_signs_are_two_maps_and_know_their_synapses():
    torch.manual_seed(0)
    linear, local = BothSignsLinear(7, 4).double(), BothSignsLocal2d(2, 3, (6, 5), 3, 2).double()
    x, picture = torch.rand(5, 7, dtype=torch.float64), torch.rand(5, 2, 6, 5, dtype=torch.float64)
    up, down = linear.excitatory(linear.weight), linear.inhibitory(linear.weight)
    torch.testing.assert_close(linear(x), x @ up.T + x @ down.T)
    windows = torch.nn.functional.unfold(picture, 3, stride=2)  # [5, 18, places]
    both = (local.excitatory(local.weight) + local.inhibitory(local.weight)).reshape(3, -1, 18)
    torch.testing.assert_close(local(picture).flatten(2), torch.einsum("bkp,opk->bop", windows, both))
    gathered = picture.flatten(1)[:, local.windows()]  # [5, places, 18]
    torch.testing.assert_close(gathered, windows.transpose(1, 2))
    with torch.no_grad():
        linear.weight[0, 0], linear.weight[1, 7] = 0, 0  # one excitatory, one inhibitory synapse of input 0
    assert linear.fan_out(x).squeeze(0).tolist() == [6, *[8] * 6]
    assert (linear.inputs, local.inputs, linear.outputs, local.fan_in) == (7, 2, 4, 2 * 18)
    assert linear.per_input(torch.arange(7)).shape == (1, 14) and local.per_input(torch.arange(2)).shape[3] == 4


def test_weights_are_drawn_sparse_and_balanced_and_targets_in_equal_steps():
    method = make(Local(20, 4, 1), p_excitatory=0.6, p_inhibitory=0.4, row_sum=1.5)
    weight, neuron = hidden(method)
    used = weight.used.detach()
    for part, share, sign in ((weight.excitatory(used), 0.6, 1), (weight.inhibitory(used), 0.4, -1)):
        assert (part != 0).double().mean().item() == pytest.approx(share, abs=0.03)
        assert (part.sum((3, 4, 5)) - 1.5 * sign).abs().max() < 1e-6
    target = neuron.get_buffer("target")
    steps = target.flatten().sort().values.diff()
    assert target.shape == (20, 3, 3) and target.min().item() == pytest.approx(0.03)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.22 / 179), rtol=0, atol=1e-6)
    assert not torch.equal(target.flatten(), target.flatten().sort().values)


def take(monkeypatch, enabled):
    path = kernels.Path("auto" if enabled else "step")
    monkeypatch.setattr(kernels, "current", lambda: path)
    return path


@pytest.mark.parametrize("model", [Local(3, 4, 2), Local(3, 3, 1, crop=1), MLP([9, 5])], ids=["local", "crop", "mlp"])
@pytest.mark.parametrize("rule", ["paper", "code"])
def test_kernel_and_rules_agree(rule, model, monkeypatch):
    found = []
    for enabled in (True, False):
        path = take(monkeypatch, enabled)
        method = make(model, rule=rule, noise=0.1, balance=3.0)
        torch.manual_seed(4)
        shown = show(method, patterns(40), 0.1, 0.05)
        assert ("BLiTNet" in path.fused) is enabled and ("BLiTNet" in path.looped) is not enabled
        found.append([*shown, *(p for _, p in sorted(method.state_dict().items()))])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    assert found[0][0].max() > 0


def test_a_batch_is_only_a_way_to_hand_samples_over():
    whole, parts = make(rule="paper"), make(rule="paper")
    frames = patterns(12)
    (x,) = show(whole, frames, 0.1, 0.05)
    split = [show(parts, part, 0.1, 0.05)[0] for part in frames.split([1, 4, 7], 1)]
    assert torch.equal(x, torch.cat(split))
    assert all(
        torch.equal(one, two) for one, two in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True)
    )


def test_the_network_sends_what_the_rule_sees():
    method = make(MLP([9, 5]))
    show(method, patterns(30), 0.1, 0.05)
    frames = patterns(8, seed=2)
    shown = show(method, frames)
    features = next(iter(method.features([Batch(frames[0], torch.zeros(8, dtype=torch.long))])))[0]
    torch.testing.assert_close(features, shown[-1], rtol=0, atol=1e-12)


def test_rates_fall_and_layers_take_turns(monkeypatch):
    class Trainer:
        estimated_stepping_batches, global_step = 4, 1

    def rates(**options):
        method = make(MLP([4, 4]), **options)
        monkeypatch.setattr(BLiTNet, "trainer", Trainer())
        monkeypatch.setattr(BLiTNet, "global_step", 1)
        return [(eta.tolist(), theta.tolist()) for eta, theta in method.rates(0.1, 2)]

    falling = [0.1 * (1 - t) ** 2 for t in (0.25, 0.375)]
    first, second = rates(threshold_rate=3.0)
    assert (
        first == second and first[0] == pytest.approx(falling) and first[1] == pytest.approx([3 * r for r in falling])
    )
    assert rates(annealing=False)[0][0] == [0.1, 0.1]
    first, second = rates(in_turn=True)
    assert first[0] == pytest.approx([0.1 * (1 - t) ** 2 for t in (0.5, 0.75)]) and second[0] == [0, 0]
    assert rates(learn="thresholds")[0][0] == [0, 0] and rates(learn="none")[0] == ([0, 0], [0, 0])


# readouts -------------------------------------------------------------------------------------------------------------
def features(samples=200, units=12, classes=3):
    made = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (samples,), generator=made)
    x = torch.rand(samples, units, generator=made, dtype=torch.float64)
    return x + 0.3 * torch.nn.functional.one_hot(labels, units), labels


def test_ridge_is_that_of_scikit_learn():
    x, labels = features()
    layer = torch.nn.Linear(12, 3).double()
    with torch.no_grad():
        fit_ridge(layer, lambda: zip(x.split(70), labels.split(70), strict=True), 3, 0.05)
    penalty = 0.05 * float(((x - x.mean(0)) ** 2).sum() / 12)
    theirs = Ridge(alpha=penalty).fit(x.numpy(), torch.nn.functional.one_hot(labels, 3).numpy())
    torch.testing.assert_close(layer.weight.detach(), torch.as_tensor(theirs.coef_), rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.bias.detach(), torch.as_tensor(theirs.intercept_), rtol=0, atol=1e-10)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_is_that_of_scikit_learn_and_knows_the_classes_it_has_seen(classes):
    x, labels = features(classes=classes)
    layer = torch.nn.Linear(12, 5).double()  # classes that no sample has
    with torch.no_grad():
        fit_logistic(layer, lambda: [(x, labels)], 5, 0.1, 500)
        scores = layer(x)
    penalty = 0.1 * float(((x - x.mean(0)) ** 2).sum() / 12)
    theirs = LogisticRegression(C=1 / penalty, max_iter=500).fit(x.numpy(), labels.numpy())
    shares = scores.softmax(1)[:, :classes].numpy()
    assert abs(shares - theirs.predict_proba(x.numpy())).max() < 2e-3
    assert scores.argmax(1).max() < classes


@pytest.mark.parametrize("readout", ["ridge", "logistic", "forcing"])
def test_a_readout_is_scale_free_and_made_anew(readout):
    method = make(Local(6, 4, 1), readout=readout, readout_lr=0.01, readout_passes=20, penalty=0.01)
    labels = torch.arange(30) % 3
    frames = patterns(30)
    batches = lambda: [Batch(frames[0], labels)]  # noqa: E731
    method.read(batches)
    with torch.no_grad():
        first = method.scores(frames)
    method.read(batches)
    with torch.no_grad():
        assert torch.equal(method.scores(frames), first)
        torch.testing.assert_close(method.scores_over_time(frames)[-1], first)
    assert (first.argmax(1) == labels).double().mean() > 0.6


DIGITS = ["method=blitnet", "data=digits", "logger=none", "callbacks.health=false", "callbacks.progress=false"]
DIGITS += ["callbacks.figures=false", "trainer.limit_test_batches=1", "trainer.limit_train_batches=2"]


def weights(result):
    path = sorted(result.folder.glob("checkpoints/epoch*.ckpt"))[-1]
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_run_repeats_to_the_bit_and_a_resumed_one_equals_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = [*DIGITS, "trainer.max_epochs=2", "method.noise=0.1", "method.rule=paper"]
    first, again = run(compose(options)), run(compose(options))
    last = weights(first)
    assert all(torch.equal(last[key], value) for key, value in weights(again).items())
    assert first.metrics["test"] == again.metrics["test"]
    record = first.folder / "run.json"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "interrupted"'))
    sorted(first.folder.glob("checkpoints/epoch*.ckpt"))[-1].unlink()
    resumed = run(compose([*options, f"resume={first.folder}"]))
    assert resumed.folder == first.folder
    assert all(torch.equal(last[key], value) for key, value in weights(resumed).items())


def test_the_twin_keeps_its_weights_and_moves_its_thresholds(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    kept = {}
    for learn in ("all", "thresholds", "none"):
        kept[learn] = weights(run(compose([*DIGITS, "trainer.max_epochs=1", f"method.learn={learn}"])))
    weight, theta = "network.layers.weight1.weight", "network.layers.local1.threshold"
    assert torch.equal(kept["none"][weight], kept["thresholds"][weight])
    assert not torch.equal(kept["none"][theta], kept["thresholds"][theta])
    assert not torch.equal(kept["all"][weight], kept["thresholds"][weight])


def test_frames_are_one_wave_of_what_was_encoded(monkeypatch):
    method = make(pixel_threshold=None)
    images = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    labels = torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(method.frames(Batch(images, labels)), images.unsqueeze(0))
    monkeypatch.setattr(method, "pixel_threshold", 0.5)
    assert torch.equal(method.frames(Batch(images, labels))[0], (images > 0.5).double())
    monkeypatch.setattr(method, "encoder", None)
    monkeypatch.setattr(method, "pixel_threshold", None)
    events = 3 * patterns(20)[0].view(5, 4, 1, 6, 6)
    found = method.frames(Batch(events, labels))
    assert found.shape == (1, 4, 1, 6, 6) and found.amax((0, 2, 3, 4)).tolist() == [1, 1, 1, 1]
    torch.testing.assert_close(found[0] * events.mean(0).amax((1, 2, 3), keepdim=True), events.mean(0))


def test_without_a_hidden_layer_it_is_the_readout_of_the_pixels():
    method = make(MLP([]))
    frames, labels = patterns(30), torch.arange(30) % 3
    assert show(method, frames) == [] and method.figures(None) == {}
    method.read(lambda: [Batch(frames[0], labels)])
    assert method.network.layers["readout_weight"].in_features == 36


def test_pictures_show_weights_and_rates():
    parts = build(compose([*DIGITS, "method.learn=thresholds"]).config)
    parts.data.setup()
    figures = parts.method.figures(parts.data)
    shown = figures["receptive_fields"].axes[0].images[0].get_array()
    weight = hidden(parts.method)[0]
    net = (weight.excitatory(weight.used) + weight.inhibitory(weight.used)).detach()
    assert shown.shape == (4, 4) and torch.equal(torch.as_tensor(shown.data), net[0, 0, 0, 0])
    dots = figures["rates"].axes[0].collections[0].get_offsets()
    assert len(dots) == hidden(parts.method)[1].threshold.numel()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["model=small_conv"], "units have weights of their own.*use model=local"),
        (["model=mlp", "model.hidden=[8]", "model.dropout=0.1"], "without dropout"),
        (["model=recurrent_mlp"], "in which nothing can come back"),
        (["method.lr=0"], "method.lr = 0.* must be positive"),
        (["method.penalty=-1"], "method.penalty = -1.* must be positive"),
        (["method.noise=-0.1"], "method.noise = -0.1 must be 0 or more"),
        (["method.rule=paper", "method.balance=60"], "must be below 1"),
        (["method.rate_low=0.3", "method.rate_high=0.2"], "in this order"),
        (["method.rate_low=0"], r"must lie in \(0, 1\)"),
        (["method.p_excitatory=0"], "method.p_excitatory = 0.* must lie in"),
        (["method.p_inhibitory=1.5"], "method.p_inhibitory = 1.5 must lie in"),
        (["method.most=2"], "method.most = 2.* must lie in"),
        (["method.pixel_threshold=1"], "method.pixel_threshold = 1.* null leaves"),
        (["method.readout_passes=0"], "method.readout_passes = 0 must be at least 1"),
        (["method.label_samples=0"], "method.label_samples = 0 must be at least 1"),
        (["method.rule=stdp"], "choose one of"),
        (["method.learn=some"], "choose one of"),
        (["method.readout=svm"], "choose one of"),
        (["trainer.precision=bf16-mixed"], "use 32-true"),
        (["method.freeze=[weight1]"], "method.learn=thresholds"),
    ],
)
def test_what_does_not_fit_is_refused_before_data_is_read(options, words, empty_data):
    with pytest.raises(InputError, match=words):
        build(compose(["method=blitnet", "data=mnist", *options]).config)


def test_weights_of_the_wrong_sign_are_refused():
    parts = build(compose(["method=blitnet", "data=digits", "init=kaiming"]).config)
    with pytest.raises(InputError, match="use init=default"):
        parts.method.prepare(parts.data)
