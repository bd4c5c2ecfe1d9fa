"""Parametric leaky integrate-and-fire neuron: a LIF whose time constant is learned.

    v[t] = v[t-1] + (current[t] - (v[t-1] - v_reset)) / tau     (1) with 1/tau = sigmoid(w), w one number per layer
    spikes[t] = 1 where v[t] >= threshold                       (2)
    v[t] = v[t] * (1 - spikes[t]) + v_reset * spikes[t]         (3) hard reset; soft and none as in LIF

Source: Fang et al., ICCV 2021, arXiv:2007.05785; tau is in steps, and sigmoid(w) = 1 / tau_0 at the start. A learned
threshold is our option.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnlab.neurons.lif import LIF, Reset
from snnlab.neurons.response import Response, one_exponential
from snnlab.neurons.surrogate import Surrogate
from snnlab.neurons.time import units


class PLIF(LIF):
    """LIF with a learnable membrane time constant, shared by the layer.

    Args:
        tau: time constant before training, in steps, > 1.
        threshold, reset, detach_reset, detach_state, v_reset, surrogate: as in LIF.
        learn_threshold: whether the threshold is learned too, one positive number per layer (its logarithm is).

    Shapes: currents [T, B, ...] -> spikes [T, B, ...].

    Raises:
        ValueError: when tau is not above 1, or an argument of LIF leaves its range.
    """

    times = units(tau="steps")

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: Reset = "hard",
        detach_reset: bool = False,
        detach_state: bool = False,
        v_reset: float = 0.0,
        surrogate: Surrogate | None = None,
        learn_threshold: bool = False,
    ) -> None:
        if not 1 < tau < math.inf:
            raise ValueError(
                f"PLIF: tau = {tau} steps must be above 1 and finite (decay below 1); 2.0 is the paper's start"
            )
        super().__init__(1 - 1 / tau, threshold, reset, detach_reset, detach_state, "scaled", v_reset, surrogate)
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))
        self.log_threshold = nn.Parameter(torch.tensor(math.log(threshold))) if learn_threshold else None

    @property
    def tau(self) -> Tensor:
        """Time constant in steps."""
        return 1 / torch.sigmoid(self.w)

    def limit(self, current: Tensor) -> float | Tensor:
        return self.threshold if self.log_threshold is None else self.log_threshold.exp().to(current.dtype)

    def integrate(self, current: Tensor, v: Tensor) -> Tensor:
        return v + (current - (v - self.v_reset)) * torch.sigmoid(self.w).to(current.dtype)  # (1)

    def response(self) -> Response:
        """eps[t] = (1 - 1/tau)^t / tau with the present tau; the membrane rests at v_reset."""
        k = float(torch.sigmoid(self.w.detach()))
        threshold = self.threshold if self.log_threshold is None else float(self.log_threshold.detach().exp())
        return one_exponential("PLIF", k, 1 - k, threshold - self.v_reset)
