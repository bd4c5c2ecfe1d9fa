"""A network as TorchScript: torch alone runs it, for sequences of as many steps as the data has.

The layers are traced with their steps written out; what is written must give the numbers of the network to the bit.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snnlab import kernels
from snnlab.errors import InputError
from snnlab.export.nir_graph import WHY
from snnlab.layers.network import Network
from snnlab.neurons.stochastic_readout import StochasticReadout


class Steps(nn.Module):
    """Frames [T, B, ...] -> outputs [T, B, ...], step by step."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        outputs, states = [], None
        for frame in frames:
            output, states = self.network.step(frame, states)
            outputs.append(output)
        return torch.stack(outputs)


def unconstrained(network: Network) -> Network:
    """A copy whose weights are plain values, those that products take."""
    free = copy.deepcopy(network)
    for layer in [layer for layer in free.modules() if parametrize.is_parametrized(layer)]:
        values = {name: getattr(layer, name).detach() for name in layer.parametrizations}  # type: ignore[union-attr]
        layer.__class__ = parametrize.type_before_parametrizations(layer)  # torch would change network's, too
        del layer.parametrizations
        for name, value in values.items():
            layer.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return free


def refuse_chance(network: Network, form: str) -> None:
    """Raise InputError for a layer that draws its spikes, which no file can give again."""
    for name, layer in network.leaves().items():
        if isinstance(layer, StochasticReadout):
            why = WHY["StochasticReadout"]
            raise InputError(f"--format {form}: {name} (StochasticReadout) {why}: it has no exact form there")


@contextmanager
def plain_functions() -> Iterator[None]:
    """Let every ``autograd.Function`` be its forward alone: a trace cannot hold the Python of its backward."""
    own = torch.autograd.Function.__dict__["apply"]

    def apply(kind: Any, *arguments: Any) -> Any:
        given = SimpleNamespace(save_for_backward=lambda *_: None, needs_input_grad=(False,) * len(arguments))
        return kind.forward(given, *arguments)

    torch.autograd.Function.apply = classmethod(apply)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.autograd.Function.apply = own  # type: ignore[method-assign]


@torch.no_grad()
def to_torchscript(network: Network, frames: Tensor) -> bytes:
    """Return the file's bytes, for inputs of the shape of ``frames`` [T, B, ...], batches of any size among them.

    Raises:
        InputError: where it cannot be traced, or what was traced is not the network to the bit.
    """
    refuse_chance(network, "torchscript")
    free = unconstrained(network).eval()
    with kernels.using(kernels.Path("step")):
        own, network.kernels = network.kernels, kernels.Path("step")
        free.kernels = network.kernels
        try:
            with plain_functions(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                traced = torch.jit.trace(Steps(free), (frames,), check_trace=False)
            buffer = io.BytesIO()
            torch.jit.save(traced, buffer)
            buffer.seek(0)
            again = torch.jit.load(buffer)
            for batch in (frames, frames[:, :1], torch.zeros_like(frames)):
                wanted = Steps(network)(batch)
                if not torch.equal(again(batch), wanted):
                    raise InputError("--format torchscript: what was traced does not give the network's numbers")
        except (RuntimeError, torch.jit.TracingCheckError) as error:
            line = str(error).strip().splitlines()[-1][:160]
            raise InputError(f"--format torchscript: this network cannot be traced ({line})") from error
        finally:
            network.kernels = own
    return buffer.getvalue()
