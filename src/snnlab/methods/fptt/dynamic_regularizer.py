"""The dynamic regulariser of FPTT: (3), (5) and (6) in the docstring of fptt.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DynamicRegularizer(nn.Module):
    """Wbar and lambda of every parameter, as buffers: (3), (5) and (6). They begin when training does.

    Args:
        parameters: W.
        alpha, beta, rho: as in FPTT; alpha 0 keeps nothing.
    """

    def __init__(self, parameters: list[nn.Parameter], alpha: float, beta: float, rho: float) -> None:
        super().__init__()
        self.alpha, self.beta, self.rho = alpha, beta, rho
        self.weights = parameters if alpha else []  # a plain list: they belong to the network
        for i, parameter in enumerate(self.weights):
            self.register_buffer(f"mean{i}", parameter.detach().clone())
            self.register_buffer(f"dual{i}", torch.zeros_like(parameter))
        self.register_buffer("begun", torch.tensor(False))
        self.going = False  # as ``begun``, which lies on the device, once it was read

    def kept(self, name: str) -> list[Tensor]:
        """The buffers ``mean`` or ``dual``, one for each parameter."""
        return [getattr(self, f"{name}{i}") for i in range(len(self.weights))]

    @torch.no_grad()
    def begin(self) -> None:
        """Set Wbar = W, once: initialisers act after the method was made, and a resumed run goes on."""
        if self.going:  # known without a read of the device
            return
        if not self.begun:
            for mean, weight in zip(self.kept("mean"), self.weights, strict=True):
                mean.copy_(weight)
            self.begun.fill_(True)  # type: ignore[operator]
        self.going = True

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add the gradient of (3) to ``.grad``."""
        for mean, dual, weight in zip(self.kept("mean"), self.kept("dual"), self.weights, strict=True):
            if not weight.requires_grad:  # frozen
                continue
            push = torch.sub(weight, mean).mul_(self.alpha).sub_(dual, alpha=1 - self.rho)
            weight.grad = push if weight.grad is None else weight.grad.add_(push)

    @torch.no_grad()
    def follow(self) -> None:
        """(5) and (6), after a step of the optimizer."""
        for mean, dual, weight in zip(self.kept("mean"), self.kept("dual"), self.weights, strict=True):
            dual.sub_(weight - mean, alpha=self.alpha)
            mean.lerp_(weight, self.beta).sub_(dual, alpha=self.beta / self.alpha)

    @torch.no_grad()
    def settle(self) -> None:
        """W := Wbar."""
        for mean, weight in zip(self.kept("mean"), self.weights, strict=True):
            weight.copy_(mean)
