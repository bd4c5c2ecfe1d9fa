"""A network as an ONNX graph with its steps written out, held against onnxruntime on real samples.

    frames [T, B, ...] -> outputs [T, B, ...], and for each layer of neurons spikes/NAME [T, B, ...]

T is that of the frames it was written with, B is free; weights are the values that products take. Sums of 32 bits may
be taken in another order there: spikes must be equal bin by bin, what integrates and never fires up to ``CLOSE``.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.errors import InputError, one_line
from snnlab.export.torchscript import Steps, plain_functions, refuse_chance, unconstrained
from snnlab.layers.network import Network

OPSET = 18
CLOSE = 1e-5  # of the largest output


class Seen(nn.Module):
    """Frames [T, B, ...] -> outputs, and the spikes of each layer of neurons, step by step."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.steps, self.names = Steps(network), list(network.neurons())

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        with self.steps.network.observe() as seen:
            return self.steps(frames), *(seen[name] for name in self.names)


@dataclass
class Verdict:
    """What onnxruntime made of the samples: bins and spikes by layer, and how many bins differ."""

    neurons: dict[str, tuple[int, int, int]]
    outputs: float  # the largest difference of an output, in units of the largest output

    @property
    def mismatches(self) -> int:
        return sum(differ for _, _, differ in self.neurons.values())

    def lines(self) -> list[str]:
        wide = max((len(name) for name in self.neurons), default=0)
        lines = [
            f"onnxruntime  {name:{wide}} {bins:>12,} bins {spikes:>10,} spikes {differ:>8,} mismatches"
            for name, (bins, spikes, differ) in self.neurons.items()
        ]
        return [*lines, f"onnxruntime  outputs differ by at most {self.outputs:.1e} of the largest"]


def libraries() -> tuple[Any, Any]:
    """The packages onnx and onnxruntime.

    Raises:
        InputError: where they are not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        what = "needs onnx to write a graph, and onnxruntime to hold it against the network"
        raise InputError(f"--format onnx {what}: pip install onnx onnxruntime") from error
    return onnx, onnxruntime


@contextmanager
def without_log() -> Iterator[None]:
    """Keep the graph that torch prints where it has no form for it from the terminal: pages of it."""
    own = torch._C._jit_onnx_log  # type: ignore[attr-defined]
    torch._C._jit_onnx_log = lambda *_: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch._C._jit_onnx_log = own  # type: ignore[attr-defined]


@torch.no_grad()
def to_onnx(network: Network, frames: Tensor) -> tuple[bytes, Verdict]:
    """Return the file's bytes, and what onnxruntime makes of ``frames`` [T, B, ...].

    Raises:
        InputError: where a layer has no form in ONNX, or what never fires differs by more than rounding.
    """
    onnx, runtime = libraries()
    refuse_chance(network, "onnx")
    free = unconstrained(network).eval()
    free.kernels = kernels.Path("step")
    module, buffer = Seen(free), io.BytesIO()
    called = ["outputs", *(f"spikes/{name}" for name in module.names)]
    axes = {name: {1: "batch"} for name in ("frames", *called)}
    with kernels.using(kernels.Path("step")), plain_functions(), without_log(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = module(frames)
            torch.onnx.export(
                module,
                (frames,),
                buffer,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=["frames"],
                output_names=called,
                dynamic_axes=axes,
            )
            onnx.checker.check_model(onnx.load_from_string(buffer.getvalue()), full_check=True)
        except Exception as error:  # of torch's and ONNX's own kinds: whatever has no form there
            why = one_line(error).partition(" [Caused")[0][:160]
            raise InputError(f"--format onnx: this network has no form in ONNX ({why})") from error
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    found = [torch.from_numpy(array) for array in session.run(None, {"frames": frames.numpy()})]
    layers = {
        name: (here.numel(), int(here.count_nonzero()), int((here != there).sum()))
        for name, here, there in zip(module.names, wanted[1:], found[1:], strict=True)
    }
    largest = float(wanted[0].abs().max()) or 1.0
    verdict = Verdict(layers, float((wanted[0] - found[0]).abs().max()) / largest)
    if not verdict.mismatches and verdict.outputs > CLOSE:
        raise InputError(f"--format onnx: outputs of onnxruntime differ by {verdict.outputs:.1e} of the largest")
    return buffer.getvalue(), verdict
