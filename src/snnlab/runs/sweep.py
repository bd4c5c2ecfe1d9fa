"""A sweep: the jobs of runs/plan.py, run through Hydra's launcher.

The folder of a sweep, and of each job, is named by what it is. So the same command, in whatever order of its words,
goes on with what is there: what is completed stays, what was interrupted or failed is taken up, and what another
process is making is left to it.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException

from snnlab.atomic import FULL, write_text
from snnlab.callbacks.progress import duration
from snnlab.command import outliving_stdout, set_up_logging, told
from snnlab.config.compose import compose
from snnlab.config.line import quoted
from snnlab.config.paths import conf_dir
from snnlab.errors import Held, InputError, RunFailure, TimeOver, one_line, plain
from snnlab.runs import wiring
from snnlab.runs.identity import digest, recorded
from snnlab.runs.lock import is_alive, take
from snnlab.runs.plan import Sweep, checked, networks
from snnlab.runs.record import RunRecord
from snnlab.runs.resume import records

STATES = ("completed", "failed", "interrupted", "running")
PARALLEL = ("joblib", "submitit_local", "submitit_slurm", "ray")
LOOK = 2.0  # seconds between two looks at the folder of a sweep that is being run
LOCK_SECONDS = 2.0  # most that is waited for the lock of a process that is gone


def sweep(overrides: Sequence[str], config_dir: Path | None, show: Callable[[Path], None]) -> None:
    """Run every job of a multirun that is not completed yet.

    Args:
        overrides: as on the command line, ``a=1,2`` and all.
        config_dir: one more folder of configs.
        show: called with the folder of the runs at the end, whatever that is; not for a dry run.

    Raises:
        InputError: as ``checked``, and for a launcher that does not exist.
        RunFailure: at the end, where a job failed.
        KeyboardInterrupt: where the sweep was stopped, or a job by trainer.max_time.
    """
    launcher = of_launcher(overrides)
    jobs = checked([override for override in overrides if override not in launcher], config_dir)
    if jobs.dry:
        print("\n\n".join(networks(jobs, config_dir)))
        return
    run_all(jobs, config_dir, launcher, show)


def of_launcher(overrides: Sequence[str]) -> list[str]:
    """The words of a command line that say where jobs are run.

    Raises:
        InputError: for a launcher that does not exist.
    """
    launcher = [override for override in overrides if re.match(r"\+*hydra[/.]launcher\b", override)]
    check_launcher(launcher)
    return launcher


def run_all(planned: Sweep, config_dir: Path | None, launcher: list[str], show: Callable[[Path], None]) -> None:
    """Run the jobs that are not completed yet.

    Args:
        planned: jobs that have been checked.
        config_dir: one more folder of configs.
        launcher: words of the command line for Hydra's launcher.
        show: called with the folder of the runs at the end, whatever that is.

    Raises:
        InputError: where a run that is completed is another one than its name says today.
        RunFailure: at the end, where a job failed.
        KeyboardInterrupt: where the jobs were stopped, or one by trainer.max_time.
    """
    left = {name: job for name, job in planned.jobs.items() if state_of(planned.folder, name) != "completed"}
    for name in planned.jobs.keys() - left.keys():
        check_name(planned.folder / name)
    done = len(planned.jobs) - len(left)
    runs = counted(len(left), "run") if left else f"nothing is left to run, {counted(done, 'run')} completed already"
    there = f", {done} completed already" if done and left else ""
    alike = f" ({counted(planned.alike, 'combination')} more: the same runs)" if planned.alike else ""
    print(f"{planned.name}: {runs}{there}{alike} -> {planned.folder}", flush=True)
    writable(planned.folder)
    try:
        with watched(planned):
            launch_all(left, config_dir, planned, launcher)
    except KeyboardInterrupt:
        close(planned.folder)
        raise
    finally:
        if any(planned.folder.glob("*/run.json")):
            show(planned.folder)
    summary(planned)


def counted(number: int, what: str) -> str:
    """``1 run``, ``3 runs``."""
    return f"{number} {what}{'s' * (number != 1)}"


def check_launcher(launcher: Sequence[str]) -> None:
    """Refuse, before any job is composed, what no launcher is or takes; the rest of its words is Hydra's to judge.

    Raises:
        InputError: for a launcher that does not exist, and no processes of joblib.
    """
    for word in launcher:
        key, _, value = word.lstrip("+").partition("=")
        if "/" in key and f"{value}.yaml" not in (files := launchers()):
            missing = "it is not installed (docs/sweeps.md)" if value in PARALLEL else "there is no such launcher"
            raise InputError(f"{word}: {missing}; here are {', '.join(Path(file).stem for file in files)}")
        if key == "hydra.launcher.n_jobs" and value.strip() == "0":
            raise InputError(f"{word}: no process would run a job; give a number from 1 on, or -1 for one a core")


def launchers() -> list[str]:
    """The files of Hydra's group of launchers, with those of every plugin that is installed."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # registers them
    return ConfigStore.instance().list("hydra/launcher")


