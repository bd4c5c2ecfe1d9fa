"""The ground-state energy of a Hamiltonian: targets E_0 [B, 1], scores [B, 1], one estimate from each of B starts.

E = mean of the scores;  E >= E_0 for every normalised state (the variational bound)
relative_error = (E - E_0) / |E_0|                        negative where an estimate is no state's
sampling_error = standard error of E / |E_0|, from the scatter of the starts; 0 where nothing is drawn
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab import style
from snnlab.errors import InputError
from snnlab.questions.hamiltonian import Hamiltonian
from snnlab.questions.question import Answered, Question


@dataclass(frozen=True)
class Energy(Question):
    """What is the lowest energy of this Hamiltonian?"""

    hamiltonian: Hamiltonian

    sentence = "the ground-state energy of a Hamiltonian"
    monitor = ("val/energy", "min")

    def check(self, targets: Tensor, outputs: int) -> None:
        if not targets.is_floating_point() or targets.dim() != 2 or targets.shape[1] != 1:
            raise InputError(f"targets {list(targets.shape)} of {targets.dtype}: {self.sentence} is a number [B, 1]")

    def caption(self, targets: Tensor, sample: int) -> str:
        return f"E = {float(targets[sample, 0]):.5g}"

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The mean energy itself."""
        return scores.mean()

    def metrics(self, outputs: int) -> dict[str, Metric]:
        return {"energy": Estimate("energy"), "relative_error": Estimate("error"), "sampling_error": Estimate("spread")}

    def pictures(self, answered: Answered, outputs: int) -> dict[str, Callable[[], Any]]:
        return {"energies": lambda: energies_figure(answered)}


class Estimate(Metric):
    """One of the figures of the docstring of this file.

    Args:
        kind: energy, error or spread.
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor  # of the scores less their target
    target: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        for name in ("count", "total", "squares", "target"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add scores [B, 1] and targets [B, 1]."""
        scores, targets = scores.double(), targets.double()
        self.count += len(scores)
        self.total += (scores - targets).sum()
        self.squares += (scores - targets).square().sum()
        self.target += targets.sum()

    def compute(self) -> Tensor:
        above, bound = self.total / self.count, self.target / self.count
        if self.kind == "energy":
            return above + bound
        size = bound.abs().clamp(min=1e-12)
        if self.kind == "error":
            return above / size
        scatter = (self.squares / self.count - above.square()).clamp(min=0)
        return (scatter / (self.count - 1).clamp(min=1)).sqrt() / size


def energies_figure(answered: Answered) -> Any:
    """How the estimates of the starts scatter, their mean with its standard error, and the bound E_0."""
    import matplotlib.pyplot as plt

    parts = list(answered())
    energies = torch.cat([answers.double()[:, 0] for answers, _ in parts])
    bound = float(parts[0][1].double().mean())
    mean, error = float(energies.mean()), float(energies.std(correction=1) / len(energies) ** 0.5)
    figure, axis = plt.subplots(figsize=(5.2, 3.0))
    drawn = bool((energies != energies[0]).any())
    if drawn:
        axis.hist(energies.numpy(), bins=30, color=style.PALE, label=f"{len(energies)} starts, one by one")
        axis.axvspan(mean - error, mean + error, color=style.SKY, alpha=0.5, linewidth=0)
    words = f"mean: {mean:.5f}" + (f" ± {error:.5f}" if drawn else ", exactly")
    axis.axvline(mean, color=style.BLUE, label=words)
    axis.axvline(bound, color=style.INK, linestyle="--", label=f"bound: the exact $E_0$ = {bound:.5f}")
    axis.set(xlabel="energy", ylabel="starts" if drawn else "")
    if not drawn:
        reach = max(abs(mean - bound), 1e-3 * abs(bound))
        axis.set(yticks=[], xlim=(bound - 2 * reach, bound + 4 * reach))
    axis.legend(loc="upper left", bbox_to_anchor=(0.0, 1.35))
    return figure
