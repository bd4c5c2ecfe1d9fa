"""Desire backpropagation (Gerlinghoff, Luo, Goh, Wong, Neurocomputing 2023; arXiv:2211.05412), from the authors' code.

Every layer reads spikes s that were fired a step ago (the first layer: the input of the same step), T steps a sample:
    V_j[t] = decay V_j[t-1] + sum_i W_ji s_i[t]                         (1)
    s_j[t] = 1 where V_j[t] >= threshold and j is not dropped out       (2)
    V_j[t] -= threshold s_j[t]                                          (3)
    tau_i[t] = decay tau_i[t-1] + min(s_i[t], 1)                        (4) presynaptic trace, 0 to 1 / (1 - decay)
A neuron is desired (D = 1) to fire (d = 1) or to rest (d = 0), or nothing is asked of it (D = 0); sigma = (2 d - 1) D.
With r_j = (spikes of j) / T', T' = T - margin, and targets y one-hot:
    output      e_j = |y_j - r_j|,  D_j = [e_j > least_error]           (5)
                d_j = y_j                                               (6)
    below W     g_i = sum_j W_ji sigma_j |d_j - r_j|                    (7)
                D_i = [|g_i| >= least_sum],  d_i = [g_i > 0]            (8)
and after the sample, all desires known:
    linear      dW_ji = lr sigma_j sum_t s_j[t] tau_i[t]                (9, 10)
    conv        dW = lr_conv / (places of the output) corr(sum_t s_i[t], (d - r) D)             (11)
A silent neuron that ought to fire is not moved by (9). sigma is a sign, and errors are counts. Kept spikes of a layer
with dropout p are read as 1 / (1 - p), and enter (4) as 1.

Ties:       ``accuracy`` takes a tie for the highest count as an error, as the authors' code; ``accuracy_argmax`` the
            first of the tied classes.
Twins:      learn="readout" leaves the hidden layers as they were drawn; desire="random" draws d of hidden neurons.
Departures: average pools may stand behind a convolution, and send g down evenly; update="batch" sums the updates of a
            batch at frozen weights, where the rule has one sample after the other.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import kernels
from snnlab.data.contract import Batch, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.dropout import HeldDropout
from snnlab.layers.over_time import over_time
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.base.sample_by_sample import SampleBySample
from snnlab.metrics.unique_accuracy import UniqueAccuracy
from snnlab.neurons.delayed_lif import DelayedLIF
from snnlab.neurons.lif import LIF
from snnlab.neurons.whole import OnLevels
from snnlab.questions.question import running_sum
from snnlab.weights.weight import Weight, pulled_back


class DesireBlocks(Blocks):
    """Weights without bias, Kaiming normal at the start, around neurons that fire; the readout fires, too."""

    def __init__(self, decay: float, threshold: float) -> None:
        super().__init__(partial(DelayedLIF, decay, threshold), partial(LIF, decay, threshold), bias=False)

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return started(super().linear(inputs, outputs))

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        return started(super().conv(inputs, outputs, kernel, padding, stride))


def started(layer: nn.Module) -> nn.Module:
    """The layer with weights N(0, 2 / fan-in)."""
    nn.init.kaiming_normal_(layer.get_parameter("weight"))
    return layer


class Layer(NamedTuple):
    """A weight, what reads for it, and the neurons that it drives."""

    name: str
    weight: Weight
    dropout: float  # of what it reads
    reading: list[nn.Module]  # flatten and average pools
    neuron: Any

    def gather(self, below: Tensor) -> Tensor:
        """What reaches the weight [B, ...] of the spikes below."""
        for part in self.reading:
            below = part(below)
        return below


class DesireBP(SampleBySample):
    """Desire backpropagation; the equations are in the docstring of this file.

    Args:
        model, data, encoder, scheduler: as in Method; the model is a chain of weights and neurons.
        lr, lr_conv: learning rates of linear and convolutional layers, > 0; a scheduler moves both.
        decay: of potentials and traces, in [0, 1); the authors' is (2^k - 1) / 2^k.
        threshold: > 0.
        margin: steps that are no part of T', >= 0 and fewer than T.
        least_error: of an output that is desired to change, >= 0.
        least_sum, least_sum_conv: of the desire of a hidden neuron behind a linear layer, or a convolution, > 0.
        input_dropout: probability that an input is dropped for a sample, in [0, 1); of hidden ones: model.dropout.
        update: sample, one after the other; batch, the sum over the batch at frozen weights.
        learn: all; or the twin readout, whose hidden layers rest.
        desire: propagated; or the twin random, which draws d of hidden neurons.

    Raises:
        InputError: when an argument leaves its range, or the model is no such chain.
    """

    writes_weights = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        lr: float = 1.0e-5,
        lr_conv: float = 1.0e-6,
        scheduler: Scheduler | None = None,
        decay: float = 0.75,
        threshold: float = 1.0,
        margin: int = 4,
        least_error: float = 0.3,
        least_sum: float = 0.05,
        least_sum_conv: float = 0.2,
        input_dropout: float = 0.0,
        update: Literal["sample", "batch"] = "sample",
        learn: Literal["all", "readout"] = "all",
        desire: Literal["propagated", "random"] = "propagated",
    ) -> None:
        for name, word, choices in (
            ("update", update, ("sample", "batch")),
            ("learn", learn, ("all", "readout")),
            ("desire", desire, ("propagated", "random")),
        ):
            if word not in choices:
                raise InputError(f"method.{name} = {word!r} must be {choices[0]} or {choices[1]}")
        for name, number, usual in (
            ("lr", lr, 1e-5),
            ("lr_conv", lr_conv, 1e-6),
            ("threshold", threshold, 1),
            ("least_sum", least_sum, 0.05),  # of 0, neurons of which nothing is asked would be desired to rest
            ("least_sum_conv", least_sum_conv, 0.2),
        ):
            if not number > 0:
                raise InputError(f"method.{name} = {number} must be positive; {usual:g} is the authors'")
        for name, number, usual in (("decay", decay, 0.75), ("input_dropout", input_dropout, 0)):
            if not 0 <= number < 1:
                raise InputError(f"method.{name} = {number} must lie in [0, 1); {usual:g} is the authors'")
        for name, number, usual in (("margin", margin, 4), ("least_error", least_error, 0.3)):
            if not number >= 0:
                raise InputError(f"method.{name} = {number} must be 0 or more; {usual:g} is the authors'")
        self.lr, self.lr_conv, self.decay, self.threshold, self.margin = lr, lr_conv, decay, threshold, margin
        self.least_error, self.least_sum, self.least_sum_conv = least_error, least_sum, least_sum_conv
        self.input_dropout, self.update, self.learns, self.desire = input_dropout, update, learn, desire
        super().__init__(model, data, encoder, partial(torch.optim.SGD, lr=lr), scheduler)
        steps = data.time_steps if encoder is None else getattr(encoder, "time_steps", None)
        if steps is not None and margin >= steps:
            raise InputError(f"method.margin = {margin} must be below the {steps} steps of a sample; 4 of 20 is usual")
        twins = [" with hidden layers at rest"] * (learn == "readout") + [" with random desires"] * (desire == "random")
        if twins:
            self.label = f"desire_bp twin{' and'.join(twins)}"
        self.check_layers()

    def blocks(self) -> Blocks:
        return DesireBlocks(self.decay, self.threshold)

    # the network ------------------------------------------------------------------------------------------------------
    def check_layers(self) -> None:
        """Refuse a network that is not a chain of weights and neurons with flatten, pools and dropout in between."""
        for stage in Chain(self.network).stages((DelayedLIF, LIF)):
            before = [link.layer for link in stage.before if not isinstance(link.layer, nn.Identity)]
            dropouts = [isinstance(layer, HeldDropout) for layer in before]
            known = all(isinstance(layer, HeldDropout | nn.Flatten | nn.AvgPool2d) for layer in before)
            between = all(isinstance(link.layer, nn.Identity) for link in stage.between)
            if stage.weight is None or stage.end is None or not known or not between or any(dropouts[1:]):
                names = " - ".join(type(link.layer).__name__ for link in stage.links)
                raise InputError(
                    f"method=desire_bp trains chains of weights and spiking neurons, and part of this model is "
                    f"{names}; use model=mlp, small_conv or lenet"
                )

    def chain(self) -> list[Layer]:
        """The layers in order, as they are now."""
        found: list[Layer] = []
        for stage in Chain(self.network).stages((DelayedLIF, LIF)):
            before = [link.layer for link in stage.before if not isinstance(link.layer, nn.Identity)]
            p = sum(layer.p for layer in before if isinstance(layer, HeldDropout)) if found else self.input_dropout
            assert stage.weight is not None and stage.weight.weight is not None and stage.end is not None
            reading = [layer for layer in before if not isinstance(layer, HeldDropout)]
            found.append(Layer(stage.weight.name, stage.weight.weight, p, reading, stage.end.layer))
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        """A group for each kind of layer: a scheduler moves the learning rates."""
        groups = []
        for lr, dense in ((self.lr, True), (self.lr_conv, False)):
            weights = [w for w in Chain(self.network).weights().values() if w.dense is dense]
            if weights:
                groups.append({"params": [p for w in weights for p in w.layer.parameters()], "lr": lr})
        return groups

    def learning_rates(self, layers: list[Layer]) -> list[float]:
        """The learning rate of each layer at the moment, 0 where its weights rest."""
        optimizer: Any = self.optimizers()
        moved: list[float] = []
        for index, layer in enumerate(layers):
            rests = not all(p.requires_grad for p in layer.weight.layer.parameters())
            rests = rests or (self.learns == "readout" and index < len(layers) - 1)
            group = optimizer.param_groups[0 if layer.weight.dense else -1]
            moved.append(0.0 if rests else float(group["lr"]))
        return moved

    # scores -----------------------------------------------------------------------------------------------------------
    def make_metrics(self) -> nn.ModuleDict:
        asked = self.data.question.metrics(self.data.classes)
        return nn.ModuleDict({"accuracy": UniqueAccuracy(self.data.classes), "accuracy_argmax": asked["accuracy"]})

    def span(self, steps: int) -> int:
        """T' of a sample of that many steps."""
        if steps <= self.margin:
            raise InputError(f"method.margin = {self.margin} must be below the {steps} steps of a sample; 0 takes all")
        return steps - self.margin

    def score_of(self, outputs: Tensor) -> Tensor:
        """r of each output neuron [B, K]."""
        return outputs.sum(0) / self.span(len(outputs))

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)
        return running_sum(outputs) / self.span(len(outputs))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Sum of the errors |y - r| of the outputs, the mean over the batch; for the record."""
        target = nn.functional.one_hot(labels, self.data.classes).to(scores.dtype)
        return (target - scores).abs().sum(-1).mean()

    # the training step ------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        frames, layers = self.frames(batch), self.chain()
        alive, signs = self.draw(frames, layers)
        lrs = self.learning_rates(layers)
        if self.update == "sample" and self.compiled(layers):
            counts, active = self.run_kernel(frames, batch.labels, layers, alive, signs, lrs)
        elif self.update == "sample":
            self.network.path.looped.add("DesireBP")
            shown = []
            for b in range(frames.shape[1]):
                one = slice(b, b + 1)
                drawn = [mask[one] for mask in alive], None if signs is None else [sign[one] for sign in signs]
                shown.append(self.learn(frames[:, one], batch.labels[one], layers, *drawn, lrs))
            counts, active = (torch.cat(part) for part in zip(*shown, strict=True))
        else:
            counts, active = self.learn(frames, batch.labels, layers, alive, signs, lrs)
        optimizer.step()  # moves nothing, as no parameter has a gradient: it counts the batch
        scores = counts / self.span(len(frames))
        self.log_scores("train", scores, batch.labels, self.loss(scores, batch.labels))
        every: Any = {"on_step": False, "on_epoch": True, "batch_size": len(batch.labels)}
        for index, layer in enumerate(layers):
            self.log(f"train/desires/{layer.name}", active[:, index].mean(), **every)

    def draw(self, frames: Tensor, layers: list[Layer]) -> tuple[list[Tensor], list[Tensor] | None]:
        """What is not dropped out, input first, and the signs of random desires: for each layer below a weight."""
        shapes = [frames.shape[1:]]
        shown = frames[:1, :1]
        for layer in layers[:-1]:
            shown = layer.weight.product(layer.gather(shown[0]), layer.weight.used)[None]
            shapes.append(torch.Size((frames.shape[1], *shown.shape[2:])))
        alive = []
        for shape, layer in zip(shapes, layers, strict=True):
            ones = frames.new_ones(shape)
            alive.append((torch.rand_like(ones) >= layer.dropout).to(ones) if layer.dropout else ones)
        if self.desire == "propagated":
            return alive, None
        return alive, [2 * (torch.rand_like(mask) < 0.5).to(mask) - 1 for mask in alive[1:]]

    def compiled(self, layers: list[Layer]) -> bool:
        """Whether the kernel holds here: linear layers on a CPU, nothing limited, and not ``kernels=step``."""
        plain = all(
            layer.weight.dense
            and not layer.weight.constrained
            and not isinstance(layer.neuron, OnLevels)
            and all(isinstance(part, nn.Flatten) for part in layer.reading)
            for layer in layers
        )
        return plain and self.network.path.enabled and kernels.on_cpu(layers[0].weight.used)

    @torch.no_grad()
    def run_kernel(
        self,
        frames: Tensor,
        labels: Tensor,
        layers: list[Layer],
        alive: list[Tensor],
        signs: list[Tensor] | None,
        lrs: list[float],
    ) -> tuple[Tensor, Tensor]:
        """Learn from the samples in order by kernel.py; as ``learn`` returns."""
        from snnlab.methods.desire_bp.kernel import present

        self.network.path.fused.add("DesireBP")
        numbers = (self.decay, self.threshold, self.span(len(frames)), self.least_error, self.least_sum)
        weights, scales = [layer.weight.stored for layer in layers], [1 / (1 - layer.dropout) for layer in layers]
        kept = [mask.flatten(1) for mask in alive]
        return present(frames.flatten(2), labels, weights, kept, scales, signs, lrs, numbers)

    @torch.no_grad()
    def learn(
        self,
        frames: Tensor,
        labels: Tensor,
        layers: list[Layer],
        alive: list[Tensor],
        signs: list[Tensor] | None,
        lrs: list[float],
    ) -> tuple[Tensor, Tensor]:
        """Move the weights by the sum of the updates for frames [T, B, ...]; one sample is the rule's own order.

        Returns spike counts of the outputs [B, K] and the number of active desires [B, layers].
        """
        span = self.span(len(frames))
        read, fired, rates = [], [], []
        arriving = frames * (alive[0] / (1 - layers[0].dropout))
        for index, layer in enumerate(layers):
            for part in layer.reading:
                arriving = over_time(part, arriving)
            read.append(arriving)
            currents = over_time(layer.weight.layer, arriving)
            spikes = layer.neuron(currents)
            if index < len(layers) - 1:
                spikes = self.fired(layer.neuron, currents) * alive[index + 1]
                late = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])
                arriving = late / (1 - layers[index + 1].dropout)
            fired.append(spikes)
            rates.append(spikes.sum(0) / span)
        desires = self.desires(layers, rates, labels, signs)
        parts = zip(layers, read, fired, rates, desires, lrs, strict=True)
        for layer, x, spikes, rate, (sigma, direction), lr in parts:
            if not lr:
                continue
            if layer.weight.dense:
                wanted = (sigma * spikes).flatten(0, 1)
                change = lr * layer.weight.outer(wanted, self.traces(x).flatten(0, 1))  # (9, 10)
            else:
                places = rate[0, 0].numel()
                change = lr / places * layer.weight.outer((direction - rate) * sigma.abs(), x.sum(0))  # (11)
            values = layer.weight.latent
            values += change
            layer.weight.write(values)
        active = torch.stack([sigma.abs().flatten(1).sum(1) for sigma, _ in desires], 1)
        return fired[-1].sum(0), active

    def fired(self, neuron: Any, currents: Tensor) -> Tensor:
        """What hidden neurons fire at each step [T, B, ...], before it travels."""
        _, states = neuron.unroll(currents)
        return states.fired  # type: ignore[no-any-return]

    def traces(self, spikes: Tensor) -> Tensor:
        """(4) of spikes [T, B, ...]."""
        trace, found = torch.zeros_like(spikes[0]), []
        for spike in spikes:
            trace = self.decay * trace + spike.clamp(0, 1)
            found.append(trace)
        return torch.stack(found)

    def desires(
        self, layers: list[Layer], rates: list[Tensor], labels: Tensor, signs: list[Tensor] | None
    ) -> list[tuple[Tensor, Tensor]]:
        """sigma and d of each layer [B, ...], from rates r and labels [B]."""
        target = nn.functional.one_hot(labels, self.data.classes).to(rates[-1].dtype)
        error = (target - rates[-1]).abs()
        found = [((2 * target - 1) * (error > self.least_error), target)]  # (5), (6)
        for index in range(len(layers) - 1, 0, -1):
            sigma, direction = found[0]
            signal = sigma * (direction - rates[index]).abs()
            g = self.summed(layers[index], signal, rates[index - 1])
            least = self.least_sum if layers[index - 1].weight.dense else self.least_sum_conv
            direction = (g > 0 if signs is None else signs[index - 1] > 0).to(g.dtype)
            found.insert(0, ((2 * direction - 1) * (g.abs() >= least), direction))  # (8)
        return found

    def summed(self, layer: Layer, signal: Tensor, below: Tensor) -> Tensor:
        """(7): the signal [B, N] of a layer, sent down to the shape of ``below``."""
        used = layer.weight.used.detach()
        return pulled_back(lambda x: layer.weight.product(layer.gather(x), used), torch.zeros_like(below), signal)
