"""Batch normalisation that keeps time apart (Kim, Panda, Front. Neurosci. 15:773954, 2021; arXiv:2010.01729).

    y[t] = gamma[t] * (x[t] - mean[t]) / sqrt(var[t] + eps) + beta[t]     per channel; beta only on request

In training mean[t] and var[t] are those of the batch (and of the picture) at step t; gradients run through them.
In evaluation they are running averages. BNTT has gamma, beta and running averages of each step; the shared norm has
one of each, and its running average is updated and read by every step in turn. The paper has no beta.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.errors import InputError
from snnlab.layers.network import Network
from snnlab.neurons.neuron import Temporal


class StepIndex(NamedTuple):
    """step: the index t of the step to come, a scalar on the CPU."""

    step: Tensor


class NoState(NamedTuple):
    """Nothing is carried from step to step."""


def check_norm(name: str, channels: int, momentum: float, eps: float) -> None:
    """Raise ValueError when an argument of a norm leaves its range."""
    if channels < 1:
        raise ValueError(f"{name}: channels = {channels} must be at least 1")
    if not 0 < momentum <= 1:
        raise ValueError(f"{name}: momentum = {momentum} must lie in (0, 1]; 0.1 is usual")
    if not eps > 0:
        raise ValueError(f"{name}: eps = {eps} must be positive; 1e-4 is usual")


def has_statistics(current: Tensor) -> bool:
    """Whether a step [B, C, ...] holds more than one value per channel, so that it has a variance."""
    return current.numel() > current.shape[1] or ranks.number() > 1


def normalise(
    currents: Tensor,
    gamma: Tensor,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalise every step and channel at once: currents [T, B, C, ...], the others [T, C]; updates mean and var."""
    steps, batch, channels, *rest = currents.shape
    if training and ranks.number() > 1:
        return normalise_together(currents, gamma, beta, mean, var, momentum, eps)
    merged = currents.transpose(0, 1).reshape(batch, steps * channels, *rest)
    offset = None if beta is None else beta.reshape(-1)
    merged = nn.functional.batch_norm(
        merged, mean.view(-1), var.view(-1), gamma.reshape(-1), offset, training, momentum, eps
    )
    return merged.view(batch, steps, channels, *rest).transpose(0, 1)


def normalise_together(
    currents: Tensor, gamma: Tensor, beta: Tensor | None, mean: Tensor, var: Tensor, momentum: float, eps: float
) -> Tensor:
    """``normalise`` in training, of a batch that processes share: statistics and their gradients are of all of it."""
    within = (1, *range(3, currents.dim()))
    share = currents.new_tensor([currents[0].numel() / currents.shape[2]])
    count = ranks.total(share)
    centre = ranks.total_with_gradient(currents.sum(within)) / count  # [T, C]
    shape = (len(currents), 1, currents.shape[2], *[1] * (currents.dim() - 3))
    away = currents - centre.view(shape)
    spread = ranks.total_with_gradient((away * away).sum(within)) / count
    with torch.no_grad():
        mean.lerp_(centre.to(mean), momentum)
        var.lerp_((spread * count / (count - 1)).to(var), momentum)
    outputs = gamma.view(shape) * away * torch.rsqrt(spread + eps).view(shape)
    return outputs if beta is None else outputs + beta.view(shape)


