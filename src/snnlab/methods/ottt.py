"""Online Training Through Time (Xiao, Meng, Zhang, He, Lin, NeurIPS 2022; arXiv:2210.04195v2).

    v[t]         = decay * (v[t-1] - threshold * s[t-1]) + W s_below[t] + b       LIF, soft reset inside the leak
    s[t]         = 1 where v[t] >= threshold
    trace_pre[t] = decay * trace_pre[t-1] + s_below[t]                            presynaptic trace
    u[t]         = W s_N[t] + b                                                   readout: no leak, no reset, no spikes
    L[t]         = ((1 - alpha) CE(u[t], label) + alpha MSE(u[t], one-hot)) / T   instantaneous loss
    dL/dW        = sum over t of g[t] trace_pre[t]^T, dL/db = sum of g[t]         eq. 4; g[t] = dL[t]/dv[t] in space

Scores are the mean of u over time. No gradient passes from one step to another, so nothing of a step is kept but its
states: memory does not grow with T.

Symbols:    u v (u[t] of the readout), lambda decay, V_th threshold, ahat trace_pre, What in weights/standardised.py.
Updates:    update="accumulate" is OTTT_A, one step of the optimizer a batch; "online" is OTTT_O, one after every t.
Twin:       gradient="bptt" trains the same net on the same loss by backpropagation through time, reset detached.
Departures: as in the authors' code, the first layer pairs g[t] with the input at t and the readout pairs it with the
            trace, though it has no memory; eq. 4 has it the other way round (``first_trace``, ``readout_trace``). The
            factor 2.74 sits in the weights behind a spiking layer, not on its spikes, which stay 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.recurrent import Recurrent
from snnlab.layers.trace import Traced, detached
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.online import Online
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import Curve, make_surrogate
from snnlab.weights.standardised import parametrize_weight, weights_kept


class OTTTBlocks(Blocks):
    """Weights with trace, scale and standardisation around a LIF neuron, and a readout that passes its current on.

    The first weights asked for are those of the input: no spikes reach them, so they have their own scale and trace.

    Args:
        neuron: makes one neuron layer.
        decay, first_decay, readout_decay: of the traces; 0 is a trace without memory, plain backpropagation.
        scale, first_scale: factors of weights fed by spikes, and by the input.
        standardise: whether forward weights are standardised; recurrent, feedback and readout weights never are.
        bias: whether weights carry a bias; recurrent ones never do.
    """

    def __init__(
        self,
        neuron: Callable[[], Neuron],
        decay: float,
        first_decay: float,
        readout_decay: float,
        scale: float,
        first_scale: float,
        standardise: bool,
        bias: bool,
    ) -> None:
        super().__init__(neuron, lambda: Integrator(decay=0.0), bias)
        self.decay, self.first_decay, self.readout_decay = decay, first_decay, readout_decay
        self.scale, self.first_scale, self.standardise = scale, first_scale, standardise
        self.first = True

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.traced(small_normal(nn.Linear(inputs, outputs, self.bias)), self.decay, self.standardise)

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=self.bias)
        return self.traced(kaiming_normal(layer), self.decay, self.standardise)

    def recurrent(self, features: int) -> nn.Module:
        weight = self.traced(small_normal(nn.Linear(features, features, bias=False)), self.decay, standardise=False)
        return Recurrent(self.make_neuron(), weight)

    def feedback(self, inputs: int, outputs: int, size: tuple[int, int]) -> list[tuple[str, nn.Module]]:
        """Layers from spikes [B, inputs, h, w] of the step before to a current [B, outputs, *size]; silent at first."""
        layer = kaiming_normal(nn.Conv2d(inputs, outputs, 3, padding=1, bias=self.bias))
        nn.init.zeros_(layer.get_parameter("weight"))
        weight = self.traced(layer, self.decay, standardise=False)
        return [("upsample", nn.Upsample(size, mode="nearest")), ("weight", weight)]

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        weight = self.traced(small_normal(nn.Linear(inputs, outputs, self.bias)), self.readout_decay, standardise=False)
        return [("readout_weight", weight), ("readout", self.make_readout_neuron())]

    def stream_readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        """A plain linear layer that starts at 0: no spikes reach it, so it has neither trace nor scale."""
        layer = nn.Linear(inputs, outputs, self.bias)
        nn.init.zeros_(layer.weight)
        return [("readout_weight", without_offset(layer)), ("readout", self.make_readout_neuron())]

    def traced(self, layer: nn.Module, decay: float, standardise: bool) -> Traced:
        """Scale and standardise the weight of ``layer``, and wrap it in its trace."""
        first, self.first = self.first, False
        parametrize_weight(layer, self.first_scale if first else self.scale, standardise)
        return Traced(layer, self.first_decay if first else decay)


def kaiming_normal(layer: nn.Module) -> nn.Module:
    """A convolution as the authors start it."""
    nn.init.kaiming_normal_(layer.get_parameter("weight"), mode="fan_out", nonlinearity="relu")
    return without_offset(layer)


def small_normal(layer: nn.Module) -> nn.Module:
    """A linear layer as the authors start it."""
    nn.init.normal_(layer.get_parameter("weight"), 0.0, 0.01)
    return without_offset(layer)


def without_offset(layer: nn.Module) -> nn.Module:
    """The layer, its bias 0 where it has one."""
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
    return layer


class OTTT(Online):
    """Online training through time.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the scheduler is stepped after each epoch.
        update: accumulate (OTTT_A: one optimizer step a batch) or online (OTTT_O: one after each time step).
        gradient: ottt, or bptt, the twin that backpropagates through time.
        decay: lambda of membrane and trace, in [0, 1], no unit; 1 - 1/tau with tau in steps.
        threshold: V_th > 0, in the unit of v.
        alpha: share of the squared error in the loss, in [0, 1].
        surrogate, width: curve of the surrogate gradient and its parameter; None takes slope 4 for the sigmoid and
            half a width of one threshold for the box.
        scale: factor of weights behind a spiking layer, > 0.
        first_scale: factor of the first weights, > 0; 1 / (the input's deviation) gives currents of deviation ``gain``.
        standardise: whether forward weights are standardised.
        readout_trace: whether the readout learns from the trace (authors' code) or from the spikes (exact).
        first_trace: whether the first layer learns from a trace of the input (eq. 4) or the input (authors' code).
        gradient_clip: largest norm of the gradient at an optimizer step, > 0; None does not clip.
        bias: whether weights carry a bias.

    Raises:
        InputError: when an argument leaves its range or update=online meets gradient=bptt.
    """

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        update: Literal["accumulate", "online"] = "accumulate",
        gradient: Literal["ottt", "bptt"] = "ottt",
        decay: float = 0.5,
        threshold: float = 1.0,
        alpha: float = 0.05,
        surrogate: Curve = "sigmoid",
        width: float | None = None,
        scale: float = 2.74,
        first_scale: float = 1.0,
        standardise: bool = True,
        readout_trace: bool = True,
        first_trace: bool = False,
        gradient_clip: float | None = None,
        bias: bool = True,
    ) -> None:
        if update == "online" and gradient == "bptt":
            raise InputError(
                "method.update=online steps before the sequence has ended, and method.gradient=bptt needs its end; "
                "use method.update=accumulate"
            )
        if not 0 <= alpha <= 1:
            raise InputError(f"method.alpha = {alpha} must lie in [0, 1]; 0.05 is the paper's for images")
        for name, value, usual in (
            ("scale", scale, "2.74 is the paper's"),
            ("first_scale", first_scale, "1 is the authors'"),
            ("gradient_clip", gradient_clip, "1 is usual, null does not clip"),
        ):
            if value is not None and not value > 0:
                raise InputError(f"method.{name} = {value} must be positive; {usual}")
        self.update, self.gradient, self.decay, self.threshold, self.alpha = update, gradient, decay, threshold, alpha
        self.surrogate: Curve = surrogate
        self.width = 2 * threshold if surrogate == "box" and width is None else width
        self.scale, self.first_scale, self.standardise, self.bias = scale, first_scale, standardise, bias
        self.readout_trace, self.first_trace, self.gradient_clip = readout_trace, first_trace, gradient_clip
        super().__init__(model, data, encoder, optimizer, scheduler)

    def make_neuron(self) -> Neuron:
        spike = make_surrogate(self.surrogate, self.width)
        return LIF(self.decay, self.threshold, "soft", detach_reset=True, surrogate=spike)

    def blocks(self) -> Blocks:
        decay = self.decay if self.gradient == "ottt" else 0.0  # BPTT keeps the past in its graph, not in traces
        return OTTTBlocks(
            self.make_neuron,
            decay,
            decay if self.first_trace else 0.0,
            decay if self.readout_trace else 0.0,
            self.scale,
            self.first_scale,
            self.standardise,
            self.bias,
        )

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """T L[t] for the readout's u[t]; of the mean u, it is the loss that validation and test report."""
        target = nn.functional.one_hot(labels, self.data.classes).to(scores.dtype)
        cross_entropy = nn.functional.cross_entropy(scores, labels)
        return (1 - self.alpha) * cross_entropy + self.alpha * nn.functional.mse_loss(scores, target)

    # one frame at a time ----------------------------------------------------------------------------------------------
    def learn(
        self, batch: Batch, backward: Callable[[Tensor], Any], take_step: Callable[[], Any]
    ) -> tuple[Tensor, Tensor]:
        """The paper's algorithm on one batch; return scores [B, K] and the sum of L[t], both without gradient."""
        states: Any = None
        objective, scores = torch.zeros((), device=batch.labels.device), torch.zeros((), device=batch.labels.device)
        online, steps = self.update == "online", self.steps(batch)
        with nullcontext() if online else weights_kept(self.network):
            for frame in self.stream(batch):
                outputs, states = self.network.step(frame, states)
                loss = self.loss(outputs, batch.labels) / steps  # L[t]
                if self.gradient == "ottt":
                    backward(loss)
                    outputs, loss, states = outputs.detach(), loss.detach(), detached(states)
                    if online:
                        take_step()
                objective, scores = objective + loss, scores + outputs.detach() / steps
            if self.gradient == "bptt":
                backward(objective)
        if not online:
            take_step()
        return scores, objective.detach()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        scores, states = torch.zeros((), device=batch.labels.device), None
        with weights_kept(self.network):
            for frame in self.stream(batch):
                outputs, states = self.network.step(frame, states)
                scores = scores + outputs / self.steps(batch)
        self.log_scores("val", scores, batch.labels, self.loss(scores, batch.labels))
