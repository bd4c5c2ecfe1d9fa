"""A study: trials asked for and told by workers that share a journal, whoever of them is killed.

Every step that looks at all trials (which of them are to be run again, which is next, what it is) is taken by one
worker at a time, under a lock that goes with its process. A trial belongs to the process that holds the lock in its
folder below ``locks``; one whose process is gone is marked failed and queued again, and goes on from the run's last
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from snnlab.atomic import write_bytes, write_text
from snnlab.config.space import Parameter, Space, spelled
from snnlab.errors import InputError, RunFailure, one_line, plain
from snnlab.runs.lock import Lock, is_alive, process, take
from snnlab.runs.units import shown
from snnlab.search.journal import alone, open_journal
from snnlab.search.plan import Plan
from snnlab.search.trial import run_trial

log = logging.getLogger("snnlab")
MOST_TRIES = 3  # of one trial whose process is killed
RUNNING = {"status": "running"}


class Asked(NamedTuple):
    """A trial that is ours: what it is, and the lock that says so."""

    trial: Trial
    chosen: dict[str, str]
    lock: Lock | None


class Study:
    """The study of a plan, made or opened.

    Raises:
        InputError: when its folder cannot be made.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            (plan.folder / "locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"paths.output: {plan.folder} cannot be made: {error.strerror}") from error
        self.storage = open_journal(plan.folder / "journal.log")
        with self.alone():
            self.study = optuna.create_study(
                storage=self.storage,
                study_name=plan.name,
                directions=[optuna.study.StudyDirection[way.upper()] for way in plan.directions],
                pruner=pruner_of(plan),
                sampler=optuna.samplers.RandomSampler(plan.seed),
                load_if_exists=True,
            )
            if not (plan.folder / "study.json").is_file():
                write_text(plan.folder / "study.json", json.dumps(described(plan), indent=2) + "\n")
            if plan.config_dir is not None:
                keep_configs(plan.config_dir, plan.folder)
            if plan.sampler == "grid":
                self.queue(plan.space.grid())

    def alone(self) -> Any:
        """The only worker that looks at all trials."""
        return alone(self.plan.folder / ".ask.lock")

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """All trials, or those in a state; not those that were queued again."""
        found = self.study.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in found if "again" not in trial.user_attrs]

    def queue(self, points: Sequence[Mapping[str, str]]) -> None:
        """Queue every point of a grid that is not there yet."""
        there = [trial.system_attrs.get("fixed_params") for trial in self.study.get_trials(deepcopy=False)]
        for point in points:
            if (values := values_of(self.plan.space, point)) not in there:
                self.study.enqueue_trial(values)

    # asking -----------------------------------------------------------------------------------------------------------
    def ask(self) -> Asked | None:
        """The next trial, None where there is none to begin."""
        with self.alone():
            self.queue_stale()
            all_of_them = self.trials()
            waiting = any(trial.state == TrialState.WAITING for trial in all_of_them)
            begun = sum(trial.state != TrialState.WAITING for trial in all_of_them)
            if begun >= self.plan.trials or (self.plan.sampler == "grid" and not waiting):
                return None
            self.study.sampler = sampler_of(self.plan, len(self.study.get_trials(deepcopy=False)))
            trial = self.study.ask()
            lock = take(self.lock_folder(trial.number))
            trial.set_user_attr("process", process())
            return Asked(trial, suggest(trial, self.plan.space), lock)

    def lock_folder(self, number: int) -> Path:
        """Where the lock of a trial lies."""
        folder = self.plan.folder / "locks" / f"{number:05d}"
        folder.mkdir(exist_ok=True)
        return folder

    def queue_stale(self) -> None:
        """Queue again the trials whose process is gone; to be called alone."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            owner = trial.user_attrs.get("process")
            if owner is not None:
                lock = take(self.lock_folder(trial.number))
                if lock is None:
                    continue
                lock.release()
                if is_alive({**RUNNING, "process": owner}):
                    continue
            self.put_back(trial, "its process is gone")

    def put_back(self, trial: FrozenTrial | Trial, why: str) -> None:
        """Mark a trial failed, and queue what it was, unless it has been tried often enough; to be called alone."""
        tries = trial.user_attrs.get("tries", 1)
        again = tries < MOST_TRIES
        number = trial.number
        reason = f"{why}; queued again" if again else f"{why}, {tries} times"
        self.storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        if again:
            self.storage.set_trial_user_attr(trial._trial_id, "again", True)
            self.study.enqueue_trial(dict(trial.params), user_attrs={"tries": tries + 1, "of": number})
        self.study.tell(number, state=TrialState.FAIL)
        log.warning("trial %d: %s%s", number, why, "; it is queued again" if again else f", {tries} times: given up")

    # running ----------------------------------------------------------------------------------------------------------
    def work(self, goes_on: Callable[[], bool]) -> None:
        """Run trials until there is none to begin, or ``goes_on`` says no.

        Raises:
            KeyboardInterrupt: after the trial that was being run has been queued again.
        """
        while goes_on() and (asked := self.ask()) is not None:
            started = time.perf_counter()
            try:
                self.run(asked, started)
            except KeyboardInterrupt:
                with self.alone():
                    if self.study.get_trials(deepcopy=False)[asked.trial.number].state == TrialState.RUNNING:
                        asked.trial.set_user_attr("tries", asked.trial.user_attrs.get("tries", 1) - 1)  # nobody's fault
                        self.put_back(asked.trial, "interrupted by the user")
                raise
            finally:
                if asked.lock is not None:
                    asked.lock.release()
            self.tell_progress(asked.trial.number)

    def run(self, asked: Asked, started: float) -> None:
        """Run one trial and tell the study what came of it; what goes wrong in it is its own failure."""
        plan, trial = self.plan, asked.trial
        trial.set_user_attr("overrides", [f"{key}={value}" for key, value in asked.chosen.items()])

        def report(value: float, epoch: int) -> bool:
            if math.isfinite(value):
                trial.report(value, epoch)
            return bool(trial.should_prune())

        try:
            overrides = plan.overrides(asked.chosen)
            watch = report if plan.pruner != "none" else None
            status, values, folder = run_trial(overrides, plan.config_dir, plan.objectives, watch)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if not isinstance(error, Exception | MemoryError):
                raise
            known = isinstance(error, InputError | RunFailure)
            reason = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
            trial.set_user_attr("reason", plain(reason)[:500])
            trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
            self.study.tell(trial, state=TrialState.FAIL)
            return
        trial.set_user_attr("folder", os.path.relpath(folder, plan.folder))
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        if status == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, values)

    def tell_progress(self, number: int) -> None:
        """A line: what came of a trial, the best so far, and how long the rest will take."""
        trials = self.trials()
        trial = self.study.get_trials(deepcopy=False)[number]
        ended = sum(trial.state.is_finished() for trial in trials)
        point = " ".join(trial.user_attrs.get("overrides", []))
        if trial.state == TrialState.FAIL:
            what = f"failed: {trial.user_attrs.get('reason', '')}"
        elif trial.state == TrialState.PRUNED:
            epochs = len(trial.intermediate_values)
            what = f"pruned after {epochs} epoch{'s' * (epochs != 1)}"
        else:
            what = "  ".join(
                f"{name} {shown(name, value)}" for name, value in zip(self.plan.objectives, trial.values, strict=True)
            )
        best = ""
        if len(self.plan.objectives) == 1 and (done := self.best(1)):
            best = f"  best {shown(self.plan.objectives[0], done[0].values[0])} (trial {done[0].number})"
        running = max(sum(trial.state == TrialState.RUNNING for trial in trials), 1)
        times = [t.user_attrs["seconds"] for t in trials if "seconds" in t.user_attrs]
        left = (self.plan.trials - ended) * (sum(times) / max(len(times), 1)) / running
        rest = f"  {trial.user_attrs.get('seconds', 0):.1f} s" + (
            f", {spoken(left)} left" if ended < self.plan.trials else ""
        )
        print(plain(f"trial {number} ({ended} of {self.plan.trials})  {what}{best}  {point}{rest}"), flush=True)

    def best(self, count: int) -> list[FrozenTrial]:
        """The best completed trials, each point once; of several objectives the front, by the first of them."""
        done = self.trials(TrialState.COMPLETE)
        if len(self.plan.objectives) > 1:
            done = self.study.best_trials if done else []
        done = list({json.dumps(trial.params, sort_keys=True): trial for trial in done[::-1]}.values())
        sign = -1 if self.plan.directions[0] == "maximize" else 1
        return sorted(done, key=lambda trial: (sign * trial.values[0], trial.number))[:count]


def spoken(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3 h 20 min``."""
    from snnlab.callbacks.progress import duration

    return duration(seconds)


