"""The chain: its layers, stages and edges, in networks with branches and loops, and the layers of one's own way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnlab.layers.chain import Chain, through
from snnlab.layers.feedback import Feedback
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.residual import Residual
from snnlab.layers.trace import Traced
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF


def table(network, spikes=True):
    """Each edge as sources > targets, with s where spikes reach it and r where it is recurrent."""
    return {
        edge.name: f"{'+'.join(edge.sources)} > {'+'.join(edge.targets)} {'s' * edge.spikes}{'r' * edge.recurrent}"
        for edge in Chain(network).edges(spikes)
    }


def plain():
    layers = [
        ("flatten", nn.Flatten()),
        ("weight1", nn.Linear(4, 3)),
        ("norm1", nn.Identity()),
        ("hidden1", Recurrent(LIF(0.5, 0.3), nn.Linear(3, 3))),
        ("pool", nn.Identity()),
        ("readout_weight", Traced(nn.Linear(3, 2), 0.5)),
        ("readout", Integrator(0.9)),
    ]
    return Network(layers)


def test_edges_of_a_recurrent_chain():
    assert table(plain(), spikes=False) == {
        "weight1": "input > hidden1 ",
        "hidden1.weight": "hidden1 > hidden1 sr",
        "readout_weight.layer": "hidden1 >  s",  # the readout never fires
    }


def test_edges_of_a_residual_block():
    body = Network([("weight1", nn.Linear(3, 3)), ("first", LIF()), ("weight2", nn.Linear(3, 3))])
    for shortcut, short in ((None, {}), (Network([("weight_short", nn.Linear(3, 3))]), "stem > second s")):
        network = Network(
            [
                ("weight_stem", nn.Linear(4, 3)),
                ("stem", LIF()),
                ("block", Residual(body, shortcut)),
                ("second", LIF()),
                ("weight_out", nn.Linear(3, 2)),
                ("readout", LIF()),
            ]
        )
        assert table(network) == {
            "weight_stem": "input > stem s",
            **({"block_weight_short": short} if short else {}),
            "block_weight1": "stem > block_first s",
            "block_weight2": "block_first > second s",
            "weight_out": "second > readout s",
        }


def test_a_weight_behind_a_sum_hears_both_branches():
    block = Residual(Network([("first", LIF()), ("weight", nn.Linear(3, 3))]))
    network = Network(
        [("weight_stem", nn.Linear(4, 3)), ("block", block), ("weight_out", nn.Linear(3, 2)), ("n", LIF())]
    )
    assert table(network) == {
        "weight_stem": "input > block_first s",
        "block_weight": "block_first >  s",  # a weight follows, no neuron
        "weight_out": "input+block_first > n ",  # of both branches: a current
    }


def test_edges_of_a_loop():
    body = Network([("first", LIF()), ("weight", nn.Linear(3, 5)), ("second", LIF())])
    network = Network([("weight1", nn.Linear(4, 3)), ("loop", Feedback(body, Network([("back", nn.Linear(5, 3))])))])
    assert table(network) == {
        "weight1": "input > loop_first s",
        "loop_back": "loop_second > loop_first sr",
        "loop_weight": "loop_first > loop_second s",
    }


def test_edges_are_in_the_order_of_the_weights():
    chain = Chain(plain())
    assert [edge.name for edge in chain.edges()] == list(chain.weights())
    assert [edge.weight.layer for edge in chain.edges()] == [weight.layer for weight in chain.weights().values()]


def test_stages_cut_behind_what_a_weight_leads_to():
    first, last = Chain(plain()).stages()
    assert [link.name for link in first.before] == ["flatten"] and first.weight.name == "weight1"
    assert [link.name for link in first.between] == ["norm1"] and first.end.name == "hidden1"
    assert first.end.neuron is first.end.layer.neuron and first.end.returning.weight.layer is first.end.layer.weight
    assert [link.name for link in last.links] == ["pool", "readout_weight", "readout"]
    assert last.weight.weight.layer is last.weight.layer.layer and last.end.returning is None
    network = Network([("a", nn.Linear(2, 2)), ("b", nn.Linear(2, 2)), ("rate", nn.ReLU())])
    (stage,) = Chain(network).stages(nn.ReLU)
    assert [link.name for link in stage.between] == ["b"] and stage.end.name == "rate"
    (stage,) = Chain(network).stages()
    assert stage.end is None and len(stage.links) == 3
    assert Chain(Network([])).stages() == []
    composite = Network([("weight", nn.Linear(2, 2)), ("block", Residual(Network([])))])
    assert Chain(composite).stages()[0].end is None and Chain(composite).links[1].composite


def test_a_part_of_the_network_gives_the_numbers_of_the_whole():
    torch.manual_seed(0)
    network, frames = plain(), torch.rand(6, 3, 4)
    chain = Chain(network)
    assert torch.equal(chain.through(frames), network(frames))
    hidden = chain.through(frames, until="readout_weight")
    assert torch.equal(through(chain.links[5:], hidden), network(frames))
    silenced = chain.through(frames, instead=lambda link, x: x * 0 if link.name == "pool" else None)
    assert not torch.equal(silenced, network(frames)) and silenced.shape == (6, 3, 2)


def test_operations_into_and_around_a_recurrent_layer_by_hand():
    """Input spikes: 2 x 3 into the layer; each of its spikes returns to 3 units and goes on to 2."""
    network = plain()
    frames = torch.zeros(3, 1, 4)
    frames[0, 0, :2] = 1
    counter = SynapticOperations()
    with torch.no_grad(), counter.watch(network), network.observe() as seen:
        network(frames)
    fired = seen["hidden1"].sum(dim=(1, 2))
    # what fires at a step returns at the next one; what fires at the last step returns to nobody
    assert counter.compute().item() == 2 * 3 + 3 * float(fired[:-1].sum()) + 2 * float(fired.sum())


@pytest.mark.parametrize("kind", [LIF, nn.Linear])
def test_layers_are_found_by_what_they_are(kind):
    chain = Chain(Network([("weight", nn.Linear(2, 2)), ("n", LIF()), ("flatten", nn.Flatten())]))
    assert [link.name for link in chain.of(kind)] == [{LIF: "n", nn.Linear: "weight"}[kind]]
    assert [link.name for link in chain.without((kind, nn.Flatten))] == [{LIF: "weight", nn.Linear: "n"}[kind]]
