"""SSNN-BP (reconstruction): stochastic, temporally and spatially local spike-based backpropagation.

After A. Biswas, V. Saraswat, U. Ganguly, Neuromorph. Comput. Eng. 3, 2023, doi 10.1088/2634-4386/acf1c5,
arXiv:2207.09755. Only the abstract could be read: it fixes stochastic spike trains, forward and backward at the same
time, a composite neuron, two streams for a signed gradient, updates by coincidence in discrete quanta, winner-take-all
for softmax, and two layers of weights. Every equation below is our reconstruction.

    h[t] = composite neuron of W1 x[t] + b1                  neurons/composite.py, rate clip(v, 0, 1)
    w[t] = winner-take-all of W2 h[t] + b2                   neurons/winner_take_all.py
    d2+[t] = w AND NOT y, d2-[t] = y AND NOT w               y the label's unit, at every step
    g[t] = gate[t] * low-pass of (d2+ - d2-)[t] W2           (1) gate of the filtered drive
    d1+-[t] ~ Bernoulli(clip(+-g / s, 0, 1))
    W2 -= q (d2+ - d2-) h,  W1 -= q s (d1+ - d1-) x          (2) coincidences; q = eta / T; biases have x = 1

Symbols:    T steps, s scale, k weight of the newest current in all three low-passes, q quantum, y teacher.
Scores:     the share of the steps that a class won. No gradient is taken by autograd.
Batches:    coincidences are summed over a batch, which is minibatch SGD with learning rate eta per sample, not the
            sample-wise mode of a chip: that is data.batch_size=1; update_every=1 moves weights within a presentation.
Twin:       gradient="backprop" trains the rate network itself by softmax cross-entropy: same net, eta, batches, epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.data.encoders import Latency, Rate
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.coincidence import Coincidences
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.base.own_steps import OwnSteps
from snnlab.methods.ssnn_bp.figures import streams_figure
from snnlab.neurons.composite import CompositeNeuron
from snnlab.neurons.composite import Rate as RateFunction
from snnlab.neurons.low_pass import LowPass, LowPassState, Start
from snnlab.neurons.winner_take_all import Draw, WinnerTakeAll
from snnlab.weights.weight import Weight

Gradient = Literal["spikes", "backprop"]
Pairing = Literal["same", "delayed", "independent"]

NUMBERS = 2**17  # of a hidden signal [C, B, H] that is worked on at once: it stays in the processor's cache
LEAST = 1e-3  # share of steps below which the cross-entropy does not look: a class may win none


class States(NamedTuple):
    """What the composite layer carries from step to step: its three filters, and the spikes of the step before."""

    hidden: LowPassState
    readout: LowPassState
    error: LowPassState
    d1: Tensor  # [B, H]
    d2: Tensor  # [B, K]


class Signals(NamedTuple):
    """Everything that spikes in C steps, forward and backward at the same time; each [C, B, units] of 0 and 1."""

    hidden: Tensor
    winners: Tensor
    d2_plus: Tensor
    d2_minus: Tensor
    d1_plus: Tensor
    d1_minus: Tensor
    clipped: Tensor  # where |g| > s


class SSNNBP(OwnSteps):
    """SSNN-BP (reconstruction); the rule is in the docstring of this file.

    Args:
        model, data, encoder, scheduler: as in Method; the model has exactly one hidden layer.
        eta: learning rate per sample; the quantum of a weight is eta / T.
        gradient: spikes, or backprop for the matched network without spikes.
        rate: relu (bounded at 1) or sigmoid, of the hidden neurons.
        k, start: of the low-passes, see neurons/low_pass.py; k = 0 with start=mean is the form 1 / t.
        scale: error drive at which a gradient unit fires at every step.
        draw: how the winner is drawn, categorical or gumbel.
        pairing: which presynaptic spikes meet the error spikes of step t: those of the ``same`` step, which are
            correlated with the error; the next one's (the error is ``delayed``); or an ``independent`` second draw.
        update_every: steps between updates; None updates after the presentation, 1 is online.
        weight_range: weights and biases are clipped to +- this; None does not.
        rounding: after each update weights go to the nearest multiple of this (device levels); None does not round.
        bias: whether weights carry a bias.

    Raises:
        InputError: when an argument leaves its range, the model has not two layers of weights, or the encoder sends no
            0/1 spikes.
    """

    label = "SSNN-BP (reconstruction)"
    writes_weights = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        eta: float = 0.01,
        scheduler: Scheduler | None = None,
        gradient: Gradient = "spikes",
        rate: RateFunction = "relu",
        k: float = 0.1,
        start: Start = "zero",
        scale: float = 1.0,
        draw: Draw = "categorical",
        pairing: Pairing = "same",
        update_every: int | None = None,
        weight_range: float | None = 1.0,
        rounding: float | None = None,
        bias: bool = True,
    ) -> None:
        for name, value in (("eta", eta), ("weight_range", weight_range), ("rounding", rounding)):
            if value is not None and not value > 0:
                raise InputError(f"method.{name} = {value} must be positive")
        if rounding is not None and weight_range is not None and rounding > weight_range:
            raise InputError(
                f"method.rounding = {rounding} leaves only 0 within method.weight_range = {weight_range}; "
                f"{weight_range / 64} gives 129 levels"
            )
        if update_every is not None and update_every < 1:
            raise InputError(f"method.update_every = {update_every} must be at least 1 step; null: each presentation")
        if gradient not in ("spikes", "backprop"):
            raise InputError(f"method.gradient = {gradient!r} must be spikes or backprop")
        if pairing not in ("same", "delayed", "independent"):
            raise InputError(f"method.pairing = {pairing!r} must be same, delayed or independent")
        if encoder is not None and not isinstance(encoder, Rate | Latency):
            raise InputError(
                f"encoder={type(encoder).__name__.lower()} sends other numbers than 0 and 1; use encoder=rate"
            )
        if pairing == "independent" and not isinstance(encoder, Rate):
            raise InputError(
                f"method.pairing=independent draws input spikes anew, and data={data.name} has only these; "
                "use method.pairing=delayed, or encoder=rate with images"
            )
        self.gradient, self.rate, self.k, self.start, self.scale = gradient, rate, k, start, scale
        self.draw, self.pairing, self.update_every = draw, pairing, update_every
        self.weight_range, self.rounding, self.bias = weight_range, rounding, bias
        super().__init__(model, data, encoder, partial(torch.optim.SGD, lr=eta), scheduler)
        if gradient == "backprop":
            self.label = f"rate-network twin of {type(self).label}"
        self.check_layers()
        self.error_filter = self.low_pass()  # of the error current of the hidden layer

    def low_pass(self) -> LowPass:
        return LowPass(self.k, self.start)

    def blocks(self) -> Blocks:
        if self.gradient == "backprop":
            return RateBlocks(self.rate, self.bias)
        return Blocks(
            lambda: CompositeNeuron(self.low_pass(), self.rate, self.scale),
            lambda: WinnerTakeAll(self.low_pass(), self.draw),
            bias=self.bias,
        )

    def check_layers(self) -> None:
        """Refuse a network that is not flatten - weight - hidden - weight - readout."""
        used = Chain(self.network).without((nn.Flatten, nn.Identity))
        dense = "a matrix of weights"
        kinds = [dense if link.weight and link.weight.dense else type(link.layer).__name__ for link in used]
        hidden = "CompositeNeuron" if self.gradient == "spikes" else type(rate_function(self.rate)).__name__
        expected = [dense, hidden, dense] + (["WinnerTakeAll"] if self.gradient == "spikes" else [])
        if kinds != expected:
            names = " - ".join(type(link.layer).__name__ for link in used)
            raise InputError(
                f"method=ssnn_bp trains two layers of weights around one hidden layer, and this model is "
                f"{names}; use model=mlp with one number in model.hidden and model.dropout=0"
            )

    # evaluation -------------------------------------------------------------------------------------------------------
    @property
    def spiking_input(self) -> bool:
        return self.gradient == "spikes"

    def frames(self, batch: Batch) -> Tensor:
        """Spikes [T, B, ...]: several events of a bin are one. The twin gets their mean, [1, B, ...]."""
        if self.encoder is not None:
            return batch.inputs.unsqueeze(0) if self.gradient == "backprop" else self.encoder(batch.inputs)
        spikes = (batch.inputs > 0).to(batch.inputs.dtype)
        return spikes.mean(0, keepdim=True) if self.gradient == "backprop" else spikes

    def scores(self, frames: Tensor) -> Tensor:
        """Share of steps that each class won [B, K]; the twin's softmax."""
        outputs = super().scores(frames)
        return torch.softmax(outputs, -1) if self.gradient == "backprop" else outputs

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats; shares below 0.001 count as 0.001."""
        return -scores.gather(1, labels.unsqueeze(1)).clamp(min=LEAST).log().mean()

    # the training step ------------------------------------------------------------------------------------------------
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        eta = optimizer.param_groups[0]["lr"]
        scores = self.backpropagate(batch, eta) if self.gradient == "backprop" else self.present(batch, eta)
        optimizer.step()  # moves nothing, as no parameter has a gradient: it counts the batch
        self.log_scores("train", scores, batch.labels, self.loss(scores, batch.labels))

    def backpropagate(self, batch: Batch, eta: float) -> Tensor:
        """One step of SGD on the cross-entropy summed over the batch; returns the scores before it."""
        logits = self.network(self.frames(batch))[0]
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        grads = torch.autograd.grad(nn.functional.cross_entropy(logits, batch.labels, reduction="sum"), parameters)
        for parameter, grad in zip(parameters, grads, strict=True):
            self.move(parameter, ranks.total(grad), eta)
        return torch.softmax(logits.detach(), -1)

    @torch.no_grad()
    def present(self, batch: Batch, eta: float) -> Tensor:
        """Show a batch for T steps, forward and backward at the same time, and learn; returns the scores [B, K]."""
        hidden, (first, second) = self.parts()[1], self.weights()
        steps, active, chunks = self.input_spikes(batch)
        teacher = nn.functional.one_hot(batch.labels, self.data.classes).to(first.used.dtype)
        states = self.initial_states(teacher)
        below, above, weight = Coincidences(first, active), Coincidences(second), first.used[:, active]
        wins = torch.zeros_like(teacher)
        errors, silent, clipped = teacher.new_zeros(3)
        for x, partner in chunks:  # [C, B, A]
            signals, v, after = self.advance(x, weight, teacher, states)
            d1, d2 = signals.d1_plus - signals.d1_minus, signals.d2_plus - signals.d2_minus
            wins, silent = wins + signals.winners.sum(0), silent + (d2 == 0).all(-1).sum()
            clipped, errors = clipped + signals.clipped.sum(), errors + d2.abs().sum()
            if self.pairing == "delayed":  # the error of the step before meets the spikes of this one
                d1, d2 = (torch.cat([old.unsqueeze(0), d[:-1]]) for old, d in ((states.d1, d1), (states.d2, d2)))
            below.add(d1, partner)
            above.add(d2, hidden.fire(v) if self.pairing == "independent" else signals.hidden)
            if self.update_every is not None:
                self.update(below, above, eta / steps)
                weight = first.used[:, active]
            states = after
        if self.update_every is None:
            self.update(below, above, eta / steps)
        samples, weights = len(teacher), first.used.numel() + second.used.numel()
        figures: Any = {
            "error_spikes": errors / samples,
            "silent_errors": silent / (steps * samples),
            "clipped": clipped / (steps * samples * first.outputs),
            "coincidences": (below.events + above.events) / (samples * weights),
            "pulses": (below.pulses + above.pulses) / samples,
        }
        self.log_dict(
            {f"train/{k}": value for k, value in figures.items()}, on_step=False, on_epoch=True, batch_size=samples
        )
        return wins / steps

    @torch.no_grad()
    def advance(self, x: Tensor, weight: Tensor, teacher: Tensor, states: States) -> tuple[Signals, Tensor, States]:
        """C steps of input spikes x [C, B, A] through W1 ``weight`` [H, A]: signals, v of the hidden layer, states."""
        _, hidden, second, readout = self.parts()
        below, above = self.weights()
        bias = None if below.bias_values is None else below.bias_values.used
        current = below.product(x.flatten(0, 1), weight, bias).unflatten(0, x.shape[:2])
        v, of_hidden = hidden.low_pass.carry(current, states.hidden)
        h = hidden.fire(v)
        z, of_readout = readout.low_pass.carry(second(h), states.readout)
        winners = readout.compete(z)
        d2_plus, d2_minus = readout.error_streams(winners, teacher)
        g, of_error = self.error_filter.carry(above.back(d2_plus - d2_minus, h), states.error)
        g = g.mul_(hidden.gate(v))  # (1)
        d1_plus, d1_minus = hidden.gradient_streams(g)
        signals = Signals(h, winners, d2_plus, d2_minus, d1_plus, d1_minus, hidden.clipped(g))
        d1, d2 = d1_plus[-1] - d1_minus[-1], d2_plus[-1] - d2_minus[-1]
        return signals, v, States(of_hidden, of_readout, of_error, d1, d2)

    def initial_states(self, teacher: Tensor) -> States:
        _, hidden, _, readout = self.parts()
        zeros = teacher.new_zeros(len(teacher), self.weights()[0].outputs)
        state = hidden.initial_state(zeros)
        return States(state, readout.initial_state(teacher), state, zeros, torch.zeros_like(teacher))

    def input_spikes(self, batch: Batch) -> tuple[int, Tensor, Iterator[tuple[Tensor, Tensor]]]:
        """T, the indices of the inputs that may spike in this batch, and chunks of their spikes: x and its partner."""
        size, units = ranks.whole(len(batch.labels)), self.weights()[0].outputs
        length = self.update_every or max(1, NUMBERS // (size * units))
        if self.encoder is None:
            frames = self.frames(batch).flatten(2)
            steps, active = len(frames), self.active(frames.flatten(0, 1))
            frames = frames[:, :, active]
            chunks = ((part, part) for part in frames.split(length))
            return steps, active, chunks
        encoder: Any = self.encoder
        images = batch.inputs.flatten(1)
        active = self.active(images)
        images = images[:, active]

        def draw() -> Iterator[tuple[Tensor, Tensor]]:
            source = encoder.frames(images)
            again = encoder.frames(images) if self.pairing == "independent" else None
            for start in range(0, encoder.time_steps, length):
                count = min(length, encoder.time_steps - start)
                x = torch.stack([next(source) for _ in range(count)])
                yield x, x if again is None else torch.stack([next(again) for _ in range(count)])

        return encoder.time_steps, active, draw()

    @staticmethod
    def active(inputs: Tensor) -> Tensor:
        """Indices of the inputs that are not 0 in all of [B, A], in no process."""
        return ranks.total(inputs.any(0).int()).nonzero()[:, 0]

    def update(self, below: Coincidences, above: Coincidences, quantum: float) -> None:
        """(2): turn the coincidences counted so far into steps of the quantum, and start counting anew."""
        for layer, q in ((below, quantum * self.scale), (above, quantum)):
            for values, counts in layer.take():
                if not values.stored.requires_grad:  # frozen
                    continue
                self.move(moved := values.latent, ranks.total(counts), q)
                values.write(moved)

    @torch.no_grad()
    def move(self, values: Tensor, counts: Tensor, quantum: float) -> None:
        """W -= quantum * counts, within the device's range and on its levels."""
        values.sub_(counts, alpha=quantum)
        if self.weight_range is not None:
            values.clamp_(-self.weight_range, self.weight_range)
        if self.rounding is not None:
            values.div_(self.rounding).round_().mul_(self.rounding)

    def parts(self) -> tuple[nn.Module, CompositeNeuron, nn.Module, WinnerTakeAll]:
        """The four layers that ``check_layers`` has found: weights, hidden neurons, weights, readout."""
        found: Any = [link.layer for link in Chain(self.network).without((nn.Flatten, nn.Identity))]
        return tuple(found)  # type: ignore[return-value]

    def weights(self) -> tuple[Weight, Weight]:
        """W1 and W2."""
        first, second = Chain(self.network).weights().values()
        return first, second

    def figures(self, data: DataModule) -> dict[str, Any]:
        """The streams of one presentation, weights at rest."""
        if self.gradient == "backprop":
            return {}
        batch = self.here(next(iter(data.test_dataloader())))
        frames = self.frames(batch)[:, :1].flatten(2)
        teacher = nn.functional.one_hot(batch.labels[:1], self.data.classes).to(frames.dtype)
        signals, _, _ = self.advance(frames, self.weights()[0].used, teacher, self.initial_states(teacher))
        return {"error_streams": streams_figure(signals, int(batch.labels[0]), self.data.classes)}


def rate_function(rate: RateFunction) -> nn.Module:
    """The mean of a composite neuron's spikes as a function of a steady drive."""
    return nn.Hardtanh(0.0, 1.0) if rate == "relu" else nn.Sigmoid()


class RateBlocks(Blocks):
    """The same weights around rates in place of spikes: the twin."""

    def __init__(self, rate: RateFunction, bias: bool) -> None:
        self.rate, self.bias = rate, bias

    def neuron(self, features: int) -> nn.Module:
        return rate_function(self.rate)

    def recurrent(self, features: int) -> nn.Module:
        return nn.Sequential(rate_function(self.rate), self.linear(features, features))  # refused by check_layers

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        return [("readout_weight", self.linear(inputs, outputs))]
