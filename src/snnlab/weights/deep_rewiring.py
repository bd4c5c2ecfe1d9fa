"""Deep Rewiring: sparse weights that keep their signs, and connections that move until they are useful.

    W = sign * theta where a connection is active, else 0; theta >= 0       (1) theta is what is learned
    theta <- theta - eta * l1 + sqrt(2 eta temperature) * noise             (2) after each step of the optimizer
    a connection whose theta falls below 0 becomes dormant                  (3)
    as many dormant ones, drawn at random, become active with theta = 0     (4) so that their number never changes

noise ~ N(0, 1), eta the learning rate; (2) acts on active connections. The sign of a connection is drawn once, or is
that of its input unit where ``excitatory`` says how many of those are excitatory (Dale's law).
Source: Bellec, Kappel, Maass, Legenstein, ICLR 2018, arXiv:1711.05136, algorithm 1; their alpha, T are l1, temperature.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from snnlab.weights.find import weights_inside


class Rewired(nn.Module):
    """theta -> sign * theta of active connections; both buffers have the shape of the weight."""

    sign: Tensor
    active: Tensor

    def __init__(self, sign: Tensor, active: Tensor) -> None:
        super().__init__()
        self.register_buffer("sign", sign)
        self.register_buffer("active", active)

    @property
    def exists(self) -> Tensor:
        return self.active

    def forward(self, theta: Tensor) -> Tensor:
        return self.sign * (theta * self.active).clamp(min=0)  # (1)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """theta of a weight that is set from outside: an initialiser's sizes are kept, its signs and zeros are not."""
        return weight.abs() * self.active


class DeepRewiring:
    """Make the linear layers of a network sparse, and rewire them after each step of the optimizer.

    Args:
        connectivity: share of the connections that exist, in (0, 1).
        l1: drift of active connections towards 0, >= 0, in the unit of a weight per unit of learning rate.
        temperature: T of the random walk, >= 0.
        excitatory: share of a layer's input units whose weights are all positive, the others' are negative; None draws
            the sign of every connection by itself. Inputs of the first layer are not held to it.

    Raises:
        ValueError: when an argument leaves its range.
    """

    def __init__(
        self,
        connectivity: float = 0.2,
        l1: float = 0.01,
        temperature: float = 0.0,
        excitatory: float | None = None,
    ) -> None:
        if not 0 < connectivity < 1:
            raise ValueError(f"DeepRewiring: connectivity = {connectivity} must lie in (0, 1); 0.2 is the paper's")
        if not l1 >= 0:
            raise ValueError(f"DeepRewiring: l1 = {l1} must be 0 or more; 0.01 is usual")
        if not temperature >= 0:
            raise ValueError(f"DeepRewiring: temperature = {temperature} must be 0 or more; 0 leaves the noise out")
        if excitatory is not None and not 0 <= excitatory <= 1:
            raise ValueError(f"DeepRewiring: excitatory = {excitatory} must be a share in [0, 1], or null")
        self.connectivity, self.l1, self.temperature = connectivity, l1, temperature
        self.excitatory = excitatory

    def start(self, network: nn.Module) -> None:
        """Give every linear layer its signs and first connections; sizes grow by 1 / sqrt(connectivity)."""
        found = [weight for _, weight in weights_inside(network) if weight.dense and not weight.constrained]
        for position, of_layer in enumerate(found):
            weight = of_layer.stored
            sign = torch.where(torch.rand_like(weight) < 0.5, -1.0, 1.0)
            if self.excitatory is not None and position:
                inputs = weight.shape[1]
                sign = torch.where(torch.arange(inputs) < round(self.excitatory * inputs), 1.0, -1.0).expand_as(weight)
            order = torch.randperm(weight.numel())
            active = torch.zeros(weight.numel(), dtype=torch.bool)
            active[order[: max(1, round(self.connectivity * weight.numel()))]] = True
            with torch.no_grad():
                weight.div_(self.connectivity**0.5)
            active = active.view_as(weight).to(weight.device)
            register_parametrization(of_layer.layer, "weight", Rewired(sign.clone().to(weight), active))

    @torch.no_grad()
    def settle(self, network: nn.Module) -> None:
        """Take the sizes of what an initialiser wrote, and leave its signs; called before training."""
        for theta, part in self.connections(network):
            theta.abs_().mul_(part.active)

    @torch.no_grad()
    def step(self, network: nn.Module, rate: float) -> None:
        """Rewire every layer once; ``rate`` is the learning rate of the step just taken."""
        for theta, part in self.connections(network):
            drift = -rate * self.l1
            if self.temperature:
                theta += part.active * (2 * rate * self.temperature) ** 0.5 * torch.randn_like(theta)
            theta += drift * part.active  # (2)
            theta *= part.active  # an optimizer's momentum moves dormant ones too
            fallen = part.active & (theta < 0)  # (3)
            count = int(fallen.sum())
            if count:
                dormant = (~part.active).flatten().nonzero()[:, 0]
                part.active &= ~fallen
                theta[fallen] = 0
                # drawn among those dormant before, or among all where these are too few
                if len(dormant) < count:
                    dormant = (~part.active).flatten().nonzero()[:, 0]
                woken = dormant[torch.randperm(len(dormant))[:count].to(dormant.device)]  # (4)
                part.active.view(-1)[woken] = True
                theta.view(-1)[woken] = 0

    def connections(self, network: nn.Module) -> Iterator[tuple[Tensor, Rewired]]:
        """theta of every rewired layer, and its connections."""
        for _, weight in weights_inside(network):
            for part in weight.values.parts:
                if isinstance(part, Rewired):
                    yield weight.stored, part
