"""How long one waits: wall time of whole processes, and the processor time that they took.

    torch           python -c "import torch", what every run pays and nobody can save
    lightning       python -c "import torch, lightning"
    help            python -m snnlab --help
    first step      the main job from the command line to the end of its first training step

The first call of each is not counted: it fills the disk's cache, makes films and compiles kernels.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

from snnlab.bench.workloads.rounds import Job
from snnlab.bench.workloads.workload import Bench, Case, Report

# The callback that a run always has ends the process at the end of the first step; importing it first changes the order
# of the imports, not what is imported.
FIRST_STEP = """
import os, sys
def end(*_, **__):
    os._exit(0)
from snnlab.config import libraries
libraries.load()
from snnlab.callbacks.memory import PeakMemory
PeakMemory.on_train_batch_end = end
from snnlab.train import main
code = main(sys.argv[1:])
os._exit(code or 1)
"""


def measure(
    bench: Bench,
    job: list[str] = [],  # noqa: B006
    processes: list[str] = ["torch", "lightning", "help", "first step"],  # noqa: B006
) -> Report:
    """Start each of ``processes`` in turns.

    Args:
        job: overrides of the run whose first step is awaited; [] is the main job, as ``python -m snnlab`` alone.
    """
    python = sys.executable
    cpu: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        known = {
            "torch": [python, "-c", "import torch"],
            "lightning": [python, "-c", "import torch, lightning"],
            "help": [python, "-m", "snnlab", "--help"],
            "first step": [python, "-c", FIRST_STEP, *job, "logger.mode=offline", f"paths.output={folder}"],
        }
        jobs: dict[str, Job] = {}
        for name in ("torch", *(name for name in processes if name in known and name != "torch")):
            try:
                seconds, _ = process(known[name], bench.seconds)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                bench.skip(f"{name}: skipped, {reason(error)}")
                continue
            if seconds > bench.seconds:
                bench.skip(f"{name}: skipped, {seconds:.0f} s a start")
                continue
            jobs[name] = counting(known[name], bench.seconds, cpu.setdefault(name, []))
        case = bench.compare("wall time of processes", jobs, "torch", keep=jobs)
    rounds = {name: cpu[name][-len(case.rounds[name]) :] for name in case.rounds}  # those of the warm-up come before
    bench.add(Case("processor time of processes", "torch", rounds))
    return Report({"job": job})


def counting(command: list[str], limit: float, cpu: list[float]) -> Job:
    """A job that starts ``command`` and keeps its processor seconds in ``cpu``."""

    def start() -> float:
        wall, used = process(command, limit)
        cpu.append(used)
        return wall

    return start


def process(command: list[str], limit: float) -> tuple[float, float]:
    """Wall and processor seconds of one process.

    Raises:
        CalledProcessError, TimeoutExpired: when it fails, or takes longer than ``limit`` seconds.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = {**os.environ, "WANDB_SILENT": "true"}
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit, env=environment)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def reason(error: subprocess.CalledProcessError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took longer than seconds={error.timeout:g}"
    lines = (error.stderr or "").strip().splitlines()
    return f"it ended with {error.returncode}" + (f": {lines[-1]}" if lines else "")
