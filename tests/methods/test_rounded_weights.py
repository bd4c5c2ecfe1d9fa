"""Rules that write weights reach one that was rounded to 8 bits after the method was made.

``stored`` moves by exactly what the rule works out from ``used``, and ``used`` is its rounding: beside each method
stands a free one that holds the rounded weights, sees the same and moves by the same.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

from snnlab import kernels
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct, Latency, Rate
from snnlab.layers.chain import Chain
from snnlab.methods.burstccn import BurstCCN
from snnlab.methods.burstccn.burstccn import Activity
from snnlab.methods.multispike_fast_deep import MultispikeFastDeep
from snnlab.methods.ssnn_bp import SSNNBP
from snnlab.methods.stbp import STBP
from snnlab.methods.vdsp import VDSP
from snnlab.models.mlp import MLP
from snnlab.models.small_conv import SmallConv
from snnlab.weights.quantised import keep_rounded

SGD = partial(torch.optim.SGD, lr=0.1)
STEP = {8: 1 / 64, 16: 1 / 2**14}  # bits: distance of two levels


def spec(*shape, classes=3):
    return DataSpec("pixels", "image", shape, classes)


def pair(method, bits=8):
    """The method with its weights rounded, and a free copy that holds the rounded weights."""
    free = copy.deepcopy(method)
    for weight in Chain(method.network).weights().values():
        keep_rounded(weight.layer, bits, STEP[bits])
    for mine, theirs in zip(weights(method), weights(free), strict=True):
        theirs.write(mine.used.detach())
    return method, free


def weights(method):
    return list(Chain(method.network).weights().values())


def check(method, free, act, atol=1e-12):
    """Let both act; the rounded one must move by what the free one moves, and use what rounding makes of it."""
    before = [w.stored.detach().clone() for w in weights(method)]
    start = [w.used.detach().clone() for w in weights(free)]
    state = torch.get_rng_state()
    for one in (method, free):
        torch.set_rng_state(state)
        act(one)
    for mine, theirs, stored, used in zip(weights(method), weights(free), before, start, strict=True):
        change = theirs.used.detach() - used
        assert change.abs().max() > 0, "the case must move the weight"
        torch.testing.assert_close(mine.stored.detach() - stored, change, atol=atol, rtol=0)
        levels = mine.stored.detach() / STEP[8]
        assert torch.equal(mine.used.detach(), levels.round().clamp(-127, 127) * STEP[8])


def images(*shape, samples=6):
    return Batch(torch.rand(samples, *shape, dtype=torch.float64), torch.arange(samples) % 3)


def quiet(method):
    method.log = method.log_dict = lambda *_, **__: None
    return method


def test_vdsp_by_hand():
    torch.manual_seed(0)
    strong = {"gain": 6.0, "bias": 0.5, "gain_output": 60.0, "tau_output": 0.011, "inhibition_time": 0.02}
    method = VDSP(MLP([]), spec(1, 4, 4), Direct(60), neurons=5, lr=0.02, **strong).double()
    (weight,) = weights(method)
    keep_rounded(weight.layer, 8, STEP[8])
    frames, states, stored = method.encoder(torch.rand(1, 1, 4, 4, dtype=torch.float64)), None, weight.stored.clone()
    steps = 0
    spikes = torch.zeros(1, 5)
    while not spikes.any():  # until an output neuron fires
        spikes, states = method.network.step(frames[steps], states)
        steps += 1
    (winner,) = spikes[0].nonzero()[:, 0]
    change = method.rule.change(weight.used[winner], states["input"].v[0], 0.02)
    method.network.kernels = kernels.Path()
    method.present(frames[:steps], 0.02)
    wanted = stored.detach().clone()
    wanted[winner] = (wanted[winner] + change).clamp(0, 1)
    assert (wanted != stored).any() and torch.equal(weight.stored, wanted)
    assert torch.equal(weight.used, (wanted / STEP[8]).round() * STEP[8]) and method.network.path.looped == {"VDSP"}


def test_vdsp_counts_by_the_kernel_what_the_rounded_weight_makes():
    torch.manual_seed(0)
    method, free = pair(VDSP(MLP([]), spec(1, 4, 4), Direct(60), neurons=5, gain=6.0, bias=0.5).double())
    frames = method.encoder(torch.rand(4, 1, 4, 4, dtype=torch.float64))
    counts = method.count(frames)
    assert counts.sum() > 0 and torch.equal(counts, free.count(frames))


@pytest.mark.parametrize("gradient", ["spikes", "backprop"])
def test_ssnn_bp(gradient):
    torch.manual_seed(0)
    made = SSNNBP(MLP([7]), spec(5), Rate(50), gradient=gradient, weight_range=None).double()
    method, free = pair(made)
    shown = images(5)
    act = (
        (lambda m: m.backpropagate(shown, 0.05)) if gradient == "backprop" else lambda m: quiet(m).present(shown, 0.05)
    )
    check(method, free, act)


@pytest.mark.parametrize("gradient", ["burst", "backprop", "alignment"])
@pytest.mark.parametrize("model", [MLP([6, 5]), SmallConv([2, 3], 5)], ids=["mlp", "conv"])
def test_burstccn(gradient, model):
    torch.manual_seed(0)
    method, free = pair(BurstCCN(model, spec(1, 8, 8), Direct(1), SGD, W_gain=1.0, gradient=gradient).double())
    shown = images(1, 8, 8)

    def act(m):
        optimizer = m.configure_optimizers()
        inputs = m.frames(shown)[0]
        target = m.target(shown.labels, inputs)
        activity = m.react(inputs, target) if gradient == "burst" else Activity(*m.ascend(inputs), [], [], [])
        errors = activity.errors if gradient == "burst" else m.backpropagated(activity, target, gradient == "alignment")
        m.set_gradients(activity, errors)
        optimizer.step()

    check(method, free, act)


def test_burstccn_feedback_that_is_tied_or_symmetric_follows_the_rounded_weight():
    torch.manual_seed(0)
    method = BurstCCN(MLP([6]), spec(8), Direct(1), SGD, Y="tied", Q="tied", lr_Q=0.0)
    above = method.stages[1]
    keep_rounded(above.weight.layer, 8, 0.25)
    assert torch.equal(method.burst_weight(above), above.weight.used) and (above.weight.used % 0.25 == 0).all()
    method = BurstCCN(MLP([6]), spec(8), Direct(1), SGD, Y="symmetric")
    keep_rounded(method.stages[1].weight.layer, 8, 0.25)
    method.prepare(None)
    assert torch.equal(method.pathways["readout_weight"].Y, method.stages[1].weight.used)


def test_multispike_fast_deep_by_its_gradient_and_by_its_bump():
    torch.manual_seed(0)
    made = MultispikeFastDeep(
        MLP([6]), spec(5), Latency(10), SGD, threshold=0.05, readout_threshold=0.05, bump=2**-9, silent_share=0.0
    ).double()
    method, free = pair(made)
    shown = images(5)

    def act(m):
        optimizer = m.configure_optimizers()
        quiet(m).training_step(shown, 0).backward()
        optimizer.step()

    check(method, free, act)
    before = [w.stored.detach().clone() for w in weights(method)]
    method.silent = {"hidden1": torch.tensor([1.0, 0, 0, 0, 0, 1]).double(), "readout": torch.zeros(3).double()}
    method.on_train_batch_end(None, shown, 0)
    raised, still = (w.stored.detach() - b for w, b in zip(weights(method), before, strict=True))
    torch.testing.assert_close(raised[[0, 5]], torch.full((2, 5), 2**-9).double(), atol=1e-15, rtol=0)  # below a level
    assert not raised[1:5].any() and not still.any()
    for batch in range(1, 4):  # 2^-9 (1 + 2 + 4 + 8): small raises add up until the weight moves
        method.on_train_batch_end(None, shown, batch)
    torch.testing.assert_close(weights(method)[0].stored[0].detach(), before[0][0] + 15 * 2**-9, atol=1e-12, rtol=0)


@pytest.mark.parametrize("model", [MLP([6]), SmallConv([2], 5)], ids=["mlp", "conv"])
@pytest.mark.parametrize("path", ["step", "auto"])
def test_stbp(model, path):
    torch.manual_seed(0)
    made = STBP(model, spec(1, 8, 8), Direct(5), SGD, threshold=0.02, width=4.0).double()
    made.network.kernels = kernels.Path(path)
    method, free = pair(made)
    shown = images(1, 8, 8)

    def act(m):
        optimizer = m.configure_optimizers()
        quiet(m).training_step(shown, 0).backward()
        optimizer.step()

    check(method, free, act)
