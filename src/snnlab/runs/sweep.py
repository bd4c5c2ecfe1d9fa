"""A sweep: every combination of ``a=1,2 b=x,y``, checked before the first one starts, run through Hydra's launcher.

A job is its overrides. The sweep is its jobs: its folder is named by what they are (runs/identity.py), so the order of
the words, or ``resume=auto``, leads to the same folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.errors import HydraException

from snnlab.command import outliving_stdout, set_up_logging
from snnlab.config.build import build, check_values
from snnlab.config.compose import compose, compose_all, of_job
from snnlab.config.line import expand_sweeps, quoted
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, one_line
from snnlab.runs import wiring
from snnlab.runs.dry_run import dry_run
from snnlab.runs.identity import deciding, digest, less_seed, recorded
from snnlab.runs.latest import NAME, run_folder
from snnlab.runs.lock import is_alive, take
from snnlab.runs.record import RunRecord
from snnlab.runs.resume import records


class Sweep(NamedTuple):
    """Jobs that have been checked: the overrides of each, by identity; where they are written, if they are to run."""

    name: str
    folder: Path
    jobs: dict[str, list[str]]
    resumed: bool  # every job goes on where it was
    dry: bool  # some job is only to be looked at


def checked(overrides: Sequence[str], config_dir: Path | None) -> Sweep:
    """Compose every job and build one of each row, one at a time; two jobs that are the same run are one.

    Raises:
        InputError: for the first job that cannot be composed or built.
    """
    jobs: dict[str, list[str]] = {}
    rows: set[str] = set()
    outputs, resumes, dry = [], [], []
    every = expand_sweeps(overrides)
    for composition in compose_all(every, config_dir):
        config = composition.plain()
        left = deciding(config)
        jobs.setdefault(digest(left), [pinned(override) for override in composition.overrides])
        with of_job(composition.overrides, every):
            check_values(config)
        if (row := digest(less_seed(left))) not in rows:
            with of_job(composition.overrides, every):
                wiring.try_trainer(build(composition.config).config)
            rows.add(row)
        outputs.append(config["paths"]["output"])
        resumes.append(config["resume"])
        dry.append(config["dry_run"])
    name = "sweep-" + hashlib.sha256("\n".join(sorted(jobs)).encode()).hexdigest()[:10]
    folder = Path(outputs[0]).expanduser().resolve() / name
    return Sweep(name, folder, jobs, all(resume == "auto" for resume in resumes), any(dry))


def pinned(override: str) -> str:
    """``hardware.start=.../latest`` as the run that it means now: its first job is the latest run soon."""
    key, _, value = override.partition("=")
    start = Path(value.strip("'\""))
    return f"{key}={quoted(str(run_folder(start)))}" if key == "hardware.start" and start.name == NAME else override


def sweep(overrides: Sequence[str], config_dir: Path | None, show: Callable[[Path], None]) -> None:
    """Run every job of a multirun; with ``resume=auto`` those that are not completed yet.

    Args:
        overrides: as on the command line, ``a=1,2`` and all.
        config_dir: one more folder of configs.
        show: called with the folder of the runs at the end, that of a job that failed included; not for a dry run.

    Raises:
        InputError: as ``checked``, and for a launcher that does not exist.
    """
    launcher = [override for override in overrides if re.match(r"\+*hydra[/.]launcher\b", override)]
    own = [override for override in overrides if override not in launcher]
    planned = checked(own, config_dir)
    if planned.dry:
        jobs = planned.jobs.values()
        print("\n\n".join(f"{' '.join(job)}\n{dry_run(compose(job, config_dir))}" for job in jobs))
        return
    done = completed(planned.folder) & set(planned.jobs) if planned.resumed else set()
    left = [job for identity, job in planned.jobs.items() if identity not in done]
    print(f"{planned.name}: {len(left)} runs" + (f", {len(done)} more are completed" if done else ""), flush=True)
    try:
        if left:
            launch(left, None if config_dir is None else str(config_dir), planned.name, planned.folder, launcher)
    except KeyboardInterrupt:
        close(planned.folder)
        raise
    finally:
        if any(planned.folder.glob("*/run.json")):
            show(planned.folder)


def close(folder: Path) -> None:
    """Say of runs whose process is gone that they were interrupted: some launchers kill theirs at an interrupt."""
    for record in records(folder):
        named = record.content.get("process", {})
        if record.content["status"] != "running" or named.get("host") != platform.node() or is_alive(record.content):
            continue
        if (lock := take(record.folder)) is not None:
            record.fail("interrupted", "interrupted by the user")
            lock.release()


def completed(folder: Path) -> set[str]:
    """Identities of the completed runs of a sweep's folder."""
    found = set()
    for path in folder.glob("*/run.json"):
        try:
            content = RunRecord.read(path.parent).content
            if content["status"] == "completed":
                found.add(digest(recorded(content)))
        except InputError as error:
            print(f"{error}; its job is run again", flush=True)
    return found


def launch(jobs: list[list[str]], config_dir: str | None, name: str, folder: Path, launcher: list[str]) -> None:
    """Run ``jobs`` through the launcher, in this process or in others; texts are all that goes there."""

    def job(config: Any) -> None:  # Hydra launches it by number
        set_up_logging()
        with outliving_stdout(), of_job(jobs[config.job], jobs):
            print("\n".join(wiring.run(compose(jobs[config.job], config_dir), sweep=name).lines()), flush=True)

    outer = sys.argv
    whole = quoted(str(folder).replace("${", "\\${"))
    numbers = ",".join(map(str, range(len(jobs))))
    sys.argv = [outer[0], "-m", f"hydra.sweep.dir={whole}", *launcher, f"+job={numbers}"]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except HydraException as error:
        raise InputError(f"sweep: {one_line(error).partition(' See ')[0]}") from error
    finally:
        sys.argv = outer
