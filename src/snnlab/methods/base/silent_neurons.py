"""Weights into silent neurons are raised: no gradient of spike times reaches them (Goeltz et al. 2021, Fast & Deep)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataSpec
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.spike_times import SpikeTimes

DOUBLINGS = 10  # a bump is at most 2^10 times the first


class RaisesSilent(SpikeTimes):
    """After a step the weights into a neuron that was silent in too large a share of the batch are raised by ``bump``.

    Twice as much each time in a row; a readout is judged by the samples of its own class.

    Args:
        model, data, encoder, optimizer, scheduler, duration, input_window: as in SpikeTimes; the readout fires.
        bump: first raise of the weights into a silent neuron, >= 0; 0 never raises.
        silent_share, readout_silent_share: a neuron silent in more than this share of a batch, a readout
            neuron of the samples of its class, is raised.

    Raises: ValueError: when an argument leaves its range.
    """

    writes_weights = True  # the bump

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None,
        duration: float,
        input_window: tuple[float, float],
        bump: float,
        silent_share: float,
        readout_silent_share: float,
    ) -> None:
        name = type(self).__name__
        if bump < 0:
            raise ValueError(f"{name}: bump = {bump} must be 0 (never) or more; 5e-4 is usual")
        for key, share in (("silent_share", silent_share), ("readout_silent_share", readout_silent_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: {key} = {share} must lie in 0 to 1; 0.99 is usual")
        super().__init__(model, data, encoder, optimizer, scheduler, duration, input_window)
        self.bump, self.silent_share, self.readout_silent_share = bump, silent_share, readout_silent_share
        for key, weight in self.weights.items():
            self.register_buffer(f"silent_{key}", torch.zeros(weight.outputs))  # batches in a row
        self.bumped_step = 0
        self.silent: dict[str, Tensor] = {}  # share of the last batch in which each neuron was silent

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        trains = self.chain.trains(self.frames(batch))
        scores = self.scored(trains)
        self.silent = {name: trains[name][..., 0].isinf().to(scores.dtype) for name in self.weights}
        own = nn.functional.one_hot(batch.labels, self.data.classes)
        missed, shown = ranks.total((self.silent["readout"] * own).sum(0)), ranks.total(own.sum(0))
        self.silent["readout"] = missed / shown.clamp(min=1)
        self.silent |= {name: self.mean_of(silent) for name, silent in self.silent.items() if silent.dim() > 1}
        loss = self.loss(scores, batch.labels)
        self.log_scores("train", scores, batch.labels, loss)
        return loss

    def on_train_start(self) -> None:
        self.bumped_step = self.global_step

    def mean_of(self, silent: Tensor) -> Tensor:
        """The mean over the whole batch of [B, N], of which this process has a share."""
        return silent.mean(0) if ranks.number() == 1 else ranks.total(silent.mean(0) * ranks.share()) / ranks.number()

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Raise the weights into neurons that were silent in too much of the batch: no gradient reaches them."""
        if self._trainer is not None and self.global_step == self.bumped_step:  # while gradients accumulate
            return
        self.bumped_step = self.global_step
        for name, weight in self.weights.items():
            if not weight.stored.requires_grad:  # frozen
                continue
            rows: Tensor = getattr(self, f"silent_{name}")  # batches in a row before this one
            low = self.silent[name] > (self.readout_silent_share if name == "readout" else self.silent_share)
            rise = self.bump * 2.0 ** rows.clamp(max=DOUBLINGS)
            values = weight.latent
            values += torch.where(low, rise, torch.zeros_like(rise))[:, None]
            weight.write(values)
            rows.copy_(torch.where(low, rows + 1, torch.zeros_like(rows)))