class BatchNormThroughTime(Temporal):
    """One batch norm per time step (BNTT); the equation is in the docstring of this file.

    Args:
        channels: C, features of a linear layer or channels of a convolution.
        time_steps: T, the most steps that it can be run for.
        momentum: share of the newest batch in the running averages, in (0, 1].
        eps: added to the variance, > 0, in its unit.
        shift: whether each step and channel learns an offset beta, which starts at 0.

    Shapes: currents [T, B, C, ...] -> [T, B, C, ...]; gamma, beta, running_mean and running_var [T, C].

    A training step with one value per channel has no variance: it is normalised by the running averages and leaves
    them alone. Weights stored for more steps load, and their first T are kept.

    Raises:
        ValueError: when an argument leaves its range; InputError where a sequence is longer than T.
        RuntimeError: (load_state_dict) when the stored weights know fewer steps than T.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, time_steps: int, momentum: float = 0.1, eps: float = 1e-4, shift: bool = False
    ) -> None:
        super().__init__()
        check_norm("BatchNormThroughTime", channels, momentum, eps)
        if time_steps < 1:
            raise ValueError(f"BatchNormThroughTime: time_steps = {time_steps} must be at least 1; 25 is the paper's")
        self.time_steps, self.momentum, self.eps = time_steps, momentum, eps
        self.gamma = nn.Parameter(torch.ones(time_steps, channels))
        self.beta = nn.Parameter(torch.zeros(time_steps, channels)) if shift else None
        self.register_buffer("running_mean", torch.zeros(time_steps, channels))
        self.register_buffer("running_var", torch.ones(time_steps, channels))

    def initial_state(self, current: Tensor) -> StepIndex:
        return StepIndex(torch.tensor(0))

    def step(self, current: Tensor, state: StepIndex) -> tuple[Tensor, StepIndex]:
        t = int(state.step)
        return self.normalised(current[None], t)[0], StepIndex(state.step + 1)

    def forward(self, currents: Tensor) -> Tensor:
        return self.normalised(currents, 0)

    def normalised(self, currents: Tensor, first: int) -> Tensor:
        """Normalise the steps first, first + 1, ... of currents [T', B, C, ...]."""
        last = first + len(currents)
        if last > self.time_steps:
            raise InputError(
                f"BatchNormThroughTime: step {self.time_steps + 1} has no statistics, the norm was made for "
                f"{self.time_steps} time steps; run at most {self.time_steps}, or train with more"
            )
        training = self.training and has_statistics(currents[0])
        mean, var = self.running_mean[first:last], self.running_var[first:last]
        beta = None if self.beta is None else self.beta[first:last]
        return normalise(currents, self.gamma[first:last], beta, mean, var, training, self.momentum, self.eps)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(f"{prefix}gamma")
        if isinstance(stored, Tensor) and stored.shape[1:] == self.gamma.shape[1:]:
            if len(stored) < self.time_steps:
                errors = args[-1]
                errors.append(
                    f"{prefix.removesuffix('.')}: the norm was trained for {len(stored)} time steps and has no "
                    f"statistics for {self.time_steps}; ask for at most {len(stored)} (encoder.time_steps, or "
                    "data.time_steps), or train with more"
                )
                return
            for name in ("gamma", "beta", "running_mean", "running_var"):
                if f"{prefix}{name}" in state_dict:
                    state_dict[f"{prefix}{name}"] = state_dict[f"{prefix}{name}"][: self.time_steps]
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        sizes = f"{self.gamma.shape[1]}, time_steps={self.time_steps}, momentum={self.momentum}, eps={self.eps}"
        return sizes + ("" if self.beta is None else ", shift")


class SharedBatchNorm(Temporal):
    """An ordinary batch norm called at every step: batch statistics per step, one gamma and one running average.

    The running averages mix all steps, the last ones most, so that evaluation normalises no step by its own
    statistics: where these change over time, it is another function than the one trained. Here to be compared with.

    Args, Raises: as in BatchNormThroughTime, without T.
    Shapes: currents [T, B, C, ...] -> [T, B, C, ...]; gamma, beta, running_mean and running_var [C].
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-4, shift: bool = False) -> None:
        super().__init__()
        check_norm("SharedBatchNorm", channels, momentum, eps)
        self.momentum, self.eps = momentum, eps
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels)) if shift else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def initial_state(self, current: Tensor) -> NoState:
        return NoState()

    def step(self, current: Tensor, state: NoState) -> tuple[Tensor, NoState]:
        return self.forward(current[None])[0], state

    def forward(self, currents: Tensor) -> Tensor:
        steps, training = len(currents), self.training and has_statistics(currents[0])
        gamma, beta = self.gamma.expand(steps, -1), None if self.beta is None else self.beta.expand(steps, -1)
        mean, var = self.running_mean.repeat(steps, 1), self.running_var.repeat(steps, 1)
        momentum = 1.0  # leaves mean and var of the batch there
        outputs = normalise(currents, gamma, beta, mean, var, training, momentum, self.eps)
        if training:
            for t in range(steps):
                self.running_mean.lerp_(mean[t], self.momentum)
                self.running_var.lerp_(var[t], self.momentum)
        return outputs

    def extra_repr(self) -> str:
        sizes = f"{len(self.gamma)}, momentum={self.momentum}, eps={self.eps}"
        return sizes + ("" if self.beta is None else ", shift")


def gamma_over_time(network: Network) -> dict[str, Tensor]:
    """Mean over channels of gamma [T] of each BNTT layer, by the layer's name; empty where there is none."""
    found = {name: layer for name, layer in network.leaves().items() if isinstance(layer, BatchNormThroughTime)}
    return {name: layer.gamma.detach().mean(1) for name, layer in found.items()}
