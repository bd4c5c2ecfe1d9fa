"""Norse 1: ``LIFBoxCell``, the cell without a synaptic current, called once a time step.

    v = v + (x - v) dt/tau with dt/tau = 1 - decay; v > threshold fires; v = (1 - s) v + s v_reset, v_reset = 0

The input is scaled by 1 - decay, so the threshold is too; both are exact for decay 0.5. Equality stays silent, the
gradient passes through the reset, and of the surrogates none is ATan: the default, superspike, stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.bench.workloads.peers.peer import PeerNeuron

PACKAGE = "norse.torch"
BATCH_FIRST = False
SETTING = "LIFBoxCell(LIFBoxParameters(tau_mem_inv=1-decay, v_th=(1-decay)*threshold), dt=1), superspike"
DIFFERS = "its gradient passes through the reset, and it has no ATan surrogate"


class Neuron(PeerNeuron):
    """LIFBoxCell, stepped over the sequence."""

    def __init__(self, decay: float, threshold: float) -> None:
        super().__init__()
        from norse.torch import LIFBoxCell
        from norse.torch.functional.lif_box import LIFBoxParameters

        scale = 1 - decay
        parameters = LIFBoxParameters(tau_mem_inv=torch.tensor(scale), v_th=torch.tensor(scale * threshold))
        self.cell = LIFBoxCell(parameters, dt=1.0)

    def forward(self, currents: Tensor) -> Tensor:
        state, outputs = None, []
        for current in currents:
            spikes, state = self.cell(current, state)
            outputs.append(spikes)
        return torch.stack(outputs)


neuron = Neuron