def writable(folder: Path) -> None:
    """Make the folder of a sweep.

    Raises:
        InputError: where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(
            f"paths.output = {folder.parent} cannot be written: {error.strerror}; choose another folder"
        ) from error


def summary(planned: Sweep) -> None:
    """Print what every job that is not completed came to.

    Raises:
        RunFailure: where one failed, or did not run.
        KeyboardInterrupt: where the others were stopped by trainer.max_time.
    """
    states = {name: state_of(planned.folder, name) for name in planned.jobs}
    for name, state in states.items():
        if state != "completed":
            words = " ".join(own_words(planned.jobs[name], planned.jobs.values()))
            print(f"{state:12} {words or name}: {reason_of(planned.folder, name)}")
    counts = Counter(states.values())
    if lost := sum(counts[state] for state in ("failed", "missing")):
        raise RunFailure(f"{lost} of {len(states)} jobs failed; the same command runs them again, and no other")
    if counts["interrupted"]:
        raise KeyboardInterrupt(f"{counts['interrupted']} of {len(states)} jobs are not done; the same command goes on")


def own_words(job: Sequence[str], jobs: Any) -> list[str]:
    """The overrides of a job that not all have."""
    return [override for override in job if any(override not in other for other in jobs)]


def state_of(folder: Path, name: str) -> str:
    """What a job came to so far: failed, maybe before there was a record; the status of its record; or missing."""
    if failure_file(folder, name).exists():
        return "failed"
    try:
        state = str(RunRecord.read(folder / name).content["status"])
        return state if state in STATES else "missing"
    except (InputError, OSError):
        return "missing"


def check_name(run: Path) -> None:
    """Refuse a run that is not what its name says, as one that was made when the defaults were others.

    Raises:
        InputError: naming its folder.
    """
    if not run.name.endswith(f"_{digest(recorded(RunRecord.read(run).content))[:12]}"):
        raise InputError(f"{run} holds another run than its name says; move it away")


def failure_file(folder: Path, name: str) -> Path:
    """Where it stands why a job failed, be it before it had a record; gone once it is begun again."""
    return folder / f"{name}.failed"


def reason_of(folder: Path, name: str) -> str:
    """Why a job is not completed, in one line."""
    try:
        return plain(failure_file(folder, name).read_text(errors="replace").strip())
    except OSError:
        pass
    try:
        return plain(RunRecord.read(folder / name).content.get("reason") or "its process is gone, or still runs")
    except (InputError, OSError):
        return "it has not begun"


@contextmanager
def watched(planned: Sweep) -> Iterator[None]:
    """Print a line whenever another job has ended: how many are done, and how long the rest will take."""
    over = threading.Event()
    ended = {name for name in planned.jobs if state_of(planned.folder, name) == "completed"}
    before, began = len(ended), time.monotonic()

    def look() -> None:
        nonlocal ended
        known: dict[Path, tuple[float, str]] = {}

        def state(name: str) -> str:
            path = planned.folder / name / "run.json"
            try:
                made = path.stat().st_mtime
            except OSError:
                return state_of(planned.folder, name)
            if path not in known or known[path][0] != made:
                known[path] = made, state_of(planned.folder, name)
            return known[path][1]

        told_of = -1
        while True:
            last = over.wait(LOOK)
            states = Counter(state(name) for name in planned.jobs)
            done = states["completed"] + states["failed"]
            if states["completed"] != told_of and states["completed"] > before:
                told_of, passed = states["completed"], time.monotonic() - began
                left = (len(planned.jobs) - done) * passed / max(states["completed"] - before, 1)
                words = [f"{states['completed']} of {len(planned.jobs)} jobs completed"]
                words += [f"{states['failed']} failed"] if states["failed"] else []
                words += [f"{duration(passed)} passed"]
                words += [f"about {duration(left)} left"] if done < len(planned.jobs) else []
                print(f"{planned.name}: {', '.join(words)}", flush=True)
            if last:
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(timeout=2 * LOOK)


def close(folder: Path) -> None:
    """Say of runs whose process is gone that they were interrupted: some launchers kill theirs at an interrupt."""
    for record in records(folder):
        named = record.content.get("process", {})
        if record.content["status"] != "running" or named.get("host") != platform.node() or is_alive(record.content):
            continue
        until = time.monotonic() + LOCK_SECONDS  # a process that is gone gives its lock back with its last thread
        while (lock := take(record.folder)) is None and time.monotonic() < until:
            time.sleep(0.05)
        if lock is not None:
            record.fail("interrupted", "interrupted by the user")
            lock.release()


def launch_all(left: dict[str, list[str]], config_dir: Path | None, planned: Sweep, launcher: list[str]) -> None:
    """Launch jobs; where one takes the processes of the others down with it, launch those that are left again.

    A job whose process was killed twice, as for its memory, is failed.
    """
    folder, killed = planned.folder, Counter[str]()
    chosen = next((word.partition("=")[2] for word in launcher if "/" in word), "basic")
    while left:
        shared, words = shared_out(len(left), launcher, chosen)
        jobs = {name: [*job, *shared] if not has_threads(job) else job for name, job in left.items()}
        try:
            launch(jobs, None if config_dir is None else str(config_dir), planned, [*launcher, *words])
            return
        except InputError:
            raise
        except Exception as error:
            states = {name: state_of(folder, name) for name in left}
            dead = [name for name, state in states.items() if state == "running"]
            print(f"{planned.name}: {chosen} launcher: {one_line(error)[:200]}", flush=True)
            if chosen != "joblib" or not dead:
                raise RunFailure(f"the {chosen} launcher failed; the same command goes on with what is left") from error
            close(folder)
            killed.update(dead)
            for name in (name for name in dead if killed[name] > 1):
                write_text(failure_file(folder, name), "its process was killed twice, as for want of memory\n")
            left = {
                name: job
                for name, job in left.items()
                if states[name] not in ("completed", "failed") and killed[name] < 2
            }


def has_threads(job: Sequence[str]) -> bool:
    """Whether the user says how many threads a job takes."""
    return any(override.lstrip("+").startswith("threads=") for override in job)


def shared_out(jobs: int, launcher: Sequence[str], chosen: str) -> tuple[list[str], list[str]]:
    """What shares the cores out among jobs that run side by side: overrides of each job, and of the launcher."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = dict(word.lstrip("+").partition("=")[::2] for word in launcher)
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return [f"threads={os.environ['OMP_NUM_THREADS']}"] if chosen in PARALLEL else [], []
    if chosen == "joblib":
        given = settings.get("hydra.launcher.n_jobs", "")
        processes = int(given) if given.isdigit() and int(given) > 0 else min(cores, jobs)
        words = [] if "hydra.launcher.n_jobs" in settings else [f"hydra.launcher.n_jobs={processes}"]
        return [f"threads={max(1, cores // processes)}"], words
    if chosen in PARALLEL:
        own = "hydra.launcher.ray.remote.num_cpus" if chosen == "ray" else "hydra.launcher.cpus_per_task"
        given = settings.get(own, "1")
        return [f"threads={given if given.isdigit() and int(given) > 0 else 1}"], []
    return [], []


