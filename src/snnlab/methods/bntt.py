"""Batch Normalization Through Time (Kim, Panda, Front. Neurosci. 15:773954, 2021; arXiv:2010.01729).

    z[t] = W o_below[t]                                         no bias
    n[t] = gamma[t] * (z[t] - mean[t]) / sqrt(var[t] + eps)     statistics and gamma of this step; shift adds beta[t]
    u[t] = decay * u[t-1] + n[t]
    o[t] = 1 where u[t] > threshold                             strict; equality stays silent
    u[t] = u[t] - threshold * o[t]                              soft reset, no gradient through it
    u_out = sum over t of W_out o[t];  logits = u_out / T;  L = cross-entropy(logits, label)

Symbols:    u v, o spikes, lambda decay, gamma [T, C] of every norm layer.
Gradient:   backpropagation through time: along decay * u[t-1] and through the batch statistics of step t. The spike's
            derivative is peak * max(0, 1 - |u / threshold - 1|), peak 0.3.
Early exit: where the mean of gamma over channels has decayed in every layer, inference may stop
            (``python -m snnlab.evaluate RUN early_exit``). A net trained for T steps runs for T or fewer.
Departures: none in the rule. The learning rate falls at the end of the first epoch at or after 50, 70, 90 % of the
            training, where the authors' code waits for an epoch that equals the share exactly. ``norm``, ``shift``
            and curves other than the triangle are ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from snnlab.data.contract import DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.batch_norm_through_time import BatchNormThroughTime, SharedBatchNorm, gamma_over_time
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.metrics.spikes_over_time import SpikesOverTime
from snnlab.neurons.integrator import Integrator
from snnlab.neurons.lif import LIF
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.surrogate import Curve, make_surrogate

FIGURE_SAMPLES = 500  # test samples behind the picture of spikes over time


Norm = Literal["bntt", "shared", "none"]


class StepNorms:
    """Makes the norms of a network.

    Args:
        owner: class of the method, for messages.
        kind: bntt (a norm for every step), shared (one batch norm for all steps) or none.
        data, encoder: what says how many steps there are: the encoder for images, the data set for events.
        momentum, eps: of the norm.
        shift: whether norms learn an offset; those on a shortcut do in any case.

    Raises:
        ValueError: when ``kind`` is unknown.
    """

    def __init__(
        self,
        owner: str,
        kind: Norm,
        data: DataSpec,
        encoder: nn.Module | None,
        momentum: float = 0.1,
        eps: float = 1e-4,
        shift: bool = False,
    ) -> None:
        if kind not in ("bntt", "shared", "none"):
            raise ValueError(f"{owner}: norm = {kind!r} must be bntt, shared or none")
        self.kind, self.data, self.encoder = kind, data, encoder
        self.momentum, self.eps, self.shift = momentum, eps, shift

    def time_steps(self) -> int:
        """T, which the encoder chooses for images and the data set for events.

        Raises:
            InputError: when neither does.
        """
        source = self.data if self.encoder is None else self.encoder
        steps = getattr(source, "time_steps", None)
        if steps is None:
            raise InputError(
                f"data={self.data.name} does not fix its number of time steps, and method.norm=bntt keeps a norm for "
                "each; use method.norm=shared or method.norm=none"
            )
        return int(steps)

    def make(self, channels: int, shift: bool) -> nn.Module:
        if self.kind == "none":
            return nn.Identity()
        if self.kind == "shared":
            return SharedBatchNorm(channels, self.momentum, self.eps, shift)
        return BatchNormThroughTime(channels, self.time_steps(), self.momentum, self.eps, shift)


class NormedBlocks(Blocks):
    """Blocks with a norm behind each weight but the readout's.

    Args:
        neuron, readout_neuron, bias: as in Blocks.
        norms: makes the norms.
    """

    def __init__(
        self, neuron: Callable[..., Neuron], readout_neuron: Callable[..., nn.Module], bias: bool, norms: StepNorms
    ) -> None:
        super().__init__(neuron, readout_neuron, bias)
        self.norms = norms

    def norm(self, channels: int) -> nn.Module:
        return self.norms.make(channels, self.norms.shift)

    def shortcut_norm(self, channels: int) -> nn.Module:
        """With an offset, which S-ResNet's code leaves there whatever the other norms have."""
        return self.norms.make(channels, shift=True)


