"""How much memory a training step takes on its device, and how large a batch fits there."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import torch
from torch import Tensor

from snnlab.bench.workloads.rounds import Job
from snnlab.callbacks.memory import LiveBytes

MOST_ON_CPU = 4  # times the workload's batch: a processor's memory is not filled


def live(job: Job, frames: Tensor) -> float:
    """Most bytes of tensors alive at once while ``job`` runs, above those before it."""
    if not frames.is_cuda:
        with LiveBytes() as counted:
            job()
        return float(counted.peak)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    job()
    return float(torch.cuda.max_memory_allocated() - before)


def largest_batch(step: Callable[[Tensor], Job], frames: Tensor, seconds: float) -> tuple[int, str]:
    """The largest batch that passes one training step, by doubling that of ``frames`` [T, B, ...], and what ended it.

    Args:
        step: makes the training step on frames.
        seconds: no new batch is begun after them.
    """
    started, times, fits = time.perf_counter(), 1, 0
    while time.perf_counter() - started < seconds:
        if not frames.is_cuda and times > MOST_ON_CPU:
            return fits, f"not more than {MOST_ON_CPU} times the workload's batch is tried on a CPU"
        if words := failure(step, frames, times):
            return fits, words
        fits, times = times * frames.shape[1], 2 * times
    return fits, f"not more within {seconds:g} s"


def failure(step: Callable[[Tensor], Job], frames: Tensor, times: int) -> str:
    """Why a step on the batch repeated so many times does not pass; "" where it does. Its memory is given back."""
    words = ""
    try:
        step(frames.repeat(1, times, *[1] * (frames.ndim - 2)))()
    except torch.OutOfMemoryError:
        words = "then out of memory"
    except RuntimeError as error:  # an operation that has no form for so many numbers
        words = f"then {str(error).splitlines()[0]}"
    gc.collect()
    if frames.is_cuda:
        torch.cuda.empty_cache()
    return words
