"""VDSP against its card: sign, update count, window of STDP, bounds, winners; and the kernel against the loop."""

import math

import pytest
import torch

from snnlab import kernels
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct
from snnlab.errors import InputError
from snnlab.methods.vdsp import VDSP
from snnlab.methods.vdsp.rules import Memristor, Plain
from snnlab.models.mlp import MLP
from snnlab.neurons.signed_reset_lif import SignedResetLIF
from snnlab.runs.wiring import run
from take import take

RULES = {"plain": Plain(2.0), "memristor": Memristor()}
STRONG = {"gain": 6.0, "bias": 0.5, "gain_output": 60.0, "tau_output": 0.011, "inhibition_time": 0.02}


def make(neurons=7, side=6, steps=70, classes=3, seed=0, **options):
    """A method for images of side x side pixels in float64, weights drawn with ``seed``."""
    torch.manual_seed(seed)
    spec = DataSpec("pixels", "image", (1, side, side), classes)
    options = {"lr": 0.05, **STRONG, **options}
    return VDSP(MLP([]), spec, Direct(steps), neurons=neurons, **options).double()


def images(samples=5, side=6):
    return torch.rand(samples, 1, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def change(rule, w, v, lr=0.01):
    w, v = torch.tensor(w, dtype=torch.float64), torch.tensor(v, dtype=torch.float64)
    return rule.change(w, v, lr).tolist()


# the invariants of the card -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_1_the_sign_of_v_is_the_sign_of_the_update(rule):
    up, down, still = change(rule, [0.4, 0.4, 0.4], [-1.0, 1.0, 0.0])
    assert up > 0 > down and still == 0
    assert change(rule, [1.0], [-1.0]) == [0] and change(rule, [0.0], [1.0]) == [0]  # at the bounds


def test_1_the_plain_rule_in_numbers():
    up, down = change(Plain(2.0), [0.25, 0.25], [-1.0, 0.5], lr=0.1)
    assert up == pytest.approx(0.1 * 0.75 * math.exp(-0.5) * (math.e - 1))
    assert down == pytest.approx(-0.1 * 0.25 * math.exp(-1.5) * (math.exp(0.5) - 1))


def test_1_the_device_moves_beyond_its_thresholds_only():
    rule = Memristor(v_prog=0.0, vthp=0.5, vthn=0.5, alpha_p=1.0, alpha_n=5.0, x_p=0.3, x_n=0.5)
    assert change(rule, [0.4] * 4, [-0.5, -0.2, 0.2, 0.5]) == [0] * 4
    g = math.e - math.exp(0.5)
    fast, slow = change(rule, [0.2, 0.6], [-1.0, -1.0], lr=0.1)
    assert fast == pytest.approx(0.1 * g) and slow == pytest.approx(0.1 * g * math.exp(-0.3) * 0.4 / 0.7)
    fast, slow = change(rule, [0.6, 0.3], [1.0, 1.0], lr=0.1)
    assert fast == pytest.approx(-0.1 * g) and slow == pytest.approx(-0.1 * g * math.exp(5 * -0.2) * 0.6)
    assert change(rule._replace(v_prog=-0.6), [0.4], [-1.0]) == [0]  # 0.4 V are left across the device


def test_2_weights_move_at_postsynaptic_spikes_only():
    method, image = make(), images(1)
    start = method.output_weight().clone()
    _, layer, outputs = method.parts()
    with torch.no_grad():
        moved, spiked, before, counted = 0, 0, start, torch.zeros(7, dtype=torch.float64)
        for t in range(1, 46):  # presentations cut short after t steps: what changes from one to the next
            layer.weight.copy_(start)
            outputs.adaptation_start.zero_()
            counts, _ = method.step_by_step(method.encoder(image)[:t], 0.05)
            after = method.output_weight().clone()
            rows = (after != before).any(1).nonzero().flatten().tolist()
            assert rows == (counts - counted).nonzero().flatten().tolist()
            moved, spiked, before, counted = moved + len(rows), int(counts.sum()), after, counts
    assert moved == spiked > 4


def test_2_pair_stdp_would_also_move_weights_at_every_input_spike():
    """As many neurons on either side."""
    method = make(neurons=36)
    frames = method.encoder(images())
    counts, figures = method.present(frames, 0.01)
    with method.network.observe() as seen:
        method.network(frames)
    vdsp, stdp = 0, 0
    for t, b in torch.cartesian_prod(torch.arange(len(frames)), torch.arange(5)):
        stdp += 36 * int(seen["input"][t, b].sum())  # the input neurons do not depend on the weights
    for spikes in counts.sum(1).tolist():
        vdsp, stdp = vdsp + 36 * spikes, stdp + 36 * spikes
    assert figures["updates"] == pytest.approx(vdsp / 5) and figures["stdp_updates"] == pytest.approx(stdp / 5)
    assert vdsp > 0 and figures["input_spikes"] * 36 == pytest.approx((stdp - vdsp) / 5)
    _, resting = method.present(frames, None)
    assert resting["updates"] == resting["stdp_updates"] == 0


def test_2_equal_spike_trains_take_half_of_the_updates_of_pair_stdp(monkeypatch):
    method = make(neurons=36)  # and 36 inputs
    trains = torch.randint(0, 3, (5, 36)).double()
    monkeypatch.setattr(method, "compiled", lambda: True)
    monkeypatch.setattr(method, "run_kernel", lambda *_, **__: (trains, trains.sum(1)))
    _, figures = method.present(method.encoder(images()), 0.01)
    assert figures["stdp_updates"] == 2 * figures["updates"] == pytest.approx(2 * 36 * trains.sum() / 5)


@pytest.mark.parametrize("drive", [1.2, 2.0, 6.0])
def test_3_a_periodic_input_makes_the_window_of_stdp(drive):
    step, tau, refractory = 1e-4, 0.06, 0.002
    neuron = SignedResetLIF(gain=1.0, time_step=step)
    spikes, states = neuron.unroll(torch.full((4000, 1, 1), drive, dtype=torch.float64))
    first, second = spikes.flatten().nonzero().flatten()[:2].tolist()
    window = Plain(2.0).change(torch.tensor(0.5, dtype=torch.float64), states.v[first:second].flatten(), 0.01)
    assert window[1] > 0 > window[-1]  # right after the input spike, just before the next one
    crossing = step * (window < 0).nonzero()[0].item()
    assert crossing == pytest.approx(refractory + tau * math.log((drive + 1) / drive), abs=2 * step)
    assert (window.diff() <= 0).all()  # the later after the spike, the smaller


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_4_weights_stay_in_their_range_by_themselves(rule):
    torch.manual_seed(0)
    room = 1.0 if isinstance(rule, Plain) else 0.5
    lr = 0.999 * room / math.expm1(1.8)
    rule.check(lr, 1.8)
    w = torch.linspace(0, 1, 100, dtype=torch.float64)  # each of the first 50 is moved up more often than down
    low, high = 1.0, 0.0
    for _ in range(1000):  # 1e5 updates
        v = 2.8 * torch.rand(100, dtype=torch.float64) - 1.8
        v[50:] = v[50:].abs() / 1.8
        w = w + rule.change(w, v, lr)  # not clipped
        low, high = min(low, float(w.min())), max(high, float(w.max()))
    assert 0 <= low < 0.02 and 0.9 < high <= 1
    with pytest.raises(InputError, match="can push a weight out of"):
        rule.check(1.01 * room / math.expm1(1.8), 1.8)


def test_5_at_most_one_output_spike_per_step():
    method = make(gain_output=1000.0, inhibition_time=0.0)
    with torch.no_grad():
        spikes = method.network(method.encoder(images()))
    assert spikes.sum(-1).max() == 1 and spikes.sum() > 100


# the kernel -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("events", [False, True])
def test_kernel_and_loop_agree(rule, events, monkeypatch):
    results = []
    for enabled in (True, False):
        take(monkeypatch, enabled)
        method = make(rule=rule, tau_refractory=0.007)
        frames = method.encoder(images(12))
        if events:
            torch.manual_seed(2)
            frames = 3.0 * (torch.rand(frames.shape) < 0.2).double()
        counts, figures = method.present(frames, 0.05)
        assert ("VDSP" in kernels.current().fused) is enabled
        _, _, outputs = method.parts()
        results.append((counts, method.output_weight(), outputs.adaptation_start, torch.stack(list(figures.values()))))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12)
    assert results[0][0].sum() > 100 and results[0][2].max() > 0


