"""Events to frames: data/binning.py against tonic's ``ToFrame`` on the same random events, on one core.

Both outputs are compared before anything is timed. Events per second are in the last column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from snnlab.bench.workloads.rounds import Job, interleave
from snnlab.bench.workloads.workload import Bench, Case, Report
from snnlab.data.binning import Binning, random_events
from snnlab.data.recordings import Recordings
from snnlab.errors import RunFailure

SIDE, WINDOW_US = 34, 10_000


def measure(
    bench: Bench,
    events: list[int] = [4_000, 100_000],  # noqa: B006
    total: int = 400_000,
    time_steps: int = 30,
) -> Report:
    """Bin recordings of each number of ``events``, as many as hold ``total`` events.

    Raises:
        RunFailure: when the two disagree.
    """
    from tonic.transforms import ToFrame

    binning = Binning(SIDE, SIDE, time_steps, window_us=WINDOW_US)
    theirs = ToFrame((SIDE, SIDE, 2), time_window=WINDOW_US, start_time=0, end_time=time_steps * WINDOW_US)
    speeds: dict[str, dict[str, float]] = {}
    for each in events:
        recordings = max(1, total // each)
        parts = [random_events(each, seed=bench.seed + i) for i in range(recordings)]
        packed, structured = Recordings.pack(parts), [part.structured() for part in parts]
        frames = binning(packed)
        if any(not np.array_equal(theirs(one), frames[:, i].numpy()) for i, one in enumerate(structured)):
            raise RunFailure("binning: our frames and tonic's differ, so their times mean nothing")

        def tonic(structured: list[Any] = structured) -> None:
            for one in structured:
                theirs(one)

        def ours(packed: Recordings = packed) -> None:
            binning(packed)

        title = f"{recordings} recordings of {each:,} events, T={time_steps}, {SIDE} x {SIDE}"
        seconds = bench.seconds / len(events)
        jobs: dict[str, Job] = {"tonic": tonic, "snnlab": ours}
        rounds = interleave(jobs, bench.rounds, seconds, jobs, lambda line, title=title: bench.skip(f"{title}: {line}"))  # type: ignore[misc]
        case = Case(title, "tonic", rounds)
        speeds[title] = {name: recordings * each / case.median(name) for name in rounds}
        case.notes = {name: f"{speed / 1e6:.1f} M events/s, frames equal" for name, speed in speeds[title].items()}
        bench.add(case)
    return Report({"events_per_second": speeds})
