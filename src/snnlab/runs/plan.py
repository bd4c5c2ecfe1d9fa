"""The jobs of a sweep: every combination of ``a=1,2 b=x,y``, checked before the first one starts.

A job is its overrides. The sweep is its jobs: its folder is named by what they are (runs/identity.py), and so is the
folder of each; runs/sweep.py runs them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.config.build import build, check_values
from snnlab.config.compose import compose, compose_all, of_job
from snnlab.config.line import expand_sweeps, quoted
from snnlab.errors import InputError
from snnlab.runs import wiring
from snnlab.runs.dry_run import dry_run
from snnlab.runs.identity import deciding, digest, less_seed
from snnlab.runs.latest import NAME, run_folder
from snnlab.runs.resume import job_name

STARTS = ("hardware.start", "init.from_run")


class Sweep(NamedTuple):
    """Jobs that have been checked, by the name of their folder in the sweep's: the overrides of each."""

    name: str
    folder: Path
    jobs: dict[str, list[str]]
    dry: bool  # some job is only to be looked at
    alike: int = 0  # combinations that are the same run as one of the jobs, as those of threads=1,2


def checked(overrides: Sequence[str], config_dir: Path | None) -> Sweep:
    """Compose every job and build one of each row, one at a time; two jobs that are the same run are one.

    Raises:
        InputError: for the first job that cannot be composed or built, no job at all, and a resume= that names a run.
    """
    resumes = [override for override in overrides if override.lstrip("+").startswith("resume=")]
    for resume in resumes:
        if resume not in ("resume=auto", "resume=never"):
            raise InputError(f"{resume}: a sweep goes on with its own runs; resume=never makes all of them anew")
    every = expand_sweeps([*(override for override in overrides if override not in resumes), "resume=auto"])
    if not every:
        raise InputError("-m: no combination is left, as an empty range leaves none; give each key a value at least")
    return plan_jobs(every, config_dir, fresh=resumes == ["resume=never"])


def plan_jobs(every: Sequence[list[str]], config_dir: Path | None, name: str = "", fresh: bool = False) -> Sweep:
    """Check some jobs, each a list of overrides, and say where they are run.

    Args:
        every: the jobs.
        config_dir: one more folder of configs.
        name: of the sweep's folder; "" names it by what the jobs are.
        fresh: in a folder that is not there yet.

    Raises:
        InputError: for the first job that cannot be composed or built.
    """
    jobs: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    rows, trainers, outputs, dry = set[str](), set[str](), list[str](), False
    for composition in compose_all(every, config_dir):
        config = composition.plain()
        left = deciding(config)
        job = names.setdefault(digest(left), job_name(composition.choices, config))
        jobs.setdefault(job, [pinned(override) for override in composition.overrides])
        with of_job(composition.overrides, every):
            check_values(config)
        if (row := digest(less_seed(left))) not in rows:
            with of_job(composition.overrides, every):
                built = build(composition.config).config  # the network goes before the next one comes
                if (trainer := json.dumps(config["trainer"], sort_keys=True, default=str)) not in trainers:
                    one_device(wiring.try_trainer(built))
            rows.add(row)
            trainers.add(trainer)
        outputs.append(config["paths"]["output"])
        dry = dry or config["dry_run"]
    output = Path(outputs[0]).expanduser().resolve()
    name = name or "sweep-" + digest({"jobs": sorted(names)})[:10]
    if fresh:
        name = next(free for i in count(1) if not (output / (free := f"{name}_{i}" if i > 1 else name)).exists())
    return Sweep(name, output / name, jobs, dry, len(outputs) - len(jobs))


def one_device(trainer: Any) -> None:
    """Refuse a job that several processes would share; each is started by repeating a command line, and it has none."""
    if trainer.world_size > 1:
        raise InputError(
            f"trainer.devices: a sweep's jobs use one device each, not {trainer.world_size}; start such a run alone"
        )


def pinned(override: str) -> str:
    """``hardware.start=.../latest`` as the run that it means now: the first job is the latest run soon."""
    key, _, value = override.partition("=")
    start = Path(value.strip("'\""))
    return f"{key}={quoted(str(run_folder(start)))}" if key in STARTS and start.name == NAME else override


def networks(planned: Sweep, config_dir: Path | None) -> list[str]:
    """What ``dry_run`` says, once for all jobs that it says the same of, less its time: the first of them is named."""
    rows: dict[str, list[list[str]]] = {}
    for job in planned.jobs.values():
        rows.setdefault(digest(less_seed(deciding(compose(job, config_dir).plain()))), []).append(job)
    pages: dict[str, tuple[str, list[list[str]]]] = {}
    for jobs in rows.values():
        said = dry_run(compose(jobs[0], config_dir))
        own = re.sub(r"^(time|memory) .*\n?", "", said, flags=re.MULTILINE)
        pages.setdefault(own, (said, []))[1].extend(jobs)
    return [
        f"{' '.join(jobs[0])}{f'  and {len(jobs) - 1} more like it' if len(jobs) > 1 else ''}\n{said}"
        for said, jobs in pages.values()
    ]
