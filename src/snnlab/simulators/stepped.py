"""The neurons of current_based.py on a grid of time steps: for recordings so long that events outnumber the steps.

    at t_n = n dt:  V and I are those of a step before, exactly;  V >= threshold: spike at t_n, V -> 0;  then I + W e_i
A spike is late by a step at most, and several neurons may fire at once. The adjoint is that of current_based.py, over
gaps that are whole steps, with V' = (I - V) / tau_m before the reset, where V is above the threshold by a little.
Input spikes go to the grid point at or behind them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snnlab.simulators.current_based import CurrentBased, layer
from snnlab.simulators.simulator import GRAZING, Firing, Spikes, check_layer

WITHIN = 1e-4  # of a step, by which a time may lie behind a grid point and belong to it


class Stepped(CurrentBased):
    """CurrentBased in steps.

    Args:
        tau_membrane, least_slope: as in CurrentBased.
        time_step: dt, in the same unit.
        duration: of the simulation, two steps at least.

    Raises: ValueError: when an argument leaves its range.
    """

    def __init__(self, tau_membrane: float, time_step: float, duration: float, least_slope: float = GRAZING) -> None:
        super().__init__(tau_membrane, least_slope)
        if not 0 < time_step <= duration / 2:
            raise ValueError(
                f"Stepped: time_step = {time_step} must be positive and at most half of duration = {duration}; "
                "0.001 s is usual"
            )
        self.time_step = time_step

    def simulate(self, times: Tensor, weight: Tensor, firing: Firing, recurrent: Tensor | None = None) -> Spikes:
        from snnlab.simulators import stepped_kernels

        check_layer(times, weight, recurrent)
        firing.check()
        steps = (times.detach() / self.time_step - WITHIN).ceil() * self.time_step
        on_grid = torch.where(times < firing.duration, times + (steps - times.detach()), times)
        none = weight.new_zeros(0, 0) if recurrent is None else recurrent
        return layer(
            on_grid, weight, none, firing, self.numbers(firing), (stepped_kernels.simulate, stepped_kernels.credit)
        )

    def numbers(self, firing: Firing) -> np.ndarray:
        return np.append(super().numbers(firing), self.time_step)
