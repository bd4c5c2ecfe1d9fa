"""The terms of the directed-information criterion, its score-function gradient and the baselines.

Symbols: u potential, y spikes, p = sigmoid(u), r prior rate, ell learning signal, all [T, K, B, N_out] or less;
K encoder samples per input. Logarithms are taken of sigmoids directly, where the authors add 1e-7 inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from snnlab.neurons.stochastic_readout import logit
from snnlab.questions.question import running_sum

Baseline = Literal["none", "ema", "leave_one_out"]
Credit = Literal["sequence", "step", "window"]


def log_probability(u: Tensor, y: Tensor) -> Tensor:
    """log p(y): y log p + (1 - y) log(1 - p) = y u - log(1 + e^u); its derivative in u is the score y - p."""
    return y * u - softplus(u)


def log_ratio(u: Tensor, y: Tensor, prior: float) -> Tensor:
    """l = log p(y) / q(y) of one neuron and step, q = Bernoulli(prior); its expectation is the KL divergence."""
    return log_probability(u, y) - (y * math.log(prior) + (1 - y) * math.log(1 - prior))


def kl_divergence(u: Tensor, prior: float) -> Tensor:
    """KL(Bernoulli(sigmoid(u)) || Bernoulli(prior)) in nats, exact: p (u - logit r) - log(1 + e^u) - log(1 - r)."""
    return torch.sigmoid(u) * (u - logit(prior)) - softplus(u) - math.log(1 - prior)


@torch.no_grad()
def gradient(u: Tensor, y: Tensor, weight: Tensor, divergence: float, prior: float) -> Tensor:
    """Derivative in u of weight log p(y) + divergence KL(p || q); weight [..., 1] broadcasts over the neurons.

    Written out: weight (y - p) + divergence p (1 - p) (u - logit r). A graph takes three times the passes.
    """
    p = torch.sigmoid(u)
    found = torch.sub(y, p).mul_(weight)
    return found.addcmul_(p * (1 - p), u - logit(prior), value=divergence) if divergence else found


def leave_one_out(ell: Tensor, dim: int) -> Tensor:
    """For each of the K samples along ``dim`` the mean of the other K - 1: a baseline that leaves no bias."""
    samples = ell.shape[dim]
    return (ell.sum(dim, keepdim=True) - ell) / (samples - 1)


def credited(ell: Tensor, credit: Credit, window: int) -> Tensor:
    """Learning signal of the spikes of each step, from the loss ell[t] of each step, [T, K, B].

    sequence: sum of all steps' losses; step: ell[t] alone; window: ell[t] + ... + ell[t + window - 1], the losses
    that a decoder over ``window`` steps lets the spikes of step t reach.
    """
    if credit == "step":
        return ell
    if credit == "sequence":
        return ell.sum(0, keepdim=True).expand_as(ell)
    total = torch.cat([torch.zeros_like(ell[:1]), running_sum(ell)])  # total[t] = sum of ell[:t]
    end = torch.arange(1, len(ell) + 1, device=ell.device).add(window - 1).clamp(max=len(ell))
    return total[end] - total[:-1]


class EMABaseline:
    """The authors' baseline, one number per parameter: b = EMA(score^2 ell) / (EMA(score^2) + 1e-7).

    But for the 1e-7, beside which small scores leave b near 0, it minimises the variance of (ell - b) score when score
    and ell are those of one sample.

    Args:
        factor: weight of the old value; the authors' code has 0.01, which leaves almost no memory.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.weighted: list[Tensor] = []
        self.squares: list[Tensor] = []

    def __call__(self, scores: Iterable[Tensor], ell: Tensor) -> list[Tensor]:
        """Take in the scores of one sample, one tensor per parameter, and return b for each."""
        new = [score.square() for score in scores]
        if not self.squares:
            self.squares, self.weighted = new, [square * ell for square in new]
        else:
            keep, take = self.factor, 1 - self.factor
            self.squares = [keep * old + take * square for old, square in zip(self.squares, new, strict=True)]
            self.weighted = [keep * old + take * square * ell for old, square in zip(self.weighted, new, strict=True)]
        return [w / (s + 1e-7) for w, s in zip(self.weighted, self.squares, strict=True)]
