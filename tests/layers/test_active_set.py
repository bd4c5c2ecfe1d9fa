"""A linear layer and its LIF neurons through active entries alone: autograd of the masked dense layer."""

import copy
import itertools

import pytest
import torch
from torch import nn

from snnlab import kernels
from snnlab.layers import active_set
from snnlab.layers.network import Network
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import FastSigmoid, Truncated
from snnlab.weights.find import weight_of
from snnlab.weights.masked import keep_mask

EQUAL = {torch.float32: 1e-5, torch.float64: 1e-10}


def network(skip=True, sizes=(60, 40, 30), reach=0.2, decay=0.9, bias=False, dtype=torch.float32):
    """Layers whose sums are exact in any order: weights are whole multiples of 1/64."""
    torch.manual_seed(0)
    layers = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes), start=1):
        linear = nn.Linear(inputs, outputs, bias=bias)
        for parameter in linear.parameters():
            parameter.data = torch.randn_like(parameter).mul_(16 if parameter.dim() == 2 else 4).round() / 64
        spike = Truncated(FastSigmoid(0.05, strict=True), reach, skip)
        layers += [(f"weight{i}", linear), (f"norm{i}", nn.Identity())]
        layers += [(f"hidden{i}", LIF(decay, 1.0, "soft", detach_reset=True, surrogate=spike))]
    return Network(layers).to(dtype)


def spikes(shape=(30, 8, 60), rate=0.04, dtype=torch.float32):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < rate).to(dtype)


def gradients(net, frames, choice="auto", asks=True):
    """Outputs, gradients of the weights, of the input, and of the spikes of the first layer."""
    net.zero_grad()
    given = frames.clone().requires_grad_(asks)
    seen = []
    with kernels.using(kernels.Path(choice)):
        handle = net.layers["hidden1"].register_forward_hook(lambda *args: seen.append(args[2]))
        outputs = net(given)
        handle.remove()
    seen[0].retain_grad()
    upstream = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2)).to(outputs.dtype)
    outputs.backward(upstream)
    return outputs, [p.grad.clone() for p in net.parameters()], given.grad, seen[0]


def same(found, expected, dtype):
    scale = float(expected.abs().max())
    assert scale > 0
    return float((found - expected).abs().max()) <= EQUAL[dtype] * scale


# card, invariant 1
@pytest.mark.parametrize("dtype", EQUAL)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("decay", [0.9, 0.5, 0.0, 1.0])
def test_it_is_autograd_of_the_masked_dense_layer(dtype, bias, decay):
    frames = spikes(dtype=dtype)
    with active_set.counting() as counts:
        outputs, found, of_x, hidden = gradients(network(bias=bias, decay=decay, dtype=dtype), frames)
    expected_outputs, expected, expected_of_x, dense = gradients(
        network(False, bias=bias, decay=decay, dtype=dtype), frames, "step"
    )
    assert len(counts) == 2 and outputs.sum() > 0
    assert torch.equal(outputs, expected_outputs)
    assert all(same(a, b, dtype) for a, b in zip(found, expected, strict=True))
    assert same(of_x, expected_of_x, dtype)
    # of the spikes of the layer below: where it is active, and nowhere else
    below = torch.zeros_like(hidden)
    places = torch.arange(len(hidden.active.first) - 1).repeat_interleave(hidden.active.first.diff())
    below[places % 30, places // 30, hidden.active.units.long()] = 1
    assert 0 < below.sum() < below.numel() and not hidden.grad[below == 0].any()
    assert same(hidden.grad, dense.grad * below, dtype)


# card, invariant 2
@pytest.mark.parametrize("dtype", EQUAL)
def test_with_every_entry_active_it_is_the_dense_surrogate_gradient(dtype):
    frames = spikes(dtype=dtype)
    with active_set.counting() as counts:
        _, found, of_x, _ = gradients(network(reach=float("inf"), dtype=dtype), frames)
    plain = network(False, dtype=dtype)
    for name in ("hidden1", "hidden2"):
        plain.layers[name].spike = FastSigmoid(0.05, strict=True)
    _, expected, expected_of_x, _ = gradients(plain, frames, "step")
    assert all(count.active == count.entries for count in counts.values())
    assert all(same(a, b, dtype) for a, b in zip([*found, of_x], [*expected, expected_of_x], strict=True))


# card, invariant 3
def test_without_an_active_entry_the_gradients_are_zero():
    net = network()
    for parameter in net.parameters():
        parameter.data.zero_()
    with active_set.counting() as counts:
        outputs, found, of_x, hidden = gradients(net, spikes())
    assert not outputs.any() and not any(count.active for count in counts.values())
    assert [g.shape for g in found] == [p.shape for p in net.parameters()] and not any(g.any() for g in found)
    assert of_x.shape == (30, 8, 60) and not of_x.any() and not hidden.grad.any()
    assert all(count.products == 0 for count in counts.values())


# card, invariant 4
@pytest.mark.parametrize("reach", [0.05, 0.2, 0.8, float("inf")])
def test_the_products_of_the_weight_gradient_are_active_entries_times_inputs(reach):
    with active_set.counting() as counts:
        gradients(network(reach=reach), spikes())
    (first, second) = counts.values()
    assert first.products == first.active * 60 > 0 and second.products == second.active * 40 > 0
    assert first.entries == 30 * 8 * 40


# card, invariant 5
@pytest.mark.parametrize(("distance", "active"), [(0.1999, 1), (-0.1999, 1), (0.2001, 0), (-0.2001, 0), (0.0, 1)])
def test_the_active_set_is_symmetric(distance, active):
    from snnlab.kernels.active import fired

    currents = torch.full((1, 1, 1), 1 + distance, dtype=torch.float64)
    fires, entries, _ = fired(currents, 0.9, 1.0, 0.2)
    assert len(entries.values) == active and fires.item() == (distance > 0)
    spike = Truncated(FastSigmoid(0.01, strict=True), 0.2)
    assert float(spike.derivative(torch.tensor(distance)) > 0) == active


@pytest.mark.parametrize(("decay", "dtype"), [(0.5, torch.float32), (0.97, torch.float64)])
def test_a_long_sequence_neither_overflows_nor_forgets(decay, dtype):
    frames = spikes((300, 2, 60), 0.03, dtype)  # 0.5^300 is no number of 32 bits
    _, found, of_x, _ = gradients(network(decay=decay, dtype=dtype), frames)
    _, expected, expected_of_x, _ = gradients(network(False, decay=decay, dtype=dtype), frames, "step")
    assert all(same(a, b, dtype) for a, b in zip([*found, of_x], [*expected, expected_of_x], strict=True))


def test_threads_do_not_change_a_bit():
    frames, before, seen = spikes((40, 70, 300), 0.02), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            outputs, found, of_x, _ = gradients(network(sizes=(300, 130, 90)), frames)
            seen.append([outputs, *found, of_x])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in seen[1:] for a, b in zip(seen[0], other, strict=True))


