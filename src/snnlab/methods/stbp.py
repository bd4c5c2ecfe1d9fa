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
            ``reset``, ``leak`` and the two extra curves are ours.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab.data.datamodule import DataSpec
from snnlab.layers.blocks import Blocks
from snnlab.methods.method import Method, Model, Optimizer, Scheduler
from snnlab.neurons.choice import choose_neuron
from snnlab.neurons.lif import Leak, Reset
from snnlab.neurons.surrogate import Curve, make_surrogate


class STBP(Method):
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

    Raises:
        ValueError: when an argument leaves its range.
    """

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
    ) -> None:
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
        super().__init__(model, data, encoder, optimizer, scheduler)

    def blocks(self) -> Blocks:
        return Blocks(self.make_neuron, self.make_neuron, bias=self.bias)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        target = nn.functional.one_hot(labels, self.data.classes).to(scores.dtype)
        return torch.mean((target - scores) ** 2)
