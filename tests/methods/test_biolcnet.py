"""BioLCNet against its card: windows, pairs of spikes, reward, votes, sums of weights; the loop against the neurons."""

import math

import pytest
import torch

from snnlab.config.compose import compose
from snnlab.data.contract import DataSpec
from snnlab.data.encoders import Rate
from snnlab.errors import InputError
from snnlab.methods.biolcnet import BioLCNet
from snnlab.methods.biolcnet.reward import Conditioning, Constant, PredictionError
from snnlab.models.local import Local
from snnlab.models.mlp import MLP
from snnlab.neurons.rival_lif import RivalLIF
from snnlab.runs.wiring import run


def make(steps=90, side=7, classes=3, seed=0, model=None, **options):
    """A method on images of side x side pixels in float64, weights drawn with ``seed``."""
    torch.manual_seed(seed)
    spec = DataSpec("pixels", "image", (1, side, side), classes)
    options = {"neurons": 4, "inhibition": 5.0, "inhibition_output": 5.0, "threshold": 4.0, **options}
    return BioLCNet(model or Local(6, 4, 3), spec, Rate(steps), **options).double()


def spikes(steps=90, samples=4, side=7, share=0.15, seed=1):
    drawn = torch.rand(
        steps, samples, 1, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return (drawn < share).double()


def one_synapse(**options):
    """One input, one hidden neuron, weight 0.5, which is not scaled away from there."""
    options = {"norm": 0.5, "threshold": 0.4, "theta_plus": 0.0, "neurons": 1, "tau_refractory": 0.0, **options}
    return make(side=1, classes=1, model=MLP([1]), **options)


# the invariants of the card -------------------------------------------------------------------------------------------
def test_1_equal_weights_at_all_places_are_a_convolution():
    layer = make(side=10, model=Local(5, 4, 2, crop=1)).network.layers
    weight, x = layer["weight1"], torch.rand(3, 1, 10, 10, dtype=torch.float64)
    assert weight.weight.numel() == 3 * 3 * 5 * 4**2  # places, filters, taps
    with torch.no_grad():
        weight.weight.copy_(weight.weight[:, :1, :1].clone().expand_as(weight.weight))
    kernel = weight.weight[:, 0, 0]
    torch.testing.assert_close(
        weight(layer["crop"](x)), torch.nn.functional.conv2d(x[..., 1:-1, 1:-1], kernel, stride=2), rtol=0, atol=1e-6
    )


def learned(rewarded, seed=0):
    method = make()
    method.reward.sizes[:2] = torch.tensor(rewarded)
    before = method.parts()[2].used.detach().clone()
    _, _, given = method.present(spikes(), torch.full((4,), -1), 1e-6)  # all responses are wrong
    return method.parts()[2].used.detach() - before, given


def test_2_no_reward_no_change_and_the_other_sign_the_other_change():
    none, up, down = (learned([1.0, size]) for size in (0.0, 1.0, -1.0))
    assert (none[0] == 0).all() and (up[1] == -1).all() and (down[1] == 1).all()
    assert up[0].abs().sum() > 0
    # the weights lie far enough from 0 and 1, but for those that are drawn next to them
    torch.testing.assert_close(up[0], -down[0], rtol=0, atol=1e-10)


def test_3_a_pair_of_spikes_in_numbers():
    """One weight alone is scaled back to its sum, whatever it learned."""
    method = one_synapse(nu_pre=1e-4, nu_post=1e-2, threshold=0.7, steps=300)
    frames = torch.zeros(300, 1, 1, 1, 1, dtype=torch.float64)
    frames[0], frames[5] = 1, 1  # 0.5 exp(-0.05) + 0.5 > 0.7: one spike at 5
    counts, _, _ = method.present(frames, None, None)
    assert counts.tolist() == [2, 1, 0]
    assert method.parts()[0].used.item() == pytest.approx(0.5)


def rule(pre, post):
    """dw of spikes of an input at the steps ``pre`` and of the neuron at ``post``; a second input makes the latter."""
    spec = DataSpec("pair", "image", (1, 1, 2), 1)
    torch.manual_seed(0)
    method = BioLCNet(MLP([1]), spec, Rate(300), neurons=1, threshold=0.6, theta_plus=0.0, norm=0.5).double()
    with torch.no_grad():
        method.parts()[0].write(torch.tensor([[0.3, 0.7]], dtype=torch.float64))
    frames = torch.zeros(300, 1, 1, 1, 2, dtype=torch.float64)
    frames[pre, 0, 0, 0, 0], frames[post, 0, 0, 0, 1] = 1, 1
    counts, _, _ = method.present(frames, None, None)
    assert counts[1] == 1
    first, second = method.parts()[0].used[0].tolist()
    # the second weight is 0.7 + nu_post - nu_pre at its own spike, which is simultaneous
    return first * (0.7 + 1e-2 - 1e-4) / second - 0.3


def test_3_the_change_of_a_pair():
    assert rule([10], [15]) == pytest.approx(1e-2 * math.exp(-5 / 20), rel=1e-9)
    assert rule([15], [10]) == pytest.approx(-1e-4 * math.exp(-5 / 20), rel=1e-9)


def rewarded(label: int, lr: float) -> float:
    """dw of an output neuron that each hidden spike makes fire, after input at two steps of the learning."""
    spec = DataSpec("pair", "image", (1, 1, 1), 2)
    method = BioLCNet(MLP([1]), spec, Rate(300), neurons=1, threshold=0.4, norm=0.5, theta_plus=0.0).double()
    with torch.no_grad():
        method.parts()[2].write(torch.tensor([[0.5], [0.0]], dtype=torch.float64))
    frames = torch.zeros(300, 1, 1, 1, 1, dtype=torch.float64)
    frames[250], frames[256] = 1, 1
    method.present(frames, torch.tensor([label]), lr)
    return method.parts()[2].used[0, 0].item() - 0.5


def test_3_what_a_neuron_fired_at_came_before_it():
    """Both spikes of the input make it fire in their own step; a punished one falls silent for the second."""
    assert rewarded(0, 0.1) == pytest.approx(2 * 0.1)  # the second spike's P_pre and P_post of the first cancel
    assert rewarded(1, 0.2) == pytest.approx(-0.2 + 0.2 * math.exp(-6 / 20))


def test_4_of_equal_votes_and_of_silence_the_lowest_class_is_named():
    method = make()
    silent = torch.zeros(90, 2, 1, 7, 7, dtype=torch.float64)
    _, votes, given = method.present(silent, torch.tensor([0, 1]), 0.1)
    assert votes.sum() == 0 and given.tolist() == [1, -1]
    assert method.scores(silent[:60]).argmax(1).tolist() == [0, 0]


def test_5_sums_of_weights_stay():
    method = make()
    sums = method.parts()[0].used.flatten(-3).sum(-1)
    torch.testing.assert_close(sums, torch.full_like(sums, 0.25 * 16), rtol=1e-6, atol=0)  # drawn in 32 bits
    before = method.parts()[0].used.detach().clone()
    method.present(spikes(), None, None)
    after = method.parts()[0].used.detach()
    assert not torch.equal(before, after) and method.parts()[1].theta.max() > 0
    torch.testing.assert_close(after.flatten(-3).sum(-1), torch.full_like(sums, 0.25 * 16), rtol=1e-12, atol=0)


# the loop -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [Local(6, 4, 3), Local(5, 4, 1, crop=1), MLP([9])], ids=["local", "cropped", "full"])
def test_the_loop_counts_what_the_network_does(model):
    method = make(model=model, threshold=2.0).eval()
    frames = spikes(60)
    method.present(spikes(), None, None)
    _, votes, _ = method.present(frames, torch.zeros(4, dtype=torch.long), None)
    with torch.no_grad():
        outputs = method.network(frames)
    assert outputs.sum() > 20
    assert torch.equal(method.tally(outputs[30:].sum(0)), votes)
    torch.testing.assert_close(method.scores_over_time(frames)[-1], method.scores(frames))


def test_rivals_by_hand():
    neuron = RivalLIF((2,), threshold=1.0, inhibition=0.5, tau_refractory=0.002).double()
    currents = torch.tensor([[1.5, 0.4], [9.0, 0.4], [9.0, 0.4], [1.5, 0.0]], dtype=torch.float64)[:, None]
    fired, states = neuron.unroll(currents)
    assert fired[:, 0].tolist() == [[1, 0], [0, 0], [0, 0], [1, 0]]  # two steps refractory
    keep = math.exp(-0.01)
    assert states.v[1, 0, 1].item() == pytest.approx(0.4 * keep + 0.4 - 0.5)


def test_a_batch_is_only_a_way_to_hand_samples_over():
    whole, parts = make(), make()
    frames, labels = spikes(), torch.tensor([0, 1, 2, 0])
    whole.present(frames, labels, 0.1)
    for b in range(4):
        parts.present(frames[:, b : b + 1], labels[b : b + 1], 0.1)
    assert torch.equal(whole.parts()[2].used, parts.parts()[2].used)


def test_the_twin_keeps_its_hidden_weights():
    method = make(learn_hidden=False)
    before = method.parts()[0].used.detach().clone()
    method.present(spikes(), None, None)
    torch.testing.assert_close(method.parts()[0].used, before)


# rewards --------------------------------------------------------------------------------------------------------------
def test_rewards_in_numbers():
    constant, error = Constant(2.0, 3.0), PredictionError(rate=0.01, window=10.0)
    assert constant.given(True) == 2 and constant.given(False) == -3
    error.update(5.0)
    assert error.sizes.tolist() == pytest.approx([0.95, 1.05, 0.5])
    for _ in range(2):
        error.update(1e6)
    assert error.sizes[:2].tolist() == pytest.approx([1 / 50, 50])


def test_the_loop_learns_the_prediction_as_the_object_does():
    method, alone = make(reward=PredictionError(rate=0.001)), PredictionError(rate=0.001)
    _, _, given = method.present(spikes(), torch.tensor([0, 1, 2, 0]), 1e-6)
    for r in given.tolist():
        assert r == pytest.approx(alone.given(r > 0))
        alone.update(r * 30)
    torch.testing.assert_close(method.reward.sizes, alone.sizes)


def test_conditioning_switches_the_right_response():
    reward = Conditioning([2, 0], [4])
    assert reward.right(torch.zeros(5, dtype=torch.long), 2).tolist() == [2, 2, 0, 0, 0]
    for responses, switches, told in (([1], [3], "one more than"), ([1, 0, 1], [5, 5], "must rise")):
        with pytest.raises(InputError, match=told):
            Conditioning(responses, switches)
    with pytest.raises(InputError, match="must lie in 0 to 2"):
        make(reward=Conditioning([1, 3], [5]))


# runs -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"lr": 0}, "method.lr = 0 must be positive"),
        ({"norm": 0.0}, "method.norm = 0.0 must lie in"),
        ({"phases": (1.0, 1.0)}, "must be three positive shares"),
        ({"neurons": 0}, "method.neurons = 0"),
        ({"model": MLP([4, 4])}, "trains one hidden layer"),
        ({"stdp_samples": -1}, "method.stdp_samples = -1"),
    ],
)
def test_refusals(options, told):
    with pytest.raises(InputError, match=told):
        make(**options)


