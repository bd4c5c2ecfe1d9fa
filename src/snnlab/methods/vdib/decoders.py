"""Decoders: the last tau_d samples of the encoder's spikes -> logits of a natural signal, or of a class.

    logistic  one linear layer                          tau_d N_out -> outputs
    mlp       linear, ReLU, linear                      hidden tau_d N_out / 2 unless given
    cnn       Conv1d(tau_d -> tau_d/2, k3 s2 p1), Conv1d(-> 20, k3 s2 p1), ReLU, linear; time steps are the channels
    rate      sum over time, then one linear layer      N_out -> outputs; the benchmark that ignores timing

Windows are [..., tau_d, N_out], logits [..., outputs]; the sigmoid of the logits is the decoded signal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from snnlab.errors import InputError

DecoderKind = Literal["logistic", "mlp", "cnn", "rate"]
KINDS = ("logistic", "mlp", "cnn", "rate")
BYTES_PER_PARAMETER = 16  # float32 weight, gradient and Adam's two moments
CNN_CHANNELS = 20


def _halved(size: int) -> int:
    """Length after a convolution with kernel 3, stride 2, padding 1."""
    return (size + 1) // 2


def layer_sizes(kind: DecoderKind, window: int, n_out: int, outputs: int, hidden: int | None) -> list[tuple[int, int]]:
    """(inputs, outputs) of every weight matrix, a convolution counted as (channels x taps, channels)."""
    if kind == "logistic":
        return [(window * n_out, outputs)]
    if kind == "mlp":
        middle = max(window * n_out // 2, 1) if hidden is None else hidden
        return [(window * n_out, middle), (middle, outputs)]
    if kind == "cnn":
        middle = max(window // 2, 1)
        return [(3 * window, middle), (3 * middle, CNN_CHANNELS), (CNN_CHANNELS * _halved(_halved(n_out)), outputs)]
    return [(n_out, outputs)]


def memory_bytes(kind: DecoderKind, window: int, n_out: int, outputs: int, hidden: int | None = None) -> int:
    """Bytes of weights, gradients and Adam's moments of a decoder."""
    parameters = sum((inputs + 1) * out for inputs, out in layer_sizes(kind, window, n_out, outputs, hidden))
    return BYTES_PER_PARAMETER * parameters


def machine_bytes() -> int:
    """Memory of this machine, or of the container it runs in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total


def check_memory(kind: DecoderKind, window: int, n_out: int, outputs: int, hidden: int | None, limit: int) -> None:
    """Raise InputError when a decoder needs more than ``limit`` bytes, before it is built."""
    need = memory_bytes(kind, window, n_out, outputs, hidden)
    if need > limit:
        raise InputError(
            f"method.decoder={kind} over {window} steps of {n_out} neurons to {outputs} outputs needs "
            f"{need / 1e9:.1f} GB ({need // BYTES_PER_PARAMETER / 1e6:.0f} M parameters with Adam), the limit is "
            f"{limit / 1e9:.1f} GB; use method.decoder=logistic or cnn, fewer steps or a smaller method.decoder_hidden"
        )


class Flat(nn.Module):
    """Join the window's time and neurons: [..., tau_d, N_out] -> [..., tau_d N_out]."""

    def forward(self, window: Tensor) -> Tensor:
        return window.flatten(-2)


class SumOverTime(nn.Module):
    """[..., tau_d, N_out] -> [..., N_out]."""

    def forward(self, window: Tensor) -> Tensor:
        return window.sum(-2)


class ConvolvedTime(nn.Module):
    """The two convolutions of the CNN decoder: [..., tau_d, N_out] -> [..., features]."""

    def __init__(self, window: int) -> None:
        super().__init__()
        middle = max(window // 2, 1)
        self.first = nn.Conv1d(window, middle, 3, stride=2, padding=1)
        self.second = nn.Conv1d(middle, CNN_CHANNELS, 3, stride=2, padding=1)

    def forward(self, window: Tensor) -> Tensor:
        features = self.second(self.first(window.flatten(0, -3)))
        return features.relu().flatten(1).unflatten(0, window.shape[:-2])


def make_decoder(kind: DecoderKind, window: int, n_out: int, outputs: int, hidden: int | None = None) -> nn.Module:
    """Build a decoder; see the docstring of this file."""
    sizes = layer_sizes(kind, window, n_out, outputs, hidden)
    if kind == "logistic":
        return nn.Sequential(Flat(), nn.Linear(*sizes[0]))
    if kind == "mlp":
        return nn.Sequential(Flat(), nn.Linear(*sizes[0]), nn.ReLU(), nn.Linear(*sizes[1]))
    if kind == "cnn":
        return nn.Sequential(ConvolvedTime(window), nn.Linear(*sizes[2]))
    return nn.Sequential(SumOverTime(), nn.Linear(*sizes[0]))


def windows(y: Tensor, window: int) -> Tensor:
    """The window that ends at each step, zeros before the start: y [T, ..., N] -> [T, ..., window, N]."""
    padded = nn.functional.pad(y, (0, 0) * (y.ndim - 1) + (window - 1, 0))
    return padded.unfold(0, window, 1).transpose(-1, -2)
