"""The nets of the workloads: the same weights for all, spikes compared before anything is timed, missing peers."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from snnlab.bench.workloads import nets
from snnlab.bench.workloads.peers import peer
from snnlab.bench.workloads.workload import Bench
from snnlab.models.mlp import MLP
from snnlab.models.small_conv import SmallConv
from snnlab.models.vgg import VGG
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Temporal
from snnlab.neurons.surrogate import ATan

FRAMES = (torch.rand(6, 3, 784, generator=torch.Generator().manual_seed(0)) < 0.2).float()


def bench(*peers: str) -> Bench:
    lines: list[str] = []
    made = Bench(rounds=2, seconds=20.0, peers=peers, say=lines.append)
    made.lines = lines
    return made


@pytest.fixture
def peer_called(monkeypatch):
    """Put a peer of the given neuron in the place of a library."""

    def put(name: str, neuron, batch_first: bool = False) -> None:
        module = ModuleType(name)
        module.neuron, module.BATCH_FIRST, module.PACKAGE = neuron, batch_first, "torch"
        module.SETTING, module.DIFFERS = "as ours", "its reset is soft"
        monkeypatch.setitem(sys.modules, f"snnlab.bench.workloads.peers.{name}", module)

    return put


class Same(Temporal):
    """Our equations, batch first."""

    def __init__(self, decay, threshold):
        super().__init__()
        self.neuron = LIF(decay, threshold, "hard", detach_reset=True, surrogate=ATan())

    def forward(self, currents):
        return self.neuron(currents.transpose(0, 1)).transpose(0, 1).contiguous()


class Soft(Temporal):
    """Another reset, and another gradient."""

    def __init__(self, decay, threshold):
        super().__init__()
        self.neuron = LIF(decay, threshold, "soft", surrogate=ATan())

    def forward(self, currents):
        return self.neuron(currents)


def test_everyone_gets_the_same_weights_and_is_compared_with_step(peer_called):
    peer_called("norse", Same, batch_first=True)
    peer_called("sinabs", Soft)
    found = nets.competitors(bench("norse", "sinabs"), MLP([20]), FRAMES, 10, gain=3.0)
    assert list(found) == ["floor", "snnlab", "norse", "sinabs"]
    weights = [[p for p in net.network.parameters() if p.dim() == 2] for net in found.values()]
    assert all(torch.equal(a, b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))
    assert float(weights[0][0].detach().abs().max()) > 1 / 784**0.5  # the gain
    total = f"{6 * 3 * 30:,}"
    assert found["snnlab"].note.startswith(f"spikes equal in all {total}, gradient equal")
    assert found["norse"].note == f"spikes equal in all {total}, gradient equal"
    ours, theirs = found["snnlab"].network(FRAMES), found["norse"].network(FRAMES.transpose(0, 1))
    assert torch.equal(ours, theirs.transpose(0, 1)) and 0 < float(ours.detach().mean()) < 1
    assert isinstance(found["floor"].network.layers["hidden1"], nn.ReLU)


def test_unequal_spikes_are_reported_with_their_number(peer_called):
    peer_called("sinabs", Soft)
    current = torch.tensor([1.9, 0.7, 0.0]).view(3, 1, 1)  # hard: v = 1.9, 0.7, 0.35; soft: v = 1.9, 1.15, 0.075
    assert nets.agreement(Soft(0.5, 1.0), False, [current]).startswith("spikes differ in 1 of 3, gradient differs by")
    made = bench("sinabs")
    case = nets.compare_nets(made, "tiny", MLP([20]), FRAMES, 10, gain=3.0)
    assert "spikes differ in " in case.notes["sinabs"] and case.notes["sinabs"].endswith("%: its reset is soft")
    assert any("spikes differ in " in line for line in made.lines)
    assert made.lines[-1].startswith("  snnlab / sinabs, the least of the peers: ")


def test_a_missing_peer_is_skipped_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "norse", None)  # as when it is not installed
    monkeypatch.setitem(sys.modules, "norse.torch", None)
    made = bench("norse")
    assert list(nets.competitors(made, MLP([5]), FRAMES, 10)) == ["floor", "snnlab"]
    (line,) = made.skipped
    assert line.startswith("norse: skipped, it cannot be imported") and "make bench installs it" in line


@pytest.mark.parametrize("name", peer.names())
def test_an_installed_peer_fires_as_we_do(name):
    try:
        module = peer.load(name)
    except ImportError:
        pytest.skip(f"{name} is not installed; make bench makes an environment that has it")
    torch.manual_seed(0)
    neuron = module.neuron(nets.DECAY, nets.THRESHOLD)
    currents = [torch.randn(12, 4, 30), torch.randn(12, 4, 3, 5, 5)]
    assert nets.agreement(neuron, module.BATCH_FIRST, currents).startswith("spikes equal in all ")


@pytest.mark.parametrize(
    ("model", "shape"),
    [(SmallConv([4, 6], 8), (2, 8, 8)), (VGG([4, "P", 6, "P"], [8]), (3, 8, 8)), (MLP([8]), (12,))],
)
def test_models_with_norm_train_in_every_form(model, shape):
    frames = torch.rand(3, 2, *shape)
    for net in nets.competitors(bench(), model, frames, 10, norm=True).values():
        net.step(frames)()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.network.parameters())
