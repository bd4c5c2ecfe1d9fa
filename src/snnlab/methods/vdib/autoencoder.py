"""The parts of VDIB and how they are scored: spiking encoder, decoder, natural signals, judge.

The rule by which they learn is in ``vdib.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy

from snnlab import kernels
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain, Link
from snnlab.methods.base.method import Model, Optimizer, Scheduler, Split
from snnlab.methods.base.own_steps import OwnSteps
from snnlab.methods.vdib import criterion, decoders
from snnlab.methods.vdib.decoders import DecoderKind
from snnlab.methods.vdib.judge import LeNet, load_judge
from snnlab.methods.vdib.options import check_choice, check_least
from snnlab.methods.vdib.signals import Target, class_means, target_shape
from snnlab.metrics.interval import Interval
from snnlab.metrics.synaptic_operations import sent
from snnlab.neurons.filtered_lif import FilteredLIF, measure
from snnlab.neurons.stochastic_readout import StochasticReadout
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.class_per_step import ClassPerStep

TASK_TAU_D = 5  # the paper's window of the predictive task


class VDIBBlocks(Blocks):
    """Weights without bias before doubly filtered LIF neurons, a stochastic readout at the end.

    Args:
        neuron: makes the neurons of so many features.  readout: makes the readout of so many inputs and outputs.
    """

    def __init__(self, neuron: Callable[[int], FilteredLIF], readout: Callable[[int, int], StochasticReadout]) -> None:
        self.make_neuron, self.make_readout, self.bias = neuron, readout, False

    def neuron(self, features: int) -> nn.Module:
        return self.make_neuron(features)

    def recurrent(self, features: int) -> nn.Module:
        raise InputError(
            "method=vdib carries no credit through recurrent weights: use model=mlp or a convolutional model"
        )

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        return [("readout", self.make_readout(inputs, outputs))]


class Encoding(NamedTuple):
    """hidden: spikes by layer [T, B, ...]; boxes: surrogate at each, or none; outputs: what enters the readout."""

    hidden: dict[str, Tensor]
    boxes: list[Tensor]
    outputs: Tensor


class Outcome(NamedTuple):
    """What one batch gave: u and y [T, K, B, N_out], logits and loss [..., K, B], from the decoder."""

    u: Tensor
    y: Tensor
    logits: Tensor
    loss: Tensor


class Autoencoder(OwnSteps):
    """Encoder, decoder and their scores; the arguments are described in ``VDIB``.

    Raises:
        InputError: when an argument leaves its range, the data has no such targets, or the decoder does not fit memory;
            all before any data is read.
    """

    answers = (ClassOfSequence, ClassPerStep)
    scores_sequences = False

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        decoder_optimizer: Optimizer,
        decoder: DecoderKind,
        tau_d: int | None,
        decoder_hidden: int | None,
        decoder_gigabytes: float | None,
        n_out: int,
        blocks: VDIBBlocks,
        target: Target | None,
        beta: float,
        prior: float,
        draws: int,
        scheduler: Scheduler | None,
    ) -> None:
        check_choice("decoder", decoder, DecoderKind)
        check_choice("target", target, Target | None)
        check_least("n_out", n_out, 1, "64 is usual")
        check_least("beta", beta, 0, "0.05 is usual")
        if decoder_hidden is not None:
            check_least("decoder_hidden", decoder_hidden, 1, "null takes the paper's tau_d * n_out / 2")
        self.task = data.question.per_step  # a class to be named at every step, in place of a signal
        if self.task and target is not None:
            raise InputError(
                f"method.target={target} needs natural signals; data={data.name} is a task: use method.target=null"
            )
        steps = data.time_steps if encoder is None else getattr(encoder, "time_steps", None)
        if steps is None:
            raise InputError(f"method=vdib needs a known number of time steps; data={data.name} gives none")
        window = tau_d if tau_d is not None else (min(TASK_TAU_D, steps) if self.task else steps)
        if not 1 <= window <= steps:
            raise InputError(f"method.tau_d = {tau_d} must lie in 1 to {steps}, the time steps; null takes the default")
        self.check_data(data, encoder)
        self.target: Target = target or ("same_image" if data.kind == "image" else "prototype")
        shape = None if self.task else target_shape(data, self.target)
        n_logits = data.classes if shape is None else torch.Size(shape).numel()
        limit = decoders.machine_bytes() // 2 if decoder_gigabytes is None else int(decoder_gigabytes * 1e9)
        decoders.check_memory(decoder, window, n_out, n_logits, decoder_hidden, limit)

        self.n_out, self.made_of = n_out, blocks
        super().__init__(model, data, encoder, decoder_optimizer, scheduler)
        chain = Chain(self.network)
        within = [link.name for link in chain.links if link.composite]
        if within:
            raise InputError(
                f"method=vdib sends credit to the layers of a chain, and this model has layers inside {within[0]}; "
                "use model=mlp, small_conv or vgg9"
            )
        self.prefix = "" if self.task else "judge_"  # of the metrics: the judge reads what was decoded
        figure, best = data.question.monitor
        judged = figure.removeprefix("val/") in self.metrics["val_split"]
        self.monitor = (figure.replace("val/", f"val/{self.prefix}") if judged else figure, best)
        self.steps, self.window, self.signal_shape = steps, window, shape
        self.beta, self.prior, self.draws, self.interval = beta, prior, draws, Interval()
        self.decoder = decoders.make_decoder(decoder, window, n_out, n_logits, decoder_hidden)
        self.hidden_neurons = [link.name for link in chain.of(FilteredLIF)]
        self.__dict__["judge"] = None  # a helper, not a part: outside parameters and checkpoints
        if shape is not None:
            self.class_signals: Tensor  # prototypes, or with same_image the mean training image of each class
            self.register_buffer("class_signals", torch.zeros(data.classes, *shape))
        for name, weight in self.watched_weights().items():
            self.register_buffer(f"initial_{name}", weight.detach().clone())

    # parts ------------------------------------------------------------------------------------------------------------
    def blocks(self) -> Blocks:
        return self.made_of

    def outputs(self) -> int:
        return self.n_out

    @property
    def readout(self) -> StochasticReadout:
        layer = Chain(self.network).links[-1].layer
        assert isinstance(layer, StochasticReadout)
        return layer

    def hidden_parameters(self) -> list[nn.Parameter]:
        mine = {id(p) for p in self.readout.parameters()}
        return [p for p in self.network.parameters() if id(p) not in mine]

    def hidden_shapes(self) -> list[tuple[int, ...]]:
        """Shape of one sample's spikes at each hidden layer."""
        with torch.no_grad():
            hidden = self.encode(torch.zeros(1, 1, *self.data.input_shape)).hidden
        return [tuple(hidden[name].shape[2:]) for name in self.hidden_neurons]

    def watched_weights(self) -> dict[str, Tensor]:
        """Weights whose relative change is reported: the readout's, and those of each hidden layer."""
        weights = {link.name: link.weight.used for link in Chain(self.network).links if link.weight is not None}
        return {"readout": self.readout.weight} | weights

    def prepare(self, data: DataModule) -> None:
        if self.task:
            return
        images = data.images()
        self.__dict__["judge"] = load_judge(images)
        signals = data.prototypes() if self.target == "prototype" else class_means(images)
        self.class_signals.copy_(signals.to(self.class_signals))

    def on_train_start(self) -> None:
        if self.global_step == 0:  # an initialiser may have set the weights after the constructor; not at a resume
            for name, weight in self.watched_weights().items():
                getattr(self, f"initial_{name}").copy_(weight.detach())

    @torch.no_grad()
    def measure(self, frames: Tensor) -> None:
        """Let hidden neurons that measure their gain do so on these frames [T, B, ...], from the first layer on."""

        def gauge(link: Link, currents: Tensor) -> None:
            if isinstance(link.layer, FilteredLIF):
                measure(link.layer, currents)

        Chain(self.network).through(frames, until="readout", instead=gauge)

    def readout_path(self) -> list[Tensor]:
        """What a unit more at each hidden layer [..., N_l] would add to the readout's potential, lag by lag.

        The weights between only, as they are: no membrane, no spike. Returns [lags, N_out, ...] per layer, first to
        last.
        """
        lags = (self.readout.weight.detach() @ self.readout.phi).permute(2, 0, 1)  # [lags, N_out, N_in]
        rows = lags.flatten(0, 1)
        units: list[Tensor] = []
        reached: list[Tensor] = []

        def unit(link: Link, currents: Tensor) -> Tensor | None:
            if not isinstance(link.layer, FilteredLIF):
                return None
            reached.append(currents)
            units.append(torch.zeros_like(currents, requires_grad=True))
            return units[-1]

        with torch.enable_grad():
            frames = rows.new_zeros(1, len(rows), *self.data.input_shape)
            reached.append(Chain(self.network).through(frames, until="readout", instead=unit))
        found, path = [], rows
        for end, mine in zip(reversed(reached[1:]), reversed(units), strict=True):
            (path,) = torch.autograd.grad(end, mine, path.reshape(end.shape))
            found.append(path[0].unflatten(0, lags.shape[:2]))
        return found[::-1]

    # forward ----------------------------------------------------------------------------------------------------------
    def encode(self, frames: Tensor, cut: bool = False, boxes: bool = False) -> Encoding:
        """Run the hidden layers; with ``cut`` the credit of a layer stays in that layer."""
        hidden: dict[str, Tensor] = {}
        curves: list[Tensor] = []

        def spike(link: Link, currents: Tensor) -> Tensor | None:
            layer = link.layer
            if not isinstance(layer, FilteredLIF):
                return None
            if boxes:
                spikes, states = layer.unroll(currents)
                curves.append(layer.spike.derivative(states.v.detach()))
            else:
                spikes = layer(currents)
            hidden[link.name] = spikes
            return spikes.detach() if cut else spikes

        outputs = Chain(self.network).through(frames, until="readout", instead=spike)
        return Encoding(hidden, curves, outputs)

    def decode(self, y: Tensor) -> Tensor:
        """Logits of spikes y [T, ..., N_out]: [..., pixels] of the last window, or [T, ..., classes] in a task."""
        if self.task:
            return self.decoder(decoders.windows(y, self.window))  # type: ignore[no-any-return]
        return self.decoder(y[-self.window :].movedim(0, -2))  # type: ignore[no-any-return]

    def decoder_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """-log q_phi(r | y): mean BCE per pixel [K, B], or in a task the NLL of each step [T, K, B]."""
        if self.task:
            labels = batch.labels.unsqueeze(1).expand(logits.shape[:-1])
            return cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(logits.shape[:-1])
        target = self.targets(batch).flatten(1).expand(logits.shape)
        return binary_cross_entropy_with_logits(logits, target, reduction="none").mean(-1)

    def targets(self, batch: Batch) -> Tensor:
        """The natural signal of each sample [B, C, H, W]."""
        if self.target == "prototype":
            return self.class_signals[batch.labels]
        assert batch.signals is not None
        return batch.signals

    def outcome(self, potential: Tensor, batch: Batch, samples: int) -> Outcome:
        """Sample K spike trains from the potential, decode them (y detached) and score the decoder."""
        y, u = self.readout.sampled(potential, samples)
        if potential.requires_grad:
            u = self.readout.conditional(potential, y)
        logits = self.decode(y)
        loss = self.decoder_loss(logits, batch)
        watch = kernels.watched_by()
        if watch is not None:
            watch.notice("the readout's potential", u)
        self.check_loss("train", loss, "lower method.readout_optimizer.lr or method.decoder_optimizer.lr")
        return Outcome(u, y, logits, loss)

    def validated(self) -> list[str]:
        return ["loss", "kl", "bound", "readout_rate", *(f"{self.prefix}{name}" for name in self.metrics["val_split"])]

    # scores -----------------------------------------------------------------------------------------------------------
    def log_outcome(self, split: Split, outcome: Outcome) -> None:
        """Log loss, KL per neuron and step, their bound and the rate of the readout."""
        loss = outcome.loss.detach().mean()
        divergence = criterion.kl_divergence(outcome.u.detach(), self.prior).mean()
        values = {
            "loss": loss,
            "kl": divergence,
            "bound": loss + self.beta * divergence,
            "readout_rate": outcome.y.mean(),
        }
        size = outcome.y.shape[2]
        for name, value in values.items():
            self.log(f"{split}/{name}", value, on_step=False, on_epoch=True, batch_size=size, prog_bar=name == "bound")

    def log_decoded(self, split: Split, outcome: Outcome, batch: Batch) -> None:
        """Log the metrics: those of the judge on the reconstructions, or in a task those of the class at every step."""
        every: Any = {"on_step": False, "on_epoch": True, "prog_bar": True, "batch_size": outcome.y.shape[2]}
        draws = self.class_scores(outcome.logits)
        for name, metric in self.metrics[f"{split}_split"].items():
            for scores in draws:
                metric.update(scores, batch.labels)
            self.log(f"{split}/{self.prefix}{name}", metric, **every)
        if split == "test":
            right = (draws.argmax(-1) == batch.labels).to(self.interval.moments.dtype)  # [K, B], in a task [K, T, B]
            self.interval.update(right.flatten(0, -2).mean(0))
            self.log(f"test/{self.prefix}accuracy_interval", self.interval, **(every | {"prog_bar": False}))

    def class_scores(self, logits: Tensor) -> Tensor:
        """Class scores of decoded logits, draw by draw: [K, B, classes], in a task [K, T, B, classes]."""
        if self.task:
            return logits.movedim(1, 0)
        return torch.stack([self.judged(self.reconstructions(draw)) for draw in logits])

    def reconstructions(self, logits: Tensor) -> Tensor:
        assert self.signal_shape is not None
        return torch.sigmoid(logits).unflatten(-1, self.signal_shape)

    def judged(self, images: Tensor) -> Tensor:
        """The judge's logits [B, classes] of images [B, C, H, W]."""
        judge: LeNet | None = self.__dict__["judge"]
        if judge is None:
            raise RuntimeError("VDIB.judged: there is no judge yet; call prepare(data) first")
        return judge.to(images.device)(images.float())  # type: ignore[no-any-return]

    @torch.no_grad()
    def evaluated(self, batch: Batch, frames: Tensor) -> tuple[Encoding, Outcome]:
        encoding = self.encode(frames)
        return encoding, self.outcome(self.readout.potential(encoding.outputs), batch, self.draws)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        _, outcome = self.evaluated(batch, self.frames(batch))
        self.log_outcome("val", outcome)
        self.log_decoded("val", outcome, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        frames = self.frames(batch)
        synapses = self.readout.weight[0, 0].numel() * self.n_out  # one per filter, the readout's own fan-out
        counted = self.synaptic_operations.watch(self.network, self.spiking_input)  # weights before the hidden layers
        costs = self.cost.watch(self.network, frames, self.spiking_input, synapses=self.readout.weight.numel())
        with costs, counted:
            encoding, outcome = self.evaluated(batch, frames)
        size = outcome.y.shape[2]
        operations = sent(encoding.outputs).sum(dtype=torch.float64) * synapses
        self.synaptic_operations.update(operations, size)
        self.cost.count(operations, encoding.outputs.numel() * synapses, size)
        self.count_spikes(encoding.hidden | {"readout": outcome.y[:, 0]}, size)
        self.log_outcome("test", outcome)
        self.log_decoded("test", outcome, batch)
        if not self.task and self.target == "same_image":
            guess = self.class_signals[batch.labels]
            bce = binary_cross_entropy(guess, self.targets(batch))
            self.log("test/prototype_bce", bce, on_step=False, on_epoch=True, batch_size=size)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        changes = {
            name: ((weight - getattr(self, f"initial_{name}")).norm() / getattr(self, f"initial_{name}").norm()).item()
            for name, weight in self.watched_weights().items()
        }
        self.log("test/readout_change", changes.pop("readout"))
        if changes:
            self.log("test/hidden_change", sum(changes.values()) / len(changes))

    def scores(self, frames: Tensor) -> Tensor:
        """Class scores of one draw of the encoder: the judge's, or in a task the decoder's [T, B, classes]."""
        with torch.no_grad():
            logits = self.decode(self.network(frames))
            return logits if self.task else self.judged(self.reconstructions(logits))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of ``scores``; a figure of merit only, training minimises the bound (1)."""
        return cross_entropy(scores.flatten(0, -2), labels.flatten())

    @torch.no_grad()
    def predictions(self, batch: Batch) -> Tensor:
        return super().predictions(batch)
