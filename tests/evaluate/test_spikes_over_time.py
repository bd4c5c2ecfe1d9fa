"""Spikes per neuron and step: counted by hand, and asked of a stored run."""

import pytest
import torch

from snnlab.errors import InputError
from snnlab.evaluate.ask import ask
from snnlab.metrics.spikes_over_time import SpikesOverTime


def test_counts_by_hand():
    metric = SpikesOverTime()
    spikes = torch.zeros(3, 2, 4)
    spikes[0, :, 0] = 1  # one of four neurons in both samples
    spikes[2, 0, :] = 1  # all four in one sample
    metric.update({"hidden": spikes}, samples=2)
    metric.update({"hidden": torch.ones(3, 1, 4)}, samples=1)
    assert metric.compute()["hidden"].tolist() == pytest.approx([(2 + 4) / 12, 4 / 12, (4 + 4) / 12])


def test_a_stored_run_answers_for_every_layer_and_step(stbp_run, bntt_run):
    values = ask(stbp_run, "spikes_over_time", ["samples=100"])[0]["values"]
    assert values["samples"] == 100
    assert set(values) == {"samples", "rate/hidden1", "rate/readout"}
    content, figures = ask(bntt_run, "spikes_over_time")
    rate = content["values"]["rate/hidden1"]
    assert len(rate) == 8 and all(0 < r < 1 for r in rate) and set(figures) == {"spikes_over_time"}
    assert content["values"]["samples"] == 300
    with pytest.raises(InputError, match="samples = 0 must be at least 1"):
        ask(bntt_run, "spikes_over_time", ["samples=0"])
