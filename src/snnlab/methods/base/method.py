"""What every training method has: a LightningModule that builds its network, encodes its input, logs and scores.

A method takes a training step from one of the families of this room, or has its own:
    autograd.py             the optimizer follows the gradient of ``loss``
    own_steps.py            the rule fills ``.grad``, or moves the weights, and steps the optimizers itself
    online.py               own steps, one frame at a time
    local_plasticity.py     own steps without gradients and without labels
    rates.py                one frame of rates [1, B, ...] in place of time
    spike_times.py          exact spike times [K, B, ...] in place of frames
    two_phase.py            learning first, then something that is set with the chosen weights
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn

from snnlab import kernels, ranks
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.data.encoders import Encoder
from snnlab.errors import InputError, RunFailure, nearest
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.methods.base.finite import culprit
from snnlab.methods.base.schedule import make_schedule
from snnlab.metrics.cost import Cost
from snnlab.metrics.firing_rate import FiringRate
from snnlab.metrics.mean import Mean
from snnlab.metrics.synaptic_operations import SynapticOperations
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.question import Monitor, Question
from snnlab.weights.devices import devices_inside, settle
from snnlab.weights.weight import Weight

Model = Callable[[Blocks, tuple[int, ...], int], Network]
Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Scheduler = Callable[[torch.optim.Optimizer], Any]
Split = Literal["train", "val", "test"]


class UnansweredError(InputError):
    """A data set asks what the chosen method does not answer; whoever knows the other methods adds which do."""


class Method(L.LightningModule):
    """Shared base of the methods.

    Args:
        model: topology; called with the method's blocks, the input shape of one step and the number of outputs.
        data: what is known of the data set before it is read.
        encoder: turns images [B, C, H, W] into frames [T, B, C, H, W]; None for data that has a time axis.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler, stepped after each epoch or batch; see schedule.py.

    Raises:
        InputError: when data and encoder do not fit, before any data is read.
    """

    # the checkpoint for the test is chosen on this validation figure; the question's, unless the method has its own
    monitor: Monitor

    # shown to people in place of the config's name, e.g. to say that the method is a reconstruction; "" shows the name
    label: str = ""

    answers: tuple[type[Question], ...] = (ClassOfSequence,)  # what a data set may ask of the method
    scores_sequences = True  # whether ``scores`` come from the readout itself, step by step
    trains = True  # False where the weights come with the method: they are validated and tested as they are
    writes_weights = False  # whether the rule adds its own changes to what is stored of a weight
    limit_neuron: Callable[[Any], Any] | None = None  # puts neurons that are made later under a target's limits
    sums_loss = False  # whether the loss is a sum over the samples, not their mean
    needs_data = False  # whether a stored run can be used only after its data was read: ``opened`` looks at it

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
        self.monitor = getattr(type(self), "monitor", data.question.monitor)
        self.data, self.encoder = data, encoder
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.network = model(self.blocks(), data.input_shape, self.outputs())
        self.mean_loss = per_split(Mean)
        self.metrics = per_split(self.make_metrics)
        self.firing_rate = FiringRate()
        self.synaptic_operations = SynapticOperations()
        self.cost = Cost(data.time_step)

    def validated(self) -> list[str]:
        """The figures that every epoch is validated on, as they are logged after ``val/``."""
        return ["loss", *self.metrics["val_split"]]

    # what is refused, before any data is read -------------------------------------------------------------------------
    def check_trainer(self, trainer: Mapping[str, Any]) -> None:
        """Refuse arguments of the Trainer that the method cannot be trained with.

        Raises:
            InputError: naming the argument, and what would do.
        """
        if trainer["precision"] is not None:
            self.check_precision(str(trainer["precision"]))

    def kept_from_trainer(self) -> dict[str, Any]:
        """Arguments of the Trainer that the method sees to itself, and what Lightning's is given in their place."""
        return {}

    def check_precision(self, precision: str) -> None:
        """Refuse ``trainer.precision``, as it is written there, where the method cannot be trained with it.

        Raises:
            InputError: naming the precision, and what would do.
        """
        if precision in ("16-true", "transformer-engine", "transformer-engine-float16"):
            why = (
                "optimizers divide by what is 0 in 16 bits" if precision == "16-true" else "no layer here has its forms"
            )
            raise InputError(f"trainer.precision = {precision}: {why}; use bf16-mixed or 32-true")

    def check_weights(self) -> None:
        """Refuse a limit on a weight that would stop learning without a word.

        Raises:
            InputError: naming the weight, the constraint, and what would do.
        """
        chain = Chain(self.network)
        biases = {name: weight.bias_values for name, weight in chain.weights().items()}
        limited = [(n, v) for n, v in [*chain.values().items(), *biases.items()] if v is not None and v.constrained]
        for name, values in limited if self.trains else ():
            kinds = " and ".join(type(part).__name__ for part in values.parts)
            if not values.passes_gradient():
                raise InputError(
                    f"{name}: no gradient passes {kinds}, which makes its {values.name}, and it would never learn; let "
                    "its backward be straight through, as that of snnlab.weights.quantised.Rounded"
                )
            if self.writes_weights and not values.straight():
                raise InputError(
                    f"{name}: {kinds} makes its {values.name} of another size, sign or number of tensors than what is "
                    "stored, and this rule adds its changes to what is stored; give it a right_inverse"
                )

    def check_processes(self, asked: str) -> None:
        """Refuse to share batches among processes, which ``asked`` says, where the rule or its network cannot.

        Raises:
            InputError: with the reason, and what would do.
        """
        if any(True for _ in devices_inside(self.network)):
            raise InputError(
                f"{asked}: analog devices are written with noise, and each process would draw its own; use one device, "
                "or hardware=none"
            )
        for name, layer in self.network.leaves().items():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                raise InputError(
                    f"{asked}: {name} ({type(layer).__name__}) would normalise each process by itself; "
                    "use one device, or a norm of layers/batch_norm_through_time.py"
                )

    def freeze_layers(self, layers: list[str]) -> None:
        """Keep the parameters of these layers as they are, to the bit; ``layers`` are names inside the network.

        Raises:
            InputError: for a name that is no layer's, or one whose layer has no parameters, and where nothing is left
                to learn or the rule cannot leave them alone.
        """
        asked = f"method.freeze = [{', '.join(layers)}]"
        self.check_freezing(asked)
        names = {name.removeprefix("layers."): parameter for name, parameter in self.network.named_parameters()}
        known = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)}
        known = {name for name in known if ".parametrizations" not in name}
        for layer in layers:
            if layer not in known:
                raise InputError(
                    f"{asked}: no layer with parameters is called {layer}; nearest: {nearest(layer, known)}"
                )
            for name, parameter in names.items():
                if name.startswith(f"{layer}."):
                    parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise InputError(f"{asked} leaves no layer of the network that learns; leave one out")

    def check_freezing(self, asked: str) -> None:
        """Refuse to freeze layers, which ``asked`` says, where the rule cannot leave them alone.

        Raises:
            InputError: with the reason, and what would do.
        """
        if any(True for _ in devices_inside(self.network)):
            raise InputError(
                f"{asked}: analog devices are written all at once, whatever was asked of them; hardware=none"
            )

    def setup(self, stage: str) -> None:
        if stage == "fit":  # a limit may have been put on a weight after the method was made
            self.check_weights()

    def on_fit_start(self) -> None:
        if any(True for _ in devices_inside(self.network)):  # what an optimizer asks of them they do in pulses
            for optimizer in self.trainer.optimizers:
                optimizer.register_step_post_hook(lambda *_: settle(self.network))

    @classmethod
    def check_data(cls, data: DataSpec, encoder: nn.Module | None) -> None:
        """Refuse data that the method cannot answer for, and an encoder where none, or another, is needed.

        A method that looks at the data before ``super().__init__`` calls this first, so that what is said is the
        plainest reason.

        Raises:
            InputError: naming the data set or the encoder, and what would do.
        """
        if not data.question.is_among(cls.answers):
            theirs = " or ".join(question.sentence for question in cls.answers)
            raise UnansweredError(
                f"data={data.name} asks for {data.question.sentence}, and this method answers with {theirs}"
            )
        if data.kind == "image" and encoder is None:
            raise InputError(
                f"data={data.name} is still images: choose encoder=direct, rate, signed_poisson, latency or "
                "integrate_and_fire"
            )
        if data.kind != "image" and encoder is not None:
            raise InputError(
                f"encoder={type(encoder).__name__.lower()} encodes still images, and data={data.name} has a time axis "
                "of its own; use encoder=none"
            )
        if isinstance(encoder, Encoder):
            encoder.check(data.input_shape)

    # several processes, see ranks.py ----------------------------------------------------------------------------------
    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if ranks.number() > 1:
            loss = loss * (ranks.number() if self.sums_loss else ranks.share())
        super().backward(loss, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.gather(parameter for group in optimizer.param_groups for parameter in group["params"])

    def gather(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of their gradients: scaled by ``ranks.share`` it is that of the whole batch."""
        if ranks.number() > 1:
            ranks.average([parameter.grad for parameter in parameters if parameter.grad is not None])

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        super().log(name, value, *args, **kwargs | {"sync_dist": ranks.number() > 1})

    # parts ------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def blocks(self) -> Blocks:
        """The menu that the model arranges."""

    def outputs(self) -> int:
        """Number of units of the readout."""
        return self.data.classes

    def sends(self) -> str:
        """What its neurons send where that is no spikes, for people: their counters count events; "" else."""
        kinds = {neuron.sends for neuron in self.network.neurons().values()} - {"spikes"}
        return " and ".join(sorted(kinds))

    def counted(self) -> str:
        """What its counters count, in a word for people."""
        return "events" if self.sends() else "spikes"

    def units(self) -> int:
        """Units that the weights lead to, a channel of a convolution as one: the least that a step holds."""
        return sum(weight.outputs for weight in Chain(self.network).weights().values())

    def beside(self) -> dict[str, Weight]:
        """Weights that scores are made with and the network does not hold, by name; they read analog values."""
        return {}

    def prepare(self, data: DataModule) -> None:
        """Called once when the data is there and before training: for what a method needs to see of it."""

    def opened(self, data: DataModule) -> None:
        """Called once when a stored run was opened and prepared with its chosen weights, before it is asked anything.

        Only where ``needs_data`` does a stored run wait for its data.
        """

    def make_metrics(self) -> nn.ModuleDict:
        """The metrics of what is asked, by name."""
        return nn.ModuleDict(self.data.question.metrics(self.data.classes))

    def parameter_groups(self) -> Iterable[Any]:
        """What the optimizer moves: parameters, or groups of them with learning rates of their own."""
        return self.parameters()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameter_groups())
        if self.make_scheduler is None:
            return optimizer
        schedule = make_schedule(self.make_scheduler, optimizer, self.optimizer_steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule.config(self.monitor)}

    def optimizer_steps(self) -> int:
        """Steps that an optimizer takes in the whole training; 1 where none is planned yet."""
        return 1 if self._trainer is None else int(self.trainer.estimated_stepping_batches)

    # the input --------------------------------------------------------------------------------------------------------
    def here(self, batch: Batch) -> Batch:
        """Return the batch where the method lies; Lightning's loops have moved theirs, a loader's lies on the CPU."""
        return self.transfer_batch_to_device(batch, self.device, 0)  # type: ignore[no-any-return]

    @property
    def spiking_input(self) -> bool:
        """Whether the network's input is spikes or event counts, not analog values."""
        if self.encoder is None:
            return self.data.kind != "sequence"
        return bool(getattr(self.encoder, "spiking", False))

    def encoded(self, batch: Batch) -> Tensor:
        """Return the samples over time [T, B, ...]; images are encoded on their device. Pictures show this."""
        return batch.inputs if self.encoder is None else self.encoder(batch.inputs)

    def frames(self, batch: Batch) -> Tensor:
        """Return the network's input [T, B, ...]: the encoded samples, unless the family makes something of them."""
        return self.encoded(batch)

    # scores -----------------------------------------------------------------------------------------------------------
    @property
    def names_classes(self) -> bool:
        """Whether the method scores classes [B, K], of which each sample has one."""
        question = self.data.question
        return self.scores_sequences and question.has_classes and not question.per_step

    def scores(self, frames: Tensor) -> Tensor:
        """Return the scores of frames [T, B, ...] that answer what is asked, e.g. [B, K]."""
        return self.score_of(self.network(frames))

    def score_of(self, outputs: Tensor) -> Tensor:
        """Return the scores [B, K] of a readout [T, B, K]; the question says how, unless the method has its own way."""
        return self.data.question.scores(outputs)

    def scores_over_time(self, frames: Tensor) -> Tensor:
        """Return the scores [T, B, K] that each step would give, were it the last."""
        return self.data.question.scores_over_time(self.network(frames))

    def predictions(self, batch: Batch) -> Tensor:
        """Return what the method answers, in the form of the labels: the class of each sample [B], for instance.

        The batch may lie anywhere; the answer lies where the method does.
        """
        return self.data.question.answer(self.scores(self.frames(self.here(batch))))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of scores; the question's usual one, unless the method has its own."""
        return self.data.question.loss(scores, labels)

    # steps ------------------------------------------------------------------------------------------------------------
    @abstractmethod
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Learn from a batch; the loss, where Lightning is to follow its gradient."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self.scores(self.frames(batch))
        self.log_scores("val", scores, batch.labels, self.loss(scores, batch.labels))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        scores = self.observed_scores(self.frames(batch))
        self.log_scores("test", scores, batch.labels, self.loss(scores, batch.labels))

    def observed_scores(self, frames: Tensor) -> Tensor:
        """Score and count: what this batch costs, and its spikes per layer, go into the test metrics."""
        samples = frames.shape[1]
        counted = self.synaptic_operations.watch(self.network, self.spiking_input, samples)
        costs = self.cost.watch(self.network, frames, self.spiking_input, self.beside())
        with costs, counted, self.network.observe() as seen:  # the costs first: they look at the network, too
            scores = self.scores(frames)
        self.count_spikes(seen, samples)
        return scores

    def count_spikes(self, seen: Mapping[str, Tensor], samples: int) -> None:
        """Count the spikes [T, B, ...] of each layer, by name."""
        self.firing_rate.update(seen, samples=samples)
        self.cost.activations.update(seen)

    def on_test_epoch_end(self) -> None:
        for name, value in self.firing_rate.compute().items():
            self.log(f"test/{name}", value)
        self.firing_rate.reset()
        self.log("test/synaptic_operations", self.synaptic_operations.compute())
        self.synaptic_operations.reset()
        self.log_cost()

    def log_cost(self, *names: str) -> None:
        """Log what an inference costs, all of it or what is named."""
        for name, value in self.cost.values().items():
            if not names or name in names:
                self.log(f"test/{name}", value)
        self.cost.reset()

    def log_scores(self, split: Split, scores: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Log loss and metrics of a batch as ``<split>/loss``, ``<split>/accuracy``, ..., averaged over the epoch."""
        question = self.data.question
        size = question.size(labels)
        self.check_loss(split, loss, "lower method.optimizer.lr or set trainer.gradient_clip_val=1")
        mean_loss = self.mean_loss[f"{split}_split"]
        mean_loss.update(loss.detach(), size)
        first = mean_loss.update_count == 1  # once an epoch: Lightning holds the metrics, and computes them at its end
        if first:
            question.check(labels, self.data.classes)
        every: Any = {"on_step": False, "on_epoch": True, "batch_size": size}
        shown = self.monitor[0].rpartition("/")[2]
        if first:
            self.log(f"{split}/loss", mean_loss, prog_bar=shown == "loss", **every)
        for name, metric in self.metrics[f"{split}_split"].items():
            metric.update(scores.detach(), labels)
            if first:
                self.log(f"{split}/{name}", metric, prog_bar=shown == name, **every)

    def check_loss(self, split: Split, loss: Tensor, way_out: str) -> None:
        """Fail where a loss [...] is not finite: at once on the CPU, elsewhere when the watch is asked.

        Raises:
            RunFailure: naming the parameter or layer that is the first.
        """
        watch = kernels.watched_by()
        if watch is not None:
            watch.notice(f"{split}/loss", loss)
        if kernels.read_freely(loss.device) and not bool(torch.isfinite(loss).all()):
            first = culprit(self)
            raise RunFailure(
                f"{split}/loss is {loss.mean().item()} at step {self.global_step}: training diverged; {way_out}"
                + (f"; the first that is not finite: {first}" if first and first != f"{split}/loss" else "")
            )

    # records ----------------------------------------------------------------------------------------------------------
    def figures(self, data: DataModule) -> dict[str, Any]:
        """Matplotlib figures that only this method makes, by file name."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.pop("hyper_parameters", None)  # the run's config.yaml is the one record of them


def per_split(make: Callable[[], nn.Module]) -> Any:
    """One metric, or dict of metrics, for each split, as a module so that it moves and saves with the method."""
    return nn.ModuleDict({f"{split}_split": make() for split in ("train", "val", "test")})
