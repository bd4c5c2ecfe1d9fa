"""Spike-based backpropagation against its card: gate, hand-worked net, silence, dropout, count rule, three forms."""

import math

import pytest
import torch
from torch import nn

from snnlab.data.contract import DataSpec
from snnlab.layers.pooling_neuron import PoolingNeuron
from snnlab.methods.spike_bp import SpikeBP
from snnlab.models.lenet import LeNet
from snnlab.models.mlp import MLP
from snnlab.neurons.leak_corrected_lif import LeakCorrectedLIF
from snnlab.neurons.straight_through_integrator import StraightThroughIntegrator

SPEC = DataSpec("vectors", "event", (3,), 2, time_steps=5)


def make(model, spec=SPEC, **options):
    torch.manual_seed(1)
    return SpikeBP(model, spec, None, torch.optim.SGD, **options).double()


def gradients(method, frames, labels):
    method.zero_grad()
    method.loss(method.scores(frames), labels).backward()
    return [p.grad.clone() for p in method.network.parameters()]


def column(*values):
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


# card, unit test 1
def test_gate_of_the_card():
    gate = LeakCorrectedLIF(0.99).gate
    assert gate(column(1, 0, 1)).item() == pytest.approx(0.9900497, abs=1e-7)
    assert gate(column(1, 0, 1)).item() == pytest.approx(1 + math.log(0.99) * 1.9801 / 2, abs=1e-12)
    assert gate(column(0, 0, 0)).item() == 0
    assert LeakCorrectedLIF(1.0).gate(column(1, 0, 1)).item() == LeakCorrectedLIF(1.0).gate(column(0, 1, 0)).item() == 1


# card, unit test 2
def test_scalar_net_of_the_card():
    method = make(MLP([1]), DataSpec("one", "event", (1,), 1, time_steps=3))
    layers = method.network.layers
    nn.init.constant_(layers["weight1"].weight, 0.6)
    nn.init.constant_(layers["readout_weight"].weight, 1.0)
    frames = torch.ones(3, 1, 1, dtype=torch.float64)
    with method.network.observe() as seen:
        scores = method.scores(frames)
    assert seen["hidden1"].flatten().tolist() == [0, 1, 0]
    assert scores.item() == pytest.approx(0.3267, abs=1e-12)
    ((scores - 1) ** 2).sum().backward()
    gate = layers["hidden1"].gate(seen["hidden1"]).item()
    assert gate == pytest.approx(0.9900502, abs=1e-7)
    assert layers["weight1"].weight.grad.item() == pytest.approx(-0.888801, abs=1e-6)
    assert layers["weight1"].weight.grad.item() == pytest.approx(2 * (0.3267 - 1) / 3 * gate * 2, abs=1e-12)
    # the leak of the readout is straight through: one spike, whose derivative is 1 at any time
    assert layers["readout_weight"].weight.grad.item() == pytest.approx(2 * (0.3267 - 1) / 3, abs=1e-12)


# card, unit test 3
def test_without_leak_it_is_count_times_error():
    method = make(MLP([4]), decay=1.0)
    layers = method.network.layers
    frames = torch.ones(5, 2, 3, dtype=torch.float64)
    frames[:, 1, 2] = column(1, 0, 1, 0, 1).flatten()
    nn.init.constant_(layers["weight1"].weight, 0.076)  # sums to 1.14 after 5 steps, 0.912 after 4; 0.988 in sample 1
    layers["weight1"].weight.data[0] *= 1.05
    with method.network.observe() as seen:
        error = 2 * (method.scores(frames) - nn.functional.one_hot(torch.tensor([0, 1]), 2)) / 5
    assert seen["hidden1"][:4].sum() == 0 and seen["hidden1"][4].sum() == 5
    weight_grad, _ = gradients(method, frames, torch.tensor([0, 1]))
    signal = (error @ layers["readout_weight"].weight) * seen["hidden1"][4]
    torch.testing.assert_close(weight_grad, signal.T @ frames.sum(0), atol=1e-12, rtol=0)


# card, unit test 4
def test_silent_hidden_layer_has_exactly_no_gradient():
    method = make(MLP([4, 4]))
    nn.init.constant_(method.network.layers["weight2"].weight, -1.0)
    first, second, readout = gradients(method, torch.ones(5, 2, 3, dtype=torch.float64), torch.tensor([0, 1]))
    assert first.abs().sum() == second.abs().sum() == readout.abs().sum() == 0
    nn.init.constant_(method.network.layers["weight1"].weight, 1.0)
    nn.init.constant_(method.network.layers["weight2"].weight, 1.0)
    first, second, readout = gradients(method, torch.ones(5, 2, 3, dtype=torch.float64), torch.tensor([0, 1]))
    assert min(first.abs().sum(), second.abs().sum(), readout.abs().sum()) > 0


