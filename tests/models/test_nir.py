"""A NIR graph becomes a network that trains; a file that is none, or a stranger's, is one line."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from snnlab.errors import InputError
from snnlab.export.nir_graph import to_nir
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.layers.recurrent import Recurrent
from snnlab.models import nir_trial
from snnlab.models.nir import NIR, lines
from snnlab.neurons.cuba_lif import CubaLIF
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.plif import PLIF
from snnlab.neurons.surrogate import Sigmoid

nir = pytest.importorskip("nir")


def lif(decay=0.5, threshold=0.3, reset="hard", strict=True, **others):
    return LIF(decay, threshold, reset, surrogate=Sigmoid(strict=strict), **others)


def blocks(readout=lambda: Integrator(0.7)):
    return Blocks(lambda: LIF(0.9, 1.0, surrogate=Sigmoid()), readout)


def named(*layers):
    return Network([(f"layer{i}", layer) for i, layer in enumerate(layers)])


def fires():
    return LIF(0.9, 1.0, surrogate=Sigmoid())


torch.manual_seed(0)  # of the weights below
CHAINS = {
    "hard": (named(nn.Flatten(), nn.Linear(16, 9), lif(), nn.Linear(9, 3), lif(0.2)), (1, 4, 4), fires),
    "soft": (named(nn.Linear(16, 9), lif(0.8, 0.2, "soft", False), nn.Linear(9, 3), Integrator(0.0)), (16,), None),
    "scaled": (named(nn.Linear(16, 9), lif(0.5, 0.2, leak="scaled"), nn.Linear(9, 3), Integrator(1.0)), (16,), None),
    "no leak": (named(nn.Linear(16, 9), lif(1.0, v_reset=-0.1), nn.Linear(9, 3), Integrator(0.9)), (16,), None),
    "recurrent": (
        named(nn.Linear(16, 9), Recurrent(lif(), nn.Linear(9, 9)), nn.Linear(9, 3), Integrator(0.5)),
        (16,),
        None,
    ),
    "pictures": (
        named(
            nn.Conv2d(2, 3, 3, padding=1, stride=2),
            lif(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3, bias=False),
            lif(0.2, 0.05),
        ),
        (2, 8, 8),
        fires,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_what_was_exported_comes_back_with_the_same_outputs_and_trains(name, tmp_path):
    torch.manual_seed(0)
    network, shape, readout = CHAINS[name]
    nir.write(tmp_path / "network.nir", to_nir(network.eval(), shape)[0])
    model = NIR(str(tmp_path / "network.nir"))
    again = model(blocks(readout or (lambda: Integrator(0.7))), shape, 3)
    frames = (torch.rand(12, 4, *shape) < 0.4).float()
    with torch.no_grad(), network.observe() as ours, again.observe() as theirs:
        outputs, others = network(frames), again(frames)
    assert torch.allclose(outputs, others, atol=1e-6)
    for before, after in zip(ours.values(), theirs.values(), strict=True):
        assert torch.equal(before, after) and before.sum() > 10
    again(frames).square().mean().backward()
    moved = [p for n, p in again.named_parameters() if n.endswith("weight")]
    assert len(moved) >= 2 and all(p.grad is not None and p.grad.abs().sum() > 0 for p in moved)
    assert lines(str(tmp_path / "network.nir"))[-1].endswith("network.nir")


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_neurons_with_a_synapse_come_back(reset, tmp_path):
    torch.manual_seed(0)
    cuba = CubaLIF(4.0, 3.0, 1.0, 0.2, reset)
    network = named(nn.Linear(16, 9), cuba, nn.Linear(9, 3), Integrator(0.5)).eval()
    model = NIR(written(tmp_path / "g.nir", to_nir(network, (16,))[0]))
    again = model(Blocks(lambda: CubaLIF(reset="none"), lambda: Integrator(0.7)), (16,), 3)
    neuron = again.layers["layer1"]
    assert (neuron.a, neuron.b, neuron.threshold, neuron.reset) == (cuba.a, cuba.b, cuba.threshold, reset)
    assert (neuron.tau_mem, neuron.tau_syn, neuron.time_step) == pytest.approx((4.0, 3.0, 1.0))
    frames = (torch.rand(12, 4, 16) < 0.4).float()
    assert torch.equal(network(frames), again(frames)) and network(frames).any()
    again(frames).square().mean().backward()
    assert again.layers["layer0"].weight.grad.any()
    with pytest.raises(InputError, match=r"is a CubaLIF, .* use method\.neuron=cuba_lif"):
        model(blocks(), (16,), 3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tau_syn": 1e-3}, "tau_syn = 0.001 s must be longer than the time step"),
        ({"tau_mem": -1.0}, "tau_mem = -1 must be above 0"),
        ({"tau_mem": 1e30}, "tau_mem = 1e\\+30 s is so long that nothing is forgotten"),
        ({"tau_syn": 1e30}, "tau_syn = 1e\\+30 s is so long that nothing is forgotten"),
        ({"v_reset": 0.5}, "is reset to 0.25, and neurons with a synapse here to 0"),
        ({"v_leak": 0.5}, "rests at 0.5"),
    ],
)
def test_a_synapse_that_there_is_none_for_is_refused(changes, why, tmp_path):
    one = np.ones(2)
    values = {
        "tau_syn": 2e-3,
        "tau_mem": 2e-3,
        "r": 2.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "w_in": 2.0,
    }
    node = nir.CubaLIF(**{key: value * one for key, value in {**values, **changes}.items()})
    path = written(tmp_path / "g.nir", nir.NIRGraph.from_list(nir.Linear(np.eye(2)), node, nir.Linear(np.eye(2))))
    with pytest.raises(InputError, match=why):
        NIR(path, time_step=1e-3)(Blocks(CubaLIF, Integrator), (2,), 2)


def test_a_graph_of_another_library_takes_nir_at_its_word(tmp_path):
    """No metadata: the time step is given, the reset is to v_reset, and equality is silent."""
    one = np.ones(2)
    graph = nir.NIRGraph.from_list(
        nir.Linear(np.eye(2)),
        nir.LIF(tau=4e-3 * one, r=2 * one, v_leak=0 * one, v_threshold=1.5 * one, v_reset=-0.5 * one),
        nir.Linear(np.eye(2)),
        nir.I(r=1000 * one),
    )
    nir.write(tmp_path / "g.nir", graph)
    with pytest.raises(InputError, match=r"does not say its time step .*model.time_step=1e-3"):
        NIR(str(tmp_path / "g.nir"))
    first, *_, last = lines(str(tmp_path / "g.nir"))
    assert "does not say its time step" in first and last.endswith("g.nir model.time_step=1e-3")
    network = NIR(str(tmp_path / "g.nir"), time_step=1e-3)(blocks(), (2,), 2)
    neuron = network.layers["lif"]
    assert (neuron.decay, neuron.threshold, neuron.v_reset) == pytest.approx((0.75, 3.0, -1.0))  # in units of R / 4
    assert neuron.reset == "hard" and neuron.spike.strict
    assert network.layers["readout"].decay == 1.0


def graph(**changes):
    """Two weights and a LIF, with changes to the LIF's values."""
    one = np.ones(2)
    values = {"tau": 2e-3 * one, "r": one, "v_leak": 0 * one, "v_threshold": one, "v_reset": 0 * one, **changes}
    return nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.LIF(**values), nir.Linear(np.eye(2)))


