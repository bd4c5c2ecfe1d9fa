"""A network keeps its own path: how another network of the process computes does not reach it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnlab import kernels
from snnlab.layers.network import Network
from snnlab.layers.residual import Residual
from snnlab.neurons.lif import LIF


def net(choice: kernels.Choice | None) -> Network:
    torch.manual_seed(0)
    network = Network([("weight", nn.Linear(6, 5)), ("hidden", LIF())])
    network.kernels = None if choice is None else kernels.Path(choice)
    return network


def test_two_networks_of_one_process_keep_their_own_path():
    fused, stepped = net("auto"), net("step")
    frames = torch.rand(4, 3, 6)
    for _ in range(2):
        fused(frames), stepped(frames)
    assert fused.path.taken() == {"fused": ["LIF"], "step": []}
    assert stepped.path.taken() == {"fused": [], "step": ["LIF"]}
    assert kernels.current().choice == "auto"


def test_a_network_without_a_path_takes_that_of_its_caller():
    path = kernels.Path("step")
    with kernels.using(path):
        net(None)(torch.rand(4, 3, 6))
    assert path.taken() == {"fused": [], "step": ["LIF"]}


def test_a_network_inside_another_takes_its_path():
    outer = Network([("block", Residual(net(None), Network([("skip", nn.Linear(6, 5))])))])
    outer.kernels = kernels.Path("step")
    outer(torch.rand(4, 3, 6))
    assert outer.path.taken()["step"] == ["LIF"]


def test_a_choice_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="kernels = fast: choose one of auto, half, step"):
        kernels.Path("fast")  # type: ignore[arg-type]


def test_a_run_and_the_one_it_is_compared_with_keep_their_own(tmp_path, monkeypatch):
    from snnlab.config.build import build
    from snnlab.config.compose import compose

    first = build(compose(["method=stbp", "data=digits"]).config).method.network
    second = build(compose(["method=stbp", "data=digits", "kernels=step"]).config).method.network
    assert (first.path.choice, second.path.choice) == ("auto", "step")
