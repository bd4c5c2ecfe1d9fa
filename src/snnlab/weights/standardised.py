"""Scaled weight standardisation, as a parametrization of a layer's weight.

    What = scale * gain * (W - mean) / sqrt(N var + 1e-4)       mean, var (of N - 1) over the N weights of an output

A neuron whose N inputs are independent, of deviation 1/scale, then gets a current of mean 0 and deviation ``gain``,
without statistics of the data. For a spike that follows a standard Gaussian above 1, p = erfc(1/sqrt 2)/2 and the
deviation is sqrt(p (1 - p)) = 0.36535, so that scale = 2.74. The authors' code multiplies the spikes by 2.74, the paper
the weights behind them; spikes here stay 0 and 1, and the scale sits in the weights.
Source: Xiao et al. 2022 (arXiv:2210.04195v2), eq. 13, after Brock et al. 2021; epsilon, N - 1 from the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.weights.find import weights_inside

EPSILON = 1e-4


class Scaled(nn.Module):
    """W -> scale * W."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return self.scale * weight

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class Standardised(nn.Module):
    """W -> What with a learned gain per output, 1 at the start; the equation is in the docstring of this file."""

    def __init__(self, weight: Tensor, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.gain = nn.Parameter(torch.ones(len(weight), *[1] * (weight.dim() - 1)).to(weight))
        self.kept: Tensor | None = None  # What, while ``weights_kept`` is open

    def forward(self, weight: Tensor) -> Tensor:
        if self.kept is not None:
            return self.kept
        inputs = weight[0].numel()
        dims = tuple(range(1, weight.dim()))
        centred = weight - weight.mean(dims, keepdim=True)
        squares = centred.square().sum(dims, keepdim=True)  # (N - 1) var
        return centred * (self.scale * self.gain * torch.rsqrt(squares * (inputs / max(inputs - 1, 1)) + EPSILON))

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


def parametrize_weight(layer: nn.Module, scale: float, standardise: bool) -> nn.Module:
    """Give the weight of a layer its scale, standardised or as it is; scale 1 alone changes nothing."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if standardise:
        register_parametrization(layer, "weight", Standardised(weight.detach(), scale))
    elif scale != 1:
        register_parametrization(layer, "weight", Scaled(scale))
    return layer


@contextmanager
def weights_kept(network: nn.Module) -> Iterator[None]:
    """Standardise each weight once for all the steps taken inside; the gradients are those of doing it at every step.

    Inside, gradients gather on What; at the end one backward pass carries them to W and gain.
    """
    made = list(standardised_weights(network))
    try:
        for part, weight in made:
            part.kept = weight.detach().requires_grad_()
        yield
        gathered = [(weight, part.kept.grad) for part, weight in made if part.kept is not None]
    finally:
        for part, _ in made:
            part.kept = None
    carried = [(weight, grad) for weight, grad in gathered if grad is not None and weight.requires_grad]
    if carried:
        torch.autograd.backward([weight for weight, _ in carried], [grad for _, grad in carried])


def standardised_weights(network: nn.Module) -> Iterator[tuple[Standardised, Tensor]]:
    """Every standardisation in ``network``, and the What it makes of its weight as it is now."""
    for _, weight in weights_inside(network):
        values = weight.stored
        for part in weight.values.parts:
            values = part(values)
            if isinstance(part, Standardised):
                yield part, values
