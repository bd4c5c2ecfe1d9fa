"""Homeostasis: the two bounds by hand, the gradient, and its place in a training step."""

from __future__ import annotations

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch
from snnlab.errors import InputError
from snnlab.regularizers.homeostasis import Homeostasis


def test_both_bounds_by_hand():
    spikes = torch.zeros(5, 2, 4)
    spikes[:, 0, 0] = 1  # sample 0: 5, 2, 0, 0 spikes; sample 1: none
    spikes[:2, 0, 1] = 1
    lower = Homeostasis(lower=1, lower_strength=8, upper=1.5, upper_strength=0)({"hidden1": spikes})
    assert lower.item() == pytest.approx(8 * 6 / 8)  # six of eight neurons miss one spike
    upper = Homeostasis(lower=0, lower_strength=0, upper=1.5, upper_strength=4)({"hidden1": spikes})
    assert upper.item() == pytest.approx(4 * (7 / 4 - 1.5) ** 2 / 2)  # sample 0 has a mean of 7/4
    pair = {"hidden1": spikes, "conv1": spikes.view(5, 2, 2, 1, 2)}
    both = Homeostasis(1, 8, 1.5, 4)(pair)
    assert both.item() == pytest.approx(2 * (lower + upper).item())
    assert Homeostasis()({}).item() == 0


def test_within_the_bounds_nothing_is_pushed():
    spikes = torch.zeros(5, 2, 4).requires_grad_()
    Homeostasis()({"hidden1": spikes}).backward()
    assert (spikes.grad < 0).all()  # silent neurons are pushed to fire
    spikes = torch.ones(3, 2, 4).requires_grad_()
    Homeostasis()({"hidden1": spikes}).backward()
    assert not spikes.grad.any()


def test_bad_values_are_refused():
    for options, words in (({"lower": 5.0}, "lower = 5.0, upper = 4.0"), ({"upper_strength": -1.0}, "upper_strength")):
        with pytest.raises(InputError, match=words):
            Homeostasis(**options)


def test_it_is_added_to_the_training_loss_and_leaves_the_readout_alone(empty_data):
    method = build(compose(["method=stbp", "data=randman", "model.hidden=[8]"]).config).method
    batch = Batch((torch.rand(100, 6, 20) < 0.01).float(), torch.arange(6))
    seen = {}

    def penalty(spikes):
        seen.update(spikes)
        return sum(s.sum() for s in spikes.values()) * 0.01

    method.log = lambda *args, **kwargs: None
    method.regularizer = None
    plain = method.training_step(batch, 0)
    method.regularizer = penalty
    more = method.training_step(batch, 0)
    assert list(seen) == ["hidden1"] and seen["hidden1"].sum() > 0
    assert (more - plain).item() == pytest.approx(0.01 * seen["hidden1"].sum().item(), rel=1e-4)
    more.backward()
    assert method.network.layers["weight1"].weight.grad.abs().sum() > 0


def test_the_upper_bound_may_count_linearly():
    """Perez-Nieves & Goodman 2021: 0.06 max(0, mean spikes - 1), the mean over samples outside of the bound."""
    spikes = torch.zeros(5, 2, 4)
    spikes[:3, 0] = 1  # 3 spikes a neuron in the first sample, none in the second
    linear = Homeostasis(0.0, 0.0, 1.0, 0.06, upper_power=1)
    assert linear({"hidden": spikes}).item() == pytest.approx(0.06 * (2 + 0) / 2, abs=1e-7)
    assert Homeostasis(0.0, 0.0, 1.0, 0.06)({"hidden": spikes}).item() == pytest.approx(0.06 * 4 / 2, abs=1e-7)
    with pytest.raises(InputError, match="upper_power = 3 must be 1 or 2"):
        Homeostasis(upper_power=3)
