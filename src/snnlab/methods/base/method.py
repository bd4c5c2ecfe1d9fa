"""What every training method shares: a LightningModule that builds its network, encodes its input, logs and scores.

A method file holds its blocks and its training step; a method whose rule is not autograd overrides ``training_step``
and sets ``automatic_optimization = False``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from snnlab.data.contract import Asks, Batch, DataModule, DataSpec
from snnlab.data.encoders import Encoder
from snnlab.errors import InputError, RunFailure
from snnlab.layers.blocks import Blocks
from snnlab.layers.network import Network
from snnlab.metrics.firing_rate import FiringRate
from snnlab.metrics.synaptic_operations import SynapticOperations

Model = Callable[[Blocks, tuple[int, ...], int], Network]
Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Scheduler = Callable[[torch.optim.Optimizer], Any]
Regularizer = Callable[[Mapping[str, Tensor]], Tensor]  # spikes [T, B, ...] by layer -> a term of the training loss
Split = Literal["train", "val", "test"]

QUESTIONS: dict[Asks, str] = {
    "class": "a class of the whole sequence",
    "class_per_step": "a class at every step",
    "class_at_end": "a class at the end",
    "value_at_end": "real values at the end",
}


class UnansweredError(InputError):
    """A data set asks what the chosen method does not answer; whoever knows the other methods adds which do."""


class Method(L.LightningModule):
    """Shared base of the methods.

    Args:
        model: topology; called with the method's blocks, the input shape of one step and the number of outputs.
        data: what is known of the data set before it is read.
        encoder: turns images [B, C, H, W] into frames [T, B, C, H, W]; None for data that has a time axis.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler, stepped after each epoch.

    Raises:
        InputError: when data and encoder do not fit, before any data is read.
    """

    # the checkpoint for the test is chosen on this validation figure
    monitor: tuple[str, Literal["min", "max"]] = ("val/accuracy", "max")

    # shown to people in place of the config's name, e.g. to say that the method is a reconstruction; "" shows the name
    label: str = ""

    answers: tuple[Asks, ...] = ("class",)  # what a data set may ask of the method
    scores_sequences = True  # whether there are class scores [B, K] of whole sequences
    regularizer: Regularizer | None = None  # of the hidden spikes, for methods that train by autograd
    trains = True  # False where the weights come with the method: they are validated and tested as they are

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
    ) -> None:
        super().__init__()
        self.check_data(data, encoder)
        if data.asks == "value_at_end":
            self.monitor = ("val/loss", "min")
        self.data, self.encoder = data, encoder
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.network = model(self.blocks(), data.input_shape, self.outputs())
        self.mean_loss = per_split(MeanMetric)
        self.accuracy: Any = per_split(lambda: make_accuracy(data.classes)) if data.asks != "value_at_end" else None
        self.firing_rate = FiringRate()
        self.synaptic_operations = SynapticOperations()

    def check_precision(self, precision: str) -> None:
        """Refuse ``trainer.precision``, as it is written there, where the method cannot be trained with it.

        Raises:
            InputError: naming the precision, and what would do.
        """

    @classmethod
    def check_data(cls, data: DataSpec, encoder: nn.Module | None) -> None:
        """Refuse data that the method cannot answer for, and an encoder where none, or another, is needed.

        A method that looks at the data before ``super().__init__`` calls this first, so that what is said is the
        plainest reason.

        Raises:
            InputError: naming the data set or the encoder, and what would do.
        """
        if data.kind == "image" and encoder is None:
            raise InputError(
                f"data={data.name} is still images: choose encoder=direct, rate, signed_poisson or latency"
            )
        if data.kind != "image" and encoder is not None:
            raise InputError(
                f"encoder={type(encoder).__name__.lower()} encodes still images, and data={data.name} has a time axis "
                "of its own; use encoder=none"
            )
        if isinstance(encoder, Encoder):
            encoder.check(data.input_shape)
        if data.asks not in cls.answers:
            theirs = " or ".join(QUESTIONS[asked] for asked in cls.answers)
            raise UnansweredError(
                f"data={data.name} asks for {QUESTIONS[data.asks]}, and this method answers with {theirs}"
            )

    @abstractmethod
    def blocks(self) -> Blocks:
        """The menu that the model arranges."""

    def outputs(self) -> int:
        """Number of units of the readout."""
        return self.data.classes

    def prepare(self, data: DataModule) -> None:
        """Called once when the data is there and before training: for what a method needs to see of it."""

    def finish(self, data: DataModule) -> None:
        """Called once with the chosen weights, before they are tested or asked: what is set when learning is over."""

    @property
    def spiking_input(self) -> bool:
        """Whether the network's input is spikes or event counts, not analog values."""
        if self.encoder is None:
            return self.data.kind != "sequence"
        return bool(getattr(self.encoder, "spiking", False))

    def frames(self, batch: Batch) -> Tensor:
        """Return the network's input [T, B, ...]; images are encoded on their device."""
        return batch.inputs if self.encoder is None else self.encoder(batch.inputs)

    def shown(self, batch: Batch, frames: Tensor) -> Tensor:
        """Return what a picture shows of the input [T, B, ...]: its frames, unless these hold no values over time."""
        return frames

    def scores(self, frames: Tensor) -> Tensor:
        """Return scores [B, K] of frames [T, B, ...]: the mean readout of the steps on which an answer is read."""
        return self.network(frames)[-(self.data.answer_steps or 0) :].mean(0)

    def scores_over_time(self, frames: Tensor) -> Tensor:
        """Return the class scores [T, B, K] that each step would give, were it the last."""
        outputs = self.network(frames)
        read = self.data.answer_steps or len(outputs)
        sums = outputs.cumsum(0)
        sums[read:] = sums[read:] - sums[:-read]
        steps = torch.arange(1, len(outputs) + 1, device=outputs.device, dtype=outputs.dtype).clamp(max=read)
        return sums / steps.view(-1, *[1] * (outputs.dim() - 1))

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of class scores [B, K]."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        frames = self.frames(batch)
        if self.regularizer is None:
            scores = self.scores(frames)
            loss = self.loss(scores, batch.labels)
        else:
            with self.network.observe() as seen:
                scores = self.scores(frames)
            last = list(self.network.leaves())[-1]  # the readout is no hidden layer
            penalty = self.regularizer({name: spikes for name, spikes in seen.items() if name != last})
            loss = self.loss(scores, batch.labels) + penalty
        self.log_scores("train", scores, batch.labels, loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self.scores(self.frames(batch))
        self.log_scores("val", scores, batch.labels, self.loss(scores, batch.labels))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self.observed_scores(self.frames(batch))
        self.log_scores("test", scores, batch.labels, self.loss(scores, batch.labels))

    def observed_scores(self, frames: Tensor) -> Tensor:
        """Score and count: spikes per layer and synaptic operations of this batch go into the test metrics."""
        samples = frames.shape[1]
        counted = self.synaptic_operations.watch(self.network, self.spiking_input, samples)
        with self.network.observe() as seen, counted:
            scores = self.scores(frames)
        self.firing_rate.update(seen, samples=samples)
        return scores

    def on_test_epoch_end(self) -> None:
        for name, value in self.firing_rate.compute().items():
            self.log(f"test/{name}", value)
        self.firing_rate.reset()
        self.log("test/synaptic_operations", self.synaptic_operations.compute())
        self.synaptic_operations.reset()

    def log_scores(self, split: Split, scores: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Log loss and accuracy (of classes) of a batch as ``<split>/loss, accuracy``, averaged over the epoch."""
        size = len(labels)
        if not torch.isfinite(loss):
            raise RunFailure(
                f"{split}/loss is {loss.item()} at step {self.global_step}: training diverged; "
                "lower method.optimizer.lr or set trainer.gradient_clip_val=1"
            )
        mean_loss = self.mean_loss[f"{split}_split"]
        mean_loss.update(loss.detach(), size)
        first = mean_loss.update_count == 1  # once an epoch: Lightning holds the metrics, and computes them at its end
        every: Any = {"on_step": False, "on_epoch": True, "batch_size": size}
        if first:
            self.log(f"{split}/loss", mean_loss, prog_bar=self.accuracy is None, **every)
        if self.accuracy is not None:
            accuracy = self.accuracy[f"{split}_split"]
            accuracy.update(scores.detach(), labels)
            if first:
                self.log(f"{split}/accuracy", accuracy, prog_bar=True, **every)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer)}

    def predictions(self, batch: Batch) -> Tensor:
        """Return the predicted class of each sample [B]; the confusion matrix is made from it."""
        return self.scores(self.frames(batch)).argmax(-1)

    def figures(self, data: DataModule) -> dict[str, Any]:
        """Matplotlib figures that only this method makes, by file name."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.pop("hyper_parameters", None)  # the run's config.yaml is the one record of them


def per_split(make: Callable[[], nn.Module]) -> Any:
    """One metric for each split, as a module so that it moves and saves with the method."""
    return nn.ModuleDict({f"{split}_split": make() for split in ("train", "val", "test")})


def make_accuracy(classes: int) -> nn.Module:
    """Share of samples (of steps, where every step has a class) whose highest score is the right class."""
    return MulticlassAccuracy(max(classes, 2), average="micro")
