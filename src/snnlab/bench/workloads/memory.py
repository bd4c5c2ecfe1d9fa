"""Memory of a training step of 784-800-800-10 at T = 100, and against T.

    live        most bytes of tensors that are alive at once, above those before the step; the input is among them
    resident    highest resident memory of a process of its own during the step, above that before it (Linux)

Forward, backward and the gradients of the weights; no optimizer. The live bytes are counted, not sampled: one round
tells all. The resident memory also sees what lives outside of tensors, and what the allocator keeps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnlab.bench.workloads.nets import Competitor, competitors
from snnlab.bench.workloads.workload import Bench, Case, Report
from snnlab.callbacks.memory import LiveBytes
from snnlab.models.mlp import MLP

INPUTS, OUTPUTS, GAIN = 784, 10, 3.0
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def measure(
    bench: Bench,
    hidden: list[int] = [800, 800],  # noqa: B006
    batch: int = 100,
    time_steps: int = 100,
    steps: list[int] = [10, 25, 50, 100, 200],  # noqa: B006
    rate: float = 0.2,
    resident: bool = True,
) -> Report:
    """Count the bytes of one step at ``time_steps``, and at every T of ``steps``.

    Args:
        hidden: units of each hidden layer.
        rate: of the input spikes.
        resident: whether processes of their own are measured as well.
    """
    nets = competitors(bench, MLP(hidden), spikes(bench.seed, 5, batch, rate), OUTPUTS, gain=GAIN)
    notes = {name: net.note for name, net in nets.items()}
    found = {t: {name: live_bytes(net, bench.seed, t, batch, rate) for name, net in nets.items()} for t in steps}
    if time_steps not in found:
        found[time_steps] = {n: live_bytes(net, bench.seed, time_steps, batch, rate) for n, net in nets.items()}
    title = f"{'-'.join(map(str, [INPUTS, *hidden, OUTPUTS]))}, B={batch}"
    rounds = {name: [float(bytes_)] for name, bytes_ in found[time_steps].items()}
    bench.add(Case(f"live bytes, {title}, T={time_steps}", "floor", rounds, notes, "bytes"))
    if resident:
        add_resident(bench, list(nets), f"resident memory, {title}, T={time_steps}", hidden, batch, time_steps, rate)
    curves = {name: [found[t][name] for t in steps] for name in nets}
    values: dict[str, Any] = {"steps": steps, "live_bytes": curves}
    values["bytes_per_step"] = {name: slope(steps, curve) for name, curve in curves.items()}
    return Report(values, {"memory_over_time": figure(steps, curves, title)} if len(steps) > 1 else {})


def spikes(seed: int, time_steps: int, batch: int, rate: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(time_steps, batch, INPUTS, generator=generator) < rate).float()


def train(net: Competitor, frames: Tensor) -> None:
    """Forward and backward on frames [T, B, ...], or [B, T, ...] for a net that wants them so."""
    net.run(frames).sum().backward()


def live_bytes(net: Competitor, seed: int, time_steps: int, batch: int, rate: float) -> int:
    """Most bytes alive during one step, input included; the second of two steps, so that nothing is made once."""
    frames = spikes(seed, time_steps, batch, rate)
    frames = frames.transpose(0, 1).contiguous() if net.batch_first else frames
    train(net, frames[:2] if not net.batch_first else frames[:, :2])
    net.network.zero_grad(set_to_none=True)
    with LiveBytes() as counted:
        train(net, frames.clone())
    net.network.zero_grad(set_to_none=True)
    return counted.peak


def add_resident(
    bench: Bench, names: list[str], title: str, hidden: list[int], batch: int, time_steps: int, rate: float
) -> None:
    """Run each competitor in a process of its own and add the case."""
    if not (CLEAR.exists() and STATUS.exists()):
        bench.skip("resident memory: skipped, this system has no /proc/self/clear_refs")
        return
    rounds: dict[str, list[float]] = {}
    for name in names:
        order = {"name": name, "hidden": hidden, "batch": batch, "time_steps": time_steps, "rate": rate}
        order |= {"threads": bench.threads, "seed": bench.seed}
        code = "import sys; from snnlab.bench.workloads.memory import child; child(sys.argv[1])"
        try:
            result = subprocess.run(
                [sys.executable, "-c", code, json.dumps(order)], capture_output=True, text=True, timeout=bench.seconds
            )
        except subprocess.TimeoutExpired:
            bench.skip(f"resident memory: {name} is left out: it took longer than seconds={bench.seconds:g}")
            continue
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["no words"])[-1]
            bench.skip(f"resident memory: {name} is left out: its process failed ({last})")
            continue
        rounds[name] = [float(result.stdout.split()[-1])]
    if "floor" in rounds:
        bench.add(Case(title, "floor", rounds, unit="bytes"))


def child(order: str) -> None:
    """Print the bytes by which the resident memory rises at most in one step; the peak is reset just before."""
    wanted = json.loads(order)
    torch.set_num_threads(wanted["threads"])
    peers = [wanted["name"]] if wanted["name"] not in ("floor", "snnlab") else []
    bench = Bench(threads=wanted["threads"], seed=wanted["seed"], peers=peers, say=lambda line: None)
    size = (wanted["batch"], wanted["rate"])
    net = competitors(bench, MLP(wanted["hidden"]), spikes(bench.seed, 2, *size), OUTPUTS, gain=GAIN)[wanted["name"]]
    few = spikes(bench.seed, 2, *size)
    train(net, few.transpose(0, 1).contiguous() if net.batch_first else few)
    net.network.zero_grad(set_to_none=True)
    CLEAR.write_text("5")  # the kernel forgets the highest resident size
    before = status("VmRSS")
    frames = spikes(bench.seed, wanted["time_steps"], *size)
    train(net, frames.transpose(0, 1).contiguous() if net.batch_first else frames)
    print(status("VmHWM") - before)


def status(key: str) -> int:
    """Bytes of one line of /proc/self/status."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def slope(steps: list[int], curve: list[int]) -> float:
    """Bytes that one more time step costs, from the first to the last T."""
    return (curve[-1] - curve[0]) / (steps[-1] - steps[0]) if steps[-1] != steps[0] else 0.0


def figure(steps: list[int], curves: dict[str, list[int]], title: str) -> Any:
    """Mebibytes against T, one curve each."""
    import matplotlib.pyplot as plt

    picture, axis = plt.subplots(figsize=(5.2, 3.2))
    for name, curve in curves.items():
        axis.plot(steps, [peak / 2**20 for peak in curve], marker="o", markersize=3, label=name)
    axis.set(xlabel="time steps T", ylabel="MiB of live tensors in a training step", ylim=(0, None), xlim=(0, None))
    axis.set_title(title)
    axis.legend(frameon=False, fontsize=7)
    return picture
