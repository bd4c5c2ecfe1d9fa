"""ONNX: onnxruntime gives the spikes of the network, whatever limits its weights and states."""

import sys

import pytest
import torch
from torch import nn

from small_runs import FEW
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.export.onnx_graph import to_onnx
from snnlab.export.torchscript import to_torchscript
from snnlab.layers.network import Network


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install onnx onnxruntime"):
        to_onnx(Network([("weight1", nn.Linear(2, 2))]), torch.zeros(2, 1, 2))


NETS = [
    ["method=stbp", "model.hidden=[12]", "hardware=int8"],
    ["method=stbp", "model.hidden=[12]", "hardware=loihi2"],
    ["method=stbp", "model=small_conv"],
    ["method=stbp", "model=recurrent_mlp", "model.hidden=[12]", "hardware=int4"],
    ["method=ottt", "model=mlp", "model.hidden=[12]", "hardware=int8"],
]


@pytest.mark.parametrize("words", NETS, ids=lambda words: " ".join(words))
def test_spikes_are_equal_bin_by_bin(words):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    parts = build(compose([*words, "data=digits", "encoder.time_steps=5", *FEW]).config)
    network = parts.method.network
    for weight in network.parameters():
        weight.data.mul_(2)  # or little fires
    frames = (torch.rand(5, 20, *parts.data.spec.input_shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    content, verdict = to_onnx(network, frames)
    assert verdict.mismatches == 0 and verdict.outputs < 1e-5 and verdict.neurons
    assert all(bins == 20 * 5 * bins // 100 and spikes for bins, spikes, _ in verdict.neurons.values())
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    one, *_ = session.run(None, {"frames": frames[:, :1].numpy()})  # a batch of another size
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(one), network.eval()(frames[:, :1]), atol=1e-5)
    assert onnx.load_from_string(content).opset_import[0].version == 18


def test_norms_of_every_step_have_no_form(capfd):
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    parts = build(compose(["method=bntt", "data=digits", "encoder.time_steps=4", *FEW]).config)
    with pytest.raises(InputError, match=r"this network has no form in ONNX \(Unsupported: .*size\.\)$"):
        to_onnx(parts.method.network, torch.zeros(4, 2, *parts.data.spec.input_shape))
    assert capfd.readouterr() == ("", "")  # torch prints the whole graph


def test_exact_spike_times_have_no_steps_to_write():
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    parts = build(compose(["method=multispike_fast_deep", "data=digits", "model.hidden=[4]", *FEW]).config)
    with pytest.raises(InputError, match=r"no form in ONNX .*have no time steps"):
        to_onnx(parts.method.network, torch.zeros(1, 2, 64))


def test_what_draws_at_random_is_refused_by_its_name():
    pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    words = ["method=vdib", "data=drifting_blobs", "model.hidden=[]", "data.train_sequences=4", "data.val_sequences=4"]
    parts = build(compose([*words, "method.warmup=0", *FEW]).config)
    frames = torch.zeros(3, 2, *parts.data.spec.input_shape)
    for form in (to_onnx, to_torchscript):
        with pytest.raises(InputError, match=r"readout \(StochasticReadout\) draws its spikes at random"):
            form(parts.method.network, frames)