def test_the_kernel_counts_as_the_network_does():
    method = make()
    method.present(method.encoder(images()), 0.05)
    frames = method.encoder(images(8))
    with torch.no_grad():
        assert torch.equal(method.count(frames), method.network(frames).sum(0))
    before = method.parts()[2].adaptation_start.clone()
    one_by_one = torch.cat([method.count(frames[:, b : b + 1]) for b in range(8)])
    assert torch.equal(method.count(frames), one_by_one) and torch.equal(before, method.parts()[2].adaptation_start)


def test_a_batch_is_only_a_way_to_hand_samples_over():
    whole, parts = make(), make()
    shown = images(6)
    counts, _ = whole.present(whole.encoder(shown), 0.05)
    split = [parts.present(parts.encoder(part), 0.05)[0] for part in shown.split([1, 2, 3])]
    assert torch.equal(counts, torch.cat(split)) and torch.equal(whole.output_weight(), parts.output_weight())


def test_the_twin_shows_the_same_and_learns_nothing():
    method = make(learn=False)
    before, frames = method.output_weight().clone(), method.encoder(images())
    counts, figures = method.present(frames, None)
    assert torch.equal(method.output_weight(), before) and counts.sum() > 0 and figures["updates"] == 0


def test_two_patterns_get_neurons_of_their_own():
    method = make(neurons=8, side=4, classes=2, lr=0.02, gain_output=40.0, inhibition_time=0.05, adaptation=0.1)
    pattern = torch.zeros(2, 1, 4, 4, dtype=torch.float64)
    pattern[0, :, :2], pattern[1, :, 2:] = 1, 1
    for _ in range(40):
        method.present(method.encoder(pattern), 0.02)
    method.assign([Batch(pattern, torch.tensor([0, 1]))])
    scores = method.scores(method.encoder(pattern))
    assert scores.diagonal().tolist() == [1, 1]
    winner = method.count(method.encoder(pattern)).argmax(1)
    fields = method.output_weight()[winner].view(2, 4, 4)
    assert fields[0, :2].min() > fields[0, 2:].max() and fields[1, 2:].min() > fields[1, :2].max()