def launch(jobs: dict[str, list[str]], config_dir: str | None, planned: Sweep, launcher: list[str]) -> None:
    """Run ``jobs`` through the launcher, in this process or in others; texts are all that goes there."""
    names, lines, sweep, folder = list(jobs), list(jobs.values()), planned.name, str(planned.folder)

    def job(config: Any) -> None:  # Hydra launches it by number
        run_job(names[config.job], lines[config.job], lines, config_dir, sweep, folder)

    outer = sys.argv
    whole = quoted(folder.replace("${", "\\${"))
    numbers = ",".join(map(str, range(len(jobs))))
    sys.argv = [outer[0], "-m", f"hydra.sweep.dir={whole}", *launcher, f"+job={numbers}"]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(job)()
    except HydraException as error:
        told = re.split(r" See | Config search path", one_line(error))[0]
        raise InputError(f"sweep: {told}") from error
    finally:
        sys.argv = outer


def run_job(name: str, job: list[str], jobs: list[list[str]], config_dir: str | None, sweep: str, folder: str) -> None:
    """Run one job, in whatever process; its failure is written down, told, and no other job's."""
    set_up_logging()
    failed = failure_file(Path(folder), name)
    failed.unlink(missing_ok=True)
    words = " ".join(own_words(job, jobs)) or name  # the one job that is left has none
    with outliving_stdout():
        try:
            composition = compose(job, config_dir)
            output = Path(composition.config.paths.output).expanduser()
            if output.resolve() != Path(folder).parent:  # another process may stand in another folder
                composition.config.paths.output = str(Path(folder).parent)
            result = wiring.run(composition, sweep=sweep)
            print("\n".join(result.lines()), flush=True)
        except Held as held:
            print(f"job {words}: {held}", flush=True)
        except TimeOver as over:
            print(f"job {words}: {over}", flush=True)
        except Exception as error:
            if not isinstance(error, InputError | RunFailure | OSError | MemoryError):
                traceback.print_exc()
            line = plain(" ".join(told(error).split())) or type(error).__name__
            print(f"job {words} failed: {line}", flush=True)
            failed.parent.mkdir(parents=True, exist_ok=True)
            write_text(failed, f"{line}\n")
