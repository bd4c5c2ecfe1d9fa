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
from typing import Literal

from torch import Tensor, nn

from snnlab.data.contract import DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.spike_time_network import ExactNeuron
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.silent_neurons import RaisesSilent
from snnlab.methods.base.spike_time_blocks import SpikeTimeBlocks, uniform
from snnlab.methods.base.spike_times import MOST_SPIKES, SpikeCount, count_loss, first_spike_loss, first_spikes


class MultispikeFastDeep(RaisesSilent):
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
        if objective == "first":
            self.check_early(early, duration, "tau_synapse", tau_synapse)
        self.check_spikes(data, encoder, "multispike_fast_deep")
        self.objective = objective
        self.targets, self.tau_loss, self.early, self.tau_synapse = targets, tau_loss, early, tau_synapse
        self.threshold = threshold if isinstance(threshold, list) else [threshold]
        self.max_spikes = max_spikes if isinstance(max_spikes, list) else [max_spikes]
        self.readout_threshold, self.readout_max_spikes = readout_threshold, readout_max_spikes
        self.weight_range, self.readout_range = weight_range, readout_range
        super().__init__(
            model,
            data,
            encoder,
            optimizer,
            scheduler,
            duration,
            input_window,
            bump,
            silent_share,
            readout_silent_share,
        )
        for name, numbers in (("threshold", self.threshold), ("max_spikes", self.max_spikes)):
            if len(numbers) > (layers := max(1, len(self.weights) - 1)):
                raise InputError(
                    f"method.{name} = {numbers} has {len(numbers)} numbers, and the model {layers} hidden "
                    f"layer{'s' if layers > 1 else ''}; give one for each, the last one serves all further layers"
                )

    def blocks(self) -> Blocks:
        def hidden(i: int) -> ExactNeuron:  # the last number serves all further layers
            return self.neuron(
                self.threshold[min(i, len(self.threshold) - 1)], self.max_spikes[min(i, len(self.max_spikes) - 1)]
            )

        readout = self.neuron(self.readout_threshold, self.readout_max_spikes)
        return SpikeTimeBlocks(
            "multispike_fast_deep", hidden, readout, uniform(self.weight_range), uniform(self.readout_range)
        )

    def neuron(self, threshold: float, most: int) -> ExactNeuron:
        return ExactNeuron(threshold, self.tau_synapse, self.duration, most)

    def read(self, times: Tensor) -> Tensor:
        """Return the scores [B, classes] of the readout's spike times [B, classes, K]."""
        if self.objective == "first":
            return first_spikes(times, self.duration, self.tau_loss)
        counts: Tensor = SpikeCount.apply(times, self.duration)  # type: ignore[no-untyped-call]
        return counts

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.objective == "first":
            return first_spike_loss(scores, labels, self.tau_loss, self.early, self.tau_synapse)
        return count_loss(scores, labels, self.targets).mean()
