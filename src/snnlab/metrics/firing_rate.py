"""Spikes per neuron and step of each layer, and spikes per inference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric


class FiringRate(Metric):
    """Accumulates spike counts over batches.

    ``update(seen, samples)`` takes spikes [T, B, ...] by layer; of neurons that send values, where they did (0/1), as
    ``Network.observe`` gives them. ``compute`` returns
    ``firing_rate/<layer>`` (spikes per neuron and step, 0 to 1) and ``spikes_per_inference`` (all layers, one sample).
    """

    full_state_update = False
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[str] = []
        self.add_state("samples", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, seen: Mapping[str, Tensor], samples: int) -> None:
        for name, spikes in seen.items():
            if name not in self.layers:
                self.layers.append(name)
                for kind in ("spikes", "slots"):
                    zero = torch.tensor(0.0, dtype=torch.float64, device=spikes.device)
                    self.add_state(f"{kind}_{name}", zero, dist_reduce_fx="sum")
            setattr(self, f"spikes_{name}", getattr(self, f"spikes_{name}") + spikes.detach().sum(dtype=torch.float64))
            setattr(self, f"slots_{name}", getattr(self, f"slots_{name}") + spikes.numel())
        self.samples = self.samples + samples

    def compute(self) -> dict[str, Tensor]:
        rates = {f"firing_rate/{n}": getattr(self, f"spikes_{n}") / getattr(self, f"slots_{n}") for n in self.layers}
        total = (
            torch.stack([getattr(self, f"spikes_{n}") for n in self.layers]).sum() if self.layers else torch.tensor(0.0)
        )
        return rates | {"spikes_per_inference": total / self.samples.clamp(min=1)}
