"""snnTorch 1: ``Leaky``, called once a time step.

    v = beta v + x; v > threshold fires; reset_mechanism="zero" with reset_delay off sets v to 0 in the same step

Equality stays silent, and the gradient passes through the reset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.bench.workloads.peers.peer import PeerNeuron

PACKAGE = "snntorch"
BATCH_FIRST = False
SETTING = "Leaky(beta=decay, reset_mechanism='zero', reset_delay=False, spike_grad=surrogate.atan(2.0))"
DIFFERS = "its gradient passes through the reset"


class Neuron(PeerNeuron):
    """Leaky, stepped over the sequence."""

    def __init__(self, decay: float, threshold: float) -> None:
        super().__init__()
        import snntorch

        self.leaky = snntorch.Leaky(
            beta=decay,
            threshold=threshold,
            reset_mechanism="zero",
            reset_delay=False,
            spike_grad=snntorch.surrogate.atan(2.0),
        )

    def forward(self, currents: Tensor) -> Tensor:
        v, outputs = torch.zeros_like(currents[0]), []
        for current in currents:
            spikes, v = self.leaky(current, v)
            outputs.append(spikes)
        return torch.stack(outputs)


neuron = Neuron
