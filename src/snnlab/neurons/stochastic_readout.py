"""Probabilistic spiking readout: a generalised linear model with raised-cosine filters (the last layer of VDIB).

    u[t, k] = sum_jm weight[k, j, m] (phi_m * inputs_j)[t] + feedback[k] (phi_fb * y_k)[t-1] + bias[k]      (1)
    y[t, k] ~ Bernoulli(sigmoid(u[t, k]))                                                                   (2)
    centred: inputs_j - mean_j in place of inputs_j, mean_j a running mean over training batches            (3)

Filters phi_m, m = 0..filters-1, have ``memory`` taps, lag 0 included; a neuron hears its own past only. Random numbers
come from torch's global generator. From step ``memory`` on, (3) only shifts the bias of (1); it is there because inputs
that share a large mean make every weight act as a bias, and any step of learning then saturates the neuron.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import kernels, ranks
from snnlab.neurons.neuron import Neuron, check_state
from snnlab.neurons.time import units


def raised_cosines(filters: int, memory: int, mu: float = 0.5) -> Tensor:
    """Return the basis phi [filters, memory] in float64.

    nt = ln(t + memory/10), spacing = (nt[-1] - nt[0]) / max(filters - 1, 1), centre_k = nt[0] + k spacing,
    phi_k(t) = (1 + cos(clip((nt - centre_k) mu pi / spacing, +-pi))) / 2. mu is the overlap of neighbours.
    """
    nt = torch.log(torch.arange(memory, dtype=torch.float64) + memory / 10)
    spacing = (nt[-1] - nt[0]) / max(filters - 1, 1)
    centres = nt[0] + spacing * torch.arange(filters, dtype=torch.float64)
    angle = (nt - centres[:, None]) * mu * math.pi / spacing
    return (1 + torch.cos(angle.clamp(-math.pi, math.pi))) / 2


def logit(rate: float) -> float:
    """The potential at which a neuron fires at this rate, in (0, 1)."""
    return math.log(rate / (1 - rate))


Start = Literal["own", "weights", "prior"]

MEAN_BATCHES = 100  # the memory of the running mean
BLOCK = 128  # steps of a trace that are worked out at once


class StochasticReadoutState(NamedTuple):
    """v [B, N_out]: u; projected [B, memory, filters, N_out] and spikes [B, memory, N_out]: newest first."""

    v: Tensor
    projected: Tensor
    spikes: Tensor


class StochasticReadout(Neuron):
    """GLM layer of ``outputs`` neurons over ``inputs`` spike trains; the equations are in the docstring of this file.

    Args:
        inputs, outputs: N_in and N_out; an input [B, C, H, W] is flattened.
        filters: feed-forward filters per synapse. The feedback has one.
        memory: taps of every filter, in steps.
        centred: subtract from each input its running mean (3); ``follow`` updates it.
        start: feedback and bias begin uniform within the bound of a Xavier start: each of its own, or that of the
            weights, sqrt(6 / ((N_in + N_out) filters)), as in the authors' code; with prior the bias begins at
            logit(prior), so that an unfed neuron fires at that rate (ours).
        prior: rate of an unfed neuron, in (0, 1); of start=prior.

    Shapes: inputs [T, B, ...] -> spikes [T, B, N_out]; weight [N_out, N_in, filters], feedback and bias [N_out, 1].

    Raises:
        ValueError: when a size is not positive, or memory below 2.

    Source: Jang et al. 2019 and Skatchkovsky et al. 2021, authors' code.
    """

    times = units(memory="steps")

    by_step = False
    draws = True

    def __init__(
        self,
        inputs: int,
        outputs: int,
        filters: int = 8,
        memory: int = 10,
        centred: bool = False,
        start: Start = "own",
        prior: float = 0.5,
    ) -> None:
        super().__init__()
        sizes = {"inputs": inputs, "outputs": outputs, "filters": filters, "memory": memory}
        for name, value in sizes.items():
            least = 2 if name == "memory" else 1
            if value < least:
                raise ValueError(f"StochasticReadout: {name} = {value} must be at least {least}")
        self.inputs, self.outputs, self.memory, self.centred = inputs, outputs, memory, centred
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs, filters)))
        self.feedback = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, 1)))
        self.bias = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, 1)))
        if start != "own":
            bound = math.sqrt(6 / ((inputs + outputs) * filters))
            for parameter in (self.feedback, self.bias):
                nn.init.uniform_(parameter, -bound, bound)
        if start == "prior":
            nn.init.constant_(self.bias, logit(prior))
        self.phi: Tensor
        self.phi_feedback: Tensor
        self.register_buffer("phi", raised_cosines(filters, memory).to(self.weight.dtype), persistent=False)
        self.register_buffer("phi_feedback", raised_cosines(1, memory)[0].to(self.weight.dtype), persistent=False)
        if centred:
            self.mean: Tensor
            self.seen: Tensor  # batches that ``mean`` has taken in
            self.register_buffer("mean", torch.zeros(inputs))
            self.register_buffer("seen", torch.tensor(0))

    # one step at a time -----------------------------------------------------------------------------------------------
    def initial_state(self, current: Tensor) -> StochasticReadoutState:
        batch, filters = len(current), self.phi.shape[0]
        return StochasticReadoutState(
            current.new_zeros(batch, self.outputs),
            current.new_zeros(batch, self.memory, filters, self.outputs),
            current.new_zeros(batch, self.memory, self.outputs),
        )

    def step(self, current: Tensor, state: StochasticReadoutState) -> tuple[Tensor, StochasticReadoutState]:
        check_state("StochasticReadout", state.v, current.new_empty(len(current), self.outputs))
        projected = torch.cat([self.project(current).unsqueeze(1), state.projected[:, :-1]], 1)
        u = self.bias[:, 0]
        for lag in range(self.memory):
            u = u + self.phi[:, lag] @ projected[:, lag]
        trace = torch.zeros_like(state.v)
        for lag in range(self.memory):
            trace = trace + self.phi_feedback[lag] * state.spikes[:, lag]
        u = u + self.feedback[:, 0] * trace  # (1)
        y = self.draw(u)  # (2)
        return y, StochasticReadoutState(u, projected, torch.cat([y.unsqueeze(1), state.spikes[:, :-1]], 1))

    def draw(self, u: Tensor) -> Tensor:
        """Sample (2); the sample carries no gradient."""
        with torch.no_grad():
            return (ranks.of_whole(torch.rand_like, u, -2) < torch.sigmoid(u)).to(u.dtype)

    def project(self, spikes: Tensor) -> Tensor:
        """Weights before the filters: [..., B, N_in] -> [..., B, filters, N_out]."""
        outputs, inputs, filters = self.weight.shape
        flat = self.weight.permute(2, 0, 1).reshape(filters * outputs, inputs)
        shift = -(flat @ self.mean) if self.centred else None  # (3)
        flat_spikes = spikes.flatten(-self.feature_dims(spikes))
        return nn.functional.linear(flat_spikes, flat, shift).unflatten(-1, (filters, outputs))

    @torch.no_grad()
    def follow(self, inputs: Tensor) -> None:
        """Take inputs [T, B, ...] into the mean of (3): a plain mean of the first 100 batches, then 1 % each."""
        if self.centred:
            self.seen += 1
            new = inputs.flatten(-self.feature_dims(inputs)).mean((0, 1)).to(self.mean)
            if ranks.number() > 1:  # of the whole batch
                new = ranks.total(new * ranks.share()) / ranks.number()
            self.mean.lerp_(new, 1 / min(int(self.seen), MEAN_BATCHES))

    def feature_dims(self, spikes: Tensor) -> int:
        """How many trailing dimensions make up N_in: 1 for [B, N_in], 3 for [B, C, H, W]."""
        size, dims = 1, 0
        while size < self.inputs and dims < spikes.ndim:
            dims += 1
            size *= spikes.shape[-dims]
        if size != self.inputs:
            raise ValueError(
                f"StochasticReadout: input {list(spikes.shape)} does not hold {self.inputs} units per sample"
            )
        return max(dims, 1)

    # a whole sequence -------------------------------------------------------------------------------------------------
    def potential(self, inputs: Tensor) -> Tensor:
        """The feed-forward part of (1), bias included: inputs [T, B, ...] -> [T, B, N_out]."""
        by_lag = (self.phi.T @ self.project(inputs)).unbind(2)  # the filters' taps, memory times [T, B, N_out]
        steps = len(inputs)
        u = self.bias[:, 0] + by_lag[0]
        for lag in range(1, min(self.memory, steps)):
            u = u + nn.functional.pad(by_lag[lag][: steps - lag], (0, 0, 0, 0, lag, 0))
        if (watch := kernels.watched_by()) is not None:  # of every step: none remembers the one before
            watch.notice(self, u)
        return u

    def sample(self, potential: Tensor, samples: int = 1) -> Tensor:
        """Draw ``samples`` spike trains from potential [T, B, N_out]: y [T, samples, B, N_out], without gradient."""
        return self.sampled(potential, samples)[0]

    @torch.no_grad()
    def sampled(self, potential: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        """Spike trains as ``sample`` draws them, and their u of (1); both [T, samples, B, N_out], without gradient."""
        u = potential.detach().unsqueeze(1).repeat(1, samples, 1, 1)
        kernel = (self.phi_feedback[:, None] * self.feedback[:, 0])[:, None, None, :]  # [memory, 1, 1, N_out]
        y = torch.empty_like(u)
        for t in range(len(u)):
            y[t] = self.draw(u[t])  # (2)
            ahead = u[t + 1 : t + 1 + self.memory]
            ahead.addcmul_(kernel[: len(ahead)], y[t].unsqueeze(0))  # (1), second term
        return y, u

    def own_past(self, y: Tensor) -> Tensor:
        """(phi_fb * y)[t-1] of spikes y [T, ...], same shape."""
        trace = torch.empty_like(y)
        for start in range(
            0, len(y), BLOCK
        ):  # a product with a band of taps; in blocks, since it grows with their square
            first, end = max(0, start - self.memory), min(start + BLOCK, len(y))
            now, then = torch.arange(start, end, device=y.device), torch.arange(first, end, device=y.device)
            lags = now[:, None] - then - 1
            taps = self.phi_feedback[lags.clamp(0, self.memory - 1)]
            taps = torch.where((lags >= 0) & (lags < self.memory), taps, 0.0).to(y)
            trace[start:end] = (taps @ y[first:end].flatten(1)).view_as(trace[start:end])
        return trace

    def conditional(self, potential: Tensor, y: Tensor) -> Tensor:
        """Return u [T, K, B, N_out] of (1) for given spikes y [T, K, B, N_out], differentiable in every parameter."""
        with torch.no_grad():
            trace = self.own_past(y)
        return potential.unsqueeze(1) + self.feedback[:, 0] * trace

    def forward(self, currents: Tensor) -> Tensor:
        return self.sample(self.potential(currents))[:, 0]

    def extra_repr(self) -> str:
        filters = self.phi.shape[0]
        return f"{self.inputs}, {self.outputs}, filters={filters}, memory={self.memory}, centred={self.centred}"
