"""The same net for everyone: the house's models with ReLU, our neuron or a peer's neuron in the place of the neuron.

    floor       ReLU
    snnlab      LIF, decay 0.5, threshold 1, hard reset to 0, v >= threshold fires, ATan surrogate, reset detached
    peers       the LIF of that library, set to the same equations: peers/*.py

All T steps pass a layer at once in every net, which is kinder to libraries whose own examples step through the whole
net. The floor and the peers have torch's layers as they are; ours has what a run of snnlab has (layers/over_time.py).
The hard reset is chosen because every peer can be set to it. Before anything is timed each neuron gets the currents of
our net, and its spikes are compared with our ``step``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.bench.workloads.limits import largest_batch, live
from snnlab.bench.workloads.rounds import Job
from snnlab.bench.workloads.workload import Bench, Case
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import ATan

DECAY, THRESHOLD = 0.5, 1.0
LONGEST = 50  # time steps over which gradients are compared

Model = Callable[[Blocks, tuple[int, ...], int], Network]


class Norm(nn.BatchNorm2d):
    """Batch normalisation of features [B, C] and of maps [B, C, H, W] alike."""

    def _check_input_dim(self, input: Tensor) -> None:
        return


class BenchBlocks(Blocks):
    """Plain weights around one kind of neuron, the readout's included.

    Args:
        neuron: makes what stands in the neuron's place.
        norm: whether a batch normalisation follows the weights.
    """

    def __init__(self, neuron: Callable[[], nn.Module], norm: bool = False) -> None:
        super().__init__(neuron, neuron)  # type: ignore[arg-type]
        self.normalised = norm

    def norm(self, channels: int) -> nn.Module:
        return Norm(channels) if self.normalised else nn.Identity()


class Competitor(NamedTuple):
    """A net, and the frames in the order of axes that it takes."""

    network: Network
    batch_first: bool
    note: str
    path: kernels.Choice = "step"  # torch's layers as they are

    def run(self, frames: Tensor) -> Tensor:
        with kernels.using(kernels.Path(self.path)):
            outputs: Tensor = self.network(frames)
        return outputs

    def step(self, frames: Tensor) -> Job:
        """One forward and backward pass on frames [T, B, ...], ended when their device is done with it."""
        frames = frames.transpose(0, 1).contiguous() if self.batch_first else frames
        with torch.no_grad():
            gradient = noise(self.run(frames), seed=0)

        def step() -> None:
            self.network.zero_grad(set_to_none=True)
            self.run(frames).backward(gradient)
            if frames.is_cuda:
                torch.cuda.synchronize()

        return step


def noise(like: Tensor, seed: int) -> Tensor:
    """Normal numbers in the shape of a tensor, on its device."""
    return torch.randn(like.shape, generator=torch.Generator(like.device).manual_seed(seed), device=like.device)


def our_neuron() -> Neuron:
    return LIF(DECAY, THRESHOLD, "hard", detach_reset=True, surrogate=ATan())


def compare_nets(
    bench: Bench,
    name: str,
    model: Model,
    frames: Tensor,
    outputs: int,
    norm: bool = False,
    gain: float = 1.0,
    share: float = 1.0,
) -> Case:
    """Time a training step of ``model`` with every competitor's neuron, checked before, and add the case.

    With ``bench.largest`` two more: its live memory, and the largest batch.

    Args:
        frames: [T, B, ...].
        outputs: units of the readout.
        norm: whether a batch normalisation follows the weights.
        gain: factor on torch's initial weights, so that the neurons fire.
        share: of the workload's seconds.
    """
    frames = frames.to(bench.device)
    nets = competitors(bench, model, frames, outputs, norm, gain)
    jobs = {key: net.step(frames) for key, net in nets.items()}
    case = bench.compare(name, jobs, "floor", {key: net.note for key, net in nets.items()}, share)
    tell_fastest(bench, case)
    if bench.largest:
        bench.add(Case(f"live memory, {name}", "floor", {key: [live(jobs[key], frames)] for key in jobs}, unit="bytes"))
        add_largest(bench, name, nets, frames)
    return case


def add_largest(bench: Bench, name: str, nets: Mapping[str, Competitor], frames: Tensor) -> None:
    """Add the case of the largest batch of each net; one that finds none is left out by name."""
    found = {key: largest_batch(net.step, frames, bench.largest) for key, net in nets.items()}
    rounds = {key: [float(batch)] for key, (batch, _) in found.items() if batch}
    for key in found.keys() - rounds.keys():
        bench.skip(f"largest batch, {name}: {key} is left out: {found[key][1]}")
    if "floor" in rounds:
        notes = {key: words for key, (_, words) in found.items() if words}
        bench.add(Case(f"largest batch, {name}", "floor", rounds, notes, "samples"))


def competitors(
    bench: Bench, model: Model, frames: Tensor, outputs: int, norm: bool = False, gain: float = 1.0
) -> dict[str, Competitor]:
    """The floor, ours and the peers' nets with the same weights, each with a note on how far its spikes are ours."""

    def build(neuron: Callable[[], nn.Module]) -> Network:
        return make_network(model, tuple(frames.shape[2:]), outputs, neuron, norm).to(frames.device)

    torch.manual_seed(bench.seed)
    ours = build(our_neuron)
    with torch.no_grad():
        for parameter in (p for layer in ours.modules() if not isinstance(layer, Norm) for p in own(layer)):
            parameter.mul_(gain)
    currents = recorded_currents(ours, frames)
    rate = firing_rate(currents)
    floor = build(nn.ReLU)
    floor.load_state_dict(ours.state_dict())
    nets = {"floor": Competitor(floor, False, "ReLU in place of the neuron")}
    for path in bench.paths:
        with kernels.using(kernels.Path(path)):
            words = agreement(our_neuron(), False, currents)
        note = f"{words}; {rate:.3f} spikes/neuron/step"
        nets["snnlab" if path == "auto" else f"snnlab {path}"] = Competitor(ours, False, note, path)
    for name, peer in bench.find_peers().items():
        make = partial(peer.neuron, DECAY, THRESHOLD)
        network = build(make)
        network.load_state_dict(ours.state_dict(), strict=False)
        try:
            words = agreement(make(), peer.BATCH_FIRST, currents)
        except RuntimeError as error:  # it has no form for this device
            bench.skip(f"{name}: skipped, it does not run here ({str(error).splitlines()[0]})")
            continue
        note = f"{words}: {peer.DIFFERS}" if peer.DIFFERS and "differ" in words else words
        nets[name] = Competitor(network, peer.BATCH_FIRST, note)
    return nets


