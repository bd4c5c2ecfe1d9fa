"""The family of exact spike times: layers hand on times [B, N, K], infinite = silent, in place of frames.

Input:  images by exact latency (``encoder=latency``, before rounding to steps), events at the start of their bin,
        several in one bin as one; the steps of encoder or data set fill ``input_window`` evenly.
Watched in rasters: a spike belongs to the step of the raster in which it comes, see layers/spike_time_network.py.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Latency
from snnlab.errors import InputError
from snnlab.layers.chain import Chain
from snnlab.layers.spike_time_network import STEPS, SpikeTimeNetwork
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler


class SpikeTimes(Autograd):
    """Shared base of the methods that differentiate spike times; a method gives ``read``.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the model has fully connected layers only.
        duration: simulated time T, s.
        input_window: first and last moment of the input, s.
    """

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None,
        duration: float,
        input_window: tuple[float, float],
    ) -> None:
        self.duration, self.input_window = duration, input_window
        super().__init__(model, data, encoder, optimizer, scheduler)
        self.network = SpikeTimeNetwork([(link.name, link.layer) for link in Chain(self.network).links], duration)
        self.weights = self.chain.weights

    @property
    def chain(self) -> SpikeTimeNetwork:
        """The network, which runs on spike times."""
        assert isinstance(self.network, SpikeTimeNetwork)
        return self.network

    def check_precision(self, precision: str) -> None:
        if precision in ("16-true", "bf16-true"):
            raise InputError(f"trainer.precision = {precision}: spike times need 32 bits; use 32-true")
        super().check_precision(precision)

    def frames(self, batch: Batch) -> Tensor:
        """Return the times of the input spikes [K, B, ...], s, infinite = silent."""
        if isinstance(self.encoder, Latency):
            steps, count = self.encoder.times(batch.inputs)[None], self.encoder.time_steps
        else:
            frames = self.encoded(batch)
            count = len(frames)
            index = torch.arange(count, device=frames.device, dtype=frames.dtype)
            steps = torch.where(frames > 0, index.view(-1, *[1] * (frames.dim() - 1)), torch.inf)
        first, last = self.input_window
        return first + steps * ((last - first) / count)

    @abstractmethod
    def read(self, times: Tensor) -> Tensor:
        """Return the scores [B, classes] of the readout's spike times [B, classes, K]."""

    def scores(self, frames: Tensor) -> Tensor:
        return self.read(self.chain(frames).permute(1, 2, 0))

    def scores_over_time(self, frames: Tensor) -> Tensor:
        """Return the scores [T, B, classes] of the spikes that have come by the end of each part of the duration."""
        times = self.chain(frames).permute(1, 2, 0)
        ends = [self.duration * step / STEPS for step in range(1, STEPS + 1)]
        return torch.stack([self.read(torch.where(times < end, times, torch.inf)) for end in ends])

    def observed_scores(self, frames: Tensor) -> Tensor:
        with self.network.observe() as seen:
            trains = self.chain.trains(frames)
        self.firing_rate.update(seen, samples=frames.shape[1])
        reached = zip(trains.values(), self.weights.values(), strict=False)  # the readout's spikes reach nothing
        operations: Any = sum(
            ((times < self.duration).sum(-1).double() * weight.fan_out(times[..., 0])).sum()
            for times, weight in reached
        )
        self.synaptic_operations.update(operations, frames.shape[1])
        return self.read(trains[list(trains)[-1]])


def count_loss(counts: Tensor, labels: Tensor, targets: tuple[float, float]) -> Tensor:
    """1/2 sum over classes of (n_j - target_j)^2: counts [B, ..., classes] and labels [B] give [B, ...]."""
    high, low = targets
    own = nn.functional.one_hot(labels, counts.shape[-1]).view(len(labels), *[1] * (counts.dim() - 2), -1)
    return ((counts - (low + (high - low) * own)) ** 2).sum(-1) / 2


class SpikeCount(torch.autograd.Function):
    """n = number of spikes of [..., K]; dn/dt_k = -1 per second at each of them."""

    @staticmethod
    def forward(ctx: Any, times: Tensor, duration: float) -> Tensor:
        fired = times < duration
        ctx.save_for_backward(fired)
        return fired.sum(-1).to(times.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (fired,) = ctx.saved_tensors
        return -grads[0].unsqueeze(-1) * fired, None
