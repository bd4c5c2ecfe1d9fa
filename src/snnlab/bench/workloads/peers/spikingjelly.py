"""SpikingJelly 2: ``LIFNode`` in multi-step mode, which runs its own compiled operator on the CPU.

v = v - (v - v_reset) / tau + x, tau = 1 / (1 - decay), decay_input off; v >= threshold fires; reset to v_reset = 0
"""

from __future__ import annotations

import logging

from torch import Tensor

from snnlab.bench.workloads.peers.peer import PeerNeuron

PACKAGE = "spikingjelly.activation_based.neuron"
BATCH_FIRST = False
SETTING = "LIFNode(tau=1/(1-decay), decay_input=False, v_reset=0.0, ATan(2.0), detach_reset=True, step_mode='m')"
DIFFERS = ""

logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # it has no use for Triton here


class Neuron(PeerNeuron):
    """LIFNode, its state emptied before each sequence."""

    def __init__(self, decay: float, threshold: float) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        self.node = neuron.LIFNode(
            tau=1 / (1 - decay),
            decay_input=False,
            v_threshold=threshold,
            v_reset=0.0,
            surrogate_function=surrogate.ATan(2.0),
            detach_reset=True,
            step_mode="m",
        )

    def forward(self, currents: Tensor) -> Tensor:
        self.node.reset()
        spikes: Tensor = self.node(currents)
        return spikes


neuron = Neuron
