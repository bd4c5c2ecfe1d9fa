"""Bursting cortico-cortical networks (Greedy, Zhu, Pemberton, Mellor, Costa, NeurIPS 2022; arXiv:2206.11769).

Discrete-time model. Layer l, batch size B, one-hot target y, baseline burst probability p0:
    e_l = sigma(W_l e_{l-1} + b_l)                                  event rates; e_0 is the mean input over time
    p_L = p0 ((y - e_L)(1 - e_L) + 1)                           (1) burst probability of the output layer
    v_l = beta_{l+1} Y_l - e_{l+1} Q_l                          (2) apical potential, layers/microcircuit.py
    p_l = sigma(alpha v_l (1 - e_l) + beta)                     (3) burst probability of a hidden layer
    beta_l = p_l e_l,  delta_l = -(p_l - p0) e_l                (4) burst rate, error
    dW_l = -lr delta_l^T e_{l-1} / B,  db_l = -lr sum delta_l / B
    dQ_l = lr_Q e_{l+1}^T v_l / B,  dY_l = -lr_Y e_{l+1}^T v_l / B
Everything is worked out in one phase, from the top down; no gradient is taken by autograd.

Symbols:    the paper's u, Y and Q are -v, -Y and -Q here, as in the authors' code. Q and Y have the shape of W_{l+1}.
Limit:      Y = W_{l+1}, Q = p0 Y and small errors make delta_l p0 times the error of backpropagation for
            1/2 |e_L - y|^2 when alpha = 1 / (p0 (1 - p0)); the loss that is logged has that factor.
Twins:      gradient="backprop" and "alignment" train the same net on the same loss with the same lr: errors come down
            through W_{l+1}, or through Y_l (feedback alignment), times the slope.
Departures: sgd of any kind may take the place of the authors'; events and encoded images are averaged over time.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab import ranks
from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.microcircuit import EventRate, Pathways, Stage, stages
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.own_steps import OwnSteps
from snnlab.methods.base.rates import Rates
from snnlab.methods.burstccn.figures import angles_figure, apical_figure
from snnlab.metrics.angle import Angle

Gradient = Literal["burst", "backprop", "alignment"]


class RateBlocks(Blocks):
    """Weights around event rates; the readout is a layer of rates as well.

    Args:
        gain: of the Xavier normal that weights start from; biases start at 0.
        bias: whether weights carry a bias.
    """

    def __init__(self, gain: float, bias: bool) -> None:
        self.gain, self.bias = gain, bias

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return self.started(nn.Linear(inputs, outputs, self.bias))

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        return self.started(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=self.bias))

    def started(self, layer: nn.Module) -> nn.Module:
        nn.init.xavier_normal_(layer.get_parameter("weight"), self.gain)
        if self.bias:
            nn.init.zeros_(layer.get_parameter("bias"))
        return layer

    def neuron(self, features: int) -> nn.Module:
        return EventRate()

    def recurrent(self, features: int) -> nn.Module:
        raise InputError("a recurrent layer needs time, and event rates see one frame; use model=mlp or small_conv")

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        return [("readout_weight", self.linear(inputs, outputs)), ("readout", EventRate())]


class Activity(NamedTuple):
    """What a batch does to the network, by stage from the input to the output; tensors [B, ...]."""

    below: list[Tensor]  # e_{l-1}; the input for the first stage
    inputs: list[Tensor]  # x_l: the same behind pools and flatten
    events: list[Tensor]  # e_l
    probabilities: list[Tensor]  # p_l
    apical: list[Tensor]  # v_l of the hidden stages
    errors: list[Tensor]  # delta_l


class BurstCCN(Rates, OwnSteps):
    """BurstCCN in discrete time; the equations are in the docstring of this file.

    Args:
        model, data, encoder, scheduler: as in Method; the model is a chain of weights and rates.
        optimizer: as in Method; the rule fills ``.grad``, so that SGD with learning rate lr makes the updates above.
        gradient: burst; or a twin: backprop, or alignment (feedback alignment through Y).
        Y: burst pathway: random (N(0, Y_scale^2)), symmetric (W_{l+1} at the start), or tied to W_{l+1} at all times.
        Q: event pathway: tied (p0 Y at all times), symmetric (p0 Y at the start), or random (N(0, (p0 Y_scale)^2)).
        Y_scale: standard deviation of random feedback, > 0.
        lr_Q, lr_Y: learning rates of Q and Y, >= 0, as they are at the start of a schedule; 0: fixed. A tied pathway
            follows what it is tied to.
        W_gain: of the Xavier normal that W starts from, > 0.
        input_gain: factor of the mean input, > 0: events are rare, and their rates far below those of pixels.
        p0: baseline burst probability, in (0, 1), = sigma(beta).
        alpha, beta: slope > 0 and offset of the burst probability.
        angle_every: batches between two looks at the angle to backpropagation; 0: never.
        bias: whether weights carry a bias.

    Raises:
        InputError: when an argument leaves its range, arguments contradict each other, or the model is no such chain.
    """

    clips = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        gradient: Gradient = "burst",
        Y: Literal["random", "symmetric", "tied"] = "random",
        Q: Literal["tied", "symmetric", "random"] = "symmetric",
        Y_scale: float = 0.5,
        lr_Q: float = 7.31e-4,
        lr_Y: float = 0.0,
        W_gain: float = 3.6,
        input_gain: float = 1.0,
        p0: float = 0.5,
        alpha: float = 4.0,
        beta: float = 0.0,
        angle_every: int = 50,
        bias: bool = True,
    ) -> None:
        for name, value, choices in (
            ("gradient", gradient, ("burst", "backprop", "alignment")),
            ("Y", Y, ("random", "symmetric", "tied")),
            ("Q", Q, ("tied", "symmetric", "random")),
        ):
            if value not in choices:
                raise InputError(f"method.{name} = {value!r} must be {', '.join(choices[:-1])} or {choices[-1]}")
        for name, number, usual in (
            ("Y_scale", Y_scale, 0.5),
            ("W_gain", W_gain, 3.6),
            ("input_gain", input_gain, 1.0),
            ("alpha", alpha, 4.0),
        ):
            if not number > 0:
                raise InputError(f"method.{name} = {number} must be positive; {usual} is the authors'")
        for name, number in (("lr_Q", lr_Q), ("lr_Y", lr_Y), ("angle_every", angle_every)):
            if not number >= 0:
                raise InputError(f"method.{name} = {number} must be 0 or more; 0 switches it off")
        if not 0 < p0 < 1:
            raise InputError(f"method.p0 = {p0} must lie between 0 and 1; 0.5 is the authors'")
        if abs(p0 - (resting := 0.5 * (1 + math.tanh(beta / 2)))) > 1e-6:
            raise InputError(
                f"method.p0 = {p0} must be sigma(method.beta) = {resting:.6g}, or hidden layers would learn without an "
                f"error; for this p0 it is method.beta={math.log(p0 / (1 - p0)):.6g}"
            )
        if Y == "tied" and lr_Y > 0:
            raise InputError(f"method.lr_Y = {lr_Y} has nothing to move where method.Y=tied; use method.lr_Y=0")
        self.gradient, self.Y, self.Q, self.Y_scale, self.lr_Q, self.lr_Y = gradient, Y, Q, Y_scale, lr_Q, lr_Y
        self.W_gain, self.input_gain, self.p0, self.alpha, self.beta = W_gain, input_gain, p0, alpha, beta
        self.angle_every, self.bias = angle_every, bias
        super().__init__(model, data, encoder, optimizer, scheduler)
        if gradient != "burst":
            self.label = f"{'backpropagation' if gradient == 'backprop' else 'feedback alignment'} twin of burstccn"
        self.stages = stages(self.network, "burstccn")
        feedback = gradient != "backprop"
        self.pathways = nn.ModuleDict(
            {
                stage.name: Pathways(stage.weight.used.shape, Y != "tied", gradient == "burst" and Q != "tied")
                for stage in (self.stages[1:] if feedback else [])
            }
        )  # by the weight of the stage above
        self.angles = nn.ModuleDict({stage.name: Angle() for stage in self.stages})
        self.history: list[dict[str, float]] = []  # angles by epoch
        self.start_feedback()

    def blocks(self) -> Blocks:
        return RateBlocks(self.W_gain, self.bias)

    @torch.no_grad()
    def start_feedback(self, draw: bool = True) -> None:
        """Give Y and Q the weights they start from, random ones if ``draw``; those not learned take no gradient."""
        for above in self.stages[1:] if self.pathways else []:
            pathways: Any = self.pathways[above.name]
            if pathways.Y is not None:
                if self.Y == "symmetric":
                    pathways.Y.copy_(above.weight.used)
                elif draw:
                    pathways.Y.normal_(0, self.Y_scale)
                pathways.Y.requires_grad_(self.gradient == "burst" and self.lr_Y > 0)
            if pathways.Q is not None:
                if self.Q == "symmetric":
                    pathways.Q.copy_(self.p0 * self.burst_weight(above))
                elif draw:
                    pathways.Q.normal_(0, self.p0 * self.Y_scale)
                pathways.Q.requires_grad_(self.lr_Q > 0)

    def prepare(self, data: DataModule) -> None:
        """Copy W into what is symmetric to it: an initialiser may have changed it since."""
        self.start_feedback(draw=False)  # the run is seeded anew by now: a draw would repeat W's numbers

    def burst_weight(self, above: Stage) -> Tensor:
        """Y of the pathway that comes down from stage ``above``."""
        pathways: Any = self.pathways[above.name]
        return above.weight.used if pathways.Y is None else pathways.Y

    def event_weight(self, above: Stage) -> Tensor:
        """Q of the pathway that comes down from stage ``above``."""
        pathways: Any = self.pathways[above.name]
        return self.p0 * self.burst_weight(above) if pathways.Q is None else pathways.Q

    # evaluation -------------------------------------------------------------------------------------------------------
    def frames(self, batch: Batch) -> Tensor:
        """input_gain times the mean input over time, [1, B, ...]."""
        return self.input_gain * super().frames(batch)

    def target(self, labels: Tensor, like: Tensor) -> Tensor:
        return nn.functional.one_hot(labels, self.data.classes).to(like.dtype)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """p0 / 2 times the squared error, summed over the classes, averaged over the batch."""
        return self.p0 / 2 * (scores - self.target(labels, scores)).pow(2).sum(-1).mean()

    # the rule ---------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def ascend(self, inputs: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Event rates of inputs [B, ...] by stage: e_{l-1}, x_l, e_l."""
        below, gathered, events = [], [], []
        for stage in self.stages:
            below.append(inputs)
            gathered.append(stage.gather(inputs))
            inputs = stage.rate(stage.weight.layer(gathered[-1]))
            events.append(inputs)
        return below, gathered, events

    @torch.no_grad()
    def react(self, inputs: Tensor, target: Tensor | None) -> Activity:
        """Show a batch [B, ...] and its target [B, K] (None: no teaching signal, p_L = p0)."""
        below, gathered, events = self.ascend(inputs)
        output = events[-1]
        taught = torch.zeros_like(output) if target is None else (target - output) * self.stages[-1].rate.gate(output)
        probabilities = [self.p0 * (taught + 1)]  # (1)
        apical: list[Tensor] = []
        for i in range(len(self.stages) - 2, -1, -1):
            above, bursts = self.stages[i + 1], probabilities[0] * events[i + 1]
            to = gathered[i + 1], below[i + 1]
            if self.Q == "tied":  # Q = p0 Y: one pathway carries the difference, which is exactly 0 at p = p0
                v = above.down(bursts - self.p0 * events[i + 1], self.burst_weight(above), *to)
            else:
                v = above.down(bursts, self.burst_weight(above), *to)
                v = v - above.down(events[i + 1], self.event_weight(above), *to)  # (2)
            apical.insert(0, v)
            drive = self.alpha * v * self.stages[i].rate.gate(events[i]) + self.beta
            probabilities.insert(0, torch.sigmoid(drive))  # (3)
        errors = [-(p - self.p0) * e for p, e in zip(probabilities, events, strict=True)]  # (4)
        return Activity(below, gathered, events, probabilities, apical, errors)

    @torch.no_grad()
    def backpropagated(self, activity: Activity, target: Tensor, aligned: bool = False) -> list[Tensor]:
        """Errors of backpropagation by stage, p0 dL/dv for L = 1/2 |e - y|^2; ``aligned`` sends them through Y."""
        output = activity.events[-1]
        errors = [self.p0 * (output - target) * self.stages[-1].rate.slope(output)]
        for i in range(len(self.stages) - 2, -1, -1):
            above = self.stages[i + 1]
            weight = self.burst_weight(above) if aligned else above.weight.used
            arrived = above.down(errors[0], weight, activity.inputs[i + 1], activity.below[i + 1])
            errors.insert(0, arrived * self.stages[i].rate.slope(activity.events[i]))
        return errors

    @torch.no_grad()
    def set_gradients(self, activity: Activity, errors: list[Tensor]) -> None:
        """Put minus the updates over their learning rates into ``.grad``."""
        size = len(errors[0]) / ranks.share()
        for stage, error, x in zip(self.stages, errors, activity.inputs, strict=True):
            weight, bias = stage.weight, stage.weight.bias_values  # under mixed precision the signals are shorter
            if not weight.stored.requires_grad:  # frozen
                continue
            weight.values.set_gradient((weight.outer(error, x) / size).to(weight.used.dtype))
            if bias is not None:
                bias.set_gradient((weight.sum_of(error) / size).to(bias.used.dtype))
        if self.gradient != "burst":
            return
        for i, above in enumerate(self.stages[1:]):
            pathways: Any = self.pathways[above.name]
            both = ((pathways.Q, -1), (pathways.Y, 1))
            learned = [(weight, sign) for weight, sign in both if weight is not None and weight.requires_grad]
            if learned:
                met = above.weight.outer(activity.events[i + 1], above.gather(activity.apical[i])) / size
                for weight, sign in learned:
                    weight.grad = (sign * met).to(weight.dtype)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        inputs = self.frames(batch)[0]
        target = self.target(batch.labels, inputs)
        if self.gradient == "burst":
            activity = self.react(inputs, target)
            errors = activity.errors
        else:
            activity = Activity(*self.ascend(inputs), [], [], [])
            errors = self.backpropagated(activity, target, aligned=self.gradient == "alignment")
        if self.angle_every and batch_idx % self.angle_every == 0:
            self.look(activity, errors, self.backpropagated(activity, target))
        self.set_gradients(activity, errors)
        optimizer.step()
        scores = activity.events[-1]
        self.log_scores("train", scores, batch.labels, self.loss(scores, batch.labels))

    def look(self, activity: Activity, errors: list[Tensor], exact: list[Tensor]) -> None:
        """Log the angle of each layer's update to that of backpropagation, and the size of the apical potentials."""
        size = len(errors[0])
        every: Any = {"on_step": False, "on_epoch": True, "batch_size": size}
        for stage, error, reference, x in zip(self.stages, errors, exact, activity.inputs, strict=True):
            metric: Any = self.angles[stage.name]
            metric.update(*(ranks.total(stage.weight.outer(errors, x)) for errors in (error, reference)))
            self.log(f"train/angle/{stage.name}", metric, **every)
        for stage, v in zip(self.stages, activity.apical, strict=False):
            self.log(f"train/apical/{stage.name}", v.pow(2).mean().sqrt(), **every)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """W and b with the optimizer's own learning rate, Q and Y with theirs."""
        groups: list[dict[str, Any]] = [{"params": list(self.network.parameters())}]
        for rate, name in ((self.lr_Q, "Q"), (self.lr_Y, "Y")):
            found = [w for pathways in self.pathways.values() if (w := getattr(pathways, name)) is not None]
            if found := [w for w in found if w.requires_grad]:
                groups.append({"params": found, "lr": rate})
        return groups

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the epoch's angles before its checkpoint is written."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.angle_every and self.trainer.is_last_batch:
            angles: Any = self.angles
            del self.history[self.current_epoch :]
            self.history.append({stage.name: float(angles[stage.name].compute()) for stage in self.stages})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["angles"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint.get("angles", []))

    def figures(self, data: DataModule) -> dict[str, Any]:
        """Angles to backpropagation over the epochs; burst probabilities and apical potentials of a taught batch."""
        pictures = {"angles": angles_figure(self.history)} if self.history else {}
        if self.gradient == "burst":
            pictures["bursts"] = self.bursts_figure(self.here(next(iter(data.test_dataloader()))))
        return pictures

    def bursts_figure(self, batch: Batch) -> Any:
        """How a batch with its teacher moves burst probabilities and apical potentials."""
        inputs = self.frames(batch)[0]
        activity = self.react(inputs, self.target(batch.labels, inputs))
        names = [stage.name for stage in self.stages]
        return apical_figure(dict(zip(names, activity.probabilities, strict=True)), activity.apical, self.p0)
