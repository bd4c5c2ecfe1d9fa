"""Sinabs 3: ``LIF`` over a sequence, batch first.

    v = alpha v + x, alpha = decay, norm_input off; SingleSpike: v >= threshold fires; MembraneReset sets v to 0

Alpha is held fixed, as the decay is for everyone; the surrogate is the callable that the library asks for, here ATan.
"""

from __future__ import annotations

import math

from torch import Tensor

from snnlab.bench.workloads.peers.peer import PeerNeuron

PACKAGE = "sinabs.layers"
BATCH_FIRST = True
SETTING = "LIF(alpha_mem=decay, SingleSpike, MembraneReset(), norm_input=False), ATan, alpha without gradient"
DIFFERS = ""


def atan(v: Tensor, threshold: Tensor) -> Tensor:
    return 1 / (1 + (math.pi * (v - threshold)) ** 2)


class Neuron(PeerNeuron):
    """LIF, its state emptied before each sequence."""

    def __init__(self, decay: float, threshold: float) -> None:
        super().__init__()
        from sinabs.activation import MembraneReset, SingleSpike
        from sinabs.layers import LIF

        self.layer = LIF(
            tau_mem=1.0,
            spike_threshold=threshold,
            spike_fn=SingleSpike,
            reset_fn=MembraneReset(),
            surrogate_grad_fn=atan,
            train_alphas=True,
            norm_input=False,
        )
        self.layer.alpha_mem.requires_grad_(False).fill_(decay)

    def forward(self, currents: Tensor) -> Tensor:
        self.layer.reset_states()
        spikes: Tensor = self.layer(currents)
        return spikes


neuron = Neuron
