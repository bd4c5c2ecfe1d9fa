"""Visible and hidden units that sample a Boltzmann distribution: z_k = 1 while k is refractory after a spike.

    p(z) ~ exp(b.v + c.h + h.W v),  z = (v, h)                    W' = [[W, c], [b, 0]], one weight with the biases
    u_k = bias + sum of the weights from units of the other layer with z = 1                                (1)
    zeta_k > 1: zeta_k -= 1;  else k may fire, and zeta_k = tau if it does, else 0;  z_k = (zeta_k > 0)     (2)
    stochastic:  fires with probability sigmoid(u_k - log tau)                                              (3)
    lif:         v_k = decay v_k + (1 - decay) (offset + scale u_k) + sqrt(1 - decay^2) n_k, fires where v_k >= 0 (4)

Hidden units first, then the visible ones, who see them: (3) leaves p(z) as it is (Buesing et al. 2011), and tau = 1 is
block Gibbs sampling. (4) is a leaky membrane with white noise n_k, whose scale and offset are measured: a unit on
its own has the activation sigmoid(u), as on a calibrated chip; under the spikes of others it is near p(z).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.kernels.cpu import compiled
from snnlab.neurons.neuron import Neuron
from snnlab.neurons.time import units


class SamplingState(NamedTuple):
    """v: the membrane of (4), or u of (1); zeta: what is left of the refractory time, both [B, N + M]."""

    v: Tensor
    zeta: Tensor


class SamplingUnits(Neuron):
    """N visible and M hidden units.

    Args:
        visible, hidden: N and M.
        tau: refractory steps, at least 1.
        decay: of the membrane of (4), in [0, 1); None is (3).

    Shapes: starts [T, B, N], of which the first step's is the state v that is started from -> spikes [T, B, N + M].
    """

    samples: ClassVar[bool] = True
    times = units(tau="steps", decay="factor per step")

    def __init__(self, visible: int, hidden: int, tau: int = 1, decay: float | None = None) -> None:
        super().__init__()
        self.visible, self.hidden, self.tau, self.decay = visible, hidden, tau, decay
        self.coupling = nn.Linear(visible + 1, hidden + 1, bias=False)
        self.scale, self.offset = (1.0, 0.0) if decay is None else calibrated(tau, decay)

    @property
    def units(self) -> int:
        """N + M."""
        return self.visible + self.hidden

    @property
    def synapses(self) -> int:
        """Of W in both directions, and a bias for each unit."""
        return 2 * self.visible * self.hidden + self.units

    def initial_state(self, current: Tensor) -> SamplingState:
        hidden = torch.zeros_like(current[:, :1]).expand(-1, self.hidden)
        zeta = torch.cat([self.tau * (current > 0.5).to(current), hidden], 1)
        return SamplingState(torch.zeros_like(zeta), zeta)

    def noise(self, steps: int, batch: int) -> Tensor:
        """Uniform for (3), normal for (4): [steps, B, N + M] in 64 bits, drawn step by step on the CPU."""
        made = torch.empty(steps, batch, self.visible + self.hidden, dtype=torch.float64)
        for part in made:
            _ = part.uniform_() if self.decay is None else part.normal_()
        return made

    def step(self, current: Tensor, state: SamplingState) -> tuple[Tensor, SamplingState]:
        noise = self.noise(1, len(current))[0].to(current)
        n, one = self.visible, torch.ones_like(current[:, :1])
        v, zeta = [state.v[:, :n], state.v[:, n:]], [state.zeta[:, :n], state.zeta[:, n:]]
        for layer in (1, 0):
            seen = torch.cat([(zeta[1 - layer] > 0).to(current), one], 1)
            u = self.coupling(seen)[:, :-1] if layer else (seen @ self.coupling.weight)[:, :-1]  # (1)
            drawn = noise[:, n:] if layer else noise[:, :n]
            if self.decay is None:
                v[layer], fires = u, drawn < torch.sigmoid(u - math.log(self.tau))  # (3)
            else:
                pull, rough = 1 - self.decay, math.sqrt(1 - self.decay**2)
                v[layer] = self.decay * v[layer] + pull * (self.offset + self.scale * u) + rough * drawn  # (4)
                fires = v[layer] >= 0
            resting, free = zeta[layer] - 1, torch.where(fires, float(self.tau), 0.0).to(current)
            zeta[layer] = torch.where(zeta[layer] > 1, resting, free)  # (2)
        after = SamplingState(torch.cat(v, 1), torch.cat(zeta, 1))
        return (after.zeta == self.tau).to(current), after

    def forward(self, currents: Tensor) -> Tensor:
        return (self.run(currents[0], len(currents)) == self.tau).to(currents)

    @torch.no_grad()
    def run(self, start: Tensor, steps: int) -> Tensor:
        """zeta [steps, B, N + M] after each step from v = start [B, N], compiled; the numbers of ``step``."""
        noise = self.noise(steps, len(start)).numpy()
        weight = self.coupling.weight.detach().double().cpu().numpy()
        zeta = np.zeros(noise.shape, np.int64)
        first = (start.detach().cpu().numpy() > 0.5).astype(np.int64)
        walk(noise, first, weight, self.tau, self.decay is not None, self.decay or 0.0, self.scale, self.offset, zeta)
        return torch.from_numpy(zeta)


def calibrated(tau: int, decay: float) -> tuple[float, float]:
    """Scale and offset of (4): a line through the log odds that single units have at 25 drives, near their middle."""
    pull = 1 - decay
    middle, span = -1.0 - math.log(tau), 5.0
    drives = np.linspace(middle - span, middle + span, 41) * math.sqrt(1 - decay**2) / pull * 0.5
    weight = np.concatenate([np.zeros((1, 42)), np.append(drives, 0.0)[None]])  # of units without synapses
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((4000, 8, 42))
    zeta = np.zeros(noise.shape, np.int64)
    walk(noise, np.zeros((8, 41), np.int64), weight, tau, True, decay, 1.0, 0.0, zeta)
    share = (zeta[200:, :, :41] > 0).mean((0, 1))
    used = (share > 0.03) & (share < 0.97)
    odds = np.log(share[used] / (1 - share[used]))
    slope, base = np.polyfit(drives[used], odds, 1, w=np.sqrt(share[used] * (1 - share[used])))
    return float(1 / slope), float(-base / slope)


@compiled
def walk(
    noise: Any, start: Any, weight: Any, tau: Any, lif: Any, decay: Any, scale: Any, offset: Any, zeta: Any
) -> None:
    """The loop of ``SamplingUnits.step`` over starts, steps and units; fills zeta [T, B, N + M]."""
    steps, batch, units = noise.shape
    visible = start.shape[1]
    v, left = np.zeros(units), np.zeros(units, np.int64)
    rough, pull, log_tau = np.sqrt(1.0 - decay * decay), 1.0 - decay, np.log(float(tau))
    for b in range(batch):
        v[:], left[:] = 0.0, 0
        for i in range(visible):
            left[i] = tau * start[b, i]
        for t in range(steps):
            for place in range(units):
                k = (place + visible) % units  # hidden units first
                if k >= visible:
                    row = k - visible
                    u = weight[row, visible]
                    for i in range(visible):
                        if left[i] > 0:
                            u += weight[row, i]
                else:
                    u = weight[units - visible, k]
                    for j in range(units - visible):
                        if left[visible + j] > 0:
                            u += weight[j, k]
                if lif:
                    v[k] = decay * v[k] + pull * (offset + scale * u) + rough * noise[t, b, k]
                    fires = v[k] >= 0.0
                else:
                    fires = noise[t, b, k] < 1.0 / (1.0 + np.exp(log_tau - u))
                if left[k] > 1:
                    left[k] -= 1
                elif fires:
                    left[k] = tau
                else:
                    left[k] = 0
            for k in range(units):
                zeta[t, b, k] = left[k]
