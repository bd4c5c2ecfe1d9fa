"""BioLCNet: reward-modulated locally connected spiking networks (Ghaemi et al. 2022, arXiv:2109.05539).

    hidden   one locally connected layer of adaptive LIF neurons; those at one place inhibit each other
    output   k LIF neurons for each class, fully connected; those of other classes inhibit each other
    neurons  those of neurons/rival_lif.py
    theta    of a hidden neuron: * exp(-dt / tau_theta) per step, + theta_plus per spike; while it learns

    the first ``stdp_samples`` samples, labels unused, for the length of an observation: hidden weights
        x[t] = 1 (the size of the input) where a spike, else x[t-1] exp(-dt / tau_trace)      of both sides
        at a presynaptic spike    w -= nu_pre x_post                                                      (5)
        at a postsynaptic spike   w += nu_post x_pre                                                      (6)
        clipped to [0, 1]; after the sample every neuron's weights are scaled to the sum norm * (their number)  (7)
    all others: observation, decision, learning; the hidden weights rest
        response = class with most output spikes in the decision; of equals the lowest, so of silence class 0
        R = 0 before the response is there; then as reward.py says
        P[t] = P[t-1] exp(-dt / tau_trace) + spikes[t]      of both sides, from the beginning of learning
        w += lr R (P_pre[t] spikes_post[t] - spikes_pre[t] P_post[t-1] exp(-dt / tau_trace)), clipped to [0, 1]   (8)
        a spike that reaches a neuron in the step in which it fires has come first: it may be what it fired at

Departures: spikes of the input are drawn by a Bernoulli trial each step (BindsNET draws Poisson intervals). R acts on
            the eligibility of its own step, BindsNET's on that of the step before. Evaluation shows observation and
            decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.layers.over_time import watched
from snnlab.methods.base.local_plasticity import LEAST
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.base.sample_by_sample import SampleBySample
from snnlab.methods.biolcnet.reward import Constant, Reward
from snnlab.neurons.rival_lif import RivalLIF
from snnlab.neurons.time import decay
from snnlab.questions.question import running_sum
from snnlab.weights.local import Local2d
from snnlab.weights.weight import Weight

LAST = 50  # episodes before a switch, or the end, whose reward is logged


class BioLCNet(SampleBySample):
    """STDP in a locally connected layer, then reward-modulated STDP; the rules are in the docstring of this file.

    Args:
        model, data, encoder, scheduler: as in Method; the model has one hidden layer, locally connected (model=local)
            or full (model=mlp).
        lr: of (8); a scheduler moves it.
        stdp_samples: so many training samples are shown for STDP, all later ones for reward.
        neurons: output neurons of a class.
        reward: of reward.py; None is Constant().
        phases: lengths of observation, decision and learning, as shares of a presentation.
        learn_hidden: false leaves the hidden weights as they were drawn: a twin.
        permuted_reward: the response is held against a class drawn at random, not against the label: a twin.
        nu_pre, nu_post, norm: of (5), (6), (7).
        tau_trace, tau_theta, tau_membrane, tau_refractory, time_step: seconds.
        theta_plus, threshold: in the unit of the membrane potential.
        inhibition, inhibition_output: among the hidden neurons of a place, among the output neurons of classes.

    Raises:
        InputError: when an argument leaves its range, or the model has not one hidden layer.
    """

    writes_weights = True
    shown: Tensor  # training samples so far
    layout: tuple[int, int]  # height and width that the locally connected weight reads

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        lr: float = 0.1,
        scheduler: Scheduler | None = None,
        stdp_samples: int = 2000,
        neurons: int = 20,
        reward: Reward | None = None,
        phases: Sequence[float] = (1.0, 1.0, 1.0),
        learn_hidden: bool = True,
        permuted_reward: bool = False,
        nu_pre: float = 1.0e-4,
        nu_post: float = 1.0e-2,
        norm: float = 0.25,
        tau_trace: float = 0.02,
        tau_theta: float = 1000.0,
        theta_plus: float = 0.05,
        tau_membrane: float = 0.1,
        tau_refractory: float = 0.005,
        time_step: float = 0.001,
        threshold: float = 13.0,
        inhibition: float = 100.0,
        inhibition_output: float = 100.0,
    ) -> None:
        for name, value in (("lr", lr), ("nu_pre", nu_pre), ("nu_post", nu_post), ("theta_plus", theta_plus)):
            if not value >= 0 or (name == "lr" and value == 0):
                raise InputError(f"method.{name} = {value} must be positive; 0.1, 1e-4, 1e-2 and 0.05 are the authors'")
        times = (("tau_trace", tau_trace), ("tau_theta", tau_theta), ("tau_membrane", tau_membrane))
        for name, value in (*times, ("time_step", time_step), ("threshold", threshold)):
            if not value > 0:
                raise InputError(f"method.{name} = {value} must be positive")
        for name, value in (("inhibition", inhibition), ("inhibition_output", inhibition_output)):
            if not value >= 0:
                raise InputError(f"method.{name} = {value} must not be negative; 100 is the authors'")
        if not tau_refractory >= 0:
            raise InputError(f"method.tau_refractory = {tau_refractory} must not be negative; 0.005 s is usual")
        if not 0 < norm <= 1:
            raise InputError(
                f"method.norm = {norm} must lie in (0, 1], the mean weight of a neuron; 0.25 is the authors'"
            )
        if stdp_samples < 0:
            raise InputError(f"method.stdp_samples = {stdp_samples} must be 0 or more; 2000 is the authors'")
        if neurons < 1:
            raise InputError(f"method.neurons = {neurons} of a class must be at least 1; 100 are the authors'")
        if len(phases) != 3 or not all(0 < phase < float("inf") for phase in phases):
            raise InputError(f"method.phases = {list(phases)} must be three positive shares; [1, 1, 1] is the authors'")
        self.stdp_samples, self.neurons, self.phases = stdp_samples, neurons, tuple(phases)
        self.learn_hidden, self.permuted_reward = learn_hidden, permuted_reward
        self.nu_pre, self.nu_post, self.norm, self.theta_plus = nu_pre, nu_post, norm, theta_plus
        self.trace, self.theta_fade = decay(tau_trace, time_step), decay(tau_theta, time_step)
        self.inhibition, self.inhibition_output = inhibition, inhibition_output
        self.of_neuron: dict[str, Any] = {"tau_membrane": tau_membrane, "tau_refractory": tau_refractory}
        self.of_neuron |= {"time_step": time_step, "threshold": threshold}
        super().__init__(model, data, encoder, partial(torch.optim.SGD, lr=lr), scheduler)
        self.check_layers()
        self.reward = Constant() if reward is None else reward
        self.reward.check(data.classes)
        self.rewards: list[float] = []  # of each episode, 1 where it was rewarded
        self.register_buffer("shown", torch.zeros((), dtype=torch.long))
        self.normalise()

    def outputs(self) -> int:
        return self.neurons * self.data.classes

    def blocks(self) -> Blocks:
        return BioLCNetBlocks(self)

    def check_layers(self) -> None:
        """Refuse a network that is not weight - neurons - weight - output neurons."""
        used = Chain(self.network).without((nn.Flatten, nn.Identity, nn.ZeroPad2d))
        if [isinstance(link.layer, RivalLIF) for link in used] != [False, True, False, True] or not (
            all(used[i].weight is not None for i in (0, 2))
            and (isinstance(used[0].layer, Local2d) or used[0].weight.dense)  # type: ignore[union-attr]
            and used[2].weight.dense  # type: ignore[union-attr]
        ):
            names = " - ".join(type(link.layer).__name__ for link in used)
            raise InputError(
                f"method=biolcnet trains one hidden layer and an output layer, and this model is {names}; use "
                "model=local, or model=mlp with one number in model.hidden"
            )

    def parts(self) -> tuple[Weight, RivalLIF, Weight, RivalLIF]:
        """Weight and neurons of the hidden layer and of the output."""
        weights = list(Chain(self.network).weights().values())
        layers: list[Any] = [link.layer for link in Chain(self.network).of(RivalLIF)]
        hidden, output = layers
        return weights[0], hidden, weights[1], output

    # what is refused --------------------------------------------------------------------------------------------------
    def check_freezing(self, asked: str) -> None:
        raise InputError(
            f"{asked}: this rule moves its weights itself; method.learn_hidden=false leaves the hidden ones"
        )

    def prepare(self, data: DataModule) -> None:
        for name, weight in Chain(self.network).weights().items():
            used = weight.used.detach()
            if not bool(((used >= 0) & (used <= 1)).all()):
                raise InputError(
                    f"method=biolcnet: init gives {name} outside [0, 1]; use init=default, which draws it there"
                )

    @torch.no_grad()
    def normalise(self) -> None:
        """(7)"""
        weight = self.parts()[0]
        values = weight.latent
        rows = values.flatten(-3) if values.dim() > 2 else values  # [filters, rows, columns, taps] or [hidden, inputs]
        rows *= self.norm * rows.shape[-1] / rows.sum(-1, keepdim=True).clamp(min=1e-12)
        weight.write(rows.view_as(values))

    # the training step ------------------------------------------------------------------------------------------------
    def windows(self, steps: int) -> tuple[int, int]:
        """The steps at which observation and decision end in a presentation of so many."""
        whole = sum(self.phases)
        observed = round(steps * self.phases[0] / whole)
        decided = round(steps * (self.phases[0] + self.phases[1]) / whole)
        decided = max(min(decided, steps - 1), 1)
        return min(observed, decided - 1), decided

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        frames, lr = self.frames(batch), optimizer.param_groups[0]["lr"]
        first = min(max(self.stdp_samples - int(self.shown), 0), frames.shape[1])
        every: Any = {"on_step": False, "on_epoch": True}
        if first:
            counts, _, _ = self.present(frames[:, :first], None, None)
            self.log("train/hidden_spikes", counts[1].float() / first, batch_size=first, **every)
        if rest := frames.shape[1] - first:
            labels = batch.labels[first:]
            right = self.reward.right(labels, len(self.rewards))
            held = torch.randint_like(labels, self.data.classes) if self.permuted_reward else right
            counts, votes, rewards = self.present(frames[:, first:], held, lr)
            self.rewards += [float(r > 0) for r in rewards.tolist()]
            self.log_phases(len(self.rewards) - rest)
            self.log("train/reward", (rewards > 0).float().mean(), batch_size=rest, **every)
            self.log("train/output_spikes", counts[2].float() / rest, batch_size=rest, **every)
            scores = shares(votes).to(self.device)
            self.log_scores("train", scores, labels, self.loss(scores, labels))
        self.shown += frames.shape[1]
        optimizer.step()  # moves nothing, as no parameter has a gradient: it counts the batch

    @torch.no_grad()
    def present(self, frames: Tensor, labels: Tensor | None, lr: float | None) -> tuple[Tensor, Tensor, Tensor]:
        """Show the samples of frames [T, B, ...] one after the other.

        Args:
            labels: None and no ``lr``: STDP for the length of an observation; else what responses are held against.
            lr: of (8); None with labels: weights rest, and frames are observation and decision alone.

        Returns:
            counts of spikes of input, hidden and output neurons [3]; votes [B, classes]; R [B].
        """
        first, hidden, second, output = self.parts()
        cpu = torch.device("cpu")
        steps = len(frames)
        stdp = labels is None
        # frames to be scored are observation and decision alone
        observed, decided = (self.decision(steps), steps) if not stdp and lr is None else self.windows(steps)
        ends = max(observed, 1) if stdp else steps
        shown = self.cropped(frames[:ends]).flatten(2)
        used1, used2 = first.used.detach().to(cpu), second.used.detach().to(cpu)
        dtype = used1.numpy().dtype
        filters = used1.shape[0]
        w1 = used1.reshape(filters, -1, used1[0].numel() if used1.dim() == 2 else used1[0, 0, 0].numel())
        taps: Any = np.ascontiguousarray(w1.permute(1, 2, 0).numpy())  # [places, taps, filters]
        w2 = np.ascontiguousarray(used2.T.numpy())  # [hidden, outputs]
        theta = np.ascontiguousarray(hidden.theta.cpu().to(used1.dtype).reshape(filters, -1).T.numpy())
        count = 0 if labels is None else len(labels)
        held = np.zeros(shown.shape[1], np.int64) if labels is None else labels.cpu().numpy().astype(np.int64)
        votes, given = np.zeros((shown.shape[1], self.data.classes), dtype), np.zeros(shown.shape[1])
        counts, sizes = np.zeros(3, np.int64), self.reward.sizes.cpu().numpy().astype(np.float64)
        taught = stdp and self.learn_hidden
        real = dtype.type
        from snnlab.methods.biolcnet.kernel import present

        present(
            np.ascontiguousarray(shown.detach().to(cpu, used1.dtype).numpy()),
            held,
            self.reads(),
            taps,
            w2,
            theta,
            sizes,
            (observed, decided, ends, hidden.refractory_steps, self.neurons, stdp, stdp),
            tuple(
                map(
                    real,
                    (
                        hidden.decay,
                        hidden.threshold,
                        hidden.inhibition,
                        output.inhibition,
                        self.theta_plus,
                        self.theta_fade,
                    ),
                )
            ),
            tuple(
                map(
                    real,
                    (
                        self.nu_pre if taught else 0,
                        self.nu_post if taught else 0,
                        self.trace,
                        self.norm * taps.shape[1],
                        lr or 0,
                    ),
                )
            ),
            self.reward_numbers(),
            votes,
            given,
            counts,
        )
        if taught:
            first.write(torch.from_numpy(taps).permute(2, 0, 1).reshape(used1.shape).to(first.used))
        if count and lr is not None:
            second.write(torch.from_numpy(w2).T.to(second.used))
            self.reward.sizes.copy_(torch.from_numpy(sizes))
        hidden.theta.copy_(torch.from_numpy(theta).T.reshape(hidden.theta.shape).to(hidden.theta))
        return torch.from_numpy(counts), torch.from_numpy(votes), torch.from_numpy(given)

    def reward_numbers(self) -> Any:
        """What the kernel needs of the reward beside its sizes."""
        from snnlab.methods.biolcnet.reward import LARGEST

        bounds = [bound for start in self.reward.start for bound in (start / LARGEST, start * LARGEST)]
        return np.array([self.reward.rate, self.reward.window, *bounds])

    def cropped(self, frames: Tensor) -> Tensor:
        """Frames [T, B, ...] as the hidden weights read them."""
        for link in Chain(self.network).of(nn.ZeroPad2d):
            frames = link.layer(frames)
        return frames

    def reads(self) -> Any:
        """The input of each tap [places, taps], -1 in the padding."""
        weight = self.parts()[0]
        if not isinstance(weight, Local2d):
            return np.arange(weight.inputs, dtype=np.int64)[None]
        channels, kernel, padding = weight.channels, weight.kernel, weight.padding
        height, width = self.layout
        index = 1 + torch.arange(channels * height * width, dtype=torch.float64).view(1, channels, height, width)
        found = nn.functional.unfold(index, kernel, padding=padding, stride=weight.stride)[0].T.long() - 1
        return np.ascontiguousarray(found.numpy())

    # the episodes -----------------------------------------------------------------------------------------------------
    def log_phases(self, before: int) -> None:
        """Log the last rewards of the phases that have ended since episode ``before``, and at an epoch's end, too."""
        now, switches = len(self.rewards), [0, *self.reward.switches]
        ends = {phase: end for phase, end in enumerate(switches[1:]) if before < end <= now}
        if self.trainer.is_last_batch:
            phase = sum(switch < now for switch in switches) - 1
            ends[phase] = now
        for phase, end in ends.items():
            last = self.rewards[max(end - LAST, switches[phase]) : end]
            self.log(f"train/reward_of_phase_{phase}", sum(last) / len(last), on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["rewards"] = list(self.rewards)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.rewards = list(checkpoint.get("rewards", []))

    def figures(self, data: DataModule) -> dict[str, Any]:
        """The reward over episodes, where the training has given some."""
        from snnlab.methods.biolcnet.figures import reward_figure

        return {"reward": reward_figure(self.rewards, self.reward.switches)} if self.rewards else {}

    # scoring ----------------------------------------------------------------------------------------------------------
    def frames(self, batch: Batch) -> Tensor:
        frames = super().frames(batch)
        return frames if self.training else frames[: self.windows(len(frames))[1]]

    def compiled(self) -> bool:
        """Whether the kernel may count: nobody watches the layers, and no chip limits their states."""
        return self.network.path.enabled and not any(watched(link.layer) for link in Chain(self.network).links)

    def tally(self, spikes: Tensor) -> Tensor:
        """Spikes [..., outputs] as those of the classes [..., K]."""
        return spikes.unflatten(-1, (self.data.classes, self.neurons)).sum(-1)

    def decision(self, steps: int) -> int:
        """The first step whose spikes are votes, of an evaluation of so many steps."""
        return min(round(steps * self.phases[0] / (self.phases[0] + self.phases[1])), steps - 1)

    def scores(self, frames: Tensor) -> Tensor:
        if self.compiled():
            self.network.path.fused.add("BioLCNet")
            _, votes, _ = self.present(frames, torch.zeros(frames.shape[1], dtype=torch.long), None)
            return shares(votes).to(frames.device)
        outputs: Tensor = self.network(frames)
        return shares(self.tally(outputs[self.decision(len(frames)) :].sum(0)))

    def scores_over_time(self, frames: Tensor) -> Tensor:
        outputs: Tensor = self.network(frames).clone()
        outputs[: self.decision(len(frames))] = 0
        return shares(self.tally(running_sum(outputs)))

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the shares in nats, for the record; shares below 0.001 count as 0.001."""
        return -scores.gather(1, labels.unsqueeze(1)).clamp(min=LEAST).log().mean()


def shares(votes: Tensor) -> Tensor:
    """Votes [..., K] as shares of all of them; 0 where nobody votes."""
    return votes / votes.sum(-1, keepdim=True).clamp(min=1)


class BioLCNetBlocks(Blocks):
    """Weights in [0, 1] without bias around neurons that inhibit each other."""

    def __init__(self, method: BioLCNet) -> None:
        super().__init__(self.rivals, nn.Identity, bias=False)
        self.method = method
        self.places: tuple[int, ...] = ()

    def rivals(self, features: int) -> RivalLIF:
        m = self.method
        return RivalLIF((features, *self.places), 1, inhibition=m.inhibition, **m.of_neuron)

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        weight = super().linear(inputs, outputs)
        nn.init.uniform_(weight.get_parameter("weight"))
        return weight

    def local(self, inputs: int, outputs: int, size: tuple[int, int], kernel: int, stride: int = 1) -> nn.Module:
        weight = super().local(inputs, outputs, size, kernel, stride)
        nn.init.uniform_(weight.get_parameter("weight"))
        self.places, self.method.layout = tuple(weight.get_parameter("weight").shape[1:3]), size
        return weight

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        m = self.method
        neurons = RivalLIF((outputs,), m.neurons, inhibition=m.inhibition_output, **m.of_neuron)
        return [("readout_weight", self.linear(inputs, outputs)), ("readout", neurons)]
