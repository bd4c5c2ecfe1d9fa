"""A network as a NIR graph: NIR's own equations give its spikes, its weights leave as they are, the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.export.nir_graph import WHY, to_nir
from snnlab.export.simulators import without_synapses
from snnlab.hardware.constrain import constrain
from snnlab.layers.batch_norm_through_time import BatchNormThroughTime
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.residual import Residual
from snnlab.neurons.ahp import AHP
from snnlab.neurons.alif import ALIF
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.stochastic_readout import StochasticReadout

from .equations import advance, run
from .nets import chain, lif, networks

nir = pytest.importorskip("nir")


def frames(shape, steps=12, samples=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, samples, *shape, generator=generator) < 0.4).float()


@pytest.mark.parametrize("name", networks())
def test_the_equations_of_nir_give_the_spikes(name, tmp_path):
    torch.manual_seed(1)
    network, shape = networks()[name]
    graph, notes = to_nir(network.eval(), shape)
    nir.write(tmp_path / "network.nir", graph)
    graph = nir.read(tmp_path / "network.nir")
    soft = [n for n, node in graph.nodes.items() if np.asarray(node.metadata.get("reset")) == "soft"]
    assert bool(soft) == any("subtract" in note for note in notes)
    given = frames(shape)
    with torch.no_grad(), network.observe() as seen:
        outputs = network(given)
    fired = 0
    for b in range(given.shape[1]):
        sample = given[:, b].reshape(len(given), *graph.input_type["input"])
        found = run(graph, sample, soft)
        for layer in seen:
            node = layer if layer in found else f"{layer}.lif"
            assert torch.equal(found[node].flatten(1), seen[layer][:, b].flatten(1).double()), (layer, b)
            fired += int(found[node].sum())
        assert torch.allclose(found["output"].flatten(1), outputs[:, b].flatten(1).double(), atol=1e-5)
    assert fired > 100


@pytest.mark.parametrize(
    ("decay", "leak", "threshold"),
    [(0.5, "first", 0.5), (0.75, "scaled", 1.0), (0.5, "last", 0.5), (0.0, "first", 1.0)],
)
def test_the_time_constant_and_threshold_by_hand(decay, leak, threshold):
    network = chain(nn.Linear(2, 3, bias=False), lif(decay, 1.0, leak=leak), nn.Linear(3, 2), Integrator(0.9))
    graph, _ = to_nir(network, (2,), time_step=2e-3)
    node, readout = graph.nodes["lif1"], graph.nodes["integrator3"]
    assert node.tau == pytest.approx(2e-3 / (1 - decay)) and (node.r == 1).all() and (node.v_reset == 0).all()
    assert node.v_threshold == pytest.approx(threshold)
    assert readout.tau == pytest.approx(0.02) and readout.r == pytest.approx(10.0)
    assert graph.metadata["time_step"] == 2e-3
    assert {"reset": "hard", "comparison": ">"}.items() <= node.metadata.items()


def test_a_synapse_by_hand():
    """a = exp(-1/4), b = exp(-1/2); one spike through a weight of 1 moves v by 1 - a, one step later."""
    network = chain(nn.Linear(1, 1, bias=False), CubaLIF(4.0, 2.0, threshold=9.0), nn.Linear(1, 1), Integrator(0.0))
    network.layers["linear0"].weight.data.fill_(1.0)
    graph, notes = to_nir(network, (1,), time_step=2e-3)
    node, (a, b) = graph.nodes["cubalif1"], np.exp([-0.25, -0.5])
    assert node.tau_mem == pytest.approx(2e-3 / (1 - a)) and node.tau_syn == pytest.approx(2e-3 / (1 - b))
    assert node.w_in == pytest.approx(1 / (1 - b)) and node.r == 1 and node.v_leak == node.v_reset == 0
    assert any("one step later" in note for note in notes)
    states = {}
    for spike in (1.0, 0.0):
        advance(node, "CubaLIF", np.array([spike]), states, "here", 2e-3, False)
    assert states["here"][0] == pytest.approx(1 - a) and states["here"][1] == pytest.approx(b)


def test_a_synapse_is_not_compared_in_libraries_that_step_it_otherwise():
    graph, _ = to_nir(chain(nn.Linear(2, 2), CubaLIF(), nn.Linear(2, 2), Integrator(0.0)), (2,))
    with pytest.raises(InputError, match="cubalif1 is a CubaLIF, whose spikes are felt one step later"):
        without_synapses(graph)


def test_at_equality_the_graph_does_what_the_network_does():
    """One current that is the threshold: ``>=`` fires and ``>`` does not, by NIR's own comparison, which is strict."""
    for strict, fires in ((True, 0.0), (False, 1.0)):
        network = chain(nn.Linear(1, 1, bias=False), lif(0.5, 1.0, strict=strict), nn.Linear(1, 1), Integrator(0.0))
        network.layers["linear0"].weight.data.fill_(1.0)
        graph, _ = to_nir(network, (1,))
        one = torch.ones(1, 1, 1)
        with network.observe() as seen:
            network(one)
        assert seen["lif1"].item() == run(graph, one[:, 0])["lif1"].item() == fires
        graph.nodes["lif1"].v_threshold[:] = 0.5  # the threshold as it is, in the unit of the file
        assert run(graph, one[:, 0])["lif1"].item() == 0.0  # NIR's rule, and that of norse and snntorch