# card, unit test 5
def test_dropout_is_held_over_time_and_unbiased():
    method = make(MLP([400], dropout=0.25))
    dropout = method.network.layers["dropout1"]
    spikes = torch.ones(6, 50, 400, dtype=torch.float64)
    dropped = dropout(spikes)
    assert (dropped == dropped[0]).all() and set(dropped[0].unique().tolist()) == {0.0, 1 / 0.75}
    assert dropped.mean().item() == pytest.approx(1, abs=4 * math.sqrt(1 / 3 / 20000))
    frames, labels = (torch.rand(5, 6, 3) < 0.7).double(), torch.randint(0, 2, (6,))
    without = make(MLP([400]))
    without.network.load_state_dict(method.network.state_dict())
    dropout.p = 0.0
    for a, b in zip(gradients(method, frames, labels), gradients(without, frames, labels), strict=True):
        assert torch.equal(a, b)


def test_counting_spikes_behind_the_mask_gives_the_same_gradient():
    neuron, mask = LeakCorrectedLIF(), torch.tensor([0, 1.25, 1.25], dtype=torch.float64)
    spikes = (torch.rand(20, 4, 3) < 0.3).double()
    torch.testing.assert_close(neuron.gate(spikes * mask) * mask, neuron.gate(spikes) * mask, atol=1e-12, rtol=0)


# card, unit test 6, and its consequence
def test_the_gradient_counts_inputs_up_to_the_last_spike():
    method = make(MLP([1]), DataSpec("two", "event", (2,), 1, time_steps=8))
    layers = method.network.layers
    layers["weight1"].weight.data[:] = torch.tensor([[0.6, 0.05]])
    nn.init.constant_(layers["readout_weight"].weight, 0.5)
    drive = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])  # fires at 1 and 3
    grads = []
    for second in ([0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1, 0, 1]):
        frames = torch.stack([drive, torch.tensor(second)], 1).double()[:, None]
        with method.network.observe() as seen:
            score = method.scores(frames)
        assert seen["hidden1"].flatten().tolist() == [0, 1, 0, 1, 0, 0, 0, 0]
        got, _ = gradients(method, frames, torch.tensor([0]))
        gate = layers["hidden1"].gate(seen["hidden1"]).item()
        counts = frames[:4].sum((0, 1))
        torch.testing.assert_close(got[0], 2 * (score.item() - 1) / 8 * 0.5 * gate * counts, atol=1e-12, rtol=0)
        grads.append(got)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(grads[0], grads[2], atol=1e-12, rtol=0)
    method = make(MLP([1]), DataSpec("two", "event", (2,), 1, time_steps=8), late_inputs=True)
    method.network.load_state_dict({f"layers.{n}.weight": layers[n].weight for n in ("weight1", "readout_weight")})
    late, _ = gradients(method, frames, torch.tensor([0]))
    torch.testing.assert_close(late / late[0, 0] * 4, torch.tensor([[4.0, 3.0]]).double(), atol=1e-12, rtol=0)


# card, unit test 7
@pytest.mark.parametrize(
    ("weight", "decay", "first"), [(0.3, 0.99, 4), (0.1, 0.99, 11), (0.05, 0.99, 23), (0.6, 0.5, 3)]
)
def test_constant_drive_fires_at_the_step_of_the_closed_form(weight, decay, first):
    neuron = LeakCorrectedLIF(decay)
    spikes = neuron(torch.full((60, 1, 1), weight, dtype=torch.float64)).flatten()
    assert int(spikes.nonzero()[0]) + 1 == first
    n = next(n for n in range(1, 60) if weight * (1 - decay**n) / (1 - decay) > 1)
    assert n == first
    _, states = neuron.unroll(torch.full((first - 1, 1, 1), weight, dtype=torch.float64))
    closed = weight * (1 - decay ** (first - 1)) / (1 - decay) * decay
    assert states.v[-1].item() == pytest.approx(closed, abs=1e-12)  # after the leak


def test_equality_stays_silent_and_the_reset_is_hard():
    spikes, states = LeakCorrectedLIF(1.0).unroll(column(0.5, 0.5, 0.75, 0.5))
    assert spikes.flatten().tolist() == [0, 0, 1, 0] and states.v.flatten().tolist() == [0.5, 1.0, 0.0, 0.5]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize(("decay", "threshold", "slope"), [(0.99, 1.0, None), (0.8, 0.75, 1.0), (1.0, 0.5, None)])
