"""Timing in turns: A B C, A B C, ... after a warm-up of each, so that all meet the same machine.

    ratio of a competitor = median over rounds i of seconds[i] / reference seconds[i]

A ratio is taken inside each round and only then the median, with the quartiles: a slow minute of the machine is in both
numbers of its rounds and cancels.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

Job = Callable[[], float | None]  # what it returns is taken in place of the clock, if anything

SLOT = 0.05  # seconds: a faster job is called several times in its turn
FEWEST = 3  # rounds that a competitor must be able to take part in


class Quartiles(NamedTuple):
    """Median, first and third quartile."""

    median: float
    lower: float
    upper: float


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def pairwise(values: Sequence[float], reference: Sequence[float]) -> Quartiles:
    """Median and quartiles of ``values[i] / reference[i]``.

    Raises:
        ValueError: when the two differ in length, or there is no round.
    """
    if len(values) != len(reference) or not values:
        raise ValueError(f"pairwise: {len(values)} and {len(reference)} rounds must be equally many, at least 1")
    ratios = [value / other if other else math.inf for value, other in zip(values, reference, strict=True)]
    if len(ratios) == 1:
        return Quartiles(ratios[0], ratios[0], ratios[0])
    lower, middle, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return Quartiles(middle, lower, upper)


def interleave(
    jobs: Mapping[str, Job], rounds: int, seconds: float, keep: Collection[str], tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Return the seconds of one call of each job in each round.

    Args:
        jobs: by competitor, in the order of their turns.
        rounds: at most; fewer, but ``FEWEST`` at least, where ``seconds`` are over before.
        seconds: time limit. A job that ``FEWEST`` rounds within it leave no room for is left out, unless it is in
            ``keep``, the slowest first.
        keep: jobs that are never left out.
        tell: takes a line on what was left out or cut short.
    """
    clock = time.perf_counter
    started = clock()
    took: dict[str, float] = {}
    slow = []
    for name, job in jobs.items():
        took[name] = timed(job, 1)[0]
        if took[name] * FEWEST > seconds and name not in keep:
            slow.append(name)
        else:
            took[name] = timed(job, 1)[0]
    turns = {name: job for name, job in jobs.items() if name not in slow}
    while (
        sum(max(took[name], SLOT) for name in turns) * FEWEST > max(seconds - (clock() - started), 0)
        and (candidates := [name for name in turns if name not in keep])
        and (slowest := max(candidates, key=took.__getitem__))
        and took[slowest] > SLOT
    ):
        slow.append(slowest)
        del turns[slowest]
    for name in slow:
        tell(f"{name} is left out: {took[name]:.2g} s a call, too slow for seconds={seconds:g}")
    calls = {name: max(1, math.ceil(SLOT / max(took[name], 1e-7))) for name in turns}
    found: dict[str, list[float]] = {name: [] for name in turns}
    for done in range(rounds):
        if done >= min(FEWEST, rounds) and clock() - started > seconds:
            tell(f"{done} of {rounds} rounds within seconds={seconds:g}")
            break
        gc.collect()
        for name, job in turns.items():
            found[name].append(timed(job, calls[name])[1])
    return found


def timed(job: Job, calls: int) -> tuple[float, float]:
    """Return the seconds that ``calls`` calls took, and those of one call; garbage is not collected meanwhile."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        own = [job() for _ in range(calls)]
        seconds = time.perf_counter() - started
    finally:
        if collecting:
            gc.enable()
    told = [value for value in own if value is not None]
    return seconds, statistics.fmean(told) if told else seconds / calls
