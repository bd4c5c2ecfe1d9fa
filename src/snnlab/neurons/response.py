"""What one presynaptic spike does to a free membrane: the interface between a neuron and an initialiser.

    eps[t]      v, t steps after one spike through a weight of 1, with no threshold and no spike before or after
    area        sum of eps[t], in steps                 (1)
    square      sum of eps[t]^2, in steps               (2)

``Temporal.response`` returns it. A neuron that can say it can be initialised from fluctuations of its membrane.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.errors import InputError

LENGTH = 10  # time constants after which a kernel is cut


class Response(NamedTuple):
    """The response of a neuron.

    kernel: eps [L], float64; L covers LENGTH of the longest time constant.
    area, square: (1) and (2) as integrals over continuous time, in steps.
    threshold: distance from rest to threshold in the unit of v; None for a readout that never fires.
    """

    kernel: Tensor
    area: float
    square: float
    threshold: float | None


def one_exponential(owner: str, gain: float, decay: float, threshold: float | None) -> Response:
    """eps[t] = gain * decay^t, of a membrane that leaks and has no synapse.

    Raises:
        InputError: decay 1 never forgets, so the variance of v never settles.
    """
    if decay >= 1:
        raise InputError(
            f"{owner}: decay = {decay:g} never forgets, so its fluctuations grow with time; "
            "init=fluctuation needs a decay below 1"
        )
    tau = -1 / math.log(decay) if decay > 0 else 0.0  # steps
    time = torch.arange(math.ceil(LENGTH * tau) + 1, dtype=torch.float64)
    return Response(gain * decay**time, gain * tau, gain**2 * tau / 2, threshold)
