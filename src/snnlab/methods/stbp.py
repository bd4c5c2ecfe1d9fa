"""Spatio-temporal backpropagation (Wu, Deng, Li, Zhu, Shi, Front. Neurosci. 12:331, 2018; arXiv:1706.02609).

    u[t] = decay * u[t-1] * (1 - o[t-1]) + W o_below[t] + b     iterative LIF, hard reset (author's code)
    o[t] = 1 where u[t] > threshold                             strict; equality stays silent
    y    = mean over t of o_N[t]                                rate readout
    L    = mean of (target - y)^2 over samples and classes      author's code; the paper's is the sum over classes / 2S

Symbols:    u v, o spikes, V_th threshold, h1..h4 surrogate rectangle, triangle, sigmoid, gaussian, a width.
Gradient:   backpropagation through time, reset gate included (``detach_reset`` cuts it). ``gradient="sdbp"`` is the
            paper's spatial-only baseline: every term from t+1 is dropped.
Departures: the paper's forget gate is tau * exp(-o / tau), which is the hard gate decay * (1 - o) for small tau;
            this file follows the author's code. The learning rate falls along a cosine to zero. ``neuron``,
            ``reset``, ``leak``, the extra curves, the readout that never fires, the maximum over time, the cross
            entropy, ``norm``, ``regularizer`` and ``rewiring`` are ours: later surrogate-gradient work trains with
            them.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab.data.contract import DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.autograd import Autograd, Regularizer
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.bntt import Norm, NormedBlocks, StepNorms
from snnlab.neurons.choice import choose_neuron
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import Leak, Reset
from snnlab.neurons.surrogate import Curve, make_surrogate
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.value_at_end import ValueAtEnd
from snnlab.questions.value_per_step import ValuePerStep
from snnlab.weights.deep_rewiring import DeepRewiring


class STBP(Autograd):
    """Surrogate gradients through time.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method.
        neuron: of neurons/choice.py, or the dotted path of a class; lif has a fixed decay, plif starts at
            tau = 1 / (1 - decay).
        neuron_options: arguments that only this neuron has; of the others below it takes those that it knows.
        threshold, decay, reset, leak: of the neuron; see neurons/lif.py.
        surrogate, width: curve of the surrogate gradient and its parameter a; None takes the paper's.
        strict: whether v == threshold stays silent, as in the author's code.
        detach_reset: cut the gradient through the reset gate.
        gradient: stbp (space and time) or sdbp (space only).
        bias: whether weights carry a bias.
        readout: spikes (the neuron of the other layers; the score is their rate), leaky (an integrator that never
            fires; the score is its v) or trace (weights on a trace of what the last layer sent, its shares adding up
            to 1; the score is what they make of it).
        readout_decay: factor that a leaky readout or the trace keeps per step, in [0, 1]; exp(-time_step / tau). A
            trace that keeps all of 1 takes nothing in.
        score: mean or max of the readout over time, or its last step; a value at every step is the
            readout itself, with mean.
        criterion: mse (y against the one-hot label) or cross_entropy (y as logits); values have the loss of
            their question.
        regularizer: penalty of the hidden spikes, added to the training loss; see regularizers/.
        rewiring: sparse weights that keep their signs and move; see weights/deep_rewiring.py. None leaves them dense.
        norm, shift: none, bntt or shared behind the weights of a hidden layer, and whether it learns an offset; see
            methods/bntt.py.

    Raises:
        ValueError: when an argument leaves its range.
        InputError: when norm=bntt is to normalise data whose number of time steps is unknown, or two options do not go
            together.
    """

    answers = (ClassOfSequence, ClassAtEnd, ValueAtEnd, ValuePerStep)

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        neuron: str = "lif",
        neuron_options: dict[str, Any] | None = None,
        threshold: float = 0.5,
        decay: float = 0.2,
        reset: Reset = "hard",
        leak: Leak = "first",
        surrogate: Curve = "rectangle",
        width: float | None = None,
        strict: bool = True,
        detach_reset: bool = False,
        gradient: Literal["stbp", "sdbp"] = "stbp",
        bias: bool = True,
        readout: Literal["spikes", "leaky", "trace"] = "spikes",
        readout_decay: float = 1.0,
        score: Literal["mean", "max", "last"] = "mean",
        criterion: Literal["mse", "cross_entropy"] = "mse",
        regularizer: Regularizer | None = None,
        rewiring: DeepRewiring | None = None,
        norm: Norm = "none",
        shift: bool = False,
    ) -> None:
        if not 0 <= readout_decay <= 1:
            raise InputError(f"method.readout_decay = {readout_decay} must lie in [0, 1]; 1 does not forget")
        if readout == "trace" and readout_decay == 1:
            raise InputError(
                "method.readout_decay = 1.0: a trace that keeps all takes nothing in; method.readout_decay=0.9 is usual"
            )
        self.check_data(data, encoder)
        if score != "mean" and data.question.per_step:
            raise InputError(
                f"method.score={score} reads one answer of a whole sequence, and data={data.name} asks for "
                f"{data.question.sentence}; use method.score=mean, which leaves every step its own"
            )
        if readout == "spikes" and data.question.per_step:
            raise InputError(
                f"method.readout=spikes answers each step with 0 or 1, and data={data.name} asks for "
                f"{data.question.sentence}; use method.readout=leaky"
            )
        if criterion == "cross_entropy" and not data.question.has_classes:
            raise InputError(
                f"method.criterion=cross_entropy is of classes, and data={data.name} asks for "
                f"{data.question.sentence}; use method.criterion=mse, which leaves the loss to the question"
            )
        self.threshold, self.decay = threshold, decay
        self.reset, self.leak, self.surrogate, self.width = reset, leak, surrogate, width
        self.strict, self.detach_reset, self.gradient, self.bias = strict, detach_reset, gradient, bias
        shared = {
            "decay": decay,
            "tau": max(1 / (1 - decay), 1 + 1e-6) if decay < 1 else math.inf,
            "threshold": threshold,
            "reset": reset,
            "leak": leak,
            "detach_reset": detach_reset,
            "detach_state": gradient == "sdbp",
            "surrogate": make_surrogate(surrogate, width, strict),
        }
        self.make_neuron = choose_neuron(neuron, neuron_options, shared)
        self.readout, self.readout_decay, self.score, self.criterion = readout, readout_decay, score, criterion
        self.norms = StepNorms("STBP", norm, data, encoder, shift=shift)
        super().__init__(model, data, encoder, optimizer, scheduler)
        self.regularizer = regularizer
        self.rewiring, self.rewired_step = rewiring, 0
        if rewiring is not None:
            rewiring.start(self.network)

    def check_freezing(self, asked: str) -> None:
        if self.rewiring is not None:
            raise InputError(f"{asked}: method.rewiring moves the connections of every layer; leave one of the two out")
        super().check_freezing(asked)

    def check_processes(self, asked: str) -> None:
        if self.rewiring is not None:
            raise InputError(
                f"{asked}: method.rewiring draws which connections come back, and each process would draw its own; use "
                "one device"
            )
        super().check_processes(asked)

    def blocks(self) -> Blocks:
        if self.readout == "trace":
            through = functools.partial(Integrator, 0.0)
            return Blocks(self.make_neuron, through, bias=self.bias, trace=self.readout_decay)
        readout = functools.partial(Integrator, self.readout_decay) if self.readout == "leaky" else self.make_neuron
        return NormedBlocks(self.make_neuron, readout, self.bias, self.norms)

    def prepare(self, data: DataModule) -> None:
        if self.rewiring is not None:
            self.rewiring.settle(self.network)

    def score_of(self, outputs: Tensor) -> Tensor:
        if self.score == "last":
            return outputs[-1]
        return outputs.amax(0) if self.score == "max" else super().score_of(outputs)

    def scores_over_time(self, frames: Tensor) -> Tensor:
        if self.score == "last":
            return self.network(frames)  # type: ignore[no-any-return]
        return self.network(frames).cummax(0).values if self.score == "max" else super().scores_over_time(frames)

    def on_train_start(self) -> None:
        self.rewired_step = self.global_step  # a resumed run has rewired after the last step before it

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.rewiring is not None and self.global_step > self.rewired_step:  # not while gradients accumulate
            self.rewired_step = self.global_step
            self.rewiring.step(self.network, self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if not self.data.question.has_classes:
            return self.data.question.loss(scores, labels)
        if self.criterion == "cross_entropy":
            return nn.functional.cross_entropy(scores, labels)
        target = nn.functional.one_hot(labels, self.data.classes).to(scores.dtype)
        return torch.mean((target - scores) ** 2)
