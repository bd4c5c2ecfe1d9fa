"""How often each layer fires at each time step, on the test split.

rate[layer][t]   spikes per neuron at step t, averaged over neurons and samples
"""

from __future__ import annotations

import torch

from snnlab.errors import InputError
from snnlab.evaluate.analysis import Analysis, Stored
from snnlab.metrics.spikes_over_time import SpikesOverTime


@torch.no_grad()
def analyse(run: Stored, samples: int = 1000) -> Analysis:
    """The rates of (at least) the first ``samples`` test samples.

    Args:
        samples: at least 1; whole batches are taken.

    Raises:
        InputError: when samples is below 1, or the network has no spiking layer.
    """
    if samples < 1:
        raise InputError(f"spikes_over_time: samples = {samples} must be at least 1; 1000 is the default")
    if not run.method.network.neurons():
        raise InputError(f"{run.folder}: the network of {type(run.method).__name__} has no spiking layer to count")
    spikes, seen = SpikesOverTime().to(run.method.device), 0
    for batch in map(run.method.here, run.data.test_dataloader()):
        frames = run.method.frames(batch)
        with run.method.network.observe() as layers:
            run.method.network(frames)
        spikes.update(layers, samples=frames.shape[1])
        seen += frames.shape[1]
        if seen >= samples:
            break
    rates = spikes.compute()
    values = {"samples": seen} | {f"rate/{name}": rate.tolist() for name, rate in rates.items()}
    return Analysis(values, {"spikes_over_time": spikes.plot(run.method.counted())})
