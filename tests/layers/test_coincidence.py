"""Coincidence counters: the product of error and input spikes, counted by hand."""

import torch
from torch import nn

from snnlab.layers.coincidence import Coincidences
from snnlab.weights.linear import LinearWeight


def test_counts_are_the_product_over_time_and_batch():
    torch.manual_seed(0)
    d = torch.randint(-1, 2, (6, 4, 3)).float() * (torch.rand(6, 4, 1) < 0.5)
    x = (torch.rand(6, 4, 5) < 0.4).float()
    layer, active = nn.Linear(8, 3), torch.tensor([0, 2, 3, 6, 7])
    counter = Coincidences(LinearWeight(layer), active)
    for part in (slice(0, 2), slice(2, 6)):
        counter.add(d[part], x[part])
    (weight, counts), (bias, of_bias) = counter.take()
    assert weight.stored is layer.weight and bias.stored is layer.bias
    expected = torch.zeros(3, 8)
    expected[:, active] = torch.einsum("tbo,tbi->oi", d, x)
    assert counts.equal(expected) and of_bias.equal(d.sum((0, 1)))
    assert counter.events == torch.einsum("tbo,tbi->", d.abs(), x)
    assert counter.pulses == d.abs().sum() + x.sum()
    assert all(c.abs().sum() == 0 for _, c in counter.take())  # they start anew


def test_one_coincidence_by_hand():
    layer = nn.Linear(2, 2, bias=False)
    counter = Coincidences(LinearWeight(layer))
    counter.add(torch.tensor([[[1.0, 0.0]], [[0.0, -1.0]]]), torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]]))
    ((_, counts),) = counter.take()
    assert counts.tolist() == [[0, 1], [-1, -1]]
    assert (counter.events, counter.pulses) == (3, 5)