def test_forward_equals_the_step_loop(decay, threshold, slope, corrected, late):
    torch.manual_seed(2)
    neuron = LeakCorrectedLIF(decay, threshold, slope, corrected, late)
    currents = torch.randn(12, 3, 5, dtype=torch.float64).requires_grad_()
    weights = torch.randn(12, 3, 5, dtype=torch.float64)
    fused, (looped, _) = neuron(currents), neuron.unroll(currents)
    assert torch.equal(fused, looped) and 0.05 < fused.mean() < 0.8
    a, b = (torch.autograd.grad((out * weights).sum(), currents)[0] for out in (fused, looped))
    torch.testing.assert_close(a, b, atol=1e-10, rtol=0)
    steps, state = [], neuron.initial_state(currents[0])
    for current in currents:
        out, state = neuron.step(current, state)
        steps.append(out)
    assert torch.equal(torch.stack(steps), fused)


def test_forward_knows_no_other_sample_and_no_future():
    currents = torch.randn(12, 4, 5)
    neuron = LeakCorrectedLIF()
    assert torch.equal(neuron(currents)[:, :2], neuron(currents[:, :2]))
    later = currents.clone()
    later[6:] += 1
    assert torch.equal(neuron(later)[:6], neuron(currents)[:6])


def test_pooling_neurons_are_counted_and_pass_the_gradient_of_a_spike():
    pool = PoolingNeuron(nn.AvgPool2d(2), LeakCorrectedLIF(1.0, 0.75, 1.0))
    spikes = torch.zeros(3, 1, 1, 2, 2, dtype=torch.float64)
    spikes[0, ..., 0, :] = 1  # 0.5
    spikes[1, ..., 1, 0] = 1  # 0.75: not above
    spikes[2, ..., 1, 1] = 1  # 1.0: fires
    spikes.requires_grad_()
    out = pool(spikes)
    assert out.flatten().tolist() == [0, 0, 1]
    assert torch.equal(pool.unroll(spikes)[0], out)
    out.sum().backward()
    assert (spikes.grad == 0.25).all()  # derivative 1, spread over the four
    method = make(LeNet([2, 3], 5), DataSpec("pictures", "event", (1, 8, 8), 2, time_steps=4))
    assert list(method.network.neurons()) == ["conv1", "pool1", "conv2", "pool2", "hidden"]
    method = make(LeNet([2, 3], 5), DataSpec("pictures", "event", (1, 8, 8), 2, time_steps=4), pool_threshold=None)
    assert list(method.network.neurons()) == ["conv1", "conv2", "hidden"]


def test_network_forward_equals_step_and_readout_scores_each_step():
    spec = DataSpec("pictures", "event", (1, 8, 8), 3, time_steps=7)
    method = make(LeNet([4, 4], 12, padding="same"), spec, init_variance=8.0)
    frames = (torch.rand(7, 2, 1, 8, 8) < 0.5).double()
    states, outputs = None, []
    for frame in frames:
        out, states = method.network.step(frame, states)
        outputs.append(out)
    torch.testing.assert_close(torch.stack(outputs), method.network(frames), atol=1e-12, rtol=0)
    over_time = method.scores_over_time(frames)
    assert over_time.abs().sum() > 0
    for t in range(1, 8):
        torch.testing.assert_close(over_time[t - 1], method.scores(frames[:t]), atol=1e-12, rtol=0)


def test_readout_leaks_in_value_and_not_in_gradient():
    readout, current = StraightThroughIntegrator(0.9), column(1, 2, 3).requires_grad_()
    v = readout(current)
    assert v.flatten().tolist() == pytest.approx([0.9, 0.9 * 2.9, 0.9 * (0.9 * 2.9 + 3)])
    v[-1].sum().backward()
    assert current.grad.flatten().tolist() == [1, 1, 1]


def test_weights_are_drawn_as_the_authors_do_and_bad_values_are_refused():
    spec = DataSpec("pictures", "event", (20, 16, 16), 10, time_steps=4)
    for variance in (2.0, 1.0):
        layers = make(LeNet([200, 4], 500), spec, init_variance=variance).network.layers
        for name, fan_in in (("weight1", 20 * 25), ("readout_weight", 500)):
            weight = layers[name].weight
            assert layers[name].bias is None
            assert weight.var().item() == pytest.approx(variance / fan_in, rel=5 * math.sqrt(2 / weight.numel()))
    for wrong in ({"decay": 0.0}, {"threshold": -1.0}, {"init_variance": 0.0}, {"pool_slope": -1.0}):
        with pytest.raises(ValueError, match="must"):
            make(LeNet([2, 2]), spec, **wrong)


def test_lenet_padding_is_an_option():
    spec = DataSpec("pictures", "event", (1, 28, 28), 10, time_steps=4)
    for padding, side in (("same", 7), ("valid", 4)):
        layers = make(LeNet([20, 50], padding=padding), spec).network.layers
        assert layers["weight_hidden"].weight.shape == (200, 50 * side**2)
    with pytest.raises(ValueError, match="padding = 'full' must be same or valid"):
        LeNet([2], padding="full")
