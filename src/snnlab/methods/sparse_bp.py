"""Sparse spiking gradient descent (Perez-Nieves, Goodman, NeurIPS 2021; arXiv:2105.08810).

    v[t] = decay * v[t-1] + W s_below[t] - threshold * s[t-1]       LIF; the reset is outside of the graph
    s[t] = 1 where v[t] > threshold                                 strict; equality stays silent
    o[t] = readout_decay * o[t-1] + (1 - readout_decay) W s[t]      readout, never fires
    y    = sum over t of o[t], or its largest value                 L = cross entropy of y + penalties of hidden spikes
    ds/dv = 1 / (|v - threshold| / width + 1)^2 on the active set, else 0
    A     = {(t, b, j): b_low < v[t, b, j] < 2 threshold - b_low}   active set

Symbols:    V v, beta decay, B_low b_low, B_th threshold - b_low, 100 is 1 / width; tr, delta: layers/active_set.py.
Backward:   sparse visits A alone: |A| * inputs products for dW, and the gradient of a spike where the layer below is
            active. masked is its twin, the same gradient by autograd over all entries, and dense has the surrogate
            without an end: it answers what the truncation costs.
Where:      a linear layer in front of LIF neurons, spikes for its input, on the CPU; other layers (convolutions,
            recurrent ones, analog input), other devices and ``kernels: step`` take the masked form, equal numbers.
Departures: the authors shift every layer by a step (spikes at t arrive at t + 1), which costs one of the last steps a
            layer and nothing else. The figures of the paper come from the largest value over time; the sum starts
            faster and is the default.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

from lightning import LightningModule
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataSpec
from snnlab.errors import InputError
from snnlab.layers.active_set import Count, counting
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.autograd import Autograd, Regularizer
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.surrogate import Curve, Surrogate, Truncated, make_surrogate
from snnlab.questions.class_at_end import ClassAtEnd
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.question import running_sum


class SparseBPBlocks(Blocks):
    """Weights from N(0, (scale / sqrt(fan_in))^2); None leaves what torch draws. Biases start at 0 with a scale.

    Args:
        scale: of the initial weights.
        neuron, readout_neuron, bias: as Blocks.
    """

    def __init__(self, neuron: Any, readout_neuron: Any, bias: bool, scale: float | None) -> None:
        super().__init__(neuron, readout_neuron, bias)
        self.scale = scale

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.drawn(super().linear(inputs, outputs), inputs)

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        return self.drawn(super().conv(inputs, outputs, kernel, padding, stride), inputs * kernel**2)

    def drawn(self, layer: nn.Module, fan_in: int) -> nn.Module:
        """The layer with its weights drawn."""
        if self.scale is not None:
            nn.init.normal_(layer.get_parameter("weight"), std=self.scale / math.sqrt(fan_in))
            if isinstance(layer.bias, Tensor):
                nn.init.zeros_(layer.bias)
        return layer


class SparseBP(Autograd):
    """Surrogate gradients through the active set.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method.
        backward: sparse (active entries alone), masked (its twin: the same gradient, every entry) or dense (the
            surrogate is not truncated).
        decay: beta, factor of the membrane per step, in [0, 1]; exp(-time_step / tau_membrane).
        threshold: > 0, in the unit of v.
        b_low: v above which an entry is active, below the threshold; minus infinity makes every entry active.
        surrogate, width: curve of the surrogate gradient and its parameter; None takes the curve's own.
        readout_decay: beta_o, in [0, 1).
        score: sum or max of the readout over time.
        init_scale: weights start as N(0, (init_scale (1 - decay))^2 / fan_in), > 0; None leaves what torch draws.
        bias: whether weights carry a bias.
        regularizer: penalty of the hidden spikes, added to the training loss; see regularizers/.

    Raises:
        InputError: when an argument leaves its range.
    """

    answers = (ClassOfSequence, ClassAtEnd)

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        backward: Literal["sparse", "masked", "dense"] = "sparse",
        decay: float = 0.9048374180359595,
        threshold: float = 1.0,
        b_low: float = 0.8,
        surrogate: Curve = "fast_sigmoid",
        width: float | None = 0.01,
        readout_decay: float = 0.9048374180359595,
        score: Literal["sum", "max"] = "sum",
        init_scale: float | None = 20.0,
        bias: bool = False,
        regularizer: Regularizer | None = None,
    ) -> None:
        if not 0 <= readout_decay < 1:
            raise InputError(f"method.readout_decay = {readout_decay} must lie in [0, 1); 0.905 is 10 ms at 1 ms")
        if not b_low < threshold:
            raise InputError(
                f"method.b_low = {b_low} must lie below method.threshold = {threshold}; 0.8 is the paper's, and -.inf "
                "makes every entry active"
            )
        if init_scale is not None and not init_scale > 0:
            raise InputError(f"method.init_scale = {init_scale} must be positive; 20 is the paper's, null torch's own")
        if init_scale is not None and decay == 1:
            raise InputError(
                f"method.decay = 1: weights of init_scale (1 - decay) = {init_scale} * 0 start at 0; "
                "set method.init_scale=null"
            )
        self.gradient, self.decay, self.threshold, self.b_low = backward, decay, threshold, b_low
        self.surrogate, self.width = surrogate, width
        self.readout_decay, self.score, self.init_scale, self.bias = readout_decay, score, init_scale, bias
        super().__init__(model, data, encoder, optimizer, scheduler)
        self.regularizer = regularizer
        self.counts: dict[nn.Module, Count] = {}

    def make_neuron(self) -> LIF:
        curve: Surrogate = make_surrogate(self.surrogate, self.width, strict=True)
        if self.gradient != "dense":
            curve = Truncated(curve, self.threshold - self.b_low, skip=self.gradient == "sparse")
        return LIF(self.decay, self.threshold, "soft", detach_reset=True, surrogate=curve)

    def blocks(self) -> Blocks:
        scale = None if self.init_scale is None else self.init_scale * (1 - self.decay)
        readout = functools.partial(Integrator, self.readout_decay, "scaled")
        return SparseBPBlocks(self.make_neuron, readout, self.bias, scale)

    def score_of(self, outputs: Tensor) -> Tensor:
        return outputs.amax(0) if self.score == "max" else outputs.sum(0)

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)
        return outputs.cummax(0).values if self.score == "max" else running_sum(outputs)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores, labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with counting() as self.counts:
            return super().training_step(batch, batch_idx)

    def on_after_backward(self) -> None:
        """Log, by layer, the share of entries that were active and the products of dW, |A| * inputs, a batch."""
        names: dict[nn.Module, str] = {layer: name for name, layer in self.network.neurons().items()}
        for layer, count in self.counts.items():
            # of this process alone: another may have taken the masked form, and would not be there to share
            every: Any = {"on_step": False, "on_epoch": True, "batch_size": 1, "sync_dist": False}
            LightningModule.log(self, f"train/active_share/{names[layer]}", count.active / count.entries, **every)
            LightningModule.log(self, f"train/weight_products/{names[layer]}", float(count.products), **every)
