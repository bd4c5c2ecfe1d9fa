"""The family of exact spike times: layers hand on times [B, N, K], infinite = silent, in place of frames.

A method gives the blocks (spike_time_blocks.py), whose neurons say which simulator has their dynamics, ``read`` and
``loss``; one whose readout never fires overrides ``scored`` in place of ``read``. silent_neurons.py raises the weights
into neurons that no gradient reaches.

Input:  images by exact latency (``encoder=latency``, before rounding to steps), events at the start of their bin,
        several in one bin as one; the steps of encoder or data set fill ``input_window`` evenly.
Watched in rasters: a spike belongs to the step of the raster in which it comes, see layers/spike_time_network.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Latency, Rate
from snnlab.errors import InputError
from snnlab.layers.chain import Chain
from snnlab.layers.spike_time_network import STEPS, SpikeTimeNetwork
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.weights.weight import Weight

MOST_SPIKES = 10_000  # of a neuron in a sample: each has a place
MOST_TAUS = 80  # of the pull forward in the duration; e^88 is the end of float32
TOGETHER = 2**25  # spike times that are scored in one batch


class SpikeTimes(Autograd):
    """Shared base of the methods that differentiate spike times; a method gives ``read``.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the model has fully connected layers only.
        duration: simulated time T, s.
        input_window: first and last moment of the input, s; rising, within [0, T].

    Raises: ValueError: when ``input_window`` leaves its range.
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
        if not 0 <= input_window[0] < input_window[1] <= duration:
            raise ValueError(
                f"{type(self).__name__}: input_window = {list(input_window)} must rise, from 0 or more to at most "
                f"duration = {duration}"
            )
        self.duration, self.input_window = duration, input_window
        super().__init__(model, data, encoder, optimizer, scheduler)
        self.network = SpikeTimeNetwork([(link.name, link.layer) for link in Chain(self.network).links], duration)
        self.weights = self.chain.weights
        self.cost.time_step = 1.0  # the duration is in seconds

    @staticmethod
    def check_spikes(data: DataSpec, encoder: nn.Module | None, name: str) -> None:
        """Raise InputError where the input is no spikes; ``name`` is the method's."""
        if encoder is not None and not isinstance(encoder, Latency | Rate):
            raise InputError(
                f"encoder={type(encoder).__name__.lower()} sends other numbers than 0 and 1; use encoder=latency"
            )
        if data.kind == "sequence":
            raise InputError(f"data.sequence=rows sends analog values, and {name} needs spikes; use data.sequence=none")

    @classmethod
    def check_early(cls, early: float, duration: float, name: str, tau: float) -> None:
        """Raise ValueError where early e^(t / tau) of ``first_spike_loss`` outgrows float32; ``name`` is tau's."""
        if early > 0 and duration / tau > MOST_TAUS:
            raise ValueError(
                f"{cls.__name__}: duration / {name} = {duration / tau:g} must be at most {MOST_TAUS}; the loss of a "
                f"late spike, early * e^(t / {name}), outgrows float32; use method.early=0"
            )

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

    def read(self, times: Tensor) -> Tensor:
        """Return the scores [B, classes] of the readout's spike times [B, classes, K]."""
        raise NotImplementedError(f"{type(self).__name__} gives read, or scored")

    def scored(self, trains: dict[str, Tensor]) -> Tensor:
        """Return the scores [B, classes] of the spike times [B, N, K] of the input and every layer that fires."""
        return self.read(trains[list(trains)[-1]])

    def scores(self, frames: Tensor) -> Tensor:
        return self.scored(self.chain.trains(frames))

    def scores_over_time(self, frames: Tensor) -> Tensor:
        """Return the scores [T, B, classes] of the spikes that have come by the end of each part of the duration."""
        trains = self.chain.trains(frames)
        ends = torch.tensor([self.duration * step / STEPS for step in range(1, STEPS + 1)]).to(frames)
        together = max(1, TOGETHER // sum(times.numel() for times in trains.values()))
        return torch.cat([self.scored_until(trains, some) for some in ends.split(together)])

    def scored_until(self, trains: dict[str, Tensor], ends: Tensor) -> Tensor:
        """The scores [E, B, classes] of the spikes before each of the times ``ends`` [E], all in one batch."""
        seen = {
            name: torch.where(times < ends.view(-1, 1, 1, 1), times, torch.inf).flatten(0, 1)
            for name, times in trains.items()
        }
        return self.scored(seen).unflatten(0, (len(ends), -1))

    def observed_scores(self, frames: Tensor) -> Tensor:
        samples = frames.shape[1]
        with self.network.observe() as seen:
            trains = self.chain.trains(frames)
        self.count_spikes(seen, samples)
        self.synaptic_operations.update(self.reached(trains, lambda weight: weight.exists), samples)
        self.cost.count(self.reached(trains, lambda weight: weight.used != 0), torch.nan, samples)
        self.cost.took(self.duration, samples)
        if self.cost.macs is None:
            self.cost.memory.update(self.network)
            weights = self.chain.weights | {f"{name}.weight": weight for name, weight in self.chain.returning.items()}
            self.cost.look_at(self.network, {name: float(weight.used.numel()) for name, weight in weights.items()})
        return self.scored(trains)

    def reached(self, trains: dict[str, Tensor], taps: Callable[[Weight], Tensor | None]) -> Any:
        """Synapses, of the chosen ones, that the spikes of a batch reach; a readout's spikes reach nothing."""
        ways = [*zip(trains.values(), self.weights.values(), strict=False)]
        ways += [(trains[name], weight) for name, weight in self.chain.returning.items()]
        return sum(
            ((times < self.duration).sum(-1).double() * weight.reach(times[..., 0], taps(weight))).sum()
            for times, weight in ways
        )


def first_spikes(times: Tensor, duration: float, tau_loss: float) -> Tensor:
    """Scores [B, classes] = -first spike / tau_loss of spike times [B, classes, K]; a silent neuron fires at T."""
    return -times[..., 0].clamp(max=duration) / tau_loss


def first_spike_loss(scores: Tensor, labels: Tensor, tau_loss: float, early: float, tau_early: float) -> Tensor:
    """Cross-entropy of softmax(-t_j / tau_loss), plus early (e^(t_label / tau_early) - 1) that pulls it forward."""
    of_label = -tau_loss * scores.gather(1, labels[:, None])  # its time
    return nn.functional.cross_entropy(scores, labels) + early * torch.expm1(of_label / tau_early).mean()


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
