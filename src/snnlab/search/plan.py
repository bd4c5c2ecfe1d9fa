"""What is searched for: the command line read, and all of it checked before the first trial."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.command import value_of
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.space import Space, is_varied, settled, space_of
from snnlab.errors import InputError, nearest
from snnlab.runs.identity import OUTSIDE, canonical, deciding
from snnlab.runs.wiring import try_trainer
from snnlab.search.trial import COSTS, MORE, SHORT

SAMPLERS = ("tpe", "random", "grid", "cmaes", "nsgaii")
PRUNERS = ("median", "hyperband", "none")
OF_FILES = ("objective", "trials", "timeout", "sampler", "pruner")
OWN = ("search", *OF_FILES, "workers")  # keys of the command line that are the search's
QUIET = ("logger=none", "callbacks.progress=false", "callbacks.figures=false", "callbacks.health=false")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_WORKERS, DEFAULT = 256, 50


class Settings(NamedTuple):
    """What is typed of the search itself, or stands in its file; None where nothing is said."""

    objective: Any
    trials: int | None
    timeout: float | None
    workers: int
    sampler: str | None
    pruner: str | None


@dataclass(frozen=True)
class Plan:
    """A study that has been checked."""

    name: str
    folder: Path
    base: tuple[str, ...]  # overrides that all trials have, as typed
    config_dir: Path | None
    space: Space
    objectives: tuple[str, ...]  # by logged name, val/accuracy
    directions: tuple[str, ...]  # maximize or minimize, one each
    sampler: str
    pruner: str
    seed: int
    trials: int
    timeout: float | None  # seconds after which no trial begins
    workers: int
    notes: tuple[str, ...] = ()  # choices that cannot be built beside the first of all others
    dry: bool = False

    def overrides(self, chosen: Mapping[str, str]) -> list[str]:
        """The line of one trial."""
        typed = {override.partition("=")[0].lstrip("+") for override in self.base}
        quiet = [override for override in QUIET if override.partition("=")[0] not in typed]
        own = [f"paths.output={self.folder / 'trials'}", "resume=auto"]
        return [*quiet, *self.kept(), *(f"{key}={value}" for key, value in chosen.items()), *own]

    def kept(self) -> list[str]:
        """What was typed, less where it is written."""
        return [override for override in self.base if override.partition("=")[0].lstrip("+") != "paths.output"]

    def content(self) -> dict[str, Any]:
        """What the study is, for its name and its record."""
        return {
            "space": self.space.described(),
            "objectives": list(zip(self.objectives, self.directions, strict=True)),
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
        }


def plan(overrides: Sequence[str], config_dir: Path | None) -> Plan:
    """Read a search's command line and check it: the space, the objectives, every choice, the first point built.

    Raises:
        InputError: for whatever could not work in the first trial.
    """
    if find_spec("optuna") is None:
        raise InputError("a search needs the package optuna: pip install optuna")
    own = {key: text for key, _, text in (override.partition("=") for override in overrides) if key in OWN}
    rest = [override for override in overrides if override.partition("=")[0] not in OWN]
    if resumed := next((o for o in rest if o.partition("=")[0].lstrip("+") == "resume"), None):
        raise InputError(f"{resumed}: a search goes on by itself; give the same command again")
    typed = {key: value_of(key, text) for key, text in own.items()}
    chosen = typed.get("search") or []
    chosen = [str(name) for name in (chosen if isinstance(chosen, list) else [chosen])]
    varied = [override for override in rest if is_varied(override)]
    fixed = [override for override in rest if override not in varied]
    keys = [override.partition("=")[0].lstrip("+") for override in rest]
    if twice := next(
        (key for key in keys if keys.count(key) > 1 and any(o.startswith(f"{key}=") for o in varied)), None
    ):
        raise InputError(f"{twice} is given twice; give it once")
    if outside := next((o for o in varied if o.split(".")[0].split("=")[0] in OUTSIDE), None):
        raise InputError(f"{outside} decides no number of a run; give it one value")
    space = space_of(chosen, varied, config_dir, OF_FILES)
    settings = settings_of(space.settings | typed)
    space = settled(space, fixed, config_dir)
    first = compose([*fixed, *(f"{key}={value}" for key, value in space.first().items())], config_dir)
    config = first.plain()
    if config["trainer"]["max_time"] is not None:
        raise InputError(
            "trainer.max_time ends a run before its last epoch; timeout=2h is a search's: no trial begins after"
        )
    monitor, known, notes = check_points(fixed, space, config_dir)
    objectives, directions = objectives_of(settings.objective, monitor, known)
    several = len(objectives) > 1
    sampler = settings.sampler or ("nsgaii" if several else "tpe")
    follows = objectives == [monitor[0]]
    pruner = settings.pruner or ("median" if follows else "none")
    if pruner != "none" and not follows:
        raise InputError(
            f"pruner={pruner} looks at one figure that every epoch is validated on, {monitor[0]}; objective = "
            f"{', '.join(objectives)}, so use pruner=none"
        )
    if sampler == "cmaes":
        check_cmaes(space, several)
    made = Plan(
        name="+".join(chosen) or "line",
        folder=Path(),
        base=tuple(fixed),
        config_dir=config_dir,
        space=space,
        objectives=tuple(objectives),
        directions=tuple(directions),
        sampler=sampler,
        pruner=pruner,
        seed=config["seed"],
        trials=settings.trials or DEFAULT,
        timeout=settings.timeout,
        workers=settings.workers,
        notes=tuple(notes),
        dry=config["dry_run"],
    )
    if sampler == "grid":
        points = len(space.grid())
        made = replace(made, trials=min(settings.trials or points, points))
    varies = {parameter.key for parameter in space.parameters}
    same = canonical({"config": _without(deciding(config), varies), **made.content()})
    name = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(config["paths"]["output"]).expanduser().resolve() / f"search-{made.name}-{name}"
    return replace(made, folder=folder)


def _without(node: Mapping[str, Any], keys: set[str], prefix: str = "") -> dict[str, Any]:
    """A config less what varies."""
    return {
        key: _without(value, keys, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in node.items()
        if f"{prefix}{key}" not in keys
    }


def check_points(
    fixed: Sequence[str], space: Space, config_dir: Path | None
) -> tuple[tuple[str, str], list[str], list[str]]:
    """Compose every choice, and build it beside the first of all others.

    Returns the monitored figure, the names of those that there are, and which choices do not build.

    Raises:
        InputError: for a choice that cannot be composed, where none can be built, and where nothing is validated.
    """
    first = space.first()
    points = [first]
    for parameter in space.parameters:
        others = {**first, **dict(parameter.when)}
        for value in parameter.values.choices or (parameter.values.middle(),):
            point = {**others, parameter.key: value}
            kept = {p.key for p in space.parameters if p.holds(point)}
            points.append({key: item for key, item in point.items() if key in kept})
    monitor, known, refused = None, list[str](), list[tuple[str, InputError]]()
    seen: list[dict[str, str]] = []
    for point in points:
        if point in seen:
            continue
        seen.append(point)
        words = [f"{key}={value}" for key, value in point.items()]
        composed = compose([*fixed, *words], config_dir)
        try:
            parts = build(composed.config)
            try_trainer(parts.config)
        except InputError as error:
            other = " ".join(word for word in words if word not in [f"{k}={v}" for k, v in first.items()])
            refused.append((other or " ".join(words), error))
            continue
        if parts.data.spec.sizes.get("val") == 0 or parts.config["trainer"]["limit_val_batches"] == 0:
            raise InputError("a search chooses on validation data, and data.val_size = 0 leaves none")
        if monitor is None:
            monitor = parts.method.monitor
            rates = [f"firing_rate/{name}" for name in parts.method.network.neurons()]
            known = [*parts.method.validated(), *SHORT, *COSTS, *rates]
    if monitor is None:
        raise refused[0][1]
    return (
        monitor,
        known,
        [f"{words} cannot be built beside the first of all others: {error}" for words, error in refused],
    )


def objectives_of(asked: Any, monitor: tuple[str, str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """The logged names that are searched by, and whether more or less of each is better.

    Raises:
        InputError: for names that are no figure of a validation.
    """
    if asked is None:
        return [monitor[0]], [f"{monitor[1]}imize"]
    asked = asked if isinstance(asked, list) else [asked]
    found, directions = [], []
    for word in asked:
        name = SHORT.get(str(word), str(word)).removeprefix("val/")
        if not isinstance(word, str) or name not in known:
            raise InputError(
                f"objective = {word}: there is no such figure of a validation; nearest: {nearest(name, known, 8)}"
            )
        found.append(f"val/{name}")
        more = monitor == (f"val/{name}", "max") or any(part in name for part in MORE)
        directions.append("maximize" if more else "minimize")
    if not found or len(set(found)) < len(found):
        raise InputError(f"objective = {asked}: give one figure, or several, each once: objective=[accuracy,energy]")
    return found, directions


def check_cmaes(space: Space, several: bool) -> None:
    """Refuse what CMA-ES cannot do.

    Raises:
        InputError: saying what would.
    """
    if find_spec("cmaes") is None:
        raise InputError("sampler=cmaes needs the package cmaes: pip install cmaes")
    if several:
        raise InputError("sampler=cmaes has one objective; use sampler=nsgaii")
    choices = [parameter.key for parameter in space.parameters if parameter.values.choices or parameter.when]
    if choices:
        raise InputError(f"sampler=cmaes knows numbers alone, and {choices[0]} is a choice; use sampler=tpe")


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Read them.

    Raises:
        InputError: for a value that is none.
    """
    trials = given.get("trials")
    return Settings(
        given.get("objective"),
        None if trials is None else whole("trials", trials, 1, 100_000),
        seconds(given.get("timeout")),
        whole("workers", given.get("workers", 1), 1, MOST_WORKERS),
        one_of("sampler", given.get("sampler"), SAMPLERS),
        one_of("pruner", given.get("pruner"), PRUNERS),
    )


def one_of(key: str, value: Any, known: Sequence[str]) -> str | None:
    """``value``, one of a few words, or None.

    Raises:
        InputError: naming them.
    """
    if value is None:
        return None
    if value not in known:
        raise InputError(f"{key} = {value}: choose one of {', '.join(known)}")
    return str(value)


def whole(key: str, value: Any, least: int, most: int) -> int:
    """``value``, a whole number within its range.

    Raises:
        InputError: naming the range.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{key} = {value} must be a whole number from {least} to {most}")
    return value


def seconds(value: Any) -> float | None:
    """A time: seconds, or 90s, 30m, 2h, 1d.

    Raises:
        InputError: for anything else.
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smhd]?)", str(value).strip())
    if isinstance(value, bool) or not found or not float(found[1]) > 0:
        raise InputError(f"timeout = {value} must be seconds above 0, or a time such as 90s, 30m, 2h")
    return float(found[1]) * UNITS[found[2] or "s"]
