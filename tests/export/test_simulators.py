"""Exported graphs in norse and snntorch, where they are installed: no bin differs; whose rule it is where one would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from snnlab.export.nir_graph import to_nir
from snnlab.export.simulators import norse, quietly, snntorch
from snnlab.export.verify import verify
from snnlab.neurons.integrator import Integrator

from .nets import chain, lif, networks

nir = pytest.importorskip("nir")
pytest.importorskip("norse.torch")
pytest.importorskip("snntorch")

RUNS = {  # of snntorch: the others are refused, with these words
    "soft": "resets to 0",
    "no leak": "beta = 0.9",
    "learned": "resets to 0",
    "reset to": "resets to 0",
    "recurrent": "through its returning weight",
}


def one_neuron(**options):
    """A current of 1 a spike into one neuron."""
    network = chain(nn.Linear(1, 1, bias=False), lif(**options), nn.Linear(1, 1), Integrator(0.0)).eval()
    network.layers["linear0"].weight.data.fill_(1.0)
    graph, _ = to_nir(network, (1,))
    return network, graph


@pytest.mark.parametrize("name", networks())
def test_no_bin_differs(name, tmp_path):
    torch.manual_seed(1)
    network, shape = networks()[name]
    nir.write(tmp_path / "network.nir", to_nir(network.eval(), shape)[0])
    frames = (torch.rand(10, 5, *shape) < 0.4).float()
    verdict = verify(tmp_path / "network.nir", network, frames, ["norse", "snntorch"])
    assert verdict.mismatches == 0 and sum(row.spikes for row in verdict.rows) > 50
    assert "norse" in verdict.allowed
    if name in RUNS:
        assert RUNS[name] in verdict.refused["snntorch"]
    else:
        assert not verdict.refused
    assert len(verdict.lines()) > len(verdict.rows)


def test_a_graph_that_was_changed_is_told(tmp_path):
    network, graph = one_neuron(decay=0.5, threshold=1.2)
    graph.nodes["lif1"].v_threshold *= 0.5
    nir.write(tmp_path / "network.nir", graph)
    verdict = verify(tmp_path / "network.nir", network, torch.ones(3, 1, 1), ["norse"])
    assert verdict.mismatches == 2  # v is 1, 1.5 -> 0, 1; fires at 1 there
    assert "sample 0, step 0, neuron 0 is silent here and fires there" in verdict.lines()[1]


# whose rule differs: each of these is allowed for in simulators.py, and here is what comes without -------------------
def steps(module, currents):
    state, spikes = None, []
    with torch.no_grad():
        for current in currents:
            out, state = module(torch.tensor([current]), state)
            spikes.append(float(out))
    return spikes


def in_norse(node, **options):
    import norse.torch

    graph = nir.NIRGraph.from_list(nir.Input({"input": np.array([1])}), node, nir.Output({"output": np.array([1])}))
    with quietly():
        return norse.torch.from_nir(graph, ignore_warnings=True, **options)


def in_snntorch(node):
    from snntorch.import_nir import import_from_nir

    graph = nir.NIRGraph.from_list(nir.Input({"input": np.array([1])}), node, nir.Output({"output": np.array([1])}))
    with quietly():
        return import_from_nir(graph)


def node(tau=2e-3, r=1.0, threshold=0.5, reset=0.0, kind="LIF"):
    one = np.ones(1, np.float32)
    if kind == "IF":
        return nir.IF(r=r * one, v_threshold=threshold * one, v_reset=reset * one)
    return nir.LIF(tau=tau * one, r=r * one, v_leak=0 * one, v_threshold=threshold * one, v_reset=reset * one)


def test_norse_passes_over_r():
    assert steps(in_norse(node(r=4.0)), [0.5]) == [0.0]  # NIR: v = 0.5 * 4 * 0.5 = 1 > 0.5


def test_norse_resets_to_zero_whatever_v_reset_says():
    assert steps(in_norse(node(reset=-9.0)), [2.0, 2.0]) == [1.0, 1.0]  # NIR: v = -9, then -4.5 + 1


def test_norse_starts_at_v_leak():
    rests = node(threshold=0.9)
    rests.v_leak += 1.0
    assert steps(in_norse(rests), [0.0]) == [1.0]  # here v[-1] = 0, and v = 0.5


def test_norse_resets_a_lif_to_a_value_whatever_it_is_told():
    from norse.torch.functional.reset import reset_subtract

    told = in_norse(node(), reset_method=reset_subtract)
    assert steps(told, [3.0, 0.0]) == [1.0, 0.0]  # v = 1.5; minus 0.5 is 1, and half of it is not above 0.5
    assert steps(told, [6.0, 0.0]) == [1.0, 0.0]  # v = 3; minus 0.5 is 2.5, half is 1.25: it would fire again
    assert "reset_method subtracts" in norse(one_neuron(decay=0.5, threshold=1.0, reset="soft")[1]).allowed


def test_both_stay_silent_at_equality():
    assert steps(in_norse(node()), [1.0]) == [0.0]
    assert steps(in_snntorch(node(tau=2e-4)), [1.0]) == [0.0]
    _, graph = one_neuron(decay=0.5, threshold=1.0, strict=False)  # fires at equality, and so does its graph
    for simulator in (norse, snntorch):
        assert simulator(graph).run(torch.ones(1, 1))["lif1"].item() == 1.0


def test_snntorch_takes_a_time_step_of_a_tenth_of_a_millisecond():
    assert steps(in_snntorch(node()), [1.2]) == [0.0]  # v = 1e-4 / 2e-3 * 1.2
    assert steps(in_norse(node()), [1.2]) == [1.0]  # v = 1e-3 / 2e-3 * 1.2


def test_snntorch_gives_an_if_a_leak():
    kept = in_snntorch(node(kind="IF", threshold=1.0))
    assert [m.beta.item() for m in kept.modules() if hasattr(m, "beta")] == [pytest.approx(0.9)]


def test_snntorch_leads_the_input_of_a_recurrent_layer_through_its_returning_weight():
    network, shape = networks()["recurrent"]
    network.layers["recurrent1"].weight.weight.data.zero_()  # nothing returns
    network.layers["recurrent1"].weight.bias.data.zero_()
    graph, _ = to_nir(network, shape)
    from snntorch.import_nir import _replace_rnn_subgraph_with_nirgraph

    with quietly():
        part = _replace_rnn_subgraph_with_nirgraph(graph).nodes["recurrent1"]
    assert ("recurrent1.input", "recurrent1.w_rec") in part.edges
    assert ("recurrent1.input", "recurrent1.lif") not in part.edges


def test_a_refused_readout_is_no_refused_graph():
    """norse and snntorch have no LI: what integrates at the end never fires, and is left out."""
    _, graph = one_neuron(decay=0.5, threshold=0.4)
    assert norse(graph).run(torch.ones(2, 1))["lif1"].flatten().tolist() == [1.0, 1.0]
