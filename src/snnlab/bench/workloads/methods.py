"""A training step of every method on the same net and data, over the step of STBP.

Bundled digits, a fully connected net, the rate encoder; what a method's recipe adds (learning rates and the like)
stays. A step is the trainer's: batch in, weights changed; the loader is not in it, nor the first step of each fit. A
method that does not train, or refuses this net, is skipped by name. The note names the torch operation that took most.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import torch

from snnlab.bench.workloads.training import StepClock, composed, prepare, train
from snnlab.bench.workloads.workload import Bench, Report
from snnlab.config.build import Parts
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, RunFailure, nearest

REFERENCE = "stbp"


def measure(
    bench: Bench,
    methods: list[str] = [],  # noqa: B006
    hidden: list[int] = [400],  # noqa: B006
    batch: int = 100,
    time_steps: int = 20,
    steps: int = 5,
) -> Report:
    """Train ``steps`` steps of each method in each round.

    Args:
        methods: their names; [] takes every one there is.
        hidden: units of each hidden layer.
        steps: measured in each round, after one that is not.

    Raises:
        InputError: when a method is unknown.
    """
    known = sorted(path.stem for path in (conf_dir() / "method").glob("*.yaml"))
    for name in methods:
        if name not in known:
            raise InputError(f"methods = {name}: there is no such method; nearest: {nearest(name, known)}")
    common = ["data=digits", "model=mlp", f"model.hidden=[{','.join(map(str, hidden))}]", "model.dropout=0"]
    common += [f"data.batch_size={batch}", f"seed={bench.seed}", "trainer.max_epochs=1"]
    encoder = ["encoder=rate", f"encoder.time_steps={time_steps}"]
    jobs, notes = {}, {}
    for name in dict.fromkeys([REFERENCE, *(methods or known)]):
        try:
            parts, note = built(name, common, encoder)
            if not parts.method.trains:
                bench.skip(f"{name}: skipped, it does not train")
                continue
            prepare(parts)
            fit(parts, 1)
        except (InputError, RunFailure) as error:
            bench.skip(f"{name}: skipped, {error}")
            continue
        notes[name] = ", ".join(filter(None, [note, largest_cost(parts)]))
        jobs[name] = lambda parts=parts: statistics.median(fit(parts, steps))  # type: ignore[misc]
    title = f"a training step on digits, 64-{'-'.join(map(str, [*hidden, 10]))}, B={batch}, T={time_steps}"
    bench.compare(title, jobs, REFERENCE, notes, keep=())
    return Report()


def built(name: str, common: list[str], encoder: list[str]) -> tuple[Parts, str]:
    """The method on the common net, with an encoder of its own where it refuses the common one."""
    try:
        return composed([f"method={name}", *common, *encoder]), ""
    except InputError:
        return composed([f"method={name}", *common, encoder[1]]), "with an encoder of its own"


def fit(parts: Parts, steps: int) -> list[float]:
    """Seconds of each of ``steps`` training steps, after one that is not counted."""
    clock = StepClock()
    train(parts, [clock], limit_train_batches=steps + 1)
    return clock.seconds[1:] or clock.seconds


def largest_cost(parts: Parts) -> str:
    """The operation with the most time of its own in two steps, and its share of all operations' time."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would announce itself on stderr
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fit(parts, 1)
    events: Any = profile.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    if not total:
        return ""
    largest = max(events, key=lambda event: event.self_cpu_time_total)
    return f"most in {largest.key} ({largest.self_cpu_time_total / total:.0%})"
