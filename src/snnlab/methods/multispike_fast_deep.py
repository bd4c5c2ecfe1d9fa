"""Exact error backpropagation through spike times, many spikes a neuron (Bacho, Chu, arXiv:2212.09500v1, 2022).

    u(t) = tau sum_i w_i [e^(-(t - t_i)/tau) - e^(-(t - t_i)/tau_s)] - theta sum_k e^(-(t - t_k)/tau)
    t_k: u reaches theta from below; closed form where tau = 2 tau_s; max_spikes of them    simulators/event.py
    count:  L = mean over samples of 1/2 sum over classes of (n_j - target_j)^2             n_j spikes of readout j
    first:  L = cross-entropy of softmax(-t_j / tau_loss)                                   t_j first spike of readout j
              + early (e^(t_label / tau_s) - 1)                                             as Fast & Deep

Symbols:    theta threshold, Delta theta the same, tau_s tau_synapse, T duration. max_spikes = 1 with objective = first
            is Fast & Deep (Goeltz et al. 2021, doi 10.1038/s42256-021-00388-x) for tau_m = 2 tau_s.
Gradient:   exact for spike times, weights and inputs, through own earlier spikes too; no surrogate.
            A count has none: as in the author's code, dL/dt_k = target - n at every spike of the neuron, in units of
            L per second.
Departures: A silent readout counts as a spike at T in ``first``. Silent neurons have no gradient: after a step the
            weights into a neuron that was silent in too large a share of the batch (a readout: of its own class) are
            raised by ``bump``, twice as much each time in a row, as in Fast & Deep, which counts all classes. Slopes
            du/dt at a spike are taken as 0.001 theta/tau at least.
Input:      images by exact latency (``encoder=latency``, before rounding to steps), events at the start of their bin,
            several in one bin as one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Latency, Rate
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.spike_time_network import ExactNeuron
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.spike_times import SpikeCount, SpikeTimes, count_loss

MOST_TAUS = 80  # duration / tau_synapse; e^88 is the end of float32
DOUBLINGS = 10  # a bump is at most 2^10 times the first

MOST_SPIKES = 10_000  # of a neuron in a sample


class SpikeTimeBlocks(Blocks):
    """Weights without bias, drawn uniformly, in front of exact neurons; one threshold and buffer for each layer.

    Args:
        name: of the method, for what it refuses.
        hidden: makes the neurons of the i-th hidden layer, from 0.
        readout: neuron of the readout.
        weight_range, readout_range: bounds of the initial weights.
    """

    def __init__(
        self,
        name: str,
        hidden: Callable[[int], ExactNeuron],
        readout: ExactNeuron,
        weight_range: tuple[float, float],
        readout_range: tuple[float, float],
    ) -> None:
        self.name, self.hidden, self.layers = name, hidden, 0
        self.weight_range, self.readout_range = weight_range, readout_range
        super().__init__(self.next_hidden, lambda: readout, bias=False)

    def next_hidden(self) -> ExactNeuron:
        self.layers += 1
        return self.hidden(self.layers - 1)

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        layer = super().linear(inputs, outputs)
        nn.init.uniform_(layer.get_parameter("weight"), *self.weight_range)
        return layer

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        layers = super().readout(inputs, outputs)
        nn.init.uniform_(layers[0][1].get_parameter("weight"), *self.readout_range)
        return layers

    def refuse(self, what: str, way_out: str = "use model=mlp") -> NoReturn:
        raise InputError(f"method={self.name} hands on spike times and knows no {what}; {way_out}")

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> NoReturn:
        self.refuse("convolution")

    def recurrent(self, features: int) -> NoReturn:
        self.refuse("recurrent layer")

    def pool(self, kernel: int) -> NoReturn:
        self.refuse("pooling")

    def feedback(self, inputs: int, outputs: int, size: tuple[int, int]) -> NoReturn:
        self.refuse("feedback")

    def dropout(self, p: float) -> NoReturn:
        self.refuse("dropout", "use model.dropout=0")


class MultispikeFastDeep(SpikeTimes):
    """Exact spike times and their exact gradients, layer by layer.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the model has fully connected layers only.
        objective: count (spikes of each readout neuron) or first (time to first spike).
        threshold, readout_threshold: of the neurons; a list has one for each hidden layer.
        max_spikes, readout_max_spikes: buffer of each neuron; a list as above.
        tau_synapse: tau_s, s; the membrane's tau is 2 tau_s.
        duration: simulated time T, s.
        input_window: first and last moment of the input, s; the steps of encoder or data set fill it evenly.
        targets: spikes of the label's neuron and of the others, for count.
        tau_loss: of the softmax, s, for first.
        early: weight of the term that pulls the label's first spike forward, >= 0, for first.
        weight_range, readout_range: bounds of the uniform initial weights.
        bump: first raise of the weights into a silent neuron, >= 0; 0 never raises.
        silent_share, readout_silent_share: a neuron silent in more than this share of a batch, a readout
            neuron of the samples of its class, is raised.

    Raises:
        ValueError: when an argument leaves its range.
        InputError: for layers that are not fully connected, input that is not spikes, more numbers than layers, and
            a target that the buffer cannot hold.
    """

    writes_weights = True  # the bump

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        objective: Literal["count", "first"] = "count",
        threshold: float | list[float] = 0.2,
        readout_threshold: float = 1.3,
        max_spikes: int | list[int] = 30,
        readout_max_spikes: int = 30,
        tau_synapse: float = 0.13,
        duration: float = 0.2,
        input_window: tuple[float, float] = (0.0, 0.1),
        targets: tuple[float, float] = (15.0, 3.0),
        tau_loss: float = 0.005,
        early: float = 0.005,
        weight_range: tuple[float, float] = (-1.0, 1.0),
        readout_range: tuple[float, float] = (-1.0, 1.0),
        bump: float = 5e-4,
        silent_share: float = 0.99,
        readout_silent_share: float = 0.0,
    ) -> None:
        self.check_data(data, encoder)
        for name, number, usual in (
            ("threshold", threshold, 0.2),
            ("readout_threshold", readout_threshold, 1.3),
            ("max_spikes", max_spikes, 30),
            ("readout_max_spikes", readout_max_spikes, 30),
            ("tau_synapse", tau_synapse, 0.13),
            ("duration", duration, 0.2),
        ):
            numbers = number if isinstance(number, list) else [number]
            if not numbers or min(numbers) <= 0:
                least = "must be positive" if numbers else "needs a number for at least one layer"
                raise ValueError(f"MultispikeFastDeep: {name} = {number} {least}; {usual} is usual")
        for name, buffers in (("max_spikes", max_spikes), ("readout_max_spikes", readout_max_spikes)):
            if (most := max(buffers) if isinstance(buffers, list) else buffers) > MOST_SPIKES:
                raise ValueError(
                    f"MultispikeFastDeep: {name} = {most} must be at most {MOST_SPIKES:,}: each has a place"
                )
        if not 0 <= input_window[0] < input_window[1] <= duration:
            raise ValueError(
                f"MultispikeFastDeep: input_window = {list(input_window)} must rise, from 0 or more to at most "
                f"duration = {duration}"
            )
        for name, (low, high) in (("weight_range", weight_range), ("readout_range", readout_range)):
            if not low < high:
                raise ValueError(f"MultispikeFastDeep: {name} = {[low, high]} must rise; [-1, 1] is usual")
        if min(targets) < 0:
            raise ValueError(f"MultispikeFastDeep: targets = {list(targets)} must be 0 or more; [15, 3] is usual")
        if objective == "count" and readout_max_spikes < max(targets):
            raise InputError(
                f"method.readout_max_spikes = {readout_max_spikes} cannot reach method.targets = {list(targets)}; "
                f"give it {math.ceil(max(targets))} or more"
            )
        if not tau_loss > 0:
            raise ValueError(f"MultispikeFastDeep: tau_loss = {tau_loss} must be positive; 0.005 is usual")
        if early < 0:
            raise ValueError(f"MultispikeFastDeep: early = {early} must be 0 or more; 0.005 is usual")
        if objective == "first" and early > 0 and duration / tau_synapse > MOST_TAUS:
            raise ValueError(
                f"MultispikeFastDeep: duration / tau_synapse = {duration / tau_synapse:g} must be at most {MOST_TAUS}; "
                "the loss of a late spike, early * e^(t / tau_synapse), outgrows float32; use method.early=0"
            )
        if bump < 0:
            raise ValueError(f"MultispikeFastDeep: bump = {bump} must be 0 (never) or more; 5e-4 is usual")
        for name, share in (("silent_share", silent_share), ("readout_silent_share", readout_silent_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"MultispikeFastDeep: {name} = {share} must lie in 0 to 1; 0.99 is usual")
        if encoder is not None and not isinstance(encoder, Latency | Rate):
            raise InputError(
                f"encoder={type(encoder).__name__.lower()} sends other numbers than 0 and 1; use encoder=latency"
            )
        if data.kind == "sequence":
            raise InputError(
                "data.sequence=rows sends analog values, and multispike_fast_deep needs spikes; use data.sequence=none"
            )
        self.objective = objective
        self.targets, self.tau_loss, self.early, self.tau_synapse = targets, tau_loss, early, tau_synapse
        self.threshold = threshold if isinstance(threshold, list) else [threshold]
        self.max_spikes = max_spikes if isinstance(max_spikes, list) else [max_spikes]
        self.readout_threshold, self.readout_max_spikes = readout_threshold, readout_max_spikes
        self.weight_range, self.readout_range = weight_range, readout_range
        self.bump, self.silent_share, self.readout_silent_share = bump, silent_share, readout_silent_share
        super().__init__(model, data, encoder, optimizer, scheduler, duration, input_window)
        for name, numbers in (("threshold", self.threshold), ("max_spikes", self.max_spikes)):
            if len(numbers) > (layers := max(1, len(self.weights) - 1)):
                raise InputError(
                    f"method.{name} = {numbers} has {len(numbers)} numbers, and the model {layers} hidden "
                    f"layer{'s' if layers > 1 else ''}; give one for each, the last one serves all further layers"
                )
        for name, weight in self.weights.items():
            self.register_buffer(f"silent_{name}", torch.zeros(weight.outputs))  # batches in a row
        self.bumped_step = 0
        self.silent: dict[str, Tensor] = {}  # share of the last batch in which each neuron was silent

    def blocks(self) -> Blocks:
        def hidden(i: int) -> ExactNeuron:  # the last number serves all further layers
            return self.neuron(
                self.threshold[min(i, len(self.threshold) - 1)], self.max_spikes[min(i, len(self.max_spikes) - 1)]
            )

        readout = self.neuron(self.readout_threshold, self.readout_max_spikes)
        return SpikeTimeBlocks("multispike_fast_deep", hidden, readout, self.weight_range, self.readout_range)

    def neuron(self, threshold: float, most: int) -> ExactNeuron:
        return ExactNeuron(threshold, self.tau_synapse, self.duration, most)

    def read(self, times: Tensor) -> Tensor:
        """Return the scores [B, classes] of the readout's spike times [B, classes, K]."""
        if self.objective == "first":
            return -times[..., 0].clamp(max=self.duration) / self.tau_loss
        counts: Tensor = SpikeCount.apply(times, self.duration)  # type: ignore[no-untyped-call]
        return counts

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.objective == "first":
            of_label = -self.tau_loss * scores.gather(1, labels[:, None])  # its time
            return (
                nn.functional.cross_entropy(scores, labels)
                + self.early * torch.expm1(of_label / self.tau_synapse).mean()
            )
        return count_loss(scores, labels, self.targets).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        trains = self.chain.trains(self.frames(batch))
        scores = self.read(trains[list(trains)[-1]])
        self.silent = {name: trains[name][..., 0].isinf().to(scores.dtype) for name in self.weights}
        own = nn.functional.one_hot(batch.labels, self.data.classes)
        missed, shown = ranks.total((self.silent["readout"] * own).sum(0)), ranks.total(own.sum(0))
        self.silent["readout"] = missed / shown.clamp(min=1)
        self.silent |= {name: self.mean_of(silent) for name, silent in self.silent.items() if silent.dim() > 1}
        loss = self.loss(scores, batch.labels)
        self.log_scores("train", scores, batch.labels, loss)
        return loss

    def on_train_start(self) -> None:
        self.bumped_step = self.global_step

    def mean_of(self, silent: Tensor) -> Tensor:
        """The mean over the whole batch of [B, N], of which this process has a share."""
        return silent.mean(0) if ranks.number() == 1 else ranks.total(silent.mean(0) * ranks.share()) / ranks.number()

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Raise the weights into neurons that were silent in too much of the batch: no gradient reaches them."""
        if self._trainer is not None and self.global_step == self.bumped_step:  # while gradients accumulate
            return
        self.bumped_step = self.global_step
        for name, weight in self.weights.items():
            if not weight.stored.requires_grad:  # frozen
                continue
            rows: Tensor = getattr(self, f"silent_{name}")  # batches in a row before this one
            low = self.silent[name] > (self.readout_silent_share if name == "readout" else self.silent_share)
            rise = self.bump * 2.0 ** rows.clamp(max=DOUBLINGS)
            values = weight.latent
            values += torch.where(low, rise, torch.zeros_like(rise))[:, None]
            weight.write(values)
            rows.copy_(torch.where(low, rows + 1, torch.zeros_like(rows)))
