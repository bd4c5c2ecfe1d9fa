"""EventProp: exact gradients by the adjoint of a spiking network, with losses of spike times or of potentials.

    tau_m V' = -V + I,  tau_s I' = -I;  V = theta: spike, V -> 0, I += W e_n                             forward
    tau_m lambda_V' = -lambda_V - dl_V/dV,  tau_s lambda_I' = -lambda_I + lambda_V,  ' = -d/dt           backward
    lambda_V <- lambda_V + [theta lambda_V + (W^T (lambda_V - lambda_I))_n + dl_p/dt_k] / (tau_m V')     at own spikes
    dL/dw_ji = -tau_s sum over spikes of i of lambda_I,j                     simulators/current_based.py, layer by layer
Losses of labels y, C cross-entropy of the softmax over classes; V of readout units that never fire:
    first_spike   C(-t_j / tau_loss) + early (e^(t_y / tau_early) - 1)       t_j first spike of readout j, which fires
    max           C(max_t V_j)
    sum           C(1/T int V_j dt)
    sum_weigh_*   C(1/T int g V_j dt), g = 1 - t/T (linear), e^(-t/T) (exp), 1/(1 + e^((t/T - 1/2)/0.2)) (sigmoid), or
                  the activity of the input, its mean over time 1 (input)
    avg_xentropy  1/T int C(V_j(t)) dt
Regulariser of hidden neurons, n the mean number of spikes of a neuron over the batch:
    1/2 lbd_upper (n - nu_upper)^2 where n > nu_upper, else 1/2 lbd_lower (n - nu_upper)^2;  dL/dn / theta is added to
    dL/dV = -tau_m lambda_V at every spike, behind the jump

Why shaped: with ``sum`` lambda_I - lambda_V at early hidden spikes goes to 0 (a potential's integral does not depend on
when its spike comes, as long as it has time to decay), and the exact gradient cannot see spikes appear or vanish.
Symbols:    theta threshold, tau_m tau_membrane, tau_s tau_synapse, T duration; tau_0, tau_1, alpha of the base paper
            are tau_loss, tau_early, early.
Departures: ``sum`` divides by T, as the authors' code does. A readout that is silent counts as a spike at T in
            ``first_spike``; where it is the label's, wake (1 - max_t V / theta) takes the place of the loss's gradient
            (the second paper's code pushes V at T; without, classes fall silent and stay so). V' below least_slope
            theta/tau_m counts as that: a spike that grazes the threshold has a gradient without bound, whose steps
            silence hidden neurons for good. Hidden units are not dropped (an option of the second paper's code).
Source:     Wunderlich, Pehle 2021, doi 10.1038/s41598-021-91786-z; Nowotny, Turner, Knight 2025, arXiv:2212.01232.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataSpec
from snnlab.layers.blocks import Blocks
from snnlab.layers.spike_time_network import ExactNeuron, ExactOutput
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.spike_time_blocks import SpikeTimeBlocks, normal
from snnlab.methods.base.spike_times import MOST_SPIKES, SpikeTimes, first_spike_loss, first_spikes
from snnlab.simulators.current_based import CurrentBased
from snnlab.simulators.leaky_output import Shape, largest_potential
from snnlab.simulators.simulator import GRAZING
from snnlab.simulators.stepped import Stepped

SHAPES: dict[str, Shape] = {
    "sum": "constant",
    "sum_weigh_linear": "linear",
    "sum_weigh_exp": "exponential",
    "sum_weigh_sigmoid": "sigmoid",
    "sum_weigh_input": "input",
}
Objective = Literal[
    "first_spike",
    "max",
    "sum",
    "sum_weigh_linear",
    "sum_weigh_exp",
    "sum_weigh_sigmoid",
    "sum_weigh_input",
    "avg_xentropy",
]


class EventProp(SpikeTimes):
    """Exact gradients of spiking networks, event-driven or in steps.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; fully connected layers, recurrent or not.
        objective: the loss, see above.
        threshold: theta, > 0.
        tau_membrane, tau_synapse: tau_m and tau_s, s; they may be equal.
        duration: simulated time T, s.
        input_window: first and last moment of the input, s; the steps of encoder or data set fill it evenly.
        time_step: s; null is event-driven, else spikes fall on multiples of it (long recordings).
        max_spikes: of a hidden neuron, after which it is silent.
        least_slope: V' at a spike counts as this at least in the backward, > 0, in units of theta / tau_m.
        tau_loss, early, tau_early: of first_spike; s, weight >= 0, s.
        wake: weight, >= 0, of the term of first_spike that draws a label's silent readout to the threshold.
        weight_mean, weight_std: of the normal initial weights into hidden layers.
        readout_mean, readout_std: into the readout.
        recurrent_mean, recurrent_std: of weights through which spikes return (model=recurrent_mlp).
        nu_upper, lbd_upper, lbd_lower: of the regulariser; nu_upper in spikes a sample.
        input_dropout: probability that an input spike is left out in training, in [0, 1).

    Raises:
        ValueError: when an argument leaves its range.
        InputError: for layers that are not fully connected, and input that is not spikes.
    """

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        objective: Objective = "max",
        threshold: float = 1.0,
        tau_membrane: float = 0.02,
        tau_synapse: float = 0.005,
        duration: float = 0.05,
        input_window: tuple[float, float] = (0.0, 0.02),
        time_step: float | None = None,
        max_spikes: int = 30,
        least_slope: float = GRAZING,
        tau_loss: float = 5e-4,
        early: float = 3e-3,
        tau_early: float = 6.4e-3,
        weight_mean: float = 0.065,
        weight_std: float = 0.045,
        readout_mean: float = 0.2,
        readout_std: float = 0.37,
        recurrent_mean: float = 0.0,
        recurrent_std: float = 0.02,
        wake: float = 1.0,
        nu_upper: float = 14.0,
        lbd_upper: float = 0.0,
        lbd_lower: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        self.check_data(data, encoder)
        self.check_spikes(data, encoder, "eventprop")
        for name, number, usual in (
            ("threshold", threshold, 1),
            ("tau_membrane", tau_membrane, 0.02),
            ("tau_synapse", tau_synapse, 0.005),
            ("duration", duration, 0.05),
            ("tau_loss", tau_loss, 5e-4),
            ("tau_early", tau_early, 6.4e-3),
            ("least_slope", least_slope, 0.1),
        ):
            if not 0 < number < float("inf"):
                raise ValueError(f"EventProp: {name} = {number} must be positive and finite; {usual} is usual")
        if not 1 <= max_spikes <= MOST_SPIKES:
            raise ValueError(f"EventProp: max_spikes = {max_spikes} must lie in 1 to {MOST_SPIKES:,}; 30 is usual")
        for name, number, usual in (
            ("early", early, 3e-3),
            ("wake", wake, 1),
            ("weight_std", weight_std, 0.045),
            ("readout_std", readout_std, 0.37),
            ("recurrent_std", recurrent_std, 0.02),
            ("nu_upper", nu_upper, 14),
            ("lbd_upper", lbd_upper, 0),
            ("lbd_lower", lbd_lower, 0),
        ):
            if not 0 <= number < float("inf"):
                raise ValueError(f"EventProp: {name} = {number} must be 0 or more; {usual} is usual")
        if not 0 <= input_dropout < 1:
            raise ValueError(f"EventProp: input_dropout = {input_dropout} must lie in [0, 1); 0.2 is usual")
        if objective == "first_spike":
            self.check_early(early, duration, "tau_early", tau_early)
        self.objective, self.threshold, self.max_spikes = objective, threshold, max_spikes
        self.tau_membrane, self.tau_synapse = tau_membrane, tau_synapse
        self.tau_loss, self.early, self.tau_early = tau_loss, early, tau_early
        self.draws = (
            normal(weight_mean, weight_std),
            normal(readout_mean, readout_std),
            normal(recurrent_mean, recurrent_std),
        )
        self.nu_upper, self.lbd_upper, self.lbd_lower = nu_upper, lbd_upper, lbd_lower
        self.input_dropout, self.wake = input_dropout, wake
        self.simulator = (
            CurrentBased(tau_membrane, least_slope)
            if time_step is None
            else Stepped(tau_membrane, time_step, duration, least_slope)
        )
        super().__init__(model, data, encoder, optimizer, scheduler, duration, input_window)

    def blocks(self) -> Blocks:
        fires = self.objective == "first_spike"  # of which the first spike counts
        readout = self.neuron(1) if fires else ExactOutput(self.tau_membrane, self.tau_synapse, self.duration)
        return SpikeTimeBlocks("eventprop", lambda _: self.neuron(self.max_spikes), readout, *self.draws)

    def neuron(self, most: int) -> ExactNeuron:
        return ExactNeuron(self.threshold, self.tau_synapse, self.duration, most, self.simulator)

    def scored(self, trains: dict[str, Tensor]) -> Tensor:
        """Scores whose cross-entropy is the loss: -t / tau_loss, the largest V, or means over time, see above."""
        times = trains[list(trains)[-1]]
        if self.objective == "first_spike":
            return first_spikes(times, self.duration, self.tau_loss)
        name = list(self.weights)[-1]
        output, weight = self.chain.neuron(name), self.weights[name].used
        if self.objective == "max":
            return output.largest(times, weight)  # type: ignore[no-any-return]
        if self.objective == "avg_xentropy":  # the largest mean of log softmax is that of V: it differs by one number
            found = output.at_points(times, weight).log_softmax(-1)
            return torch.trapezoid(found, dx=1 / (len(found) - 1), dim=0)
        return output.mean(times, weight, SHAPES[self.objective], trains["input"])  # type: ignore[no-any-return]

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.objective == "first_spike":
            heard = scores.gather(1, labels[:, None]) > -self.duration / self.tau_loss
            scores = torch.where(heard, scores, scores.detach())
            return first_spike_loss(scores, labels, self.tau_loss, self.early, self.tau_early)
        if self.objective == "avg_xentropy":
            return nn.functional.nll_loss(scores, labels)
        return nn.functional.cross_entropy(scores, labels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        counts: dict[str, Tensor] = {}
        trains = self.chain.trains(self.dropped(self.frames(batch)), counts)
        scores = self.scored(trains)
        loss = self.loss(scores, batch.labels) + self.penalty(counts) + self.waking(trains, batch.labels)
        self.log_scores("train", scores, batch.labels, loss)
        return loss

    def waking(self, trains: dict[str, Tensor], labels: Tensor) -> Tensor | float:
        """wake (1 - max_t V_y / theta) of samples whose own readout is silent, the mean over the batch."""
        if self.objective != "first_spike" or not self.wake:
            return 0.0
        *_, before, last = trains
        silent = trains[last][..., 0].gather(1, labels[:, None])[:, 0].isinf()
        if not silent.any():
            return 0.0
        neuron, weight = self.chain.neuron(last), self.weights[last].used
        highest = largest_potential(trains[before][silent], weight, neuron.firing, self.tau_membrane)
        short = 1 - highest.gather(1, labels[silent][:, None]) / self.threshold
        return self.wake * short.sum() / len(labels)

    def dropped(self, times: Tensor) -> Tensor:
        """The input spikes [K, B, ...] that are not left out."""
        if not self.input_dropout:
            return times
        return torch.where(ranks.of_whole(torch.rand_like, times, 1) >= self.input_dropout, times, torch.inf)

    def penalty(self, counts: dict[str, Tensor]) -> Tensor | float:
        """The regulariser of the hidden layers' numbers of spikes [B, N]."""
        if not self.lbd_upper and not self.lbd_lower:
            return 0.0
        hidden = [mean_of(each) - self.nu_upper for name, each in counts.items() if name != list(self.weights)[-1]]
        strength = [torch.where(over > 0, self.lbd_upper, self.lbd_lower) for over in hidden]
        return sum((of * over**2).sum() / 2 for of, over in zip(strength, hidden, strict=True))  # type: ignore[return-value]


def mean_of(counts: Tensor) -> Tensor:
    """The mean over the whole batch of [B, N], of which this process has a share; the gradient is of its own."""
    mean = counts.mean(0)
    if ranks.number() == 1:
        return mean
    return mean + (ranks.total(mean.detach() * ranks.share()) / ranks.number() - mean.detach())
