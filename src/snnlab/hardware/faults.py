"""What breaks in a chip, put into a network for as long as a context is open.

    bit flips       each bit of each stored weight turns over with probability p: of its level, a whole number in two's
                    complement (of one sign: its size), under a target; of the float itself otherwise
    stuck neurons   each neuron gives 0 (dead) or 1 (always firing) at every step with probability p, whatever its state
    drift           W(t) = W (t / t0)^-nu, t0 = 1 s, nu ~ N(exponent, (exponent spread)^2), a weight's own, at least 0
    read noise      W + sigma max |W| N(0, 1), drawn anew each time that a weight is read for a batch
    event loss      each event of the input is lost with probability p

Biases are left whole. All is drawn from the generator given; p = 0 changes no bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.hardware.constrain import neurons
from snnlab.kernels import Path
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.neurons.neuron import Temporal
from snnlab.weights.levels import OnLevels, levels_of
from snnlab.weights.weight import Values, Weight

WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


# weights --------------------------------------------------------------------------------------------------------------
class _Given(nn.Module):
    """Whatever is stored -> these values."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, _stored: Tensor) -> Tensor:
        return self.values


@contextmanager
def changed(network: Network, change: Callable[[Weight], Tensor]) -> Iterator[None]:
    """Let every product of ``network`` take what ``change`` makes of its weight."""
    with ExitStack() as stack:
        for weight in Chain(network).weights().values():
            with torch.no_grad():
                given = change(weight)
            stack.enter_context(_taking(weight.values, given))
        yield


@contextmanager
def _taking(values: Values, given: Tensor) -> Iterator[None]:
    if values.constrained:
        chain: Any = values.layer.parametrizations[values.name]  # type: ignore[index]
        chain.append(_Given(given))
        try:
            yield
        finally:
            del chain[-1]
        return
    held = values.used.detach()
    before = held.clone()
    held.copy_(given)
    try:
        yield
    finally:
        held.copy_(before)


def flipped(weight: Weight, p: float, generator: torch.Generator) -> Tensor:
    """The weight with each of its stored bits turned over with probability ``p``."""
    parts = weight.values.parts
    if not (parts and isinstance(parts[-1], OnLevels)):
        return flipped_floats(weight.used.detach(), p, generator)
    form = parts[-1]
    levels, unit = levels_of(weight)
    one_sign = not bool((levels < 0).any() and (levels > 0).any())
    if form.mixed != form.one_sign and one_sign:
        sign = -1.0 if bool((levels < 0).any()) else 1.0
        most = max(form.one_sign.high, -form.one_sign.low) // form.one_sign.step
        codes = (levels.abs() / form.one_sign.step).to(torch.int64)
        codes = turned(codes, most.bit_length(), p, generator)
        return sign * codes.to(levels) * form.one_sign.step * unit
    used = form.mixed
    if not used.zero:  # one bit: the sign
        codes = turned((levels > 0).to(torch.int64), 1, p, generator)
        return (2.0 * codes - 1).to(levels) * unit
    bits = max(used.high // used.step, -(used.low // used.step) - 1).bit_length() + 1
    codes = turned((levels / used.step).to(torch.int64), bits, p, generator) & (2**bits - 1)
    codes = torch.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
    return codes.to(levels) * used.step * unit


def flipped_floats(values: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Floats with each of their bits turned over with probability ``p``."""
    size = values.element_size()
    codes = values.contiguous().view(WHOLE[size])
    return turned(codes, 8 * size, p, generator).view(values.dtype)


def turned(codes: Tensor, bits: int, p: float, generator: torch.Generator) -> Tensor:
    """Whole numbers whose lowest ``bits`` are turned over with probability ``p`` each."""
    for bit in range(bits):
        hit = torch.rand(codes.shape, generator=generator, dtype=torch.float64).to(codes.device) < p
        mask = torch.ones((), dtype=codes.dtype, device=codes.device) << bit
        codes = torch.where(hit, codes ^ mask, codes)
    return codes


def drifted(weight: Weight, seconds: float, exponent: float, spread: float, generator: torch.Generator) -> Tensor:
    """The weight ``seconds`` after it was written, >= 1."""
    used = weight.used.detach()
    nu = exponent * (1 + spread * torch.randn(used.shape, generator=generator)).clamp(min=0)
    return used * (seconds ** -nu.double()).to(used)


def read_with_noise(weight: Weight, sigma: float, generator: torch.Generator) -> Tensor:
    """The weight as one reading of it gives it."""
    used = weight.used.detach()
    return used + sigma * used.abs().max() * torch.randn(used.shape, generator=generator).to(used)


# neurons --------------------------------------------------------------------------------------------------------------
class _Stuck(Temporal):
    """Mixed into the class of a neuron: what units give that are stuck."""

    stuck: tuple[float, float, torch.Generator]  # their output, their share, and what draws them
    which: Tensor | None = None

    def step(self, current: Tensor, state: Any) -> tuple[Tensor, Any]:
        output, after = super().step(current, state)  # type: ignore[safe-super]
        output = self._held(output, 1)
        fields = {*getattr(after, "_fields", ())} & {"spikes", "y"}  # what returns to it
        return output, after._replace(**dict.fromkeys(fields, output)) if fields else after

    def forward(self, currents: Tensor) -> Tensor:
        return self._held(super().forward(currents), 2)

    def _held(self, output: Tensor, before: int) -> Tensor:
        """Outputs [B, ...] or [T, B, ...]: ``before`` dimensions stand in front of the units."""
        value, share, generator = self.stuck
        if self.which is None:
            self.which = torch.rand(output.shape[before:], generator=generator).to(output.device) < share
        return torch.where(self.which, torch.full((), value, dtype=output.dtype, device=output.device), output)


@functools.cache
def _stuck(kind: type[Temporal]) -> type[Temporal]:
    return type(kind.__name__, (_Stuck, kind), {"__module__": kind.__module__})


@contextmanager
def stuck(network: Network, value: float, p: float, generator: torch.Generator) -> Iterator[None]:
    """Let each neuron of ``network`` give ``value`` at every step with probability ``p``; it runs step by step."""
    if not p:
        yield
        return
    path, found = network.kernels, list(neurons(network).values())
    kinds = [type(neuron) for neuron in found]
    network.kernels = Path("step")
    try:
        for neuron in found:
            neuron.__class__ = _stuck(type(neuron))  # type: ignore[assignment, arg-type]
            neuron.stuck, neuron.which = (value, p, generator), None  # type: ignore[assignment]
        yield
    finally:
        network.kernels = path
        for neuron, kind in zip(found, kinds, strict=True):
            neuron.__class__ = kind  # type: ignore[assignment]
            vars(neuron).pop("stuck", None)
            vars(neuron).pop("which", None)


# input ----------------------------------------------------------------------------------------------------------------
def thinned(frames: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Spikes or counts of events [T, B, ...], signed or not, each lost with probability ``p``."""
    if not p:
        return frames
    counts = frames.abs()
    lost = torch.zeros_like(counts)
    for number in range(int(counts.max()) if counts.numel() else 0):
        drawn = torch.rand(frames.shape, generator=generator).to(frames.device) < p
        lost += drawn & (counts > number)
    return frames.sign() * (counts - lost)


def without(times: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Times of spikes, infinite = silent, each lost with probability ``p``."""
    return times.masked_fill(torch.rand(times.shape, generator=generator).to(times.device) < p, torch.inf)