def test_weights_leave_as_they_are_and_a_flat_input_is_one():
    network, shape = networks()["hard"]
    graph, _ = to_nir(network, shape)
    assert list(graph.nodes) == ["input", "linear1", "lif2", "linear3", "lif4", "output"]
    assert np.array_equal(graph.nodes["linear1"].weight, network.layers["linear1"].weight.detach().numpy())
    assert graph.input_type["input"].tolist() == [16]


def test_the_bias_of_a_returning_weight_goes_to_the_one_in_front():
    network, shape = networks()["recurrent"]
    graph, _ = to_nir(network, shape)
    front, back = network.layers["linear0"], network.layers["recurrent1"].weight
    assert type(graph.nodes["recurrent1.w_rec"]).__name__ == "Linear"
    assert np.allclose(graph.nodes["linear0"].bias, (front.bias + back.bias).detach().numpy())
    assert ("recurrent1.lif", "recurrent1.w_rec") in graph.edges and (
        "recurrent1.w_rec",
        "recurrent1.lif",
    ) in graph.edges


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (BatchNormThroughTime(4, 3), "gains of its own for every step"),
        (StochasticReadout(4, 2), "draws its spikes at random"),
        (ALIF(), "threshold that moves"),
        (AHP(4), "a current that its own spikes bring"),
        (CubaLIF(reset="none"), "is not reset"),
        (nn.ReLU(), "no neuron in time"),
        (nn.BatchNorm1d(4), "no node for"),
        (lif(0.5, 1.0, "none"), "is not reset"),
        (lif(1.0, 1.0, leak="scaled"), "takes nothing of its input"),
        (Residual(Network([])), "adds what NIR's edges cannot"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_has_no_exact_form_is_refused_with_the_reason(layer, why):
    with pytest.raises(InputError, match=why):
        to_nir(chain(nn.Linear(2, 4), layer, nn.Linear(4, 2)), (2,))


def test_what_else_has_none():
    for layers, shape, why in (
        ((nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), (1, 8, 8), "takes the largest"),
        ((nn.AvgPool2d(3, ceil_mode=True),), (1, 8, 8), "a way of its own"),
        ((nn.Linear(8, 2),), (1, 8, 8), "for one dimension"),
        ((Recurrent(lif(0.5, 1.0), nn.Linear(4, 4)),), (4,), "no weight in front"),
    ):
        with pytest.raises(InputError, match=why):
            to_nir(chain(*layers), shape)


def test_every_reason_is_for_a_class_that_there_is():
    import importlib
    import pkgutil

    import snnlab.layers
    import snnlab.neurons

    names = {"MaxPool2d", "ReLU"}
    for package in (snnlab.layers, snnlab.neurons):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            names |= set(vars(importlib.import_module(module.name)))
    assert WHY.keys() <= names


@pytest.mark.parametrize(("decay", "rounded"), [(0.5, True), (1.0, False), (0.0, False)])
def test_whole_numbers_that_decay_are_rounded_and_said_to_be(decay, rounded):
    """Sums of whole numbers are whole; a product with a decay is not, and the chip rounds it."""
    network = chain(nn.Linear(16, 20), lif(decay, 0.5), nn.Linear(20, 5), lif(decay, 0.5))
    target = instantiate_part("hardware", OmegaConf.load(conf_dir() / "hardware" / "spinnaker2.yaml"))
    constrain(network, target, spiking_input=True)
    _, notes = to_nir(network.eval(), (16,), whole_numbers=True)
    assert any("states are rounded to levels" in note for note in notes) == rounded
