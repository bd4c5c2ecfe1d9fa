"""Kill a sweep at random moments, its whole process group, and repeat its command: ``python tests/kills/sweep.py``.

usage: python tests/kills/sweep.py [--jobs 36] [--kills 10] [--seed 0] [HYDRA OVERRIDES ...]

At its end every job must be complete, none twice, none lost, and the numbers and weights those of a sweep that nobody
killed, to the bit. Overrides such as hydra/launcher=joblib choose how the killed one is launched.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

LINE = ["method=stbp,ann,ottt", "data=digits", "model=mlp", "model.hidden=[6],[12]", "encoder=direct"]
LINE += ["encoder.time_steps=3", "trainer.max_epochs=3", "trainer.limit_train_batches=4", "trainer.limit_val_batches=1"]
LINE += ["trainer.limit_test_batches=2", "callbacks.figures=false", "callbacks.progress=false", "logger=none"]


def command(folder: Path, jobs: int, more: list[str]) -> list[str]:
    """The sweep of so many jobs (a multiple of 6), written below ``folder``."""
    line = [*LINE, f"seed=range(0,{jobs // 6})", f"paths.output={folder}", "threads=1"]
    return [sys.executable, "-m", "snnlab", "-m", *line, *more]


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The run.json of each job that has one, by its folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("sweep-*/*/run.json")}


def results(folder: Path) -> dict[str, Any]:
    """What each job came to: figures, metrics.csv and the weights of the chosen checkpoint."""
    found = {}
    for path in folder.glob("sweep-*/*/run.json"):
        content = json.loads(path.read_text())
        weights = torch.load(path.parent / content["checkpoint"], weights_only=True)["state_dict"]
        values = {name: value.tolist() for name, value in weights.items()}
        found[path.parent.name] = content["metrics"], (path.parent / "metrics.csv").read_text(), values
    return found


def killed(folder: Path, jobs: int, kills: int, draw: random.Random, whole: float, more: list[str]) -> list[str]:
    """Start the sweep and kill it, so often, then let it end; return what was wrong on the way.

    Args:
        whole: seconds that a sweep takes which nobody kills.
    """
    wrong = []
    for kill in range(kills + 1):
        before = records(folder)
        process = subprocess.Popen(
            command(folder, jobs, more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        seconds = None if kill == kills else draw.uniform(0.1, 0.4) * whole  # some before the first job begins
        try:
            _, error = process.communicate(timeout=seconds)
            if process.returncode:
                wrong.append(f"start {kill} ended {process.returncode}: {error.decode()[-300:]}")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            time.sleep(0.2)
        after = records(folder)
        wrong += [f"{name} is lost" for name in before if name not in after]
        for name, content in before.items():
            if content["status"] == "completed" and after.get(name) != content:
                wrong.append(f"{name} was completed, and was made again")
        told = f"after {seconds:.1f} s" if seconds else "at the end"
        done = sum(content["status"] == "completed" for content in after.values())
        print(f"start {kill}: {done} of {jobs} completed {told}", flush=True)
    return wrong


def main() -> int:
    """Run both sweeps and compare; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=36)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        whole, cut = Path(scratch, "whole"), Path(scratch, "cut")
        began = time.monotonic()
        subprocess.run(command(whole, options.jobs, []), stdout=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - began
        expected = results(whole)
        draw = random.Random(options.seed)
        wrong = killed(cut, options.jobs, options.kills, draw, seconds, more)
        states = {name: content["status"] for name, content in records(cut).items()}
        wrong += [f"{name} is {state}" for name, state in states.items() if state != "completed"]
        found = results(cut) if not wrong else {}
        wrong += [f"{name} differs from its twin" for name in found if found[name] != expected.get(name)]
        wrong += [f"{name} is missing" for name in expected if name not in states]
        wrong += [f"{name} is one too many" for name in states if name not in expected]
    print("\n".join(wrong) or f"{len(expected)} of {options.jobs} jobs complete, none twice, equal to their twins")
    return 1 if wrong or len(expected) != options.jobs else 0


if __name__ == "__main__":
    sys.exit(main())