def test_a_batch_of_one_in_front_of_the_input_is_left_out(tmp_path):
    """norse writes the shape of the batch that it was shown."""
    made = graph()
    made.nodes["input"].input_type["input"] = np.array([1, 2])
    path = written(tmp_path / "g.nir", made)
    assert NIR(path, time_step=1e-3)(blocks(lambda: Integrator(0.0)), (2,), 2)(torch.zeros(3, 4, 2)).shape[-1] == 2
    with pytest.raises(InputError, match=r"its input is \[1, 2\], and the data's \[3\]"):
        NIR(path, time_step=1e-3)(blocks(), (3,), 2)


def written(path, made):
    nir.write(path, made)
    return str(path)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (graph(tau=np.array([1e-3, 2e-3])), "tau goes from 0.001 to 0.002, and a layer here has one"),
        (graph(tau=np.array([1e-4, 1e-4])), "shorter than the time step"),
        (graph(v_leak=np.ones(2)), "rests at 1"),
        (graph(r=-np.ones(2)), "r = -1 must be above 0"),
        (graph(v_threshold=np.array([np.nan, 1])), "finite"),
        (graph(v_threshold=np.zeros(2)), "above 0"),
        (graph(tau=1e30 * np.ones(2)), "so long that nothing is forgotten in a time step of 0.001 s"),
        (graph(r=5e-324 * np.ones(2)), "takes nothing of its input in a step"),
        (graph(r=1e-200 * np.ones(2)), r"fires above 2e\+200; thresholds here lie above 0, in 32 bits"),
        (nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.Delay(np.ones(2)), nir.Linear(np.eye(2))), "is a Delay"),
        (nir.NIRGraph.from_list(nir.Linear(np.eye(3))), r"its input is \[3\], and the data's \[2\]"),
        (nir.NIRGraph.from_list(nir.Linear(np.ones((5, 2)))), "5 outputs, and the data asks for 2"),
        (nir.NIRGraph.from_list(nir.LI(np.ones(2), np.ones(2), np.ones(2)), nir.Linear(np.eye(2))), "only a readout"),
        (nir.NIRGraph.from_list(nir.Linear(np.eye(2)), nir.I(np.ones(2))), "takes 0.001 of its input"),
    ],
)
def test_a_graph_that_no_network_here_is_is_refused(tmp_path, made, why):
    path = written(tmp_path / "g.nir", made)
    with pytest.raises(InputError, match=why) as error:
        NIR(path, time_step=1e-3)(blocks(), (2,), 2)
    assert str(error.value).startswith(path) and "\n" not in str(error.value)