DIGITS = ["method=biolcnet", "data=digits", "logger=none", "model.hidden=[20]", "encoder.time_steps=30"]
DIGITS += ["data.batch_size=50", "method.stdp_samples=1500", "callbacks.progress=false", "callbacks.figures=false"]
DIGITS += ["trainer.limit_train_batches=20", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]


def test_a_resumed_run_is_equal_to_the_bit(monkeypatch, tmp_path):
    """The first epoch is STDP, the second half STDP and half reward."""
    monkeypatch.chdir(tmp_path)
    whole = run(compose([*DIGITS, "trainer.max_epochs=2"]))
    path = sorted(whole.folder.glob("checkpoints/epoch*.ckpt"))[-1]
    last = torch.load(path, weights_only=True)
    assert int(last["state_dict"]["shown"]) == 2000 and len(last["rewards"]) == 500
    record = whole.folder / "run.json"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "interrupted"'))
    path.unlink()
    again = run(compose([*DIGITS, "trainer.max_epochs=2", f"resume={whole.folder}"]))
    assert again.folder == whole.folder
    resumed = torch.load(sorted(again.folder.glob("checkpoints/epoch*.ckpt"))[-1], weights_only=True)
    assert all(torch.equal(last["state_dict"][key], resumed["state_dict"][key]) for key in last["state_dict"])
    assert last["rewards"] == resumed["rewards"]
