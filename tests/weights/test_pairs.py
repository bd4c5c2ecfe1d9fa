"""Pairs of conductances: round trip inside the range, clipped outside, conductances within their ends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.weights.find import weight_of
from snnlab.weights.pairs import ConductancePair, clip, keep_in_pairs


def test_round_trip_inside_and_clipped_outside():
    layer = nn.Linear(5, 1, bias=False).double()
    weight = weight_of(layer)
    keep_in_pairs(weight, 0.5)
    given = torch.tensor([[-2.0, -0.5, 0.0, 0.3, 7.0]], dtype=torch.float64)
    weight.write(given)
    torch.testing.assert_close(weight.used, given.clamp(-0.5, 0.5), atol=1e-12, rtol=0)
    (pair,) = weight.values.parts
    positive, negative = pair.conductances(weight.stored)
    assert positive.min() >= 1e-5 and positive.max() <= 1e-3 and negative.min() >= 1e-5 and negative.max() <= 1e-3
    torch.testing.assert_close((positive - negative) * 0.5 / (1e-3 - 1e-5), weight.used)
    assert (torch.minimum(positive, negative) == 1e-5).all()


def test_the_gradient_is_that_of_the_weight_and_a_step_is_clipped():
    layer = nn.Linear(3, 2)
    weight = weight_of(layer)
    keep_in_pairs(weight, 1.0)
    layer(torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.equal(weight.stored.grad, torch.tensor([[1.0, 2.0, 3.0]] * 2))
    torch.optim.SGD([weight.stored], 10.0).step()
    clip(layer)
    assert (weight.stored == -1).all() and torch.allclose(weight.used, torch.tensor(-1.0))


def test_a_reach_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"reach = 0\.0 must be positive"):
        ConductancePair(0.0)