# labels ---------------------------------------------------------------------------------------------------------------
def test_a_neuron_gets_the_class_of_its_highest_rate_and_votes_for_it(monkeypatch):
    method = make(neurons=4, classes=3)
    #                      neuron 0: class 1 by rate, 3 against 2, although class 0 has more spikes; 3 stays silent
    counts = torch.tensor([[2.0, 0, 1, 0], [2, 0, 1, 0], [3, 4, 1, 0], [0, 0, 2, 0]])
    monkeypatch.setattr(method, "count", lambda frames: counts[: frames.shape[1]])
    labels = torch.tensor([0, 0, 1, 2])
    method.assign([Batch(images(4), labels)])
    assert method.assignment.tolist() == [1, 1, 2, -1]
    assert method.votes(torch.tensor([1.0, 2, 4, 9])).tolist() == [0, 3, 4]
    assert method.shares(torch.tensor([[1.0, 3, 4, 9], [0, 0, 0, 9]])).tolist() == [[0, 0.5, 0.5], [0, 0, 0]]
    method.label_samples = 2
    method.assign([Batch(images(4), labels)])
    assert method.assignment.tolist() == [0, -1, 0, -1]


def test_scores_over_time_end_at_the_scores():
    method = make(neurons=4, classes=3)
    method.assignment.copy_(torch.tensor([0, 1, 2, 2]))
    frames = method.encoder(images())
    with torch.no_grad():
        torch.testing.assert_close(method.scores_over_time(frames)[-1], method.scores(frames))


