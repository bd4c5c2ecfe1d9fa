"""Phaseless Alignment Learning (Max et al., Nature Machine Intelligence 6, 619, 2024; arXiv:2212.10249v3).

A cortical microcircuit in continuous time, all of whose weights move at every step. Layers l = 1..L; pyramidal neurons
with rates r_l = phi(u_l), phi logistic; beside each hidden layer interneurons r_l^I, as many as layer l+1 has units:
    v_bas,l = W_l r_{l-1},  v_api,l = B_l r_{l+1} + B_l^PI r_l^I + xi_l,  v_den,l = W_l^IP r_l                      (1)
    u_l = (g_bas v_bas,l + g_api v_api,l) / (g_leak + g_bas + g_api),
    u_L = (g_bas v_bas,L + g_tgt u_target) / (g_leak + g_bas + g_tgt), without a target g_tgt = 0                   (2)
    u_l^I = (g_den v_den,l + g_nI u_{l+1}) / (g_leak + g_den + g_nI)                                                (3)
    dW_l/dt = M_l,  tau_low dM_l/dt = lr_l (r_l - phi(a_l v_bas,l)) r_{l-1}^T - M_l                                 (4)
    dW_l^IP/dt = lr_IP (r_l^I - phi(g_den / (g_leak + g_den) v_den,l)) r_l^T                                        (5)
    dB_l^PI/dt = -lr_PI (v_api,l - xi_l) r_l^I^T                                                                    (6)
    xi_l += -xi_l dt / tau_xi + sigma sqrt(dt / tau_xi) N(0, 1)                                                     (7)
    dB_l/dt = lr_B (xi_l (r_{l+1} - mean of r_{l+1} over tau_high)^T - alpha B_l)                                   (8)
a_l is g_bas / (g_leak + g_bas + g_api) of a hidden layer and g_bas / (g_leak + g_bas) of the last one. Rates in (1) are
those of the step before; the r_l and r_l^I that (4) and (5) subtract from are phi of (2) and (3), of the same moment as
v_bas and v_den, or every change of the sample would count as an error. Noise that enters layer l is passed on by
phi' W_{l+1} phi', so that B_l turns towards W_{l+1}^T while everything else runs on: there are no phases.

Self-predicting state: B^PI = -B and W_l^IP = a_{l+1} (g_leak + g_den) / g_den W_{l+1}; without a target v_api is 0.
Prospective:   the time constants of a soma are matched, so u + tau du/dt is the potential at which the soma would
               settle, (2) and (3), and this is what rates follow; the lagging potential itself drives nothing.
Limit:         with B = W^T and small errors the changes of W are those of backpropagation for the cross-entropy of
               phi(u_L) with phi(u_target).
Answer:        a_L v_bas,L with apical potentials at 0, in one pass of the network.
Twins:         B=tied (backpropagation: B = W^T in the self-predicting state at all times); B=fixed (feedback
               alignment), with lr_lateral=0 and noise=0 the authors' twin, with either on the controls.
Departures:    the answer, which theirs settles at without a target; (6) without the noise, which is our reading (with
               it B aligns half as well); weights are kept in 32 bits between batches, the circuit in 64.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.methods.base.method import Model, Scheduler
from snnlab.methods.base.rates import Rates
from snnlab.methods.base.sample_by_sample import SampleBySample
from snnlab.methods.pal.circuit import Circuit, Constants
from snnlab.methods.pal.figures import alignment_figure
from snnlab.metrics.angle import angle
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.value_at_end import ValueAtEnd
from snnlab.weights.weight import Weight

AT_ONCE = 4_000_000  # random numbers that are held at a time
WAY_OUT = "use model=mlp with model.dropout=0 and a hidden layer or more"


class Soma(nn.Module):
    """Pyramidal neurons at rest: phi(gain basal potential) [B, N].

    Args:
        gain: a_l of the docstring of this file.
        activation: phi: logistic or identity.
    """

    def __init__(self, gain: float, activation: str) -> None:
        super().__init__()
        self.gain, self.activation = gain, activation

    def forward(self, basal: Tensor) -> Tensor:
        potential = self.gain * basal
        return potential if self.activation == "identity" else torch.sigmoid(potential)

    def extra_repr(self) -> str:
        return f"gain={self.gain:.4g}, {self.activation}"


class SomaBlocks(Blocks):
    """Weights without bias around somata; the readout is the potential of the last layer.

    Args:
        constants: of the circuit.
        span: uniform weights lie in it.
    """

    def __init__(self, constants: Constants, span: tuple[float, float]) -> None:
        self.constants, self.span = constants, span
        self.bias = False

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        layer = nn.Linear(inputs, outputs, bias=False)
        nn.init.uniform_(layer.weight, *self.span)
        return layer

    def conv(self, inputs: int, outputs: int, kernel: int, padding: int = 0, stride: int = 1) -> nn.Module:
        raise InputError(f"method=pal: a microcircuit is fully connected, and this model has convolutions; {WAY_OUT}")

    def neuron(self, features: int) -> nn.Module:
        return Soma(self.constants.hidden_gain, "identity" if self.constants.identity else "logistic")

    def recurrent(self, features: int) -> nn.Module:
        raise InputError(f"method=pal: a recurrent layer needs time, and rates see one frame; {WAY_OUT}")

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        return [
            ("readout_weight", self.linear(inputs, outputs)),
            ("readout", Soma(self.constants.output_gain, "identity")),
        ]


class PAL(Rates, SampleBySample):
    """Phaseless Alignment Learning; the equations are in the docstring of this file.

    Args:
        model, data, encoder: as in Method; the model is a chain of weights and somata. Samples of a batch are shown one
            after the other, and the circuit goes on from one to the next.
        lr, lr_output: rates of hidden forward weights and of the last ones, >= 0; 0 leaves them as they are.
        scheduler: moves both, after each epoch or batch.
        lr_interneuron, lr_lateral, lr_backward: rates of W^IP, B^PI and B, >= 0, in 1/ms as the others.
        B: learned by (8); fixed; or tied to W^T, with B^PI and W^IP of the self-predicting state.
        alpha: decay of B, >= 0.
        noise: sigma, >= 0; the stationary deviation of xi is about sigma / sqrt 2. 0: off.
        tau_noise, tau_high, tau_low: of the noise, of the mean that (8) takes away, and of the forward changes, in ms.
        dt, presentation: step, and how long a sample is shown, in ms.
        g_leak, g_basal, g_apical, g_dendritic, g_interneuron, g_target: conductances, > 0 (the last two >= 0), in 1/ms.
        activation: phi, logistic or identity.
        W_range, B_range: uniform forward and feedback weights at the start.
        start: self_predicting, or random: W^IP and B^PI are drawn from IP_range and PI_range.
        IP_range, PI_range: see start.
        targets: potentials that the output of the right class, and the others, are nudged to.

    Raises:
        InputError: when an argument leaves its range, or the model is no such chain.
    """

    writes_weights = True
    answers = (ClassOfSequence, ValueAtEnd)
    circuit: Tensor  # state and feedback, see circuit.py
    presentations: Tensor  # samples shown so far

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        lr: float = 50.0,
        lr_output: float = 0.01,
        scheduler: Scheduler | None = None,
        lr_interneuron: float = 0.05,
        lr_lateral: float = 0.02,
        lr_backward: float = 0.5,
        B: Literal["learned", "fixed", "tied"] = "learned",
        alpha: float = 1e-6,
        noise: float = 0.01,
        tau_noise: float = 0.1,
        tau_high: float = 0.1,
        tau_low: float = 100.0,
        dt: float = 0.01,
        presentation: float = 1.0,
        g_leak: float = 0.03,
        g_basal: float = 0.1,
        g_apical: float = 0.06,
        g_dendritic: float = 0.1,
        g_interneuron: float = 0.06,
        g_target: float = 0.06,
        activation: Literal["logistic", "identity"] = "logistic",
        W_range: tuple[float, float] = (-0.1, 0.1),
        B_range: tuple[float, float] = (-1.0, 1.0),
        start: Literal["self_predicting", "random"] = "self_predicting",
        IP_range: tuple[float, float] = (-1.0, 1.0),
        PI_range: tuple[float, float] = (-0.1, 0.1),
        targets: tuple[float, float] = (1.0, 0.1),
    ) -> None:
        for name, word, choices in (
            ("B", B, ("learned", "fixed", "tied")),
            ("activation", activation, ("logistic", "identity")),
            ("start", start, ("self_predicting", "random")),
        ):
            if word not in choices:
                raise InputError(f"method.{name} = {word!r} must be {', '.join(choices[:-1])} or {choices[-1]}")
        for name, number, usual in (
            ("dt", dt, 0.01),
            ("g_leak", g_leak, 0.03),
            ("g_basal", g_basal, 0.1),
            ("g_apical", g_apical, 0.06),
            ("g_dendritic", g_dendritic, 0.1),
        ):
            if not 0 < number < math.inf:
                raise InputError(f"method.{name} = {number} must be positive; {usual} is the authors'")
        for name, number in (
            ("lr", lr),
            ("lr_output", lr_output),
            ("lr_interneuron", lr_interneuron),
            ("lr_lateral", lr_lateral),
            ("lr_backward", lr_backward),
            ("alpha", alpha),
            ("noise", noise),
            ("g_interneuron", g_interneuron),
            ("g_target", g_target),
        ):
            if not 0 <= number < math.inf:
                raise InputError(f"method.{name} = {number} must be 0 or more; 0 switches it off")
        for name, number in (
            ("tau_noise", tau_noise),
            ("tau_high", tau_high),
            ("tau_low", tau_low),
            ("presentation", presentation),
        ):
            if not dt <= number < math.inf:
                raise InputError(f"method.{name} = {number} must be at least method.dt = {dt}; it is in milliseconds")
        for name, span in (
            ("W_range", W_range),
            ("B_range", B_range),
            ("IP_range", IP_range),
            ("PI_range", PI_range),
        ):
            if len(span) != 2 or not -math.inf < span[0] <= span[1] < math.inf:
                raise InputError(f"method.{name} = {list(span)} must be two numbers, the lower first; [-1, 1] is usual")
        if len(targets) != 2 or not all(map(math.isfinite, targets)) or targets[0] <= targets[1]:
            raise InputError(
                f"method.targets = {list(targets)} must be two potentials, that of the right class first and higher; "
                "[1.0, 0.1] are the authors'"
            )
        conductances = (g_leak, g_basal, g_apical, g_dendritic, g_interneuron, g_target)
        back = lr_backward if B == "learned" else 0.0
        self.constants = Constants(
            *conductances,
            *(dt, tau_low, tau_high, tau_noise, noise, alpha, lr_interneuron, lr_lateral, back),
            identity=activation == "identity",
            tied=B == "tied",
        )
        self.lr, self.lr_output, self.B, self.start, self.steps = lr, lr_output, B, start, round(presentation / dt)
        self.W_range, self.B_range, self.IP_range, self.PI_range = W_range, B_range, IP_range, PI_range
        self.targets = targets
        super().__init__(model, data, encoder, partial(torch.optim.SGD, lr=lr), scheduler)
        if B != "learned":
            self.label = f"{'backpropagation' if B == 'tied' else 'fixed-feedback'} twin of pal"
        self.chain = self.weights()
        self.widths = [next(iter(self.chain.values())).inputs, *(weight.outputs for weight in self.chain.values())]
        self.register_buffer("circuit", torch.from_numpy(Circuit(self.widths).values))
        self.register_buffer("presentations", torch.tensor(0))
        self.history: list[dict[str, float]] = []
        self.draw_feedback()

    def blocks(self) -> Blocks:
        low, high = self.W_range
        return SomaBlocks(self.constants, (low, high))

    def weights(self) -> dict[str, Weight]:
        """W_1, ..., W_L by name; refuse a network that is not weight - somata - ... - weight - potentials."""
        used = Chain(self.network).without((nn.Flatten, nn.Identity))
        kinds = [
            "weight" if link.weight is not None and link.weight.dense else type(link.layer).__name__ for link in used
        ]
        if len(kinds) < 4 or kinds != ["weight", "Soma"] * (len(kinds) // 2):
            raise InputError(f"method=pal trains a chain of weights and somata, and this model is {kinds}; {WAY_OUT}")
        return Chain(self.network).weights()

    # feedback ---------------------------------------------------------------------------------------------------------
    def forward_weights(self) -> list[np.ndarray]:
        """W_1, ..., W_L as the products take them, in 64 bits on the CPU."""
        return [weight.used.detach().cpu().double().numpy().copy() for weight in self.chain.values()]

    def draw_feedback(self, draw: bool = True) -> None:
        """Give B, B^PI and W^IP the values they start from; random ones if ``draw``."""
        circuit, weights = Circuit(self.widths, self.circuit.cpu().numpy().copy()), self.forward_weights()
        if draw:
            for name, (low, high) in (
                ("feedback", self.B_range),
                ("interneuron", self.IP_range),
                ("lateral", self.PI_range),
            ):
                for values in getattr(circuit, name):
                    values[:] = (low + (high - low) * torch.rand(values.shape, dtype=torch.float64)).numpy()
        if self.constants.tied:
            circuit.tie(weights, self.constants)
        elif self.start == "self_predicting":
            circuit.predict_itself(weights, self.constants)
        self.circuit.copy_(torch.from_numpy(circuit.values))

    def prepare(self, data: DataModule) -> None:
        """Start from the weights that an initialiser may have changed since."""
        if not int(self.presentations):
            self.draw_feedback(draw=False)

    def angles(self) -> dict[str, float]:
        """Angle of each B_l to W_{l+1}^T in degrees, by the name of the forward weight."""
        circuit, weights = Circuit(self.widths, self.circuit.cpu().numpy()), self.forward_weights()
        pairs = zip(list(self.chain)[1:], circuit.feedback, weights[1:], strict=True)
        return {name: float(angle(torch.from_numpy(B), torch.from_numpy(W))) for name, B, W in pairs}

    # evaluation -------------------------------------------------------------------------------------------------------
    def target(self, labels: Tensor) -> Tensor:
        """Potentials [B, K] that the output is nudged to."""
        if not self.data.question.has_classes:
            return labels
        right, wrong = self.targets
        return wrong + (right - wrong) * nn.functional.one_hot(labels, self.data.classes)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of the output potentials."""
        return nn.functional.mse_loss(scores, self.target(labels).to(scores.dtype))

    # the rule ---------------------------------------------------------------------------------------------------------
    def parameter_groups(self) -> list[dict[str, Any]]:
        """The hidden forward weights, and the last one with its own rate."""
        stored = [weight.stored for weight in self.chain.values()]
        return [{"params": stored[:-1]}, {"params": stored[-1:], "lr": self.lr_output}]

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        frames = self.frames(batch)
        scores = self.scores(frames)  # before they are learned from
        self.log_scores("train", scores, batch.labels, self.loss(scores, batch.labels))
        if not self.history:
            self.history.append({"presentations": 0.0, **self.angles()})
        hidden, last = (group["lr"] for group in optimizer.param_groups)
        apical = self.present(frames[0].flatten(1), self.target(batch.labels), hidden, last)
        optimizer.step()  # moves nothing, as no parameter has a gradient: it counts the batch
        names = list(self.chain)[:-1]
        every: Any = {"on_step": False, "on_epoch": True, "batch_size": len(batch.labels)}
        for name, value in zip(names, apical, strict=True):
            self.log(f"train/apical/{name}", math.sqrt(value), **every)

    def present(self, inputs: Tensor, target: Tensor | None, hidden: float, last: float) -> np.ndarray:
        """Show samples [B, N_0] with their targets, learning on the way; the mean squared apical potential by layer."""
        x = inputs.detach().cpu().double().numpy()
        y = None if target is None else target.detach().cpu().double().numpy()
        circuit, weights = Circuit(self.widths, self.circuit.cpu().numpy().copy()), self.forward_weights()
        before = [weight.copy() for weight in weights]
        rates = [hidden] * (len(weights) - 1) + [last]
        rates = [lr if w.stored.requires_grad else 0.0 for lr, w in zip(rates, self.chain.values(), strict=True)]
        units, seen = sum(self.widths[1:-1]), np.zeros(len(weights) - 1)
        compiled = self.network.path.enabled
        if compiled:
            from snnlab.methods.pal.kernel import present

            self.network.path.fused.add("PAL")
            show: Any = partial(present, circuit)
        else:
            self.network.path.looped.add("PAL")
            show = circuit.present
        rng = None
        if self.constants.noise:
            rng = np.random.Generator(np.random.SFC64(int(torch.randint(2**62, ()))))
        part = max(1, AT_ONCE // (self.steps * units))
        for start in range(0, len(x), part):
            some, told = x[start : start + part], None if y is None else y[start : start + part]
            normal = None if rng is None else rng.standard_normal((len(some), self.steps, units), np.float32)
            seen += len(some) * show(self.constants, weights, rates, self.steps, some, told, normal)
        for weight, old, new, lr in zip(self.chain.values(), before, weights, rates, strict=True):
            if lr and (new != old).any():
                values = weight.latent
                values += torch.from_numpy(new - old).to(values)
                weight.write(values)
        self.circuit.copy_(torch.from_numpy(circuit.values))
        self.presentations += len(x)
        return seen / len(x)

    # records ----------------------------------------------------------------------------------------------------------
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the epoch's angles before its checkpoint is written."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.trainer.is_last_batch:
            angles = self.angles()
            del self.history[self.current_epoch + 1 :]
            self.history.append({"presentations": float(self.presentations), **angles})
            for name, value in angles.items():
                self.log(f"train/feedback_angle/{name}", value, on_step=False, on_epoch=True)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        for name, value in self.angles().items():
            self.log(f"test/feedback_angle/{name}", value)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["feedback_angles"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint.get("feedback_angles", []))

    def figures(self, data: DataModule) -> dict[str, Any]:
        """The angle of the feedback to the forward weights over the presentations."""
        return {"feedback_angles": alignment_figure(self.history)} if self.history else {}
