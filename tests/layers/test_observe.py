"""``snnlab.observe``: what every layer held, with the numbers of a forward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import snnlab
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.layers.network import Network
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF


def test_a_case_by_hand():
    network = Network([("hidden1", LIF(decay=0.9, threshold=1.0)), ("readout", Integrator(decay=1.0))])
    seen = snnlab.observe(network, torch.full((8, 1, 1), 0.3))
    assert list(seen.spikes) == ["hidden1"] and list(seen.membranes) == list(seen.states) == ["hidden1", "readout"]
    assert seen.spikes["hidden1"].flatten().nonzero().flatten().tolist() == [3, 7]
    assert seen.membranes["hidden1"][-1].item() == pytest.approx(0.0525, abs=1e-4)  # after the reset
    crossed = seen.distances["hidden1"] + 1.0  # before it
    assert crossed[3].item() == pytest.approx(0.3 * (1 - 0.9**4) / 0.1, rel=1e-6)
    assert torch.equal(seen.membranes["readout"][:, 0, 0], seen.spikes["hidden1"][:, 0, 0].cumsum(0))
    assert torch.equal(seen.outputs, network(torch.full((8, 1, 1), 0.3)))


@pytest.mark.parametrize(
    "words",
    [
        "method=stbp model=mlp",
        "method=stbp model=recurrent_mlp",
        "method=stbp model=small_conv",
        "method=bntt model=resnet9",
        "method=ottt model=vgg_ottt",
        "method=fptt",
        "method=vdib",
        "method=ann",
        "method=multispike_fast_deep",
        "method=burstccn",
        "method=vdsp",
        "method=stbp method.neuron=ahp hardware=loihi2",
    ],
)
def test_it_is_a_forward_and_leaves_nothing_behind(words):
    parts = build(compose([*words.split(), "data=digits", "data.batch_size=4"]).config)
    method = parts.method.eval()
    parts.data.setup()
    method.prepare(parts.data)
    frames = method.frames(next(iter(parts.data.test_dataloader())))
    network = method.network
    torch.manual_seed(0)
    with torch.no_grad(), network.observe() as fired:
        outputs = network(frames)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(0)
    seen = snnlab.observe(network, frames)
    torch.testing.assert_close(seen.outputs, outputs)
    assert not seen.outputs.requires_grad
    for name, spikes in fired.items():
        assert torch.equal(seen.spikes[name].float(), spikes.float()), name
        if name in seen.distances:
            assert torch.equal(seen.distances[name] >= 0, spikes > 0) or words.startswith("method=stbp")
    assert set(seen.record) <= set(network.leaves())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in network.modules())


@pytest.mark.parametrize(
    ("network", "frames", "words"),
    [
        ("outputs/latest", torch.zeros(1, 1), r"network is a str; give snnlab\.load"),
        (nn.Linear(1, 1), torch.zeros(1, 1), "network is a Linear"),
        (Network([]), torch.zeros(3), r"frames is torch\.float32 \[3\]"),
        (Network([]), torch.zeros(3, 1, dtype=torch.uint8), r"frames is torch\.uint8 \[3, 1\]"),
        (Network([]), torch.zeros(0, 1), r"\[0, 1\]"),
        (Network([]), [[1.0]], "frames is list"),
        (Network([("a", nn.Linear(1, 1))]), torch.zeros(3, 1, 1).double(), r"give frames\.to\(torch\.float32\)"),
    ],
)
def test_what_is_no_network_and_no_sequence_is_refused(network, frames, words):
    with pytest.raises(InputError, match=words):
        snnlab.observe(network, frames)
