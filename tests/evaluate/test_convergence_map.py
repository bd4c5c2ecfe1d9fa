"""The toy map: more networks converge with many spikes a neuron than with one."""

from types import SimpleNamespace

import pytest
import torch

from snnlab.data.contract import DataSpec
from snnlab.data.encoders import Latency
from snnlab.errors import InputError
from snnlab.evaluate.convergence_map import DURATION, TIMES, analyse, converged, descent, read
from snnlab.methods.multispike_fast_deep import MultispikeFastDeep
from snnlab.models.mlp import MLP
from snnlab.simulators.event import spike_times


def stored(method):
    return SimpleNamespace(method=method, folder="run")


def test_many_spikes_converge_from_more_initial_weights():
    spec = DataSpec("images", "image", (1, 1, 2), 2)
    method = MultispikeFastDeep(MLP([2]), spec, Latency(4), torch.optim.Adam)
    answer = analyse(stored(method), points=4, repeats=20)
    many, one = answer.values["converged_many"], answer.values["converged_one"]
    assert many > one + 0.05
    assert len(answer.values["map_many"]) == len(answer.values["map_many"][0]) == 4
    with pytest.raises(InputError, match="repeats = 0 must be at least 1"):
        analyse(stored(method), repeats=0)
    with pytest.raises(InputError, match="is for runs of a method with exact spike times"):
        analyse(stored(torch.nn.Identity()))


def test_a_solved_network_is_seen_as_such_and_a_silent_one_is_not():
    solved = torch.tensor([[[1.0, 1.0, 3.0, -1.0], [1.0, 1.0, -1.0, 3.0]]])
    assert read(solved, True)[0, 0, 0] > read(solved, True)[0, 0, 1]
    silent = -torch.ones(1, 2, 4)
    for many in (True, False):
        assert converged(torch.cat([solved, silent]), many, 0.1, 0).tolist() == [True, False]
        assert converged(silent, many, 0.1, 3).tolist() == [False]


def test_the_error_at_every_spike_is_the_count_missing_to_the_target():
    """The rate of the source goes with dL/dt_k = target - n, whatever factor the method's loss has."""
    weights = torch.tensor(
        [[[1.0, 1.0, 3.0, -1.0], [1.5, 1.0, 0.5, 2.0]], [[2.0, 2.0, 1.0, 1.0], [0.9, 1.0, 2.0, 1.0]]]
    )
    weights.requires_grad_()
    times = spike_times(TIMES, weights.view(-1, 4), 1.0, 1.0, DURATION, 30).unflatten(1, (-1, 2))
    errors = torch.tensor([[10.0, 0.0], [0.0, 10.0]])[:, None] - times.isfinite().sum(-1)
    (expected,) = torch.autograd.grad(times, weights, errors[..., None].expand_as(times))
    assert expected.abs().amax(-1).min() > 0.1  # every neuron fires
    torch.testing.assert_close(descent(weights.detach(), True), expected / 2)
