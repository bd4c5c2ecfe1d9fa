"""What is saved for a backward pass as bits comes back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snnlab.callbacks.memory import LiveBytes
from snnlab.kernels import backends
from snnlab.kernels.bits import Packed, give, keep, pack, unpack
from snnlab.layers.network import Network
from snnlab.layers.over_time import over_time
from snnlab.neurons.lif import LIF


@pytest.fixture(params=["numba", "torch"])
def _both_ways(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(backends, "on_cpu", lambda tensor: False)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [1.0, 1 / 0.8, 2.74, -1.5])
@pytest.mark.parametrize("shape", [(4096,), (4097,), (10, 30, 41), (3, 1, 99, 20)])
def test_two_values_take_a_bit_each_and_return_exactly(shape, value, dtype):
    torch.manual_seed(0)
    tensor = (torch.rand(shape) < 0.2).to(dtype) * value
    saved = pack(tensor)
    if value < 0:  # the other value is looked for above 0
        assert saved.data_ptr() == tensor.data_ptr()
        return
    assert isinstance(saved, Packed) and saved.bits.numel() == -(-tensor.numel() // 8)
    assert unpack(saved).dtype == dtype and torch.equal(unpack(saved), tensor)


@pytest.mark.usefixtures("_both_ways")
def test_silence_and_one_lonely_number_are_exact():
    silent = torch.zeros(9999)
    assert isinstance(pack(silent), Packed) and torch.equal(give(keep(silent)), silent)
    for place, number in ((1, 0.5), (9998, -3.0), (5000, float("nan"))):
        tensor = silent.clone()
        tensor[place] = number
        assert torch.equal(give(keep(tensor)).nan_to_num(7), tensor.nan_to_num(7))
        tensor[::7] = 1.0
        tensor[place] = number
        assert torch.equal(give(keep(tensor)).nan_to_num(7), tensor.nan_to_num(7))


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    "tensor", [torch.randn(5000), torch.ones(100), torch.ones(100, 100).T, torch.ones(5000, dtype=torch.int64)]
)
def test_what_is_not_spikes_or_too_small_is_left_alone(tensor):
    if tensor.ndim == 2:
        tensor = torch.eye(100)[:, ::2]
    assert pack(tensor).data_ptr() == tensor.data_ptr()


def test_a_change_between_forward_and_backward_is_noticed_as_without_bits():
    conv, images = nn.Conv2d(2, 3, 3), torch.randn(4, 2, 2, 20, 20)  # analog: saved as they are
    for change in (lambda: images.mul_(0), lambda: conv.weight.mul_(0)):
        outputs = over_time(conv, images)
        with torch.no_grad():
            change()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            outputs.sum().backward()


def step(network: Network, frames: torch.Tensor) -> list[torch.Tensor]:
    network.zero_grad()
    network(frames).pow(2).mean().backward()
    return [p.grad.clone() for p in network.parameters()]


def test_a_network_has_the_same_gradients_and_keeps_its_spikes_in_less_memory(monkeypatch):
    torch.manual_seed(0)
    sizes = {"a": nn.Linear(200, 300), "n": LIF(), "b": nn.Linear(300, 300), "m": LIF(), "c": nn.Linear(300, 5)}
    network, frames = Network(list(sizes.items())), (torch.rand(30, 20, 200) < 0.3).float()
    step(network, frames)
    packed, plain = [], []
    for results, shut in ((packed, False), (plain, True)):
        if shut:
            monkeypatch.setattr("snnlab.kernels.bits.LEAST", 10**9)
        with LiveBytes() as counted:
            results += [step(network, frames), counted.peak]
    assert all(torch.equal(a, b) for a, b in zip(packed[0], plain[0], strict=True))
    assert packed[1] < 0.92 * plain[1]
