"""``python -m snnlab.search search=NAME method=... data=...``: runs over a space, chosen by Optuna on validation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from snnlab.command import CONFIG_DIR, INTERRUPTED, config_dir_of, outliving_stdout, parse, run, set_up_logging
from snnlab.errors import InputError, RunFailure, plain

HELP = """usage: python -m snnlab.search [search=NAME] [KEY=SPACE ...] [KEY=VALUE ...]

Runs trials over a space and keeps the best: each is fitted and validated, none sees the test split. The folder of the
study, outputs/search-NAME-..., is named by what it is: the same command goes on with it, and several of them, on this
machine or on others that share the folder, work on it together. A worker may be killed: its trial is queued again.

  search=NAME       a space of conf/search, or of --config-dir; several: search=[lr,neuron]
                    {names}
  KEY=SPACE         'method.optimizer.lr=tag(log, interval(1e-4, 1e-1))'  'model.dropout=interval(0, 0.5)'
                    'encoder.time_steps=int(interval(2, 16))'  'data.batch_size=range(20, 101, 20)'
                    'method.surrogate=choice(triangle, sigmoid)'  'encoder=direct,rate'
                    'method.optimizer.lr=tag(log, times, interval(0.1, 10))'   times what the recipe has
  KEY=VALUE         as python -m snnlab takes it; a key with one value does not vary
  objective=NAME    what is searched by, on validation; default: what the checkpoint is chosen by. Several, with their
                    front: objective=[accuracy,energy]; energy, spikes, operations are those of an inference
  trials=50         of all workers together          timeout=2h   after which no trial begins
  workers=1         processes that this command starts
  sampler=tpe       random grid cmaes nsgaii (default for several objectives); seeded by seed=
  pruner=median     hyperband none; of one objective that every epoch is validated on
  dry_run=true      check everything, say what would be run, stop
  --wandb           write the same space as a sweep of W&B, whose agents call python -m snnlab, and stop
  --config-dir DIR  one more folder of configs
  --debug           show tracebacks

The best is an experiment: python -m snnlab --config-dir STUDY experiment=best trains it again and scores the test once.
exit codes: 0 done, 1 no trial was completed, 2 bad input, 130 interrupted (the same command goes on)
"""
REPLACED = 3  # workers that are started in the place of killed ones, for each that was asked for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line of ``python -m snnlab.search`` and return its exit code."""
    return run("snnlab.search", search, arguments, interrupted="interrupted; go on with the same command")


def search(arguments: list[str]) -> int:
    """Check the plan, run its trials, and say what they have come to.

    Raises:
        InputError: for whatever could not work in the first trial.
        RunFailure: when no trial was completed.
    """
    line = parse(arguments, ("-h --help", "--wandb", "--worker"), (CONFIG_DIR,))
    config_dir = config_dir_of(line)
    if "help" in line.flags or not arguments:
        from snnlab.config.paths import conf_dir

        folders = [conf_dir(), *([config_dir] if config_dir else [])]
        names = sorted({path.stem for folder in folders for path in (folder / "search").glob("*.yaml")})
        print(HELP.format(names=" ".join(names)), end="")
        return 0 if "help" in line.flags else 2
    if line.words:
        raise InputError(f"{line.words[0]!r} cannot be read as key=value; search=NAME chooses a space")
    set_up_logging()
    from snnlab.search.plan import plan

    made = plan(line.overrides, config_dir)
    if "wandb" in line.flags:
        return write_sweep(made)
    if "worker" not in line.flags:
        print("\n".join(map(plain, told(made))), flush=True)
    if made.dry:
        return 0
    from snnlab.search.study import Study

    study = Study(made)
    with outliving_stdout():
        if made.workers > 1:
            work_together(made, [argument for argument in arguments if not argument.startswith("workers=")])
        else:
            work(study, made.timeout, below="worker" in line.flags)
        if "worker" in line.flags:
            return 0
        from snnlab.search.results import finish, reasons

        with study.alone():  # others may have come to the end, too
            lines = finish(study)
        print("\n".join(lines), flush=True)
    if not study.best(1):
        why = reasons(study)
        raise RunFailure(f"no trial was completed{': ' + why[0] if why else ''}; {made.folder / 'trials.csv'} has all")
    return 0


def told(made: Any) -> list[str]:
    """What will be run."""
    space = [f"  {parameter.name} = {parameter.values.text}" for parameter in made.space.parameters]
    goals = ", ".join(f"{way} {name}" for name, way in zip(made.objectives, made.directions, strict=True))
    count = f"{made.trials} trial{'s' * (made.trials != 1)}"
    lines = [f"search {made.name}: {count}, {goals}; sampler {made.sampler}, pruner {made.pruner}"]
    return [*lines, *space, *(f"note: {note}" for note in made.notes), f"study    {made.folder}"]


def write_sweep(made: Any) -> int:
    """Write the file for ``wandb sweep`` into the study's folder."""
    from snnlab.atomic import write_text
    from snnlab.search.wandb_sweep import sweep_file

    made.folder.mkdir(parents=True, exist_ok=True)
    path = made.folder / "wandb-sweep.yaml"
    write_text(path, sweep_file(made))
    print(f"sweep    wandb sweep {plain(path)}")
    return 0


def work(study: Any, timeout: float | None, below: bool) -> None:
    """Run trials; one that was started by another process ends with it."""
    parent, end = os.getppid(), None if timeout is None else time.monotonic() + timeout

    def goes_on() -> bool:
        return (end is None or time.monotonic() < end) and (not below or os.getppid() == parent)

    study.work(goes_on)


def work_together(made: Any, arguments: list[str]) -> None:
    """Start workers and wait for them; one that is killed is replaced, an interrupt reaches all of them.

    Raises:
        KeyboardInterrupt: after all of them have ended.
        RunFailure: when one could not go on.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // made.workers, 1)))
    command, ends = [sys.executable, "-m", "snnlab.search", "--worker", *arguments], time.monotonic()
    ends += made.timeout or float("inf")

    def start() -> subprocess.Popen[bytes]:  # in a group of its own: Ctrl-C comes from here, and once
        return subprocess.Popen(command, env=environment, start_new_session=True)

    workers = [start() for _ in range(made.workers)]
    left = REPLACED * made.workers
    try:
        while workers:
            time.sleep(0.1)
            for worker in [each for each in workers if each.poll() is not None]:
                workers.remove(worker)
                code = worker.returncode
                if code == INTERRUPTED:
                    raise KeyboardInterrupt
                if code > 0:
                    raise RunFailure(f"a worker ended with exit code {code}; what it said stands above")
                if code < 0 and left and time.monotonic() < ends:
                    left -= 1
                    print(f"worker {worker.pid} was killed (signal {-code}); another one takes its place", flush=True)
                    workers.append(start())
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGINT)
        for worker in workers:
            worker.wait()


if __name__ == "__main__":
    sys.exit(main())
