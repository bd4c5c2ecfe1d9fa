"""Seconds and steps: the one place that turns a time constant into what a step keeps, and back.

    decay = exp(-time_step / tau)       what is kept per step
    pull  = 1 - decay                   what a step takes of the way to a new value
    tau   = -time_step / ln(decay)

``time_step`` and ``tau`` are in one unit, seconds unless a neuron says otherwise. A data set knows its time step
(``DataSpec.time_step``, seconds); a neuron says which of its arguments are times, and their units (``Temporal.times``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Unit = Literal[
    "factor per step",  # kept of a value
    "share per step",  # taken of the way to a new value: 1 less the factor
    "4096ths per step",  # the same in whole numbers, as a chip has it
    "per step",  # a rate
    "steps",
    "thresholds x steps",
    "ms",
    "s",
]


def units(**of: Unit) -> Mapping[str, Unit]:
    """Return the unit of each argument, as nobody can change it."""
    return MappingProxyType(of)


def decay(tau: float, time_step: float) -> float:
    """Return the factor that is kept per step; 1 for an infinite tau.

    Raises:
        ValueError: when tau is not positive or time_step is negative.
    """
    check(tau, time_step)
    return math.exp(-time_step / tau)


def pull(tau: float, time_step: float) -> float:
    """Return 1 - decay, with all its digits where tau is long.

    Raises:
        ValueError: as ``decay``.
    """
    check(tau, time_step)
    return -math.expm1(-time_step / tau)


def check(tau: float, time_step: float) -> None:
    """Raise ValueError unless tau > 0 and time_step >= 0."""
    if not (tau > 0 and time_step >= 0):
        raise ValueError(
            f"tau = {tau} must be positive and time_step = {time_step} 0 or more; 0.02 and 0.001 are usual"
        )


def tau(decay: float, time_step: float) -> float:
    """Return the time constant of a factor that is kept per step, in the unit of time_step: 0 for 0, infinite for 1.

    Raises:
        ValueError: when decay leaves [0, 1] or time_step is not positive.
    """
    if not (0 <= decay <= 1 and time_step > 0):
        raise ValueError(
            f"decay = {decay} must lie in [0, 1] and time_step = {time_step} be positive; 0.001 s is usual"
        )
    if decay in (0, 1):
        return math.inf if decay else 0.0
    return -time_step / math.log(decay)


def seconds(value: float, unit: Unit, time_step: float) -> float:
    """Return an argument of a neuron in seconds (a product with steps: times seconds), for a time step in seconds.

    A factor or a share becomes its time constant, a rate the time in which it makes 1.

    Raises:
        ValueError: when the value is none of that unit, or the unit is unknown.
    """
    if unit == "factor per step":
        return tau(value, time_step)
    if unit == "share per step":
        return tau(1 - value, time_step)
    if unit == "4096ths per step":
        return tau(1 - value / 4096, time_step)
    if unit == "per step":
        return time_step / value if value else math.inf
    if unit in ("steps", "thresholds x steps"):
        return value * time_step
    if unit in ("ms", "s"):
        return value * (1e-3 if unit == "ms" else 1.0)
    raise ValueError(f"unit = {unit!r} is none that a neuron's argument has")