class BNTTBlocks(NormedBlocks):
    """Weights without bias, Xavier-uniform, each followed by a norm.

    Args:
        neuron: makes one neuron layer.
        norms: makes the norms.
        gain: of the Xavier-uniform weights, which lie within gain * sqrt(6 / (fan_in + fan_out)).
    """

    def __init__(self, neuron: Callable[[], Neuron], norms: StepNorms, gain: float) -> None:
        super().__init__(neuron, functools.partial(Integrator, decay=1.0), False, norms)
        self.gain = gain

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.initialised(super().linear(inputs, outputs))

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        return self.initialised(super().conv(inputs, outputs, kernel, padding, stride))

    def initialised(self, layer: nn.Module) -> nn.Module:
        nn.init.xavier_uniform_(cast(Tensor, layer.weight), self.gain)
        return layer


class BNTT(Autograd):
    """Batch norm with parameters and statistics of every time step.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method.
        decay, threshold: of the neuron; see neurons/lif.py.
        norm: bntt, shared (one batch norm for all steps) or none.
        momentum, eps: of the norm; see layers/batch_norm_through_time.py.
        surrogate, width: curve of the surrogate gradient and its parameter a; None takes the triangle that ends at
            v = 0 and v = 2 * threshold, or another curve's own.
        peak: height of the surrogate gradient at the threshold, > 0; None takes the curve's own.
        gain: of the Xavier-uniform weights, > 0.
        shift: whether the norms learn an offset; those behind the weight of a shortcut (model=sresnet) always do.

    Raises:
        ValueError: when an argument leaves its range.
        InputError: when norm=bntt is to normalise data whose number of time steps is unknown.
    """

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        decay: float = 0.95,
        threshold: float = 1.0,
        norm: Norm = "bntt",
        momentum: float = 0.1,
        eps: float = 1e-4,
        surrogate: Curve = "triangle",
        width: float | None = None,
        peak: float | None = 0.3,
        gain: float = 2.0,
        shift: bool = False,
    ) -> None:
        if not gain > 0:
            raise ValueError(f"BNTT: gain = {gain} must be positive; 2.0 is the authors' value")
        self.decay, self.threshold = decay, threshold
        self.norms = StepNorms("BNTT", norm, data, encoder, momentum, eps, shift)
        self.surrogate, self.width, self.peak, self.gain = surrogate, width, peak, gain
        super().__init__(model, data, encoder, optimizer, scheduler)

    def make_neuron(self) -> LIF:
        width = self.width
        if width is None and self.surrogate == "triangle" and self.threshold > 0:
            width = 4 / self.threshold**2
        spike = make_surrogate(self.surrogate, width, strict=True, peak=self.peak)
        return LIF(self.decay, self.threshold, reset="soft", detach_reset=True, leak="first", surrogate=spike)

    def blocks(self) -> Blocks:
        return BNTTBlocks(self.make_neuron, self.norms, self.gain)

    def scores(self, frames: Tensor) -> Tensor:
        return self.network(frames)[-1] / len(frames)  # u_out / T

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs = self.network(frames)  # [T, B, K]: u_out after each step
        steps = torch.arange(1, len(outputs) + 1, device=outputs.device, dtype=outputs.dtype)
        return outputs / steps.view(-1, 1, 1)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores, labels)

    def figures(self, data: DataModule) -> dict[str, Any]:
        """Gamma of every norm layer over time, and spikes of every layer over time."""
        with torch.random.fork_rng(), torch.no_grad():
            spikes, seen = SpikesOverTime().to(self.device), 0
            for batch in map(self.here, data.test_dataloader()):
                with self.network.observe() as layers:
                    self.network(self.frames(batch))
                spikes.update(layers, samples=len(batch.labels))
                seen += len(batch.labels)
                if seen >= FIGURE_SAMPLES:
                    break
            found = {"spikes_over_time": spikes.plot()}
        if gammas := gamma_over_time(self.network):
            found["gamma_over_time"] = gamma_figure(gammas)
        return found


def gamma_figure(gammas: dict[str, Tensor]) -> Any:
    """One curve a norm layer: the mean of gamma over channels against the time step."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.6, 2.8))
    for name, gamma in gammas.items():
        axis.plot(range(1, len(gamma) + 1), gamma.cpu(), marker="o", markersize=2.5, label=name)
    axis.set(xlabel="time step", ylabel="gamma, mean over channels")
    axis.legend(frameon=False)
    return figure
