"""Layers in their forms for long spike sequences: the numbers of the plain layer, and what they keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnlab.callbacks.memory import LiveBytes
from snnlab.layers.over_time import over_time
from take import take


def both(layer, sequence, gradient, monkeypatch):
    """Output and gradients of input and parameters, in the special form and in the plain one."""
    found = []
    for special in (True, False):
        take(monkeypatch, special)
        leaf = sequence.clone().requires_grad_()
        output = over_time(layer, leaf)
        found.append((output, *torch.autograd.grad(output, [leaf, *layer.parameters()], gradient)))
    return zip(*found, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rate", "share"), [(0.02, 1.0), (0.3, 1.0), (0.3, 0.02), (0.02, 0.01), (1.0, 1.0)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_sums_few_spikes_or_few_gradients_to_the_same_numbers(rate, share, bias, dtype, monkeypatch):
    torch.manual_seed(0)
    layer, sequence = nn.Linear(301, 203, bias=bias).to(dtype), torch.rand(13, 11, 301, dtype=dtype)
    sequence = sequence if rate == 1 else (sequence < rate).to(dtype)
    gradient = torch.randn(13, 11, 203, dtype=dtype) * (torch.rand(13, 11, 203) < share)
    for value, expected in both(layer, sequence, gradient, monkeypatch):
        limit = (1e-6 if dtype == torch.float32 else 1e-13) * float(expected.detach().abs().max())
        torch.testing.assert_close(value, expected, rtol=0, atol=limit)


def test_linear_of_event_counts_and_of_nothing(monkeypatch):
    torch.manual_seed(0)
    counts = (torch.rand(6, 20, 400) < 0.03) * torch.randint(1, 5, (6, 20, 400)).float()
    for sequence in (counts, torch.zeros(6, 20, 400)):
        for value, expected in both(nn.Linear(400, 30), sequence, torch.randn(6, 20, 30), monkeypatch):
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        *(nn.AvgPool2d(2), nn.AvgPool2d(3), nn.AvgPool2d((1, 2)), nn.AvgPool2d(3, 2, 1, True, False)),
        *(nn.AvgPool2d((2, 3), divisor_override=5), nn.Conv2d(3, 4, 3)),
    ],
)
def test_pooling_and_convolution_give_the_same_numbers(layer, monkeypatch):
    torch.manual_seed(0)
    spikes = (torch.rand(5, 4, 3, 11, 12) < 0.3).float()
    shape = over_time(layer, spikes).shape
    for value, expected in both(layer, spikes, torch.randn(shape), monkeypatch):
        assert torch.equal(value, expected)


def test_pooling_keeps_nothing_of_its_input():
    spikes = (torch.rand(10, 4, 8, 16, 16) < 0.3).float().requires_grad_()
    with LiveBytes() as counted:
        output = over_time(nn.AvgPool2d(2), spikes * 1)
    assert counted.live == output.nbytes


def test_a_watched_layer_sees_every_step():
    seen = []
    layer = nn.Linear(4, 3)
    layer.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0].shape))
    assert over_time(layer, torch.rand(2, 4).expand(7, 2, 4)).shape == (7, 2, 3)
    assert seen == [(14, 4)]
