"""What the loader costs: its share of a training step, from the second epoch on.

    step        batch in, weights changed
    loader      the wait for the next batch: reading, binning, packing
    both        their sum, which the ratios divide by: the loader's ratio is its share

The first epoch is not counted: films are made and caches filled in it. A run whose data is not there is skipped.
"""

from __future__ import annotations

import time
from typing import Any

import lightning as L

from snnlab.bench.workloads.training import PhaseClock, composed, prepare, train
from snnlab.bench.workloads.workload import Bench, Case, Report
from snnlab.errors import InputError

STEP, NEXT = "run_training_batch", "[_TrainingEpochLoop].train_dataloader_next"


def measure(
    bench: Bench,
    runs: list[str] = [  # noqa: B006
        "method=stbp data=nmnist",
        "method=vdib data=mnist_dvs data.train_films=300 data.val_films=20 data.test_films=20",
        "method=stbp data=mnist data.train_size=6000",
    ],
    batches: int = 100,
) -> Report:
    """Train each of ``runs``, overrides as on the command line, for one epoch and one more in each round.

    Args:
        batches: at most, of each epoch.

    Raises:
        InputError: when a run cannot be composed.
    """
    for run in runs:
        parts = composed([*run.split(), f"seed={bench.seed}"])
        try:
            prepare(parts)
        except InputError as error:
            bench.skip(f"{run}: skipped, {error}")
            continue
        clock = PhaseClock([STEP, NEXT])
        stop = Epochs(clock, bench.seconds / len(runs))
        train(parts, [stop], max_epochs=1 + bench.rounds, limit_train_batches=batches, profiler=clock)
        counted = [(epoch, steps) for epoch, steps in zip(clock.epochs, stop.steps, strict=True) if steps][1:]
        rounds = {
            "both": [(epoch[STEP] + epoch[NEXT]) / steps for epoch, steps in counted],
            "step": [epoch[STEP] / steps for epoch, steps in counted],
            "loader": [epoch[NEXT] / steps for epoch, steps in counted],
        }
        case = Case(f"{run}, {stop.steps[-1]} steps an epoch", "both", rounds)
        case.notes["loader"] = f"{case.ratio('loader').median:.1%} of a training step"
        bench.add(case)
    return Report()


class Epochs(L.Callback):
    """Counts the steps of each epoch, and ends the fit when the time is over, one counted epoch at the earliest."""

    def __init__(self, clock: PhaseClock, seconds: float) -> None:
        self.clock, self.seconds, self.steps = clock, seconds, list[int]()
        self.started = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.clock.next_epoch()
        self.steps.append(0)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps[-1] += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if len(self.steps) > 1 and time.perf_counter() - self.started > self.seconds:
            trainer.should_stop = True
