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
MOST = 1000  # calls in one turn
FEWEST = 3  # rounds that a competitor must be able to take part in


class Quartiles(NamedTuple):
    """Median, first and third quartile."""

    median: float
    lower: float
    upper: float


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def pairwise(values: Sequence[float], reference: Sequence[float]) -> Quartiles:
    """Median and quartiles of ``values[i] / reference[i]`` over the rounds that both took part in, the first ones.

    Raises:
        ValueError: when there is no such round, or a reference is 0.
    """
    pairs = list(zip(values, reference, strict=False))
    if not pairs or not all(other for _, other in pairs):
        raise ValueError(f"pairwise: {len(values)} and {len(reference)} rounds give no ratio; each must be above 0")
    ratios = [value / other for value, other in pairs]
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
        rounds: at most.
        seconds: time limit. Where it is short, the slowest job takes part in the first ``FEWEST`` rounds only, or is
            left out, then the next; those in ``keep`` stay, and all of them get fewer rounds.
        keep: jobs that are never left out.
        tell: takes a line on what was left out or cut short.
    """
    clock, started = time.perf_counter, time.perf_counter()
    took: dict[str, float] = {}
    for name, job in jobs.items():
        took[name] = timed(job, 1)[0]
        if name in keep or took[name] * FEWEST < seconds:
            took[name] = timed(job, 1)[0]  # the first call also compiles, allocates and imports
    turns = planned(took, rounds, seconds - (clock() - started), keep)
    for name in jobs:
        if not turns[name]:
            tell(f"{name} is left out: {took[name]:.2g} s a call, too slow for seconds={seconds:g}")
        elif turns[name] < rounds:
            tell(f"{name} takes part in the first {turns[name]} rounds only: {took[name]:.2g} s a call")
    found: dict[str, list[float]] = {name: [] for name in jobs if turns[name]}
    for done in range(rounds):
        if done >= min(FEWEST, rounds) and clock() - started > seconds:
            tell(f"{done} of {rounds} rounds within seconds={seconds:g}")
            break
        gc.collect()
        for name in found:
            if done < turns[name]:
                calls = min(MOST, max(1, math.ceil(SLOT / max(took[name], 1e-7))))
                found[name].append(timed(jobs[name], calls)[1])
    return found


def planned(took: Mapping[str, float], rounds: int, left: float, keep: Collection[str]) -> dict[str, int]:
    """In how many rounds each job takes part, so that all of them end within ``left`` seconds if that can be."""
    cost = {name: max(seconds, SLOT) for name, seconds in took.items()}
    turns = dict.fromkeys(took, rounds)
    few = min(FEWEST, rounds)
    for count in (few, 0):
        for name in sorted((name for name in took if name not in keep), key=lambda name: -cost[name]):
            if sum(cost[each] * turns[each] for each in turns) > left:
                turns[name] = count
    return turns


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
