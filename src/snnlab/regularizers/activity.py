"""Activity and voltage of a layer, each held near a target by a squared penalty.

o[t, b, i] events, 0 or 1, and v[t, b, i] internal state of unit i at step t for sample b
    R_activity = activity_strength * (mean of o over t, b and i - activity)^2           (1) how often a layer sends
    R_voltage  = voltage_strength * mean over t, b and i of (v - voltage)^2             (2) where its state stays
    R = sum over the layers of R_activity + R_voltage                                   (3) added to the loss

The gradient of (1) is that of the surrogate. Source: Subramoney et al., ICLR 2023, arXiv:2206.06178, and their code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from snnlab.errors import InputError
from snnlab.regularizers.regularizer import Regularizer


class Activity(Regularizer):
    """Penalty of events and states of hidden layers; the equations are in the docstring of this file.

    Args:
        activity: target of (1), events per unit and step, in [0, 1].
        activity_strength: factor of (1), >= 0; 0 leaves it out.
        voltage: target of (2), in the unit of the threshold.
        voltage_strength: factor of (2), >= 0; 0 leaves it out.

    Shapes: events, states [T, B, ...] of each layer -> a scalar.

    Raises:
        InputError: a target or a strength out of range.
    """

    def __init__(
        self,
        activity: float = 0.1,
        activity_strength: float = 1.0,
        voltage: float = 0.0,
        voltage_strength: float = 0.0,
    ) -> None:
        if not 0 <= activity <= 1:
            raise InputError(f"regularizer: activity = {activity} must lie in [0, 1], events per unit and step")
        if not math.isfinite(voltage):
            raise InputError(f"regularizer: voltage = {voltage} must be a number; 0 is usual")
        for name, strength in (("activity_strength", activity_strength), ("voltage_strength", voltage_strength)):
            if not 0 <= strength < math.inf:
                raise InputError(f"regularizer: {name} = {strength} must be 0 (off) or more")
        self.activity, self.activity_strength = activity, activity_strength
        self.voltage, self.voltage_strength = voltage, voltage_strength
        self.reads_states = voltage_strength > 0

    def __call__(self, spikes: Mapping[str, Tensor]) -> Tensor:
        terms = [self.activity_strength * (events.mean() - self.activity) ** 2 for events in spikes.values()]  # (1)
        return torch.stack(terms).sum() if terms else torch.zeros(())  # (3)

    def of_states(self, states: Mapping[str, Tensor]) -> Tensor:
        terms = [self.voltage_strength * (v - self.voltage).square().mean() for v in states.values()]  # (2)
        return torch.stack(terms).sum() if terms else torch.zeros(())  # (3)