def make_network(
    model: Model, shape: tuple[int, ...], outputs: int, neuron: Callable[[], nn.Module], norm: bool = False
) -> Network:
    try:
        return model(BenchBlocks(neuron, norm), shape, outputs)
    except ValueError as error:
        raise InputError(str(error)) from error


def own(layer: nn.Module) -> list[nn.Parameter]:
    return list(layer.parameters(recurse=False))


def recorded_currents(network: Network, frames: Tensor) -> list[Tensor]:
    """The currents [T, B, ...] of each neuron layer of our net, run step by step."""
    kept: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _layer, inputs: kept.append(inputs[0].detach()))
        for layer in network.neurons().values()
    ]
    with torch.no_grad():
        network(frames)
    for hook in hooks:
        hook.remove()
    return kept


@torch.no_grad()
def stepped(neuron: Neuron, currents: Tensor) -> Tensor:
    """Spikes [T, B, ...] of the loop over ``step``: what everyone is held against."""
    state, outputs = neuron.initial_state(currents[0]), torch.empty_like(currents)
    for current, output in zip(currents, outputs, strict=True):
        spikes, state = neuron.step(current, state)
        output.copy_(spikes)
    return outputs


def firing_rate(currents: list[Tensor]) -> float:
    spikes = [stepped(our_neuron(), each) for each in currents]
    return sum(float(each.sum()) for each in spikes) / sum(each.numel() for each in spikes)


def agreement(neuron: nn.Module, batch_first: bool, currents: list[Tensor]) -> str:
    """How far a neuron's spikes and gradients are those of our ``step`` on the same currents."""
    differing, total = 0, sum(each.numel() for each in currents)
    for each in currents:
        with torch.no_grad():
            spikes = neuron(each.transpose(0, 1) if batch_first else each)
        spikes = spikes.transpose(0, 1) if batch_first else spikes
        differing += int((spikes != stepped(our_neuron(), each)).sum())
    words = f"spikes differ in {differing:,} of {total:,}" if differing else f"spikes equal in all {total:,}"
    return f"{words}, {gradient_agreement(neuron, batch_first, currents[0][:LONGEST])}"


def gradient_agreement(neuron: nn.Module, batch_first: bool, currents: Tensor) -> str:
    """How far the gradient of the currents is that of our ``step``, relative to its length."""
    given = noise(currents, seed=1)
    expected = gradient(lambda x: torch.stack(loop(our_neuron(), x)), currents, given)
    found = gradient((lambda x: neuron(x.transpose(0, 1)).transpose(0, 1)) if batch_first else neuron, currents, given)
    length = float(expected.norm())
    distance = float((found - expected).norm()) / length if length else math.inf
    return "gradient equal" if distance < 1e-5 else f"gradient differs by {distance:.0%}"


def gradient(function: Callable[[Tensor], Tensor], currents: Tensor, given: Tensor) -> Tensor:
    leaf = currents.clone().requires_grad_()
    function(leaf).backward(given)
    assert leaf.grad is not None
    return leaf.grad


def loop(neuron: Neuron, currents: Tensor) -> list[Tensor]:
    """The eager loop over ``step`` with its graph."""
    state, outputs = neuron.initial_state(currents[0]), []
    for current in currents:
        spikes, state = neuron.step(current, state)
        outputs.append(spikes)
    return outputs


def tell_fastest(bench: Bench, case: Case) -> None:
    """Say how we stand to the fastest peer, round by round."""
    peers = [name for name in case.rounds if name != "floor" and not name.startswith("snnlab")]
    if peers and "snnlab" in case.rounds:
        fastest = min(peers, key=case.median)
        ratio = case.ratio("snnlab", to=fastest)
        what = "time" if case.unit == "seconds" else "memory"
        bench.say(f"  snnlab / {fastest}, the least of the peers: {ratio.median:.2f} of its {what}")