@pytest.mark.parametrize("values", [0.5, -1.0])
def test_inputs_of_other_values_than_one(values):
    frames = spikes() * values
    _, found, of_x, _ = gradients(network(), frames)
    _, expected, expected_of_x, _ = gradients(network(False), frames, "step")
    assert all(same(a, b, torch.float32) for a, b in zip([*found, of_x], [*expected, expected_of_x], strict=True))


def test_a_mask_on_the_weights_keeps_its_gradient():
    nets = [network(), network(False)]
    for net in nets:
        weight = weight_of(net.layers["weight1"])
        keep_mask(weight, torch.arange(40 * 60).view(40, 60) % 3 > 0)
    with active_set.counting() as counts:
        _, found, _, _ = gradients(nets[0], spikes())
    _, expected, _, _ = gradients(nets[1], spikes(), "step")
    assert len(counts) == 2
    assert all(same(a, b, torch.float32) for a, b in zip(found, expected, strict=True))


def test_a_frozen_weight_has_no_gradient_and_the_others_have_theirs():
    nets = [network(), network(False)]
    for net in nets:
        net.layers["weight1"].weight.requires_grad_(False)
    found = []
    for net, choice in zip(nets, ("auto", "step"), strict=True):
        with kernels.using(kernels.Path(choice)):
            net(spikes()).sum().backward()
        assert net.layers["weight1"].weight.grad is None
        found.append(net.layers["weight2"].weight.grad)
    assert same(*found, torch.float32)


def joins(net, frames):
    """Whether the first layer of a net goes through the active set."""
    return active_set.joins(net.layers["weight1"], net.layers["hidden1"], frames)


def test_what_it_cannot_take_goes_the_masked_way():
    assert joins(network(), spikes())
    assert not joins(network(False), spikes())
    assert not joins(network(), spikes(rate=0.5))  # too many inputs to gather
    assert not joins(network(), spikes(shape=(1, 8, 60)).expand(30, 8, 60))  # direct coding
    assert not joins(network(), spikes().view(30, 8, 6, 10))
    with torch.no_grad():
        assert not joins(network(), spikes())
    with kernels.using(kernels.Path("step")):
        assert not joins(network(), spikes())
    for change in ({"detach_reset": False}, {"reset": "hard"}, {"leak": "last"}, {"detach_state": True}):
        net = network()
        for key, value in change.items():
            setattr(net.layers["hidden1"], key, value)
        assert not joins(net, spikes())
    net = network()
    net.layers["weight1"].register_forward_hook(lambda *_: None)
    assert not joins(net, spikes())
    net = network()
    net.layers["hidden1"].register_forward_pre_hook(lambda *_: None)
    assert not joins(net, spikes())
    net = network()
    net.layers["hidden1"].spike.register_forward_hook(lambda *_: None)
    assert not joins(net, spikes())


def test_a_second_derivative_is_refused():
    net = network()
    (grad,) = torch.autograd.grad(net(spikes()).sum(), [net.layers["weight1"].weight], retain_graph=True)
    assert grad.any()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(net(spikes()).sum(), [net.layers["weight1"].weight], create_graph=True)


def test_a_graph_can_be_gone_through_twice_and_a_net_copied():
    net = network()
    outputs = copy.deepcopy(net)(spikes())
    outputs = net(spikes())
    outputs.sum().backward(retain_graph=True)
    once = net.layers["weight1"].weight.grad.clone()
    outputs.sum().backward()
    assert torch.allclose(net.layers["weight1"].weight.grad, 2 * once)
