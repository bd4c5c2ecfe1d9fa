"""Multi-spike timing (reconstruction), after Yamamoto, Sakemi, Aihara, arXiv:2211.16113, 2022.

Only the abstract and the first lines of the introduction could be read. They fix: gradients that are accurate with
respect to spike timing, neurons that fire many times, a time constant of the postsynaptic current and one of the
membrane, output by spike timing. Kernel, reset, loss and every constant below are our reconstruction.

    u(t) = sum_i w_i epsilon(t - t_i) - sum_k eta(t - t_k);  spike k: u(t_k) = theta from below   simulators/implicit.py
    epsilon: difference of the exponentials of tau_m and tau_I, (s/tau) e^(-s/tau) where they are equal
    dt_k/dw_i = -1/u'_k [sum epsilon(t_k - t_i) + sum_{n<k} eta'(t_k - t_n) dt_n/dw_i]; of input times in the same way
    first:  L = cross-entropy of softmax(-t_j / tau_soft)                                         t_j first spike of j
              + early (e^(t_label / tau_early) - 1)                                               pulls it forward
    count:  L = mean over samples of 1/2 sum over classes of (n_j - target_j)^2                   n_j spikes of j

Symbols:    theta threshold, tau_I tau_synapse, tau_m tau_membrane, T duration; output times are those of the readout.
Gradient:   exact for spike times, by implicit differentiation through every earlier spike of the neuron.
            A count has none: dL/dt_k = target - n at every spike of the neuron, in units of L per second.
Departures: A silent readout counts as a spike at T in ``first``. Weights into silent neurons, which have no gradient,
            are raised, see base/silent_neurons.py. Slopes u' at a spike are taken as 0.001 theta/tau_m at least.
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
from snnlab.simulators.implicit import Implicit, Reset


class MultispikeTiming(RaisesSilent):
    """Multi-spike timing (reconstruction); the rule is in the docstring of this file.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the model has fully connected layers only.
        objective: first (time to first spike of the readout) or count (its spikes).
        threshold, readout_threshold: theta of hidden layers and of the readout.
        tau_membrane, tau_synapse: tau_m and tau_I, s; equal ones make epsilon an alpha function.
        reset: subtractive, or hard, after which potential and current begin anew.
        reset_height: what a subtractive reset takes, in thresholds.
        tau_reset: time constant with which that decays, s; None: tau_membrane.
        max_spikes, readout_max_spikes: of a neuron, after which it is silent; 1 is time to first spike.
        duration: simulated time T, s.
        input_window: first and last moment of the input, s; the steps of encoder or data set fill it evenly.
        tau_soft: of the softmax, s, for first.
        early, tau_early: weight, >= 0, and time constant, s, of the term that pulls the label's first spike forward.
        targets: spikes of the label's neuron and of the others, for count.
        weight_range, readout_range: bounds of the uniform initial weights.
        bump: first raise of the weights into a silent neuron, >= 0; 0 never raises.
        silent_share, readout_silent_share: a neuron silent in more than this share of a batch, a readout
            neuron of the samples of its class, is raised.

    Raises:
        ValueError: when an argument leaves its range.
        InputError: for layers that are not fully connected, input that is not spikes, a target that the buffer cannot
            hold, and a shape of the reset where it is hard.
    """

    label = "Multi-spike timing (reconstruction)"

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        objective: Literal["first", "count"] = "first",
        threshold: float = 1.0,
        readout_threshold: float = 1.0,
        tau_membrane: float = 0.02,
        tau_synapse: float = 0.01,
        reset: Reset = "subtractive",
        reset_height: float = 1.0,
        tau_reset: float | None = None,
        max_spikes: int = 30,
        readout_max_spikes: int = 30,
        duration: float = 0.06,
        input_window: tuple[float, float] = (0.0, 0.02),
        tau_soft: float = 0.002,
        early: float = 0.05,
        tau_early: float = 0.01,
        targets: tuple[float, float] = (15.0, 3.0),
        weight_range: tuple[float, float] = (-0.5, 1.0),
        readout_range: tuple[float, float] = (-0.5, 1.0),
        bump: float = 5e-4,
        silent_share: float = 0.99,
        readout_silent_share: float = 0.0,
    ) -> None:
        self.check_data(data, encoder)
        for name, number, usual in (
            ("threshold", threshold, 1),
            ("readout_threshold", readout_threshold, 1),
            ("tau_membrane", tau_membrane, 0.02),
            ("tau_synapse", tau_synapse, 0.01),
            ("reset_height", reset_height, 1),
            ("tau_reset", tau_membrane if tau_reset is None else tau_reset, tau_membrane),
            ("duration", duration, 0.06),
            ("tau_soft", tau_soft, 0.002),
            ("tau_early", tau_early, 0.01),
        ):
            if not 0 < number < math.inf:
                raise ValueError(f"MultispikeTiming: {name} = {number} must be positive and finite; {usual} is usual")
        for name, most in (("max_spikes", max_spikes), ("readout_max_spikes", readout_max_spikes)):
            if not 1 <= most <= MOST_SPIKES:
                raise ValueError(f"MultispikeTiming: {name} = {most} must lie in 1 to {MOST_SPIKES:,}; 30 is usual")
        for name, (low, high) in (("weight_range", weight_range), ("readout_range", readout_range)):
            if not -math.inf < low < high < math.inf:
                raise ValueError(f"MultispikeTiming: {name} = {[low, high]} must rise; [-0.5, 1] is usual")
        if not 0 <= min(targets) <= max(targets) < math.inf:
            raise ValueError(f"MultispikeTiming: targets = {list(targets)} must be 0 or more; [15, 3] is usual")
        if not 0 <= early < math.inf:
            raise ValueError(f"MultispikeTiming: early = {early} must be 0 or more; 0.05 is usual")
        if objective == "count" and readout_max_spikes < max(targets):
            raise InputError(
                f"method.readout_max_spikes = {readout_max_spikes} cannot reach method.targets = {list(targets)}; "
                f"give it {math.ceil(max(targets))} or more"
            )
        if objective == "first":
            self.check_early(early, duration, "tau_early", tau_early)
        for name, value, given in (
            ("reset_height", reset_height, reset_height != 1),
            ("tau_reset", tau_reset, tau_reset is not None),
        ):
            if reset == "hard" and given:
                raise InputError(
                    f"method.{name} = {value} shapes a subtractive reset, and method.reset=hard begins u anew; "
                    "use method.reset=subtractive"
                )
        self.check_spikes(data, encoder, "multispike_timing")
        self.objective, self.targets = objective, targets
        self.tau_soft, self.early, self.tau_early = tau_soft, early, tau_early
        self.threshold, self.max_spikes, self.tau_synapse = threshold, max_spikes, tau_synapse
        self.readout_threshold, self.readout_max_spikes = readout_threshold, readout_max_spikes
        self.weight_range, self.readout_range = weight_range, readout_range
        self.simulator = Implicit(tau_membrane, reset, reset_height, tau_reset)
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

    def blocks(self) -> Blocks:
        return SpikeTimeBlocks(
            "multispike_timing",
            lambda i: self.neuron(self.threshold, self.max_spikes),
            self.neuron(self.readout_threshold, self.readout_max_spikes),
            uniform(self.weight_range),
            uniform(self.readout_range),
        )

    def neuron(self, threshold: float, most: int) -> ExactNeuron:
        return ExactNeuron(threshold, self.tau_synapse, self.duration, most, self.simulator)

    def read(self, times: Tensor) -> Tensor:
        """Return the scores [B, classes] of the readout's spike times [B, classes, K]."""
        if self.objective == "first":
            return first_spikes(times, self.duration, self.tau_soft)
        counts: Tensor = SpikeCount.apply(times, self.duration)  # type: ignore[no-untyped-call]
        return counts

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.objective == "first":
            return first_spike_loss(scores, labels, self.tau_soft, self.early, self.tau_early)
        return count_loss(scores, labels, self.targets).mean()