def test_a_method_that_cannot_hold_it_is_refused(tmp_path):
    path = written(tmp_path / "g.nir", graph())
    model = NIR(path, time_step=1e-3)
    with pytest.raises(InputError, match="neurons are PLIF"):
        model(Blocks(PLIF, Integrator), (2,), 2)
    with pytest.raises(InputError, match=r"method\.readout=leaky"):
        model(Blocks(fires, fires), (2,), 2)
    with pytest.raises(InputError, match="name the graph"):
        NIR()


def test_branches_and_longer_loops_are_refused(tmp_path):
    eye = {name: nir.Linear(np.eye(2)) for name in "abc"}
    ends = {"input": nir.Input({"input": np.array([2])}), "output": nir.Output({"output": np.array([2])})}
    for edges in ("ia ab bo ac co", "ia ab bc ca bo", "ia bo"):
        pairs = [tuple({"i": "input", "o": "output"}.get(sign, sign) for sign in edge) for edge in edges.split()]
        nodes = {**ends, **{name: node for name, node in eye.items() if any(name in edge for edge in pairs)}}
        path = written(tmp_path / f"{len(edges)}.nir", nir.NIRGraph(nodes, pairs, metadata={}, type_check=False))
        with pytest.raises(InputError, match=r"neighbours|loop|every node"):
            NIR(path, time_step=1e-3)


# strangers' files -----------------------------------------------------------------------------------------------------
def good(path):
    return written(path, graph())


def put(path, name, **options):
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file.create_dataset(name, **options)