def described(plan: Plan) -> dict[str, Any]:
    """What a study is, for people."""
    space = {parameter.name: parameter.values.text for parameter in plan.space.parameters}
    named = dict(zip(plan.objectives, plan.directions, strict=True))
    return {
        "search": plan.name,
        "overrides": list(plan.base),
        "space": space,
        "objectives": named,
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "seed": plan.seed,
    }


def keep_configs(source: Path, folder: Path) -> None:
    """Copy one's own configs beside a study, which then needs no other --config-dir."""
    for path in source.glob("*/*.yaml"):
        target = folder / path.parent.name / path.name
        if path.parent.name != "search" and not target.exists() and path.parent.resolve() != target.parent.resolve():
            target.parent.mkdir(exist_ok=True)
            write_bytes(target, path.read_bytes())


def sampler_of(plan: Plan, number: int) -> Any:
    """The sampler for one trial: seeded by the study's seed and the trial's number, whichever worker asks."""
    seed = int(hashlib.sha256(f"{plan.seed} {number}".encode()).hexdigest()[:8], 16)
    several = len(plan.objectives) > 1
    if plan.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=False)
    if plan.sampler == "nsgaii":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(8, min(50, plan.trials // 4)))
    if plan.sampler == "cmaes" and not several:
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed)


def pruner_of(plan: Plan) -> Any:
    """Which trials are not worth going on with."""
    if plan.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1)
    return optuna.pruners.NopPruner()


def suggest(trial: Trial, space: Space) -> dict[str, str]:
    """What a trial is, by key, as it is typed."""
    chosen: dict[str, str] = {}
    for parameter in space.parameters:
        if parameter.holds(chosen):
            value = trial._suggest(parameter.name, distribution(parameter))
            chosen[parameter.key] = value if parameter.values.choices else spelled(value)
    return chosen


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna has it."""
    values = parameter.values
    if values.choices:
        return CategoricalDistribution(values.choices)
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), values.log, int(values.step or 1))
    return FloatDistribution(values.low, values.high, values.log, values.step)


def values_of(space: Space, point: Mapping[str, str]) -> dict[str, Any]:
    """A point as Optuna's names and values."""
    found: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.key in point and parameter.holds(point):
            text, values = point[parameter.key], parameter.values
            found[parameter.name] = text if values.choices else int(text) if values.whole else float(text)
    return found
