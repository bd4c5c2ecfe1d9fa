"""What the compiled loops of all simulators take and give: spikes in order of time, weights, what threads sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnlab.kernels import threads

LEAST = 8  # samples that are worth a thread


def sorted_events(times: Tensor, dtype: Any, duration: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, places i K + k and, of each sample, offsets [B + 1] of the spikes [B, N, K] before ``duration``."""
    from snnlab.simulators import kernels

    batch = len(times)
    spikes = np.asarray(times.detach().cpu().numpy(), dtype)
    stop = spikes.dtype.type(duration)
    counts, offsets = np.zeros(batch, np.int64), np.zeros(batch + 1, np.int64)
    threads.share(kernels.count_events, batch, spikes, stop, counts, least=LEAST)
    np.cumsum(counts, out=offsets[1:])
    event_times, places = np.empty(offsets[-1], dtype), np.empty(offsets[-1], np.int32)
    threads.share(kernels.sort_events, batch, spikes, stop, offsets, event_times, places, least=LEAST)
    return event_times, places, offsets


def sending(weight: Tensor) -> np.ndarray:
    """A copy of a weight [to, from] as [from, to]: a spike adds a row."""
    return weight.detach().cpu().t().clone(memory_format=torch.contiguous_format).numpy()


def receiving(sums: np.ndarray, used: np.ndarray) -> np.ndarray:
    """The sum of the parts that were used, as [to, from]."""
    total = sums[used[0]] if len(used) else np.zeros_like(sums[0])
    for part in used[1:]:
        total += sums[part]
    return np.ascontiguousarray(total.T)


def placed(of_events: np.ndarray, places: np.ndarray, offsets: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """What is said of every event, in the order of ``sorted_events``, as a tensor like the spike times [B, N, K]."""
    batch, units, slots = shape
    found = np.zeros((batch, units * slots), of_events.dtype)
    found[np.repeat(np.arange(batch), np.diff(offsets)), places] = of_events
    return torch.from_numpy(found.reshape(shape))