WEIGHT, EDGES, SHAPE = "node/nodes/linear/weight", "node/edges", "node/nodes/input/shape"
NOWHERE = np.array([[b"input", b"../x"]], dtype=object)
HOSTILE = {
    "terabytes declared": (WEIGHT, {"shape": (2**20, 2**20), "dtype": "f8", "chunks": (64, 64)}),
    "a large chunk": (WEIGHT, {"shape": (2**12, 2**13), "dtype": "f4", "chunks": (2**12, 2**13)}),
    "a zip bomb": (WEIGHT, {"data": np.zeros((2**13, 2**13), "u1"), "chunks": (2**9, 2**9), "compression": "gzip"}),
    "a compound": (WEIGHT, {"data": np.zeros(2, [("a", "f4"), ("b", "i4")])}),
    "a reference": (WEIGHT, {"shape": (1,), "dtype": h5py.ref_dtype}),
    "lists": (WEIGHT, {"shape": (1,), "dtype": h5py.vlen_dtype("f4")}),
    "an empty value": (WEIGHT, {"data": h5py.Empty("f4")}),
    "a text for a weight": (WEIGHT, {"data": "os.system('true')"}),
    "not finite": (WEIGHT, {"data": np.full((2, 2), np.inf)}),
    "no type": ("node/nodes/linear/type", {"data": "__import__"}),
    "a number as type": ("node/nodes/linear/type", {"data": 3}),
    "types": (
        "node/nodes/linear/type",
        {"data": np.array([b"Linear"] * 2, dtype=object), "dtype": h5py.string_dtype()},
    ),
    "an edge to nowhere": (EDGES, {"data": NOWHERE, "dtype": h5py.string_dtype()}),
    "edges that are numbers": (EDGES, {"data": np.zeros((2, 2))}),
    "no shape": (SHAPE, {"data": np.zeros(0, "i8")}),
    "a negative shape": (SHAPE, {"data": np.array([-2])}),
    "a shape that wraps": (SHAPE, {"data": np.array([2**40, 2**40])}),
    "metadata that are no number": ("node/metadata", {"data": 1.0}),
    "metadata that hold a list": ("node/nodes/lif/metadata/decay", {"data": np.ones(9)}),
}
FINE = ("metadata that are no number", "metadata that hold a list")  # nothing is read there


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_and_takes_no_memory(name, tmp_path):
    path = good(tmp_path / "g.nir")
    put(path, HOSTILE[name][0], **HOSTILE[name][1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.nullcontext() if name in FINE else pytest.raises(InputError) as error:
        NIR(path, time_step=1e-3)(blocks(lambda: Integrator(0.0)), (2,), 2)
    if name not in FINE:
        assert str(error.value).startswith(path) and "\n" not in str(error.value) and len(str(error.value)) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB


def test_links_out_of_the_file_are_not_followed(tmp_path):
    other = good(tmp_path / "other.nir")
    for link in (h5py.ExternalLink(other, "/node/nodes/linear/weight"), h5py.SoftLink("/version")):
        path = good(tmp_path / "g.nir")
        with h5py.File(path, "a") as file:
            del file["node/nodes/linear/weight"]
            file["node/nodes/linear/weight"] = link
        with pytest.raises(InputError, match="is a link, which is not followed"):
            NIR(path, time_step=1e-3)


def test_no_file_and_no_hdf5(tmp_path):
    os.mkfifo(tmp_path / "pipe.nir")
    (tmp_path / "text.nir").write_text("weights")
    (tmp_path / "empty.nir").touch()
    for name, why in (
        ("missing.nir", "cannot be read"),
        ("pipe.nir", "is no file"),
        ("text.nir", "no graph that can be read"),
        ("empty.nir", "no graph that can be read"),
        (".", "is no file"),
    ):
        with pytest.raises(InputError, match=why):
            NIR(str(tmp_path / name))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spikes"] = 1
    with pytest.raises(InputError, match="there is no group 'node'"):
        NIR(str(tmp_path / "other.h5"))


def test_bytes_changed_at_random_end_in_a_network_or_in_one_line(tmp_path):
    """Three files of many that were tried by hand, each with 20 bytes of its structure overwritten."""
    content = Path(good(tmp_path / "g.nir")).read_bytes()
    for seed in range(3):
        random = np.random.default_rng(seed)
        broken = bytearray(content)
        for place in random.integers(0, len(content), 20):
            broken[place] = random.integers(256)
        path = tmp_path / f"{seed}.nir"
        path.write_bytes(broken)
        with contextlib.suppress(InputError):
            NIR(str(path), time_step=1e-3)(blocks(), (2,), 2)


def test_the_reading_process_imports_nothing_of_the_house():
    code = (
        f"import sys, runpy; runpy.run_path({nir_trial.__file__!r}); print([m for m in sys.modules if 'snnlab' in m])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
