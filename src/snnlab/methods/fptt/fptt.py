"""Forward propagation through time (Yin, Corradi, Bohte, Nat. Mach. Intell. 5, 518, 2023; arXiv:2112.11231v2).

A sequence of T steps is cut into P parts. State is carried from part to part, its gradient is not; after part p:

    l_p  = w_p L(y, label) + (1 - w_p) O_p,  w_p = p / P, p = 1 ... P       (1) y: the reading at the end of the part
    O_p  = - mean over k of q_p[label, k] log softmax(y)_k                  (2) oracle, of classes only
    R    = - (1 - rho) <W, lambda> + alpha/2 ||W - Wbar||^2                 (3) of every W: dynamic_regularizer.py
    W      <- a step of the optimizer along d(l_p + R)/dW, clipped          (4)
    lambda <- lambda - alpha (W - Wbar)                                     (5) lambda = 0 at the start
    Wbar   <- (1 - beta) Wbar + beta W - (beta / alpha) lambda              (6) Wbar = W at the start
    q_p[label] <- q_p[label] + eta (mean softmax(y) - q_p[label])           (7) 1/K at the start

and at the end of an epoch W := Wbar. At a stationary point W = Wbar and lambda = dl/dW. Without alpha there is no
regulariser and no Wbar: plain steps along instantaneous losses, and with P = 1 backpropagation through time.
FPTT itself: Kag and Saligrama, ICML 2021 (PMLR 139).

Symbols:    W any parameter, Wbar ``mean``, lambda ``dual``, q ``expected``; neuron: neurons/ltc.py.
Departures: q is a running mean from the uniform one, with which the authors' code stays for its first 20 epochs before
            it takes over single wrong answers; its last part has the one-hot target, which has weight 0 here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.trace import detached
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.online import Online
from snnlab.methods.fptt.dynamic_regularizer import DynamicRegularizer
from snnlab.neurons.choice import choose_neuron
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import Leak, Reset
from snnlab.neurons.ltc import LiquidIntegrator
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import Curve, make_surrogate
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.value_at_end import ValueAtEnd
from snnlab.weights.linear import LinearWeight
from snnlab.weights.weight import Weight

Readout = Literal["liquid", "leaky", "membrane", "trace"]


class FPTTBlocks(Blocks):
    """Plain weights; behind them a readout that integrates, or none where the method reads the membrane itself.

    Args:
        neuron, readout_neuron, bias, trace: as in Blocks; readout_neuron None leaves the readout to the method.
    """

    def __init__(
        self,
        neuron: Callable[..., Neuron],
        readout_neuron: Callable[..., nn.Module] | None,
        bias: bool,
        trace: float | None = None,
    ) -> None:
        super().__init__(neuron, readout_neuron or nn.Identity, bias, trace)
        self.membrane = readout_neuron is None
        self.units = 0  # of the spiking layer made last

    def neuron(self, features: int) -> nn.Module:
        self.units = features
        return super().neuron(features)

    def recurrent(self, features: int) -> nn.Module:
        self.units = features
        return super().recurrent(features)

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        if not self.membrane:
            return super().readout(inputs, outputs)
        if inputs != self.units:
            raise InputError(
                f"method.readout=membrane reads the last spiking layer, and this model puts something between its "
                f"{self.units} units or maps and the {inputs} inputs of the readout; use method.readout=liquid"
            )
        return []


class FPTT(Online):
    """Forward propagation through time, around any neuron.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the scheduler is stepped after each epoch.
        gradient: fptt, or bptt, the twin: the same net, one step a batch along the loss at the end.
        parts: P, at least 1; None where part_steps is given. A sequence of fewer steps has a part for each.
        part_steps: T / P in steps, at least 1, so that memory does not depend on T; None where parts is given.
        alpha: of the regulariser, >= 0; 0 leaves it out.
        beta: how fast Wbar follows, in (0, 1].
        rho: in [0, 1]; 0 is the paper's.
        weighting: fraction (w_p = p / P) or released: the adding task's trainer has w_p = p - 1 + 1/P and leaves the
            last part out; not for classes, whose oracle has 1 - w_p.
        settle: when W := Wbar: after an epoch, after each sequence (a batch), or never.
        oracle: eta of (7), in [0, 1]; 0 keeps the uniform distribution, None leaves (2) out.
        gradient_clip: largest norm of the gradient, R included, > 0; None does not clip.
        neuron, neuron_options: as in STBP; the others below are for neurons that know them.
        threshold, strength, decay, decay_adaptation, reset, leak: see neurons/ltc.py, alif.py, lif.py.
        surrogate, width, strict: as in STBP.
        readout: liquid (integrates the last spikes at a learned rate of its own, neurons/ltc.py), leaky
            (neurons/integrator.py), membrane (weights on v of the last spiking layer after its reset) or trace
            (weights on a trace of what that layer sent).
        readout_decay: of the leaky readout, in [0, 1], or of the trace, below 1.
        bias: whether weights carry a bias.

    Raises:
        InputError: when an argument leaves its range or two do not go together.
    """

    answers = (ClassOfSequence, ClassAtEnd, ValueAtEnd)

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        gradient: Literal["fptt", "bptt"] = "fptt",
        parts: int | None = 10,
        part_steps: int | None = None,
        alpha: float = 0.1,
        beta: float = 0.5,
        rho: float = 0.0,
        weighting: Literal["fraction", "released"] = "fraction",
        settle: Literal["epoch", "sequence", "never"] = "epoch",
        oracle: float | None = 0.1,
        gradient_clip: float | None = 1.0,
        neuron: str = "ltc",
        neuron_options: dict[str, Any] | None = None,
        threshold: float = 0.1,
        strength: float = 1.8,
        decay: float = 0.9,
        decay_adaptation: float = 0.95,
        reset: Reset = "hard",
        leak: Leak = "scaled",
        surrogate: Curve = "multi_gaussian",
        width: float | None = None,
        strict: bool = True,
        readout: Readout = "liquid",
        readout_decay: float = 0.9,
        bias: bool = True,
    ) -> None:
        if (parts is None) == (part_steps is None):
            raise InputError(
                f"method.parts = {parts} and method.part_steps = {part_steps}: give one of them, the other is null"
            )
        for name, value, usual in (
            ("parts", parts, "10 is the paper's"),
            ("part_steps", part_steps, "20 is the paper's for T = 200"),
        ):
            if value is not None and value < 1:
                raise InputError(f"method.{name} = {value} must be at least 1; {usual}")
        if not alpha >= 0:
            raise InputError(f"method.alpha = {alpha} must not be negative; 0.1 and 0.5 are the paper's")
        if not 0 < beta <= 1:
            raise InputError(f"method.beta = {beta} must lie in (0, 1]; 0.5 is the paper's")
        shares = {"rho": rho, "oracle": oracle, "readout_decay": readout_decay, "decay": decay}
        for name, share in {**shares, "decay_adaptation": decay_adaptation}.items():
            if share is not None and not 0 <= share <= 1:
                raise InputError(f"method.{name} = {share} must lie in [0, 1]")
        if readout == "trace" and readout_decay == 1:
            raise InputError(
                "method.readout_decay = 1.0: a trace that keeps all takes nothing in; method.readout_decay=0.9 is usual"
            )
        if gradient_clip is not None and not gradient_clip > 0:
            raise InputError(f"method.gradient_clip = {gradient_clip} must be positive; 1 is the paper's, null: none")
        if weighting == "released" and data.question.has_classes:
            raise InputError(
                f"method.weighting=released gives the oracle of classes a negative weight, and data={data.name} asks "
                "for a class; use method.weighting=fraction"
            )
        self.gradient, self.parts, self.part_steps = gradient, parts, part_steps
        self.weighting, self.settle, self.oracle, self.gradient_clip = weighting, settle, oracle, gradient_clip
        self.readout, self.readout_decay, self.bias = readout, readout_decay, bias
        shared = {
            "decay": decay,
            "tau": 1 / (1 - decay) if decay < 1 else float("inf"),
            "threshold": threshold,
            "strength": strength,
            "decay_adaptation": decay_adaptation,
            "reset": reset,
            "leak": leak,
            "surrogate": make_surrogate(surrogate, width, strict),
        }
        self.make_neuron = choose_neuron(neuron, neuron_options, shared)
        self.read_steps = data.question.answer_steps or 1  # of the end of a part, over which y is the mean
        super().__init__(model, data, encoder, optimizer, scheduler)
        self.last, self.reader = "", None
        if readout == "membrane":
            spiking = Chain(self.network).of(Neuron)
            if not spiking:
                raise InputError("method.readout=membrane needs a spiking layer in front of the readout")
            self.last = spiking[-1].name
            self.reader = nn.Linear(self.menu.units, self.outputs(), bias)
        self.dynamic_regularizer = DynamicRegularizer(
            list(self.parameters()), 0.0 if gradient == "bptt" else alpha, beta, rho
        )
        if data.question.has_classes and oracle is not None and gradient == "fptt":
            bins = parts or -(-self.steps_of(data, encoder) // (part_steps or 1))
            uniform = torch.full((bins, data.classes, data.classes), 1 / data.classes)
            self.register_buffer("expected", uniform)  # q [P, K, K]

    @staticmethod
    def steps_of(data: DataSpec, encoder: nn.Module | None) -> int:
        """T of the data's sequences."""
        return int(data.time_steps or 1) if encoder is None else int(encoder.time_steps)  # type: ignore[arg-type]

    def blocks(self) -> Blocks:
        makers: dict[str, Callable[..., nn.Module] | None] = {
            "liquid": LiquidIntegrator,
            "leaky": lambda: Integrator(self.readout_decay),
            "membrane": None,
            "trace": lambda: Integrator(0.0),
        }
        if self.readout not in makers:
            raise InputError(f"method.readout = {self.readout} must be liquid, leaky, membrane or trace")
        trace = self.readout_decay if self.readout == "trace" else None
        self.menu = FPTTBlocks(self.make_neuron, makers[self.readout], self.bias, trace)
        return self.menu

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """L of (1): cross-entropy of classes, mean squared error of values."""
        return self.data.question.loss(scores, labels)

    def beside(self) -> dict[str, Weight]:
        return {} if self.reader is None else {"reader": LinearWeight(self.reader)}

    # readings ---------------------------------------------------------------------------------------------------------
    def read(self, output: Tensor, states: Any) -> Tensor:
        """y [B, K] of one step."""
        return output if self.reader is None else self.reader(states[self.last].v.flatten(1))  # type: ignore[no-any-return]

    def readings(self, frames: Tensor) -> Tensor:
        """y [T, B, K] of frames [T, B, ...]."""
        if self.reader is None:
            return self.network(frames)  # type: ignore[no-any-return]
        states, found = None, []
        for frame in frames:
            output, states = self.network.step(frame, states)
            found.append(self.read(output, states))
        return torch.stack(found)

    def scores(self, frames: Tensor) -> Tensor:
        """Return scores [B, K]: the mean reading of the steps on which an answer is read, or the last one."""
        return self.readings(frames)[-self.read_steps :].mean(0)

    def scores_over_time(self, frames: Tensor) -> Tensor:
        """Return the scores [T, B, K] that each step would give, were it the last."""
        readings = self.readings(frames)
        return torch.stack([readings[max(0, t - self.read_steps) : t].mean(0) for t in range(1, len(readings) + 1)])

    # the algorithm ----------------------------------------------------------------------------------------------------
    def ends(self, steps: int) -> list[int]:
        """Where each part of a sequence of T steps ends, e.g. 20, 40 ... 200."""
        if self.gradient == "bptt":
            return [steps]
        if self.part_steps is not None:
            return [min(t + self.part_steps, steps) for t in range(0, steps, self.part_steps)]
        parts = min(self.parts or 1, steps)
        return [(p + 1) * steps // parts for p in range(parts)]

    def part_loss(self, scores: Tensor, labels: Tensor, part: int, parts: int) -> Tensor:
        """(1), with ``part`` from 0; for classes also (7)."""
        if self.weighting == "released" and self.gradient == "fptt":
            return (part + 1 / parts) * self.loss(scores, labels)
        weight = (part + 1) / parts
        loss = weight * self.loss(scores, labels)
        if weight < 1 and "expected" in self._buffers:
            expected: Any = self.expected
            q = expected[part * len(expected) // parts]  # [K, K]
            oracle = nn.functional.cross_entropy(scores, q[labels]) / self.data.classes  # (2)
            loss = loss + (1 - weight) * oracle
            with torch.no_grad():
                members = nn.functional.one_hot(labels, self.data.classes).to(q.dtype)  # [B, K]
                counts = ranks.total(members.sum(0))[:, None]
                means = ranks.total(members.T @ scores.softmax(-1).to(q.dtype)) / counts.clamp(min=1)
                q += (self.oracle or 0.0) * (counts > 0) * (means - q)  # (7)
        return loss

    def learn(
        self, batch: Batch, backward: Callable[[Tensor], Any], take_step: Callable[[], Any]
    ) -> tuple[Tensor, Tensor]:
        """The paper's algorithm on one batch; return the scores [B, K] at the end and the mean loss trained on.

        That loss carries the weights of the parts: with weighting=released they go up to P, and train/loss is as much
        larger than val/loss.
        """
        self.dynamic_regularizer.begin()
        states: Any = None
        ends = self.ends(self.steps(batch))
        frames, total, t, steps = self.stream(batch), torch.zeros((), device=batch.labels.device), 0, 0
        for part, end in enumerate(ends):
            states, readings = detached(states), []
            while t < end:
                output, states = self.network.step(next(frames), states)
                t += 1
                if t > end - self.read_steps:
                    readings.append(self.read(output, states))
            scores = torch.stack(readings).mean(0) if len(readings) > 1 else readings[0]
            if self.weighting == "released" and part == len(ends) - 1 > 0:
                scores = scores.detach()
                break
            loss = self.part_loss(scores, batch.labels, part, len(ends))
            backward(loss)
            self.dynamic_regularizer.add_gradient()
            take_step()  # (4)
            self.dynamic_regularizer.follow()
            total, steps, scores = total + loss.detach(), steps + 1, scores.detach()
            del loss, readings
        if self.settle == "sequence":
            self.dynamic_regularizer.settle()
        return scores, total / steps

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        if self.settle == "epoch" and self.trainer.is_last_batch:  # before the epoch is validated
            self.dynamic_regularizer.settle()
