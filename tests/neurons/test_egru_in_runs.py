"""EGRU in a run: what counts its events, what chips and files make of it, faults, FPTT."""

from __future__ import annotations

import json
import os

import pytest
import torch

import snnlab
from small_runs import FEW
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch
from snnlab.errors import InputError
from snnlab.evaluate.ask import ask
from snnlab.export.nir_graph import to_nir
from snnlab.export.onnx_graph import to_onnx
from snnlab.export.torchscript import to_torchscript
from snnlab.hardware import faults
from snnlab.metrics.operations import Operations
from snnlab.runs import wiring

ROWS = ["data=digits", "data.sequence=rows", "encoder=none", "method.neuron=egru", "model.hidden=[8]", *FEW]
ROWS += ["method.readout=leaky", "method.readout_decay=0.9"]
CHIPS = ["loihi2", "truenorth", "speck2f", "xylo", "spinnaker2"]
FORMATS = ["int8", "int4", "ternary", "binary"]
WEIGHTS_ALONE = ["hardware.state_low=null", "hardware.state_high=null"]


def method_of(*words, method="stbp"):
    torch.manual_seed(1)
    return build(compose([f"method={method}", *ROWS, *words]).config).method


def batch_of(samples=20):
    return Batch(torch.rand(8, samples, 8, generator=torch.Generator().manual_seed(3)), torch.arange(samples) % 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("runs"))
        if "SNNLAB_CACHE" not in os.environ:  # what is compiled once is there for all tests
            patch.setenv("SNNLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return wiring.run(compose(["method=stbp", *ROWS])).folder.resolve()


# events are counted, values multiply ----------------------------------------------------------------------------------
def test_what_a_run_is_called_and_counts(folder):
    record = json.loads((folder / "run.json").read_text())
    test = record["metrics"]["test"]
    assert record["label"] == "stbp (values at events)" and 0 < test["firing_rate"]["hidden1"] < 1
    assert test["spikes_per_inference"] == pytest.approx(8 * 8 * test["firing_rate"]["hidden1"])
    assert test["accumulates"] == 0 < test["synaptic_operations"] < test["multiply_accumulates"]
    assert test["energy_joule"] == pytest.approx(4.6e-12 * test["multiply_accumulates"], rel=1e-12, abs=0)
    assert test["memory_bytes"]["states"] == 4 * (8 + 8 + 10)  # c and y of 8 units, 10 membranes that read them


@pytest.mark.parametrize("path", ["auto", "step"])
@pytest.mark.parametrize("events", [True, False])
def test_an_event_multiplies_every_weight_that_it_reaches(events, path):
    method = method_of(f"method.neuron_options.events={events}".lower(), f"kernels={path}")
    frames, operations = batch_of().inputs + 0.1, Operations()
    with torch.no_grad(), method.network.observe() as seen, operations.watch(method.network, frames, False):
        method.network(frames)
    sent = seen["hidden1"].sum((1, 2)) / frames.shape[1]  # [T] events of a sample; the last step's return nowhere
    assert bool(sent.sum() == 8 * 8) is not events
    expected = 8 * 8 * 24 + 24 * sent[:-1].sum() + 10 * sent.sum()  # frames, R, readout
    found = operations.compute()
    assert found["multiply_accumulates"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert found["accumulates"] == 0


def test_pictures_say_events(folder):
    _, figures = ask(folder, "spikes_over_time", ["samples=10"])
    assert figures["spikes_over_time"].axes[0].get_ylabel() == "events per neuron"
    _, figures = ask(folder, "accuracy_over_time", [])
    assert figures["accuracy_over_time"].axes[1].get_xlabel() == "events per sample until then"
    assert method_of().counted() == "events" and method_of("method.neuron=lif").counted() == "spikes"


# hardware -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("target", "method"), [*((target, "stbp") for target in [*CHIPS, *FORMATS]), ("loihi2", "fptt"), ("int8", "fptt")]
)
def test_what_rounds_states_has_no_form_for_it(target, method):
    words = "hidden1 is EGRU" if target in CHIPS else r"hidden1 \(EGRU\) sends values, not spikes"
    with pytest.raises(InputError, match=f"hardware={target}: {words}") as refusal:
        method_of(f"hardware={target}", method=method)
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("words", [*([name, *WEIGHTS_ALONE] for name in FORMATS), ["rpu"], ["memristor"]], ids=str)
def test_weights_alone_are_limited_and_learn(words):
    method = method_of("hardware=" + words[0], *words[1:])
    method.log = lambda *args, **kwargs: None
    weights = [layer.weight for layer in (method.network.layers["hidden1"].gates, method.network.layers["weight1"])]
    if words[0] in FORMATS:
        most = {"int8": 255, "int4": 16, "ternary": 3, "binary": 2}[words[0]]
        assert all(1 < len(weight.unique()) <= most for weight in weights)
    method.training_step(batch_of(), 0).backward()
    for part in ("gates", "candidate"):
        stored = getattr(method.network.layers["hidden1"], part).parametrizations.weight.original
        assert stored.grad.any()


# files ----------------------------------------------------------------------------------------------------------------
def test_nir_has_no_node_for_it():
    pytest.importorskip("nir")
    method = method_of()
    with pytest.raises(InputError, match=r"^hidden1 \(EGRU\) .* no exact form in NIR$"):
        to_nir(method.network, (8,), 1e-3)


@pytest.mark.parametrize("words", [[], ["method.neuron_options.form=paper"]])
def test_torchscript_and_onnx_have_the_cells_own_numbers(words):
    method = method_of(*words)
    network, frames = method.network.eval(), batch_of(5).inputs
    assert to_torchscript(network, frames)  # which refuses where a number differs
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    _, verdict = to_onnx(network, frames)
    assert verdict.mismatches == 0 and verdict.outputs < 1e-5
    bins, sent, _ = verdict.neurons["hidden1"]
    assert bins == 5 * 8 * 8 and 0 < sent < bins


# faults ---------------------------------------------------------------------------------------------------------------
def test_a_stuck_unit_sends_1_which_returns_to_its_layer():
    network, frames = method_of().network.eval(), batch_of().inputs
    with torch.no_grad():
        whole = network.unroll(frames)[1]["hidden1"][0]
        with faults.stuck(network, 1.0, 0.3, torch.Generator().manual_seed(3)):
            sent = network.unroll(frames)[1]["hidden1"][0]
        again = network.unroll(frames)[1]["hidden1"][0]
    held = (sent == 1).all(0).all(0)
    assert 0 < held.sum() < 8 and torch.equal(again, whole)
    assert torch.equal(sent[0][:, ~held], whole[0][:, ~held]) or (sent[0] - whole[0])[:, ~held].abs().max() < 1e-6
    assert (sent[1:] - whole[1:])[:, :, ~held].abs().max() > 1e-3


def test_a_stored_run_answers_for_its_faults(folder):
    options = ["samples=20", "repetitions=2", "rates=[0,0.5]", "seconds=[1]", "sigmas=[0]"]
    values = ask(folder, "faults", options)[0]["values"]
    for kind in ("bit_flips", "stuck_at_zero", "stuck_at_one", "drift", "read_noise"):
        assert values[f"{kind} accuracy"][0] == values["accuracy"], kind
    assert {key for key in values if key.startswith("without")} == {"without event_loss"}


# a start, and FPTT ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["stbp", "fptt"])
def test_a_start_from_the_response_to_a_spike_is_refused(method):
    with pytest.raises(InputError, match="EGRU: its membrane's response to one spike is not known") as refusal:
        method_of("init=fluctuation", method=method)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("form", ["released", "paper"])
def test_fptt_learns_and_its_path_is_the_loop(form):
    batch, found = batch_of(6), []
    for path in ("auto", "step"):
        words = [f"kernels={path}", f"method.neuron_options.form={form}", "method.optimizer.lr=0.05"]
        method = method_of(*words, "method.readout=trace", method="fptt")
        optimizer = method.configure_optimizers()
        optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer

        def take_step(optimizer=optimizer):
            optimizer.step()
            optimizer.zero_grad()

        losses = [float(method.learn(batch, torch.Tensor.backward, take_step)[1]) for _ in range(10)]
        found.append((losses, [p.detach().clone() for p in method.network.parameters()]))
    assert found[0][0][-1] < 0.9 * found[0][0][0]
    assert found[0][0] == found[1][0]
    assert all(map(torch.equal, found[0][1], found[1][1]))


@pytest.mark.parametrize("form", ["released", "paper"])
def test_stbp_learns_the_same_by_steps(form):
    gradients = []
    for path in ("auto", "step"):
        method = method_of(f"kernels={path}", f"method.neuron_options.form={form}")
        method.log = lambda *args, **kwargs: None
        method.training_step(batch_of(), 0).backward()
        gradients.append([p.grad for p in method.network.parameters()])
    for one, loop in zip(*gradients, strict=True):
        torch.testing.assert_close(one, loop, atol=1e-6, rtol=1e-5)


def test_a_stored_network_is_loaded_with_its_cell(folder):
    network = snnlab.load(folder)
    assert type(network.layers["hidden1"]).__name__ == "EGRU" and network(torch.rand(8, 2, 8)).shape == (8, 2, 10)
