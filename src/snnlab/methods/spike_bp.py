"""Spike-based backpropagation with a leak-corrected pseudo-derivative (Lee, Sarwar, Panda, Srinivasan, Roy,
Front. Neurosci. 14:119, 2020, doi 10.3389/fnins.2020.00119; arXiv:1903.06379).

    v[t] = v[t] + W x[t];  s[t] = 1 where v[t] > V_th;  v[t] = l v[t] (1 - s[t])    LIF, hard reset, then the leak
    pooling: mean of 2x2, then the same neuron with V_th = 0.75 and no leak         its output is spikes again
    readout: v[t] = l (v[t-1] + W s[t]);  o = v[T] / (V_th T)                       never fires
    E = sum over samples and classes of (o - onehot)^2                              authors' code; one backward at T

Symbols:    l decay, V_th threshold, G gate: G = 1 + ln(l) (leaky spike count / spike count), 0 if silent.
Gradient:   ds[t]/dv[t] = G / V_th where the neuron fired at t, else 0; nothing crosses a spike; the leak is straight
            through. G is one number per neuron and sample, known after the last step. Under the readout this is
            dE/dW_j = G_j/V_th g_j (sum of the inputs up to the last spike of j): error times presynaptic count.
Dropout:    one mask per batch, held over time. The authors' nets count spikes for G behind the mask (VGG9) or before
            it (ResNet11); mask and 1/(1 - p) cancel in G, so both give the same gradient.
Departures: the loss is logged per sample. The learning rate falls along a cosine to zero in the short recipes; the
            authors multiply it by 0.2 at milestones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnlab.data.contract import DataSpec
from snnlab.layers.blocks import Blocks
from snnlab.layers.pooling_neuron import PoolingNeuron
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler, Split
from snnlab.neurons.leak_corrected_lif import LeakCorrectedLIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.straight_through_integrator import StraightThroughIntegrator


class SpikeBPBlocks(Blocks):
    """Weights without bias from N(0, variance / fan_in), pools that fire, a readout that leaks.

    Args:
        variance: times 1/fan_in, of the initial weights.
        pool_neuron: makes the neuron behind a pool; None pools without one.
        neuron, readout_neuron: as Blocks.
    """

    def __init__(
        self,
        neuron: Callable[[], Neuron],
        readout_neuron: Callable[[], nn.Module],
        variance: float,
        pool_neuron: Callable[[], Neuron] | None,
    ) -> None:
        super().__init__(neuron, readout_neuron, bias=False)
        self.variance, self.make_pool_neuron = variance, pool_neuron

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.drawn(super().linear(inputs, outputs), inputs)

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        layer = self.drawn(super().conv(inputs, outputs, kernel, padding, stride), inputs * kernel**2)
        weight = layer.get_parameter("weight")
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)  # 1.5 times as fast, to rounding equal
        return layer

    def drawn(self, layer: nn.Module, fan_in: int) -> nn.Module:
        """The layer with its weights drawn."""
        nn.init.normal_(layer.get_parameter("weight"), std=math.sqrt(self.variance / fan_in))
        return layer

    def pool(self, kernel: int) -> nn.Module:
        pool = super().pool(kernel)
        return pool if self.make_pool_neuron is None else PoolingNeuron(pool, self.make_pool_neuron())


class SpikeBP(Autograd):
    """Error times spike count, corrected for the leak.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method.
        decay: l, kept per step by neurons and readout, in (0, 1].
        threshold: V_th of the neurons, and the scale of the readout.
        pool_threshold: of the neurons behind a pool; null pools without neurons.
        pool_slope: their derivative at a spike; null takes 1/pool_threshold.
        correct_leak: false takes G = 1 where a neuron fired.
        late_inputs: true counts inputs after a neuron's last spike too, as the paper's formula does.
        init_variance: weights are drawn from N(0, init_variance / fan_in).

    Raises:
        ValueError: when an argument leaves its range.
    """

    sums_loss = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        decay: float = 0.99,
        threshold: float = 1.0,
        pool_threshold: float | None = 0.75,
        pool_slope: float | None = 1.0,
        correct_leak: bool = True,
        late_inputs: bool = False,
        init_variance: float = 2.0,
    ) -> None:
        if not init_variance > 0:
            raise ValueError(f"SpikeBP: init_variance = {init_variance} must be positive; 2.0, or 1.0 for ResNets")
        for name, value in (("pool_threshold", pool_threshold), ("pool_slope", pool_slope)):
            if value is not None and not value > 0:
                raise ValueError(f"SpikeBP: {name} = {value} must be positive; 0.75 and 1 are usual, or null")
        self.decay, self.threshold, self.init_variance = decay, threshold, init_variance
        self.pool_threshold, self.pool_slope = pool_threshold, pool_slope
        self.correct_leak, self.late_inputs = correct_leak, late_inputs
        super().__init__(model, data, encoder, optimizer, scheduler)

    def make_neuron(self) -> LeakCorrectedLIF:
        return LeakCorrectedLIF(self.decay, self.threshold, corrected=self.correct_leak, late_inputs=self.late_inputs)

    def make_pool_neuron(self) -> LeakCorrectedLIF:
        assert self.pool_threshold is not None
        return LeakCorrectedLIF(1.0, self.pool_threshold, self.pool_slope, late_inputs=self.late_inputs)

    def blocks(self) -> Blocks:
        pool_neuron = None if self.pool_threshold is None else self.make_pool_neuron
        return SpikeBPBlocks(
            self.make_neuron, lambda: StraightThroughIntegrator(self.decay), self.init_variance, pool_neuron
        )

    def scores(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)  # v [T, B, K]
        return outputs[-1] / (self.threshold * len(outputs))

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames)
        steps = torch.arange(1, len(outputs) + 1, device=outputs.device, dtype=outputs.dtype)
        return outputs / (self.threshold * steps[:, None, None])

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        target = nn.functional.one_hot(labels, self.data.classes).to(scores.dtype)
        return torch.sum((scores - target) ** 2)

    def log_scores(self, split: Split, scores: Tensor, labels: Tensor, loss: Tensor) -> None:
        super().log_scores(split, scores, labels, loss / len(labels))
