"""Steps on a device: each a process of its own with a time limit, so that one that fails, hangs or breaks the device's
context stops no other. Their answers are written as JSON and as a Markdown table, in a folder that names the card.

A script that is made of steps calls ``main``, which starts it once more for each: ``SCRIPT device=cuda --step NAME``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from snnlab import command
from snnlab.bench.__main__ import machine, provenance, usable_cores, without_paths
from snnlab.errors import InputError, nearest

NONE = "there is no CUDA device here; device=cpu runs a small trial of the same path"
ANSWER = "ANSWER "  # begins the line that a step's process hands its row over with


class Row(NamedTuple):
    """What one check, or one competitor, came to: a line of the table. ``ok`` is None where nothing was to be held."""

    name: str
    ok: bool | None
    values: dict[str, Any]


class Step(NamedTuple):
    """``run(device)`` makes the rows, in a process with ``environment``, which is ended after ``seconds``."""

    run: Callable[[str], Iterator[Row]]
    seconds: float
    environment: Mapping[str, str] = {}


class Plan(NamedTuple):
    """A script of steps.

    Args:
        script: the command that starts it, without arguments.
        name: of the files it writes: NAME.json and NAME.md.
        steps: by device and name.
        seconds: of all steps together; one that has none left is a failure.
        jobs: steps that run at a time on a GPU.
    """

    script: Sequence[str]
    name: str
    steps: Callable[[str], dict[str, Step]]
    seconds: float
    jobs: int = 1


def main(plan: Plan, arguments: Sequence[str] | None = None) -> int:
    """Run ``[device=cuda|cpu] [output=FOLDER] [STEP ...]`` and return the exit code, 1 when a check failed."""
    return command.run(plan.name, lambda words: work(plan, words), arguments)


def work(plan: Plan, arguments: list[str]) -> int:
    line = command.parse(arguments, (), ("--step",))
    given = {"device": "cuda", "output": "benchmarks/results", **dict(o.split("=", 1) for o in line.overrides)}
    if more := given.keys() - {"device", "output"}:
        raise InputError(f"{more.pop()}: there is no such key; nearest: device, output")
    device = given["device"]
    if device not in ("cuda", "cpu"):
        raise InputError(f"device = {device}: choose cuda, or cpu for a small trial of the same path")
    steps = plan.steps(device)
    for name in line.words:
        if name not in steps:
            raise InputError(f"{name!r} is no step; nearest: {nearest(name, steps)}")
    if "step" in line.values:
        for row in steps[line.values["step"]].run(device):
            print(ANSWER + json.dumps(row), flush=True)
        return command.DONE
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(NONE)
    chosen = {name: step for name, step in steps.items() if not line.words or name in line.words}
    started = datetime.now()
    rows = run_all(plan, chosen, device)
    folder = Path(given["output"]).expanduser() / f"{started:%Y-%m-%d}_gpu_{slug(card(device))}"
    write(folder, plan.name, rows, device, started)
    failed = [f"{step}: {row.name}" for step, row in rows if row.ok is False]
    print(f"{len(rows) - len(failed)} fine, {len(failed)} failed; {folder / plan.name}.md", flush=True)
    return command.FAILED if failed else command.DONE


def run_all(plan: Plan, steps: Mapping[str, Step], device: str) -> list[tuple[str, Row]]:
    """The rows of all steps, each told when its step has ended; a CPU has ten times the seconds."""
    factor = 1 if device == "cuda" else 10
    end = time.monotonic() + plan.seconds * factor

    def one(item: tuple[str, Step]) -> list[tuple[str, Row]]:
        name, step = item
        started = time.monotonic()
        rows = run(plan, name, step, device, min(step.seconds * factor, end - started))
        print(f"{name} ({time.monotonic() - started:.0f} s)", *map(spelled, rows), sep="\n  ", flush=True)
        return [(name, row) for row in rows]

    with ThreadPoolExecutor(plan.jobs if device == "cuda" else 1) as pool:
        return [row for rows in pool.map(one, steps.items()) for row in rows]


def run(plan: Plan, name: str, step: Step, device: str, seconds: float) -> list[Row]:
    """The rows of one step; what it could not do is one more, failed."""
    if seconds <= 0:
        return [Row("time", False, {"note": "no time is left; the other steps took it"})]
    process = subprocess.Popen(
        [*plan.script, f"device={device}", "--step", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **step.environment},
        start_new_session=True,
    )
    try:
        printed, ended = process.communicate(timeout=seconds)[0], ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, ended = process.communicate()[0], f"it had not ended after {seconds:.0f} s"
    lines = printed.splitlines()
    rows = [Row(*json.loads(text.removeprefix(ANSWER))) for text in lines if text.startswith(ANSWER)]
    if process.returncode and not ended:
        said = [text.strip() for text in lines if text.strip() and not text.startswith(ANSWER)]
        ended = f"its process ended with {process.returncode}: {said[-1] if said else 'no words'}"
    return [*rows, Row("process", False, {"note": ended})] if ended else rows


def checked(name: str, check: Callable[[], tuple[bool | None, dict[str, Any]]]) -> Row:
    """The row of a check; an error in it is a failure of this row alone."""
    try:
        return Row(name, *check())
    except Exception as error:
        traceback.print_exc()
        return Row(name, False, {"note": f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"})


def spelled(row: Row) -> str:
    values = ", ".join(f"{key} {value}" for key, value in row.values.items())
    return f"{'FAILED ' if row.ok is False else ''}{row.name}: {values}"


def card(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "trial on a CPU"


def slug(text: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def driver() -> str | None:
    """The version of the NVIDIA driver, as the system tells it."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.split("\n")[0].strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def write(folder: Path, name: str, rows: list[tuple[str, Row]], device: str, started: datetime) -> None:
    """Write NAME.json and NAME.md; those of an earlier run of the day on this card give way."""
    import torch

    about = {
        "card": card(device),
        "driver": driver(),
        "cuda": torch.version.cuda,
        "started": f"{started:%Y-%m-%dT%H:%M:%S}",
        "seconds": round((datetime.now() - started).total_seconds()),
        "machine": machine(usable_cores()),
        **provenance(),
    }
    content = {**about, "rows": [{"step": step, "name": r.name, "ok": r.ok, **r.values} for step, r in rows]}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_paths(content), indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(page(name, about, rows), encoding="utf-8")


def page(name: str, about: Mapping[str, Any], rows: Sequence[tuple[str, Row]]) -> str:
    """What was found for people: where, then a table whose columns are the values of the rows."""
    versions = about["versions"]
    where = [f"{key} {versions[key]}" for key in ("python", "torch", "triton", "lightning") if key in versions]
    where = [about["card"], f"driver {about['driver']}", f"CUDA {about['cuda']}", *where]
    where += [f"commit {about['git']['commit']}", about["started"], f"{about['seconds']} s"]
    columns = list(dict.fromkeys(key for _, row in rows for key in row.values))
    words = {True: "yes", False: "**no**", None: ""}
    lines = [f"# {name}", "", "; ".join(where), "", f"| step | what | holds | {' | '.join(columns)} |"]
    lines.append("| --- " * (3 + len(columns)) + "|")
    for step, row in rows:
        cells = [step, row.name, words[row.ok], *(str(row.values.get(key, "")) for key in columns)]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return str(without_paths("\n".join(lines))) + "\n"