def test_labels_are_of_no_use_to_learning():
    learned = []
    for shift in (0, 1):
        method = make(classes=3)
        shown = Batch(images(6), (torch.arange(6) + shift) % 3)
        method.present(method.frames(shown), 0.05)
        method.assign([shown])
        learned.append((method.output_weight(), method.assignment))
    assert torch.equal(learned[0][0], learned[1][0]) and not torch.equal(learned[0][1], learned[1][1])


DIGITS = ["method=vdsp", "data=digits", "logger=none", "method.neurons=20", "encoder.time_steps=30"]
DIGITS += ["data.batch_size=50", "callbacks.health=false", "callbacks.progress=false"]


def weights(result):
    path = next(result.folder.glob("checkpoints/epoch*.ckpt"))
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_run_repeats_to_the_bit_and_stores_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = [*DIGITS, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_test_batches=1"]
    options += ["callbacks.figures=false"]
    first = run(compose(options))
    again = run(compose(options))
    one, two = weights(first), weights(again)
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert first.metrics == again.metrics
    assert one["assignment"].max() > 0 and one["network.layers.readout.adaptation_start"].max() > 0
    train = first.metrics["train"]
    assert train["updates"] == pytest.approx(64 * train["spikes"])
    assert train["stdp_updates"] == pytest.approx(train["updates"] + 20 * train["input_spikes"], rel=1e-5)


def test_rate_schedule_and_the_twin_reach_the_training_step(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown = ["trainer.limit_train_batches=1", "trainer.limit_test_batches=1", "callbacks.figures=false"]

    def trained(*more):
        """The weights after each epoch."""
        result = run(compose([*DIGITS, *shown, "data.batch_size=4", *more]))
        paths = sorted(result.folder.glob("checkpoints/epoch*.ckpt"))
        return [torch.load(p, weights_only=True)["state_dict"]["network.layers.readout_weight.weight"] for p in paths]

    (resting,) = trained("trainer.max_epochs=1", "method.learn=false")
    (slow,) = trained("trainer.max_epochs=1", "method.lr=1e-5")
    (fast,) = trained("trainer.max_epochs=1", "method.lr=2e-5")
    assert (slow != resting).any()
    assert ((fast - resting).norm() / (slow - resting).norm()).item() == pytest.approx(2, rel=0.02)
    schedule = "method.scheduler={_target_:torch.optim.lr_scheduler.StepLR,_partial_:true,step_size:1,gamma:0.1}"
    steady = trained("trainer.max_epochs=2", "method.lr=1e-5")
    falling = trained("trainer.max_epochs=2", "method.lr=1e-5", schedule)
    assert torch.equal(steady[0], falling[0])
    ratio = (falling[1] - falling[0]).norm() / (steady[1] - steady[0]).norm()
    assert ratio.item() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("precision", ["bf16-true", "16-mixed", "16"])
def test_sixteen_bits_are_refused(precision):
    with pytest.raises(InputError, match=rf"trainer\.precision = {precision}: .*use 32-true"):
        build(compose([*DIGITS, f"trainer.precision={precision}"]).config)
    build(compose([*DIGITS, "trainer.precision=64"]).config)


def test_neurons_are_named_where_nothing_is_validated(monkeypatch, tmp_path, real_data):
    """data.val_size=0, an author's protocol: the classes come with the end of the training epoch."""
    real_data("mnist")
    monkeypatch.chdir(tmp_path)
    options = ["data=mnist", "data.val_size=0", "data.batch_size=100", "trainer.limit_train_batches=10"]
    result = run(compose([*DIGITS, *options, "trainer.limit_test_batches=2", "trainer.max_epochs=1"]))
    assert weights(result)["assignment"].max() > 0
    assert result.metrics["test"]["accuracy"] > 0.3 and result.metrics["train"]["accuracy"] > 0.3


def test_a_resumed_run_equals_one_in_one_piece(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = [*DIGITS, "trainer.limit_train_batches=1", "trainer.limit_test_batches=1", "callbacks.figures=false"]
    whole = run(compose([*options, "trainer.max_epochs=2"]))
    last = torch.load(sorted(whole.folder.glob("checkpoints/epoch*.ckpt"))[-1], weights_only=True)["state_dict"]
    record = whole.folder / "run.json"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "interrupted"'))
    sorted(whole.folder.glob("checkpoints/epoch*.ckpt"))[-1].unlink()
    again = run(compose([*options, "trainer.max_epochs=2", f"resume={whole.folder}"]))
    resumed = torch.load(sorted(again.folder.glob("checkpoints/epoch*.ckpt"))[-1], weights_only=True)["state_dict"]
    assert again.folder == whole.folder
    assert all(torch.equal(last[key], resumed[key]) for key in last)


def test_fields_carry_the_class_of_their_neuron_and_a_presentation_its_vote():
    parts = build(compose(DIGITS).config)
    parts.data.setup()
    parts.method.assignment.copy_(torch.arange(20) % 10).index_fill_(0, torch.tensor([19]), -1)
    figures = parts.method.figures(parts.data)
    titles = [axis.get_title() for axis in figures["receptive_fields"].axes]
    assert titles == [*(str(j % 10) for j in range(19)), "-", *[""] * (len(titles) - 20)]
    shown = figures["receptive_fields"].axes[3].images[0].get_array()
    assert shown.shape == (8, 8) and shown.flatten().tolist() == parts.method.output_weight()[3].tolist()
    assert ", voted " in figures["presentation"].axes[-1].get_title()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["model.hidden=[8]"], r"one layer of weights.*use model=mlp model.hidden=\[\]"),
        (["model=small_conv"], "Conv2d"),
        (["method.lr=0.5"], "method.lr = 0.5 can push a weight out of"),
        (["method.lr=0"], r"method.lr = 0(\.0)? must be positive"),
        (["method.neurons=0"], "method.neurons = 0 must be at least 1"),
        (["method.label_samples=0"], "method.label_samples = 0"),
        (["method.alpha=-1"], r"method.alpha = -1(\.0)? must not be negative"),
        (["method.rule=memristor", "method.x_p=1"], r"method.x_p = 1(\.0)? must lie in"),
        (["method.rule=stdp"], "choose one of"),
        (["method.tau_output=0"], r"method.tau_output = 0(\.0)? must be positive, in seconds"),
        (["method.tau_input=-1"], r"method.tau_input = -1(\.0)? must be positive, in seconds"),
        (["method.gain_output=-100"], r"method.gain_output = -100(\.0)? must be positive"),
        (["method.gain=0"], r"method.gain = 0(\.0)? must be positive"),
        (["method.time_step=0"], r"method.time_step = 0(\.0)? must be positive, in seconds"),
    ],
)
def test_what_does_not_fit_is_refused_before_data_is_read(options, words, empty_data):
    with pytest.raises(InputError, match=words):
        build(compose(["method=vdsp", "data=mnist", *options]).config)


def test_weights_outside_the_range_are_refused():
    parts = build(compose(["method=vdsp", "data=digits", "init=kaiming"]).config)
    with pytest.raises(InputError, match="use init=default"):
        parts.method.prepare(parts.data)
