"""EGRU: the invariants of its card, its equations by hand, and one operation for a sequence against the loop."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from snnlab import kernels
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.models.mlp import MLP
from snnlab.models.recurrent_mlp import RecurrentMLP
from snnlab.models.small_conv import SmallConv
from snnlab.neurons.egru import EGRU, EGRUState
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.neuron import Temporal

FORMS = ["released", "paper"]


def cell(form="released", units=6, threshold=None, dtype=torch.float64, **options):
    torch.manual_seed(3)
    made = EGRU(units, form=form, **options).to(dtype)
    if threshold is not None:
        nn.init.constant_(made.threshold, threshold)
    return made


def currents(steps=12, batch=4, units=6, dtype=torch.float64):
    return torch.randn(steps, batch, 3 * units, dtype=dtype, generator=torch.Generator().manual_seed(5))


def by_hand(made, x, signal, c=None, y=None):
    """The released form with reset gate behind the product: y = signal(c*) and nothing taken off, [T, B, H]."""
    weight = torch.cat((made.gates.weight, made.candidate.weight))
    bias = torch.cat((made.gates.bias, made.candidate.bias))
    c = torch.zeros(x.shape[1], made.features, dtype=x.dtype) if c is None else c
    y, sent = signal(c) if y is None else y, []
    for now in x:
        x_u, x_r, x_g = now.chunk(3, 1)
        r_u, r_r, r_g = (y @ weight.T + bias).chunk(3, 1)
        u, r = torch.sigmoid(x_u + r_u), torch.sigmoid(x_r + r_r)
        c = u * c + (1 - u) * torch.tanh(x_g + r * r_g)
        y = signal(c)
        sent.append(y)
    return torch.stack(sent)


# the card's invariants ------------------------------------------------------------------------------------------------
def test_threshold_0_is_a_gru_whose_signal_is_rectified():
    made, x = cell(threshold=0.0), currents()
    sent = made(x)
    torch.testing.assert_close(sent, by_hand(made, x, torch.relu), atol=1e-12, rtol=0)
    assert 0.2 < (sent > 0).double().mean() < 0.8


def test_without_events_it_is_torchs_gru():
    made, x = cell(events=False), torch.randn(12, 4, 5, dtype=torch.float64)
    gru, into = nn.GRU(5, 6).double(), nn.Linear(5, 18).double()
    order = torch.cat((torch.arange(6, 12), torch.arange(6), torch.arange(12, 18)))  # torch has r, z, n
    with torch.no_grad():
        gru.weight_ih_l0.copy_(into.weight[order])
        gru.bias_ih_l0.copy_(into.bias[order])
        gru.weight_hh_l0.copy_(torch.cat((made.gates.weight, made.candidate.weight))[order])
        gru.bias_hh_l0.copy_(torch.cat((made.gates.bias, made.candidate.bias))[order])
    sent, expected = made(into(x)), gru(x)[0]
    torch.testing.assert_close(sent, expected, atol=1e-12, rtol=0)
    given = torch.randn(sent.shape, dtype=torch.float64)
    sent.backward(given)
    expected.backward(given)
    ours = torch.cat((made.gates.weight.grad, made.candidate.weight.grad))[order]
    torch.testing.assert_close(ours, gru.weight_hh_l0.grad, atol=1e-10, rtol=0)
    torch.testing.assert_close(into.weight.grad[order], gru.weight_ih_l0.grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_an_unreachable_threshold_leaves_the_input_alone(form):
    made, x = cell(form, threshold=1e6), currents()
    sent, states = made.unroll(x)
    assert not sent.any() and not states.spikes.any()
    (states.v.square().sum() + sent.sum()).backward()
    assert not made.gates.weight.grad.any() and not made.candidate.weight.grad.any()
    other = cell(form, threshold=1e6)
    nn.init.normal_(other.gates.weight)
    assert torch.equal(other.unroll(x)[1].v, states.v)


@pytest.mark.parametrize("path", ["auto", "step"])
@pytest.mark.parametrize("form", FORMS)
def test_a_sparse_backward_is_the_dense_one(form, path):
    found = []
    for sparse in (False, True):
        made, leaf = cell(form, epsilon=4.0, sparse_backward=sparse), currents().requires_grad_()
        with kernels.using(kernels.Path(path)):
            sent, states = made.unroll(leaf)
        (sent.sin() * 3 + states.v.square()).sum().backward()
        found.append([leaf.grad, *(p.grad for p in made.parameters())])
    for dense, other in zip(*found, strict=True):
        torch.testing.assert_close(other, dense, atol=1e-12, rtol=0)
    share = torch.stack([made.needed(EGRUState(*(part[t] for part in states))).double().mean() for t in range(12)])
    assert share.mean() < 0.7  # something is left out


@pytest.mark.parametrize("form", FORMS)
def test_what_is_sent_at_an_event_is_above_the_threshold(form):
    made = cell(form)
    sent, states = made.unroll(currents())
    fired = states.spikes == 1
    assert torch.equal(fired, sent != 0) and 0.02 < fired.double().mean() < 0.6
    assert (sent[fired] > made.threshold.expand_as(sent)[fired]).all()
    assert torch.equal(made.events(sent), states.spikes)


@pytest.mark.parametrize("path", ["auto", "step"])
@pytest.mark.parametrize(("form", "level"), [("released", 0.2), ("released", 0.7), ("paper", 0.2), ("paper", 0.7)])
def test_the_gradient_of_the_threshold_by_hand(form, level, path):
    """One unit, one step, L = a y + b c: the event and, in the released form, what is taken off."""
    made, (a, b) = cell(form, 1, level), (1.7, -0.6)
    x = torch.tensor([[[0.0, 0.0, 1.5]]], dtype=torch.float64)  # c* is near 0.45
    with kernels.using(kernels.Path(path)):
        sent, states = made.unroll(x)
    (a * sent + b * states.v).sum().backward()
    states = EGRUState(*(part.detach() for part in states))
    star = float((states.v + (states.spikes * level if form == "released" else 0)).squeeze())
    event, h = float(star > level), 0.7 * max(0.0, 1 - abs(star - level))
    expected = -h * a * star if form == "paper" else -h * (a * star - b * level) - b * event
    assert made.threshold.grad.item() == pytest.approx(expected, abs=1e-12)
    assert abs(expected) > 0.01


# gradients and forms --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences_where_the_surrogate_is_nothing(form, events):
    """Between two events all is smooth: a surrogate of height 1e-12 leaves the derivative that is there."""
    made = cell(form, 3, dampening=1e-12, events=events)
    x = currents(4, 1, 3).requires_grad_()
    given = torch.randn(2, 4, 1, 3, dtype=torch.float64)

    def total(x, *_):
        sent, states = made.unroll(x)
        return (sent * given[0]).sum() + (states.v * given[1]).sum()

    assert torch.autograd.gradcheck(total, (x, *made.parameters()))


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_one_operation_gives_the_numbers_of_the_loop(form, events, bias, dtype, off):
    made, x = cell(form, events=events, bias=bias, dtype=dtype), currents(dtype=dtype)
    given = [torch.randn(12, 4, 6, dtype=dtype) for _ in range(3)]
    found = []
    for unroll in (functools.partial(Temporal.unroll, made), made.unroll):
        made.zero_grad()
        leaves = [
            x.clone().requires_grad_(),
            *(torch.full((4, 6), v, dtype=dtype).requires_grad_() for v in (0.4, 0.3)),
        ]
        sent, states = unroll(leaves[0], EGRUState(leaves[1], leaves[2], torch.ones(4, 6, dtype=dtype)))
        total = (sent * given[0]).sum() + (states.v * given[1]).sum()
        (total + (states.spikes * given[2]).sum() if events else total).backward()
        grads = [leaf.grad for leaf in leaves] + [p.grad for p in made.parameters()]
        found.append(([sent, *states], grads))
    for loop, one in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(one, loop, atol=off, rtol=0)
    for loop, one in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, loop, atol=off, rtol=10 * off)


def test_the_loop_is_taken_where_somebody_watches_or_something_is_drawn():
    for made in (cell(zoneout=0.3), cell(detach_state=True)):
        assert not made.fuses()
    made = cell()
    assert made.fuses()
    with kernels.using(kernels.Path("step")):
        assert not made.fuses()
    handle = made.gates.register_forward_hook(lambda *_: None)
    assert not made.fuses()
    handle.remove()
    assert made.fuses()


@pytest.mark.parametrize("form", FORMS)
def test_causal_and_a_batch_is_its_samples(form):
    made, x = cell(form), currents()
    sent, changed = made(x), x.clone()
    changed[7:] += 2
    assert torch.equal(made(changed)[:7], sent[:7]) and not torch.equal(made(changed), sent)
    torch.testing.assert_close(made(x[:, 1:3]), sent[:, 1:3], atol=1e-12, rtol=0)


def test_the_papers_form_takes_off_what_was_sent_one_step_later():
    made = cell("paper", 1, 0.1)
    for part in made.parameters():
        if part is not made.threshold:
            nn.init.zeros_(part)
    x = torch.tensor([[0.0, 0.0, 2.0]]).double().expand(3, 1, 3)  # u = r = 1/2, g = tanh 2
    sent, _ = made.unroll(x)
    g = torch.tanh(torch.tensor(2.0, dtype=torch.float64)).item()
    first, second = g / 2, g / 2 + g / 4 - g / 2
    third = g / 2 + second / 2 - second
    assert sent.flatten().tolist() == pytest.approx([first, second, third])


def test_a_first_state_as_the_released_code_takes_it():
    made, x = cell(threshold=0.0), currents()
    h0 = torch.rand(4, 6, dtype=torch.float64)
    zeros = torch.zeros_like(h0)
    sent, _ = made.unroll(x, EGRUState(zeros, h0, zeros))
    torch.testing.assert_close(sent, by_hand(made, x, torch.relu, zeros, h0), atol=1e-12, rtol=0)


def test_zoneout_keeps_units_in_training_and_their_mean_otherwise():
    made, x = cell(zoneout=0.5, threshold=1e6), currents(1, 4000)
    free = cell(threshold=1e6).unroll(x)[1].v[0]
    kept = made.unroll(x)[1].v[0]
    assert (kept == 0).double().mean() == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(kept[kept != 0], free[kept != 0], atol=1e-12, rtol=0)
    torch.testing.assert_close(made.eval().unroll(x)[1].v[0], free / 2, atol=1e-12, rtol=0)


def test_thresholds_are_drawn_from_a_beta_distribution_and_stay_at_0_or_above():
    torch.manual_seed(0)
    drawn = torch.cat([EGRU(200).threshold for _ in range(40)])
    assert drawn.mean().item() == pytest.approx(0.3, abs=0.01) and drawn.min() > 0 and drawn.max() < 1
    a = 9 / 7
    assert drawn.var().item() == pytest.approx(a * 3 / ((a + 3) ** 2 * (a + 4)), rel=0.1)
    assert EGRU(4, train_threshold=False).threshold.requires_grad is False
    below, at = cell(threshold=-0.5), cell(threshold=0.0)
    assert torch.equal(below(currents()), at(currents()))


def test_the_surrogate():
    spike = EGRU(1, dampening=0.7, epsilon=2.0).spike
    x = torch.tensor([-0.5, -0.25, 0.0, 0.25, 0.6])
    assert (spike.scale * spike.derivative(x)).tolist() == pytest.approx([0, 0.35, 0.7, 0.35, 0])
    assert spike(torch.zeros(1)).item() == 0  # equality is no event


def test_values_out_of_range_are_refused():
    for options, words in (
        ({"features": 0}, "features = 0"),
        ({"form": "code"}, "form = 'code' must be released or paper"),
        ({"threshold_mean": 1.0}, "threshold_mean = 1.0"),
        ({"epsilon": 0.0}, "epsilon = 0.0 must be positive"),
        ({"dampening": float("nan")}, "dampening = nan"),
        ({"zoneout": 1.0}, "zoneout = 1.0"),
        ({"bias": False, "update_bias": 2.0}, "update_bias = 2.0"),
    ):
        with pytest.raises(ValueError, match=words):
            EGRU(**{"features": 4, **options})
    made = cell()
    with pytest.raises(ValueError, match=r"current \[4, 6\] must be \[B, 18\]"):
        made(torch.zeros(3, 4, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"state v is \[4, 6\], current is \[2, 18\]"):
        made.step(currents()[0, :2], made.initial_state(currents()[0]))
    assert cell(update_bias=2.0).gates.bias[:6].tolist() == [2.0] * 6


# in a network ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", [MLP, RecurrentMLP])
def test_a_model_arranges_three_currents_a_unit(model):
    net = model([5, 4])(Blocks(EGRU, lambda: Integrator(0.0), trace=0.9), (7,), 3)
    sizes = {name: tuple(layer.weight.shape) for name, layer in net.layers.items() if isinstance(layer, nn.Linear)}
    assert sizes == {"weight1": (15, 7), "weight2": (12, 5), "readout_weight": (3, 4)}
    assert isinstance(net.layers["hidden1"], EGRU)
    frames = torch.randn(6, 2, 7)
    stepped, states = [], None
    for frame in frames:
        output, states = net.step(frame, states)
        stepped.append(output)
    torch.testing.assert_close(net(frames), torch.stack(stepped), atol=1e-6, rtol=0)


def test_a_model_that_arranges_one_current_a_unit_is_refused():
    with pytest.raises(InputError, match=r"EGRU takes 3 currents a unit.*use model=mlp or model=recurrent_mlp"):
        SmallConv([4], 5)(Blocks(EGRU, lambda: Integrator(0.0)), (1, 28, 28), 10)


def test_the_trace_keeps_nine_tenths():
    net = MLP([2])(Blocks(EGRU, lambda: Integrator(0.0), trace=0.9), (4,), 1)
    frames, trace = torch.randn(5, 1, 4), torch.zeros(1, 2)
    for y in net.layers["hidden1"](net.layers["weight1"](frames)):
        trace = 0.9 * trace + 0.1 * y
    torch.testing.assert_close(net(frames)[-1], net.layers["readout_weight"](trace), atol=1e-6, rtol=0)
