"""``make bench-gpu``: our neurons, the floor and SpikingJelly's on a GPU: time, live memory, the largest batch.

    floor                   ReLU in place of the neuron
    snnlab                  kernels=auto; beside it step and half
    spikingjelly triton     its Triton kernels, and those in CUDA C++ where its installation has them; held against a
                            floor of their own process, since it reads its choice once

The nets are those of ``python -m snnlab.bench linear_lif mlp conv``; a training step is forward and backward.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from snnlab.bench.steps import Plan, Row, Step, main

WORKLOADS = ("linear_lif", "mlp", "conv")
SMALL: dict[str, dict[str, Any]] = {  # for a trial on a CPU
    "linear_lif": {"units": [16], "batch": 2, "time_steps": 8},
    "mlp": {"hidden": [16], "batch": 2, "time_steps": 4},
    "conv": {"channels": [2, 3], "hidden": 8, "side": 8, "batch": 2, "time_steps": 3},
}
BACKENDS = {"cuda": ("triton", "cuda"), "cpu": ("torch",)}  # of SpikingJelly
CHOICE = "SJ_LIF_CUDA_IMPLEMENTATION"  # the variable that SpikingJelly 2 reads when it is imported


def steps(device: str) -> dict[str, Step]:
    """A step for each workload with ours, and one for each of SpikingJelly's backends with all workloads."""
    ours: dict[str, Step] = {name: Step(partial(measured, [name], ""), 60) for name in WORKLOADS}
    for backend in BACKENDS[device]:
        name = f"spikingjelly_{backend}"
        ours[name] = Step(partial(measured, WORKLOADS, name), 60, {CHOICE: backend})
    return ours


def measured(workloads: Sequence[str], peer: str, device: str) -> Iterator[Row]:
    """One row for each competitor of each workload; with ``peer`` ours is not among them.

    Time and its ratio to the floor are medians of 15 rounds in turns, with quartiles of the ratio.
    """
    import torch

    from snnlab.bench.workloads.workload import Bench, find, spell

    torch.set_num_threads(1 if device == "cpu" else torch.get_num_threads())
    for workload in workloads:
        bench = Bench(
            rounds=15 if device == "cuda" else 2,
            seconds=3 if peer else 8,
            peers=["spikingjelly"] if peer else [],
            device=device,
            paths=() if peer else ("auto", "step", "half"),
            largest=3 if peer else 5,
            say=print,
        )
        find(workload)(bench, **(SMALL[workload] if device == "cpu" else {}))
        for i in range(0, len(bench.cases), 3):
            time, memory, largest = bench.cases[i : i + 3]
            for name in time.rounds:
                ratio, note = time.ratio(name), time.notes.get(name, "")
                values = {
                    "workload": time.name,
                    "time": spell(time.median(name), "seconds"),
                    "/ floor": f"{ratio.median:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f})",
                    "live": spell(memory.median(name), "bytes"),
                    "/ floor's": f"{memory.ratio(name).median:.2f}",
                    "largest batch": spell(largest.median(name), "samples") if name in largest.rounds else "",
                    "note": "; ".join(filter(None, (note, largest.notes.get(name, "")))),
                }
                label = peer if name == "spikingjelly" else name
                yield Row(label, "spikes equal" in note if name.startswith("snnlab") else None, values)
        for line in bench.skipped:
            yield Row("left out", None, {"workload": workload, "note": line})


PLAN = Plan([sys.executable, "-m", "snnlab.bench.gpu"], "bench", steps, seconds=170)

if __name__ == "__main__":
    sys.exit(main(PLAN))
