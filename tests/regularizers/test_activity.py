"""Activity and voltage: both penalties by hand, and the gradient that reaches an event-based cell."""

from __future__ import annotations

import pytest
import torch

from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch
from snnlab.errors import InputError
from snnlab.regularizers.activity import Activity
from snnlab.regularizers.homeostasis import Homeostasis


def test_both_penalties_by_hand():
    events = torch.tensor([1.0, 0, 0, 1, 0, 0, 0, 1]).view(2, 2, 2)  # a mean of 3/8
    v = torch.tensor([0.5, -0.5, 1.5, 0.5]).view(2, 1, 2)
    made = Activity(activity=0.1, activity_strength=3.0, voltage=0.5, voltage_strength=2.0)
    assert made({"hidden1": events}).item() == pytest.approx(3 * (0.375 - 0.1) ** 2)
    assert made({"hidden1": events, "hidden2": events}).item() == pytest.approx(6 * (0.375 - 0.1) ** 2)
    assert made.of_states({"hidden1": v}).item() == pytest.approx(2 * (1 + 1) / 4)
    assert made({}).item() == made.of_states({}).item() == 0
    assert made.reads_states and not Activity().reads_states


def test_bad_values_are_refused():
    for options in (
        {"activity": 1.5},
        {"activity_strength": -1.0},
        {"voltage": float("nan")},
        {"voltage_strength": -1},
    ):
        with pytest.raises(InputError, match=next(iter(options))):
            Activity(**options)


def trained(neuron, regularizer):
    """A method after one training step, and its batch."""
    line = ["method=stbp", f"method.neuron={neuron}", "data=digits", "encoder=direct", "encoder.time_steps=5"]
    method = build(compose([*line, "model=mlp", "model.hidden=[12]", "method.readout=leaky"]).config).method
    method.log = lambda *args, **kwargs: None
    torch.manual_seed(0)
    batch = Batch(torch.rand(6, 1, 8, 8), torch.arange(6))
    method.regularizer = None
    plain = method.training_step(batch, 0)
    method.regularizer = regularizer
    more = method.training_step(batch, 0)
    return method, batch, (more - plain).item(), more


@pytest.mark.parametrize("neuron", ["egru", "lif"])
def test_events_and_states_are_penalised_and_the_readout_is_left_alone(neuron):
    made = Activity(activity=0.9, activity_strength=2.0, voltage=0.3, voltage_strength=0.5)
    method, batch, added, loss = trained(neuron, made)
    _, record = method.network.unroll(method.frames(batch))
    sent, states = record["hidden1"]
    expected = 2 * ((sent != 0).float().mean() - 0.9) ** 2 + 0.5 * (states.v - 0.3).square().mean()
    assert added == pytest.approx(expected.item(), rel=1e-3)
    loss.backward()
    assert method.network.layers["weight1"].weight.grad.any()


def test_what_counts_spikes_counts_events_and_their_gradient_is_the_surrogates():
    seen = {}

    class Seen(Homeostasis):
        def __call__(self, spikes):
            seen.update(spikes)
            return super().__call__(spikes)

    method, _, added, loss = trained("egru", Seen(lower=3.0, lower_strength=10.0))
    assert list(seen) == ["hidden1"] and added > 0
    assert {*seen["hidden1"].unique().tolist()} == {0.0, 1.0} and seen["hidden1"].requires_grad
    (threshold,) = torch.autograd.grad(loss, method.network.layers["hidden1"].threshold)
    assert (threshold > 0).any()  # a lower threshold makes more events
