"""What the methods share that learn without gradients and without labels: online updates, then labels by vote.

    presentation   samples are shown one after the other; weights move while a sample is shown, by the method's own rule
    assignment     class of neuron j = argmax_k (spikes of j during class k) / (samples of class k), weights at rest
    vote           score of class k = share of a sample's spikes that come from neurons of class k

Labels are used by the assignment only, and only those of training samples. It is made anew before each validation and
is stored with the weights. A neuron that stayed silent has no class and no vote. No gradient is taken anywhere.

A method gives its blocks, whose last layer has one unit per output neuron, and ``present``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.base.sample_by_sample import SampleBySample
from snnlab.questions.question import running_sum

LEAST = 1e-3  # share of votes below which the cross-entropy does not look: a class may get none


class LocalPlasticity(SampleBySample):
    """Shared base of the local methods; see the docstring of this file.

    Args:
        model, data, encoder, scheduler: as in Method.
        lr: learning rate of the rule; a scheduler moves it.
        neurons: output neurons.
        learn: false leaves the weights as they were drawn: the twin that shows what learning adds.
        label_samples: the assignment is made on that many training samples; None takes all.

    Raises:
        InputError: when an argument leaves its range.
    """

    assignment: Tensor  # class of each output neuron [N], -1 where it has none

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        lr: float,
        scheduler: Scheduler | None,
        neurons: int,
        learn: bool,
        label_samples: int | None,
    ) -> None:
        if not lr > 0:
            raise InputError(
                f"method.lr = {lr} must be positive; method.learn=false shows the samples without learning"
            )
        if neurons < 1:
            raise InputError(f"method.neurons = {neurons} must be at least 1; 100 is usual")
        if label_samples is not None and label_samples < 1:
            raise InputError(f"method.label_samples = {label_samples} must be at least 1; null takes all")
        self.neurons, self.learn, self.label_samples = neurons, learn, label_samples
        super().__init__(model, data, encoder, partial(torch.optim.SGD, lr=lr), scheduler)
        self.register_buffer("assignment", torch.full((neurons,), -1))

    def outputs(self) -> int:
        return self.neurons

    @abstractmethod
    def present(self, frames: Tensor, lr: float | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Show the samples of frames [T, B, ...] one after the other, learning on the way unless ``lr`` is None.

        Returns the spikes of each output neuron [B, N], and figures to log: means over the batch.
        """

    # learning ---------------------------------------------------------------------------------------------------------
    def check_freezing(self, asked: str) -> None:
        raise InputError(f"{asked}: this rule has one layer that learns; method.learn=false leaves it as it was drawn")

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        lr = optimizer.param_groups[0]["lr"] if self.learn else None
        counts, figures = self.present(self.frames(batch), lr)
        optimizer.step()  # moves nothing, as no parameter has a gradient: it counts the batch
        figures["spikes"] = counts.sum(1).mean()
        self.log_dict(
            {f"train/{name}": value.float() for name, value in figures.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch.labels),
        )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.trainer.is_last_batch and not any(self.trainer.num_val_batches):  # nothing validates: data.val_size=0
            self.name_neurons()

    # labels -----------------------------------------------------------------------------------------------------------
    def on_validation_epoch_start(self) -> None:
        self.name_neurons()

    def name_neurons(self) -> None:
        """Give every output neuron its class, and score the very samples that named them as ``train/``."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        limit = self.trainer.num_training_batches  # as many as an epoch shows; infinite or 0 where nothing is trained
        shown = int(limit) if 0 < limit < float("inf") else None
        counts, labels = self.assign(islice(data.train_dataloader(), shown))
        scores = self.shares(counts)
        every: Any = {"on_step": False, "on_epoch": True, "batch_size": len(labels)}
        for name, metric in self.make_metrics().to(counts.device).items():
            self.log(f"train/{name}", metric(scores, labels), **every)
        self.log("train/loss", self.loss(scores, labels), **every)
        self.log("train/silent_neurons", (self.assignment < 0).float().mean(), **every)

    @torch.no_grad()
    def assign(self, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
        """Give each output neuron its class; returns the spikes [M, N] and labels [M] of the samples it rests on."""
        counts: list[Tensor] = []
        labels: list[Tensor] = []
        left = self.label_samples
        for batch in map(self.here, batches):
            counts.append(self.count(self.frames(batch))[:left])
            labels.append(batch.labels[:left])
            left = None if left is None else left - len(batch.labels)
            if left is not None and left <= 0:
                break
        all_counts, all_labels = torch.cat(counts), torch.cat(labels)
        of_class = nn.functional.one_hot(all_labels, self.data.classes).to(all_counts.dtype)
        rates = all_counts.T @ of_class / of_class.sum(0).clamp(min=1)  # [N, K]
        self.assignment.copy_(torch.where(rates.sum(1) > 0, rates.argmax(1), -1))
        return all_counts, all_labels

    def count(self, frames: Tensor) -> Tensor:
        """Spikes of each output neuron [B, N] while frames [T, B, ...] are shown, weights at rest."""
        outputs: Tensor = self.network(frames)
        return outputs.sum(0)

    def votes(self, counts: Tensor) -> Tensor:
        """Sum spikes [..., N] over the neurons of each class: [..., K]."""
        members = nn.functional.one_hot(self.assignment.clamp(min=0), self.data.classes)
        return counts @ (members * (self.assignment >= 0).unsqueeze(1)).to(counts.dtype)

    def shares(self, counts: Tensor) -> Tensor:
        """Votes [..., K] as shares of all of them; 0 where nobody votes."""
        votes = self.votes(counts)
        return votes / votes.sum(-1, keepdim=True).clamp(min=1)

    # scoring ----------------------------------------------------------------------------------------------------------
    def scores(self, frames: Tensor) -> Tensor:
        return self.shares(self.count(frames))

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)
        return self.shares(running_sum(outputs))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the shares in nats, for the record; shares below 0.001 count as 0.001."""
        return -scores.gather(1, labels.unsqueeze(1)).clamp(min=LEAST).log().mean()

    def figures(self, data: DataModule) -> dict[str, Any]:
        """Receptive fields, and the spikes of one presentation."""
        from snnlab.methods.base.local_figures import fields_figure

        batch = self.here(next(iter(data.test_dataloader())))
        return {
            "receptive_fields": fields_figure(self.output_weight(), self.assignment, self.data.input_shape),
            "presentation": self.presentation(batch),
        }

    @torch.no_grad()
    def presentation(self, batch: Batch) -> Any:
        """Picture of the first sample of a batch as it is shown."""
        from snnlab.methods.base.local_figures import presentation_figure

        with self.network.observe() as seen:
            outputs = self.network(self.frames(batch)[:, :1])
        voted = int(self.shares(outputs.sum(0))[0].argmax())
        return presentation_figure(seen, self.assignment, int(batch.labels[0]), voted)

    @abstractmethod
    def output_weight(self) -> Tensor:
        """Weights [N, inputs] from the input to the output neurons."""
