"""Variational ground states from a spiking sampler (Klassert, Baumbach, Petrovici, Gärttner, iScience 2022,
doi 10.1016/j.isci.2022.104707; arXiv:2109.15169).

    v, h    N visible units, the spins, and M hidden ones; W' = [[W, c], [b, 0]]     neurons/sampling_units.py
    p(v) ~ p~(v) = exp(b.v) prod_j (1 + exp(c_j + (W v)_j)),  psi(v) = sqrt(p(v))                           (1)
    E_loc(v) = sum_v' <v|H|v'> sqrt(p(v') / p(v)),  E = mean of E_loc over p >= E_0                         (2)
    dE/dW_ij = <E_loc v_i h_j> - <E_loc><v_i h_j>;  biases with v_i and h_j alone                           (3)

(3) is a Hebbian term behind one global signal, the energy. Means are over all states (``exact``), or over what the
units visit: Gibbs sampling, refractory units, or LIF neurons under noise. ``ratios`` says where p(v')/p(v) of (2) comes
from: (1), or the visits of the samples, as on the chip; then E is that of the state sqrt(visits), and never below E_0.

Departures: optimiser, step size and hidden units per task could not be read; ours. The gradient is derived, not read.
            Chains start anew at each step. Synapses act at once and for as long as the unit is refractory.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnlab.data.contract import Batch, DataModule, DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.layers.chain import Chain
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.own_steps import OwnSteps
from snnlab.methods.variational_spin.energies import covariance, local_energies, log_weights
from snnlab.neurons.sampling_units import SamplingUnits
from snnlab.questions.energy import Energy
from snnlab.weights.weight import Values

SAMPLERS = ("exact", "gibbs", "refractory", "lif")


class VariationalSpin(OwnSteps):
    """See the docstring of this file.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method; the model has no hidden layer of its own.
        hidden_units: M.
        sampler: exact, gibbs, refractory or lif.
        samples: of a step, shared by the starts of its batch; a test has as many for each of its batches.
        burn_in: samples of each start that are left out before.
        tau: refractory steps of the spiking samplers; one sample is taken in so many steps.
        decay: of the membrane of lif, in [0, 1).
        ratios: model or visits.
        spread: standard deviation of the weights at the start, > 0.

    Raises:
        InputError: when an argument leaves its range, the Hamiltonian is not stoquastic, or the model has layers.
    """

    answers = (Energy,)
    scores_sequences = False
    clips = True

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        hidden_units: int = 8,
        sampler: Literal["exact", "gibbs", "refractory", "lif"] = "gibbs",
        samples: int = 10_000,
        burn_in: int = 20,
        tau: int = 10,
        decay: float = 0.5,
        ratios: Literal["model", "visits"] = "model",
        spread: float = 0.1,
    ) -> None:
        if sampler not in SAMPLERS:
            raise InputError(f"method.sampler = {sampler!r} must be one of {', '.join(SAMPLERS)}")
        if ratios not in ("model", "visits"):
            raise InputError(f"method.ratios = {ratios!r} must be model or visits")
        if sampler == "exact" and ratios == "visits":
            raise InputError("method.ratios = visits: method.sampler=exact visits nothing; use method.ratios=model")
        for name, number, usual in (("hidden_units", hidden_units, 8), ("samples", samples, 10_000), ("tau", tau, 10)):
            if number < 1:
                raise InputError(f"method.{name} = {number} must be at least 1; {usual} is usual")
        if burn_in < 0:
            raise InputError(f"method.burn_in = {burn_in} must be 0 or more; 20 is usual")
        if not 0 <= decay < 1:
            raise InputError(f"method.decay = {decay} must lie in [0, 1); 0.5 is usual")
        if not spread > 0:
            raise InputError(f"method.spread = {spread} must be positive; 0.1 is usual")
        self.check_data(data, encoder)
        question: Any = data.question
        self.hamiltonian = question.hamiltonian
        self.hamiltonian.check_stoquastic()
        self.hidden_units, self.sampler, self.samples, self.burn_in = hidden_units, sampler, samples, burn_in
        self.tau = tau if sampler in ("refractory", "lif") else 1
        self.decay = decay if sampler == "lif" else None
        self.ratios, self.spread = ratios, spread
        super().__init__(model, data, encoder, optimizer, scheduler)
        kinds = [type(link.layer) for link in Chain(self.network).without(nn.Flatten)]
        if kinds != [SamplingUnits]:
            raise InputError("method=variational_spin has one layer of hidden units; use model=mlp model.hidden=[]")
        self.all_states = torch.from_numpy(self.hamiltonian.states).double()  # [2^N, N], on the CPU
        self.visits = torch.zeros(len(self.all_states), dtype=torch.float64)  # of a test

    # parts ------------------------------------------------------------------------------------------------------------
    def blocks(self) -> Blocks:
        return SamplingBlocks(self)

    def outputs(self) -> int:
        return self.hidden_units

    @property
    def sampling(self) -> SamplingUnits:
        return self.network.layers["units"]  # type: ignore[return-value]

    def weight(self) -> Tensor:
        """W' [M + 1, N + 1] as it is used, in 64 bits, on the CPU."""
        return self.sampling.coupling.weight.detach().double().cpu()

    def check_processes(self, asked: str) -> None:
        raise InputError(
            f"{asked}: the energy is a mean over all starts of a batch, so none can be shared; use 1 device"
        )

    def check_precision(self, precision: str) -> None:
        if not precision.startswith(("32", "64")):
            raise InputError(f"trainer.precision = {precision}: energies are lost in 16 bits; use 32-true")

    def frames(self, batch: Batch) -> Tensor:
        """The starts [B, N] at every step, once in memory: [T, B, N]."""
        starts = batch.inputs[0]
        steps = self.tau * (self.burn_in + -(-self.samples // len(starts)))
        return starts[None].expand(steps if self.sampler != "exact" else 2, *starts.shape)

    # the rule ---------------------------------------------------------------------------------------------------------
    def sampled(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What the units do from frames [T, B, N]: spikes [T, B, N + M], and z of the samples [S, B, N + M]."""
        zeta = self.sampling.run(frames[0], len(frames))
        return zeta == self.tau, (zeta[self.tau * (self.burn_in + 1) - 1 :: self.tau] > 0).double()

    def measured(self, z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers [S, B] of the states v that were visited, and E_loc [S, B] there."""
        n = self.hamiltonian.spins
        numbers = (z[..., :n].long() << torch.arange(n)).sum(-1)
        if self.ratios == "visits":
            log_p = torch.bincount(numbers.flatten(), minlength=2**n).double().log()
        else:
            log_p = log_weights(weight, self.all_states)[0]
        return numbers, local_energies(log_p, self.hamiltonian)[numbers]

    def exact(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """p(v), E_loc(v) [2^N] and p(h | v) [2^N, M] of (1) and (2)."""
        log_p, hidden = log_weights(weight, self.all_states)
        return log_p.softmax(0), local_energies(log_p, self.hamiltonian), hidden

    def learned_from(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(3) in the shape of W', and the energies of the starts [B, 1]."""
        weight, starts = self.weight(), frames.shape[1]
        if self.sampler == "exact":
            p, energies, hidden = self.exact(weight)
            return covariance(energies, hidden, self.all_states, p), (p * energies).sum().expand(starts, 1)
        _, z = self.sampled(frames)
        _, energies = self.measured(z, weight)
        flat, n = z.flatten(0, 1), self.hamiltonian.spins
        share = torch.full((len(flat),), 1 / len(flat), dtype=torch.float64)
        return covariance(energies.flatten(), flat[:, n:], flat[:, :n], share), energies.mean(0)[:, None]

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        gradient, energies = self.learned_from(self.frames(batch))
        optimizer.zero_grad()
        Values(self.sampling.coupling, "weight").set_gradient(gradient.to(self.sampling.coupling.weight))
        self.on_before_optimizer_step(optimizer)
        optimizer.step()
        scores = energies.to(batch.labels.device)
        self.log_scores("train", scores, batch.labels, self.loss(scores, batch.labels))

    # scoring ----------------------------------------------------------------------------------------------------------
    @torch.no_grad()
    def scores(self, frames: Tensor) -> Tensor:
        """The energies [B, 1] that the starts find."""
        if self.sampler == "exact":
            p, energies, _ = self.exact(self.weight())
            return (p * energies).sum().expand(frames.shape[1], 1).to(frames.device)
        return self.measured(self.sampled(frames)[1], self.weight())[1].mean(0)[:, None].to(frames.device)

    @torch.no_grad()
    def observed_scores(self, frames: Tensor) -> Tensor:
        if self.cost.macs is None:
            self.cost.memory.update(self.network)
            self.cost.look_at(self.network, {})
        if self.sampler == "exact":
            return self.scores(frames)
        spikes, z = self.sampled(frames)
        numbers, energies = self.measured(z, self.weight())
        self.visits += torch.bincount(numbers.flatten(), minlength=len(self.visits))
        n, starts = self.hamiltonian.spins, frames.shape[1]
        seen = {"visible": spikes[..., :n].float(), "hidden": spikes[..., n:].float()}
        self.firing_rate.update({k: s.to(frames.device) for k, s in seen.items()}, samples=starts)
        operations = seen["visible"].double().sum() * self.hidden_units + seen["hidden"].double().sum() * n
        self.synaptic_operations.update(operations.to(frames.device), starts)
        return energies.mean(0)[:, None].to(frames.device)

    def on_test_epoch_end(self) -> None:
        p, energies, _ = self.exact(self.weight())
        exact, bound = float((p * energies).sum()), self.hamiltonian.ground[0]
        self.log("test/model_energy", exact)
        self.log("test/model_relative_error", (exact - bound) / max(abs(bound), 1e-12))
        if self.sampler != "exact":
            self.log("test/total_variation", float((self.visits / self.visits.sum() - p).abs().sum() / 2))
            for name, value in self.firing_rate.compute().items():
                self.log(f"test/{name}", value)
            self.firing_rate.reset()
            self.log("test/synaptic_operations", self.synaptic_operations.compute())
            self.synaptic_operations.reset()
        self.log_cost("memory_bytes/weights", "sparsity/connections")

    def figures(self, data: DataModule) -> dict[str, Any]:
        """Distribution and correlations: the exact ground state, the state of the weights, and what was sampled."""
        from snnlab.methods.variational_spin.figures import correlations_figure, distribution_figure

        state = torch.from_numpy(self.hamiltonian.ground[1]).double()
        shares = {"exact ground state": state.square(), "state of the weights": self.exact(self.weight())[0]}
        if self.sampler != "exact" and bool(self.visits.any()):
            shares["sampled"] = self.visits / self.visits.sum()
        kets = [self.hamiltonian.ket(number) for number in range(len(state))]
        signs = 1 - 2 * self.all_states
        return {
            "distribution": distribution_figure(shares, kets),
            "correlations": correlations_figure(shares, signs),
        }


class SamplingBlocks(Blocks):
    """The units alone; hidden layers exist so that the method can refuse them."""

    def __init__(self, method: VariationalSpin) -> None:
        super().__init__(lambda: SamplingUnits(1, 1), nn.Identity, bias=False)
        self.method = method

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        units = SamplingUnits(inputs, outputs, self.method.tau, self.method.decay)
        with torch.no_grad():
            units.coupling.weight.normal_(std=self.method.spread)
            units.coupling.weight[-1, -1] = 0
        return [("units", units)]
