"""Spikes per neuron of each layer at each time step, averaged over samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class SpikesOverTime(Metric):
    """Accumulates spike counts per layer and step over batches.

    ``update(seen, samples)`` takes spikes [T, B, ...] by layer. ``compute`` returns spikes per neuron [T] by layer,
    float64 in [0, 1]; its sum over t is the layer's spikes per neuron and inference.
    """

    full_state_update = False
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.neurons: dict[str, int] = {}
        self.add_state("samples", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, seen: Mapping[str, Tensor], samples: int) -> None:
        for name, spikes in seen.items():
            if name not in self.neurons:
                self.neurons[name] = spikes[0, 0].numel()
                zeros = torch.zeros(len(spikes), dtype=torch.float64, device=spikes.device)
                self.add_state(f"spikes_{name}", zeros, dist_reduce_fx="sum")
            counts = spikes.detach().flatten(1).sum(1, dtype=torch.float64)
            setattr(self, f"spikes_{name}", getattr(self, f"spikes_{name}") + counts)
        self.samples = self.samples + samples

    def compute(self) -> dict[str, Tensor]:
        seen = self.samples.clamp(min=1)
        return {name: getattr(self, f"spikes_{name}") / (count * seen) for name, count in self.neurons.items()}

    def plot(self, what: str = "spikes") -> Any:
        """Figure: one curve a layer, spikes (or ``what`` they are) per neuron against the time step."""
        import matplotlib.pyplot as plt

        figure, axis = plt.subplots(figsize=(4.6, 2.8))
        for name, rate in self.compute().items():
            axis.plot(range(1, len(rate) + 1), rate.cpu(), marker="o", markersize=2.5, label=name)
        axis.set(xlabel="time step", ylabel=f"{what} per neuron", ylim=(0, None))
        axis.legend(frameon=False)
        return figure
