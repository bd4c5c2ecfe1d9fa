"""NeuroBench 2.3 and SpikingJelly 2.0 count as we do; where they do not, the definition that differs is named."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from oracles.counters import CASES, convolutional, dense, events, neurobench, ours, spikingjelly
from snnlab.layers.chain import Chain
from snnlab.metrics.synaptic_operations import SynapticOperations

PACKAGES = ("neurobench", "spikingjelly", "snntorch")
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed, see counters.py")


@pytest.mark.parametrize("case", list(CASES)[:2])
def test_operations_sparsity_and_footprint_are_neurobenchs(case):
    make, spiking = CASES[case]
    network, frames = make()
    mine, theirs = ours(network, frames, spiking), neurobench(network, frames)
    for name, value in theirs.items():
        rounded = 5e-5 if name == "sparsity/connections" else 1e-9  # theirs has four decimals
        assert mine[name] == pytest.approx(value, abs=rounded, rel=1e-12), name
    assert mine["accumulates"] > 0


def test_a_count_of_two_events_is_two_accumulates_and_a_multiplication_for_neurobench():
    network, frames = events()
    mine, theirs = ours(network, frames, True), neurobench(network, frames)
    assert mine["accumulates"] == frames.sum().item() * 10 / frames.shape[1] and mine["multiply_accumulates"] == 0
    assert theirs["multiply_accumulates"] == (frames != 0).sum().item() * 10 / frames.shape[1]
    assert theirs["accumulates"] == 0


def test_spikingjelly_counts_weights_of_0_as_our_synaptic_operations_do():
    network, frames = dense()
    counter = SynapticOperations()
    with torch.no_grad(), counter.watch(network):
        network(frames)
    theirs = spikingjelly(network, frames)
    assert theirs["accumulates"] == counter.compute().item() > ours(network, frames, True)["accumulates"]
    assert theirs["multiply_accumulates"] == 0


def test_spikingjelly_multiplies_inputs_of_0_and_padding():
    network, frames = convolutional()
    mine, theirs = ours(network, frames, False), spikingjelly(network, frames)
    assert theirs["accumulates"] == mine["accumulates"]
    places = {"conv1": 64 * 9, "conv2": 4 * 9 * 6}  # of the outputs, each with its whole kernel
    weights = Chain(network).weights()
    assert theirs["multiply_accumulates"] == len(frames) * sum(places[n] * weights[n].outputs for n in places)
    assert mine["multiply_accumulates"] < theirs["multiply_accumulates"]
