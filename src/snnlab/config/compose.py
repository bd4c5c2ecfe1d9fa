"""Overrides in, one composed config out; what cannot be composed is explained in one line.

A config is composed twice. The first pass tells which method and which data set were chosen; the method's ``recipes``
entry for that data set (by its name, else by its kind) then becomes overrides that come before the user's own. Images
presented as a sequence take the entry ``sequence``, else ``event``: an entry of the set's name is for still images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from snnlab.config.own import check_chosen
from snnlab.config.paths import cache_dir, conf_dir
from snnlab.config.words import nearest_keys
from snnlab.errors import InputError, RunFailure, nearest, one_line

GROUPS = (
    "method",
    "model",
    "data",
    "encoder",
    "hardware",
    "init",
    "trainer",
    "logger",
    "callbacks",
    "paths",
    "experiment",
)
# Taken letter by letter, as a shell hands them on: names of folders hold whatever sign their owner likes.
FOLDERS = ("paths.data", "paths.cache", "paths.output", "resume", "method.run", "data.root", "data.cache")
PARSER = OverridesParser.create()
MOST_FIRST = 100  # first passes that are kept
MOST_JOBS = 10_000  # of a sweep: each is composed and checked before the first one starts
FIRST: dict[tuple[str, ...], DictConfig] = {}  # first passes of this process; snnlab's own configs do not change

OmegaConf.register_new_resolver("snnlab_cache", lambda: str(cache_dir()), replace=True)


@dataclass
class Composition:
    """A composed config and what it was composed from."""

    config: DictConfig
    choices: dict[str, str | None]
    overrides: list[str]  # the user's own
    recipe: list[str]  # the method's, for this data set

    def text(self) -> str:
        """The config as YAML."""
        return OmegaConf.to_yaml(self.config)

    def plain(self) -> dict[str, Any]:
        """The config as plain dictionaries and lists."""
        container = OmegaConf.to_container(self.config, resolve=True)
        assert isinstance(container, dict)
        return container  # type: ignore[return-value]


@contextmanager
def _hydra() -> Iterator[None]:
    """Use the Hydra that a sweep has started, or start one on ``conf_dir()``."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="snnlab"):
        yield


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Composition:
    """Compose the config of ``overrides`` (``["method=stbp", "seed=3"]``).

    Args:
        overrides: as on the command line, without sweeps.
        config_dir: one more folder of configs, for methods and data sets of your own.

    Raises:
        InputError: when an override cannot be understood or names nothing that exists.
    """
    return compose_all([overrides], config_dir)[0]


def compose_all(jobs: Sequence[Sequence[str]], config_dir: str | Path | None = None) -> list[Composition]:
    """``compose`` of each of ``jobs``; what they have in common is composed once.

    Raises:
        InputError: as ``compose``, for the first job that it refuses.
    """
    first: dict[tuple[str, ...], DictConfig] = FIRST if config_dir is None else {}
    compositions = []
    with _hydra():
        for job in jobs:
            with of_job(job, jobs):
                compositions.append(_composed(list(job), config_dir, first))
    return compositions


@contextmanager
def of_job(job: Sequence[str], jobs: Sequence[Sequence[str]]) -> Iterator[None]:
    """Let an error name the job of a sweep that it comes from: its overrides that not all ``jobs`` have."""
    try:
        yield
    except (InputError, RunFailure) as error:
        own = [override for override in job if any(override not in other for other in jobs)]
        if not own or str(error).startswith("job "):
            raise
        raise type(error)(f"job {' '.join(own)}: {error}") from error


def _composed(
    overrides: list[str], config_dir: str | Path | None, first: dict[tuple[str, ...], DictConfig]
) -> Composition:
    """Compose one job; ``first`` holds the first passes so far by the overrides that decide them."""
    read = [_checked(override) for override in overrides]
    deciding = [o for o in read if o.key_or_group in GROUPS or o.key_or_group.startswith("data.")]
    lines = tuple(str(o.input_line) for o in deciding)
    if lines not in first:
        if len(first) >= MOST_FIRST:
            first.clear()
        first[lines] = _compose(deciding, config_dir)
    recipe = _recipe(first[lines], _choices(first[lines]), read, config_dir)
    config = _compose([*(_read(override) for override in recipe), *read], config_dir)
    choices = _choices(config)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    if isinstance(config.method, DictConfig):
        config.method.pop("recipes", None)
    config.pop("experiment", None)
    known = {*map(str, OmegaConf.load(conf_dir() / "config.yaml")), *GROUPS} - {"defaults", "hydra"}
    if unknown := sorted(map(str, set(config) - known)):
        raise InputError(f"{unknown[0]}: there is no such key; nearest: {_suggested(unknown[0], read)}")
    OmegaConf.set_struct(config, True)
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        OmegaConf.resolve(config)
    except Exception as error:  # of a text with ${...}: what it names is not there, or leads back to itself
        key = getattr(error, "full_key", None)
        raise InputError(f"{key or 'config'}: {_reason(error)}") from error
    if missing:
        raise InputError(f"{missing[0]} = ??? is still to be given a value: {missing[0]}=...")
    return Composition(config, choices, overrides, recipe)


def _read(override: str, folders: Sequence[str] = FOLDERS) -> Override:
    """Parse ``key=value``; what Hydra's grammar has no form for is text, and names of ``folders`` always are.

    Raises:
        InputError: when it is no key=value.
    """
    key, equals, value = override.partition("=")
    as_text = f"{key}={quoted(value)}"
    if key.lstrip("+") in folders and equals and "${" not in value and not re.fullmatch(r"""(['"]).*\1""", value):
        return PARSER.parse_override(as_text)
    try:
        return PARSER.parse_override(override)
    except Exception as error:  # Hydra's own and those of the parser beneath it
        if equals and re.fullmatch(r"[+~]*[\w/.@]+", key) and value.strip() and value.strip()[0] not in "'\"[{":
            try:
                return PARSER.parse_override(as_text)
            except Exception:
                pass
        raise InputError(f"{override!r} cannot be read as key=value: {_reason(error)}") from error


def quoted(text: str | Path) -> str:
    """A text as Hydra reads it whole, whatever signs it holds."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), str(text)) + "'"


def _checked(override: str) -> Override:
    """Refuse what Hydra can read and a run has no use for: a group without one choice, a key taken away, no key."""
    parsed = _read(override)
    key = parsed.key_or_group
    if not key:
        raise InputError(f"{override!r} cannot be read as key=value: it names no key")
    if re.match(r"hydra\b", key):
        raise InputError(f"{override}: Hydra's own settings are fixed; paths.output says where runs are written")
    if parsed.is_delete():
        raise InputError(f"{override}: a key cannot be taken away; give {key} another value")
    if parsed.package is not None:
        raise InputError(f"{override}: a part cannot be moved to another place; write {key}=...")
    if parsed.is_sweep_override():
        raise InputError(
            f"{override}: several values are a sweep, and -m runs one: python -m snnlab -m ...; "
            f"a list is written {key}=[1,2], a text with a comma {key}='\"a,b\"'"
        )
    value = parsed.value()
    if key in GROUPS and not _is_part(value) and (not isinstance(value, str | QuotedString) or value == ""):
        options = sorted(path.stem for path in (conf_dir() / key).glob("*.yaml"))
        raise InputError(f"{override}: {key} needs a choice; choose one of {', '.join(options)}")
    return parsed


def _is_part(value: Any) -> bool:
    """Whether a value is a whole part, which takes the place of what was there, and is not merged into it."""
    return isinstance(value, Mapping) and "_target_" in value


def _compose(overrides: Sequence[Override], config_dir: str | Path | None) -> DictConfig:
    """Compose; a mapping with a ``_target_`` replaces its node, on the line and in an experiment."""
    parts: list[str] = []
    texts: list[Override] = []
    later: list[Override] = []
    for override in overrides:
        key = override.key_or_group
        if _is_part(override.value()):
            parts.append(key)
        below = any(key == part or key.startswith(f"{part}.") for part in parts)
        (later if below else texts).append(override)
    if config_dir is not None:
        values = ((override.key_or_group, override.value()) for override in overrides)
        check_chosen([(key, str(value)) for key, value in values if key in GROUPS], Path(config_dir))
    search = [] if config_dir is None else [f"hydra.searchpath=[{quoted(f'file://{Path(config_dir).resolve()}')}]"]
    try:
        lines = [*search, *(_opened(str(override.input_line)) for override in texts)]
        config = hydra_compose("config", overrides=lines, return_hydra_config=True)
    except (
        Exception
    ) as error:  # whatever Hydra cannot compose is the input's fault: a line, or a file of somebody's own
        raise _explain(error, overrides) from error
    _leave_replaced(config, overrides, config_dir)
    for override in later:
        _place(config, override, overrides)
    return config


def _place(config: DictConfig, override: Override, overrides: Sequence[Override]) -> None:
    """Put a whole part, or a value below one, in its place."""
    key, value = override.key_or_group, override.value()
    owner, _, name = key.rpartition(".")
    node = OmegaConf.select(config, owner) if owner else config
    if not isinstance(node, DictConfig) or (name not in node and not override.is_add() and _is_part(value)):
        raise InputError(f"{key}: there is no such key; nearest: {_suggested(key, overrides)}")
    if isinstance(value, QuotedString):
        value = value.text
    try:
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    except Exception as error:
        raise InputError(f"{override.input_line}: {_reason(error)}") from error
    if key in GROUPS and isinstance(value, Mapping):
        config.hydra.runtime.choices[key] = str(value["_target_"]).rpartition(".")[2]


def _leave_replaced(config: DictConfig, overrides: Sequence[Override], config_dir: str | Path | None) -> None:
    """Take away what a part that an experiment replaces has left behind: Hydra merges the two."""
    typed = [override.key_or_group for override in overrides]
    for node in _experiment_nodes(_choices(config).get("experiment"), config_dir):
        for path, part in _parts(node):
            there = OmegaConf.select(config, path)
            if isinstance(there, DictConfig) and there.get("_target_") == part["_target_"]:
                kept = {*part, *(key[len(path) + 1 :].split(".")[0] for key in typed if key.startswith(f"{path}."))}
                OmegaConf.set_struct(there, False)
                for key in set(there) - kept:
                    there.pop(key)
                OmegaConf.set_struct(there, None)


def _parts(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a ``_target_`` below ``node``, by dotted path."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            if _is_part(value):
                yield f"{prefix}{key}", value
            yield from _parts(value, f"{prefix}{key}.")


def _opened(override: str) -> str:
    """A mapping called ``something_options`` takes any key; the class that gets it says which it knows."""
    return f"++{override}" if re.match(r"[a-z]\S*_options\b[^=]*=", override) else override


def _choices(config: DictConfig) -> dict[str, str | None]:
    chosen = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(chosen, dict)
    return {group: chosen[group] for group in GROUPS if group in chosen}


def _recipe(
    config: DictConfig, choices: dict[str, str | None], overrides: Sequence[Override], config_dir: str | Path | None
) -> list[str]:
    """The method's overrides for this data set, less all that the user or the experiment has decided."""
    recipes = config.method.get("recipes") if isinstance(config.method, DictConfig) else None
    if not isinstance(recipes, DictConfig):
        return []
    keys = {override.key_or_group for override in overrides}
    groups, values = keys & set(GROUPS), keys - set(GROUPS)
    more_groups, more_values = _experiment_keys(choices.get("experiment"), config_dir)
    groups, values = groups | more_groups, values | more_values
    kind = _kind(config.data)
    in_rows = kind == "sequence" and "sequence" in config.data
    spikes = "event" if kind == "task" else kind  # the made-up tasks are spikes over time, as recorded events are
    names = ("sequence", "event") if in_rows else (str(choices["data"]), kind, spikes)
    chosen: Any = next((recipes[name] for name in names if recipes.get(name)), {})
    recipe = []
    for key, value in chosen.items():
        group = key.split(".")[0]
        decided = any(v == key or key.startswith(f"{v}.") or (v.startswith(f"{key}.") and "." in key) for v in values)
        owner = re.sub(r"_options(\..*)?$", "", key)
        if key in groups or decided or (owner != key and owner in values):  # another neuron has other options
            continue
        another = group in groups and group in chosen and chosen[group] != choices[group]
        if "." in key and another:  # the recipe's values belong to the model or encoder that it would have taken
            continue
        recipe.append(f"{key}={_spell(value)}")
    return recipe


def _kind(data: DictConfig) -> str:
    """image, sequence, event or task: data sets know it before they read anything."""
    from snnlab.config.parts import instantiate_part

    try:
        resolved = OmegaConf.to_container(data, resolve=True)
    except Exception as error:
        raise InputError(f"config: {_reason(error)}") from error
    return str(instantiate_part("data", DictConfig(resolved)).spec.kind)


def _experiment_keys(experiment: str | None, config_dir: str | Path | None) -> tuple[set[str], set[str]]:
    """The groups that an experiment chooses and, by dotted path, the values that it sets."""
    groups: set[str] = set()
    values: set[str] = set()
    for node in _experiment_nodes(experiment, config_dir):
        keys = {key for key in flatten({k: v for k, v in node.items() if k != "defaults"}) if key not in GROUPS}
        values |= {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
        for entry in node.get("defaults", []):
            if isinstance(entry, dict):
                groups |= {str(key).removeprefix("override").strip().lstrip("/") for key in entry}
    return groups, values


def _experiment_nodes(experiment: str | None, config_dir: str | Path | None) -> Iterator[dict[str, Any]]:
    """The files that make an experiment, those from which it starts first."""
    if experiment in (None, "null"):
        return
    folders = [Path(config_dir)] if config_dir is not None else []
    path = next(p for folder in [*folders, conf_dir()] if (p := folder / "experiment" / f"{experiment}.yaml").is_file())
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    for entry in node.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            yield from _experiment_nodes(entry, config_dir)
    yield node  # type: ignore[misc]


def flatten(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key below ``node``."""
    for key, value in node.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, dict):
            yield from flatten(value, f"{path}.")


def _spell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if OmegaConf.is_list(value) or isinstance(value, list):
        return "[" + ",".join(_spell(item) for item in value) + "]"
    if OmegaConf.is_dict(value) or isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spell(item)}" for key, item in value.items()) + "}"
    return str(value)


def expand_sweeps(overrides: Sequence[str]) -> list[list[str]]:
    """Return the jobs of a multirun: every combination of ``a=1,2 b=x,y``, each as plain overrides.

    Raises:
        InputError: for a line that cannot be read, an interval, and more than ``MOST_JOBS`` jobs.
    """
    jobs: list[list[str]] = [[]]
    for override in overrides:
        values = _values(override)
        if len(jobs) * len(values) > MOST_JOBS:
            raise InputError(f"{override}: a sweep of more than {MOST_JOBS:,} jobs; sweep over fewer values at once")
        jobs = [[*job, value] for job in jobs for value in values]
    return jobs


def _values(override: str) -> list[str]:
    """The plain overrides that a swept one stands for; itself where it is none."""
    parsed = _read(override, folders=[name for name in FOLDERS if name.startswith("paths.")])
    if not parsed.is_sweep_override():
        return [override]
    key = override.split("=", 1)[0]
    if not parsed.is_discrete_sweep():
        raise InputError(f"{override}: an interval has no end of values; name some: {key}=1e-4,1e-3,1e-2")
    if not isinstance(choices := parsed.value(), Glob):
        return [f"{key}={value}" for value in islice(parsed.sweep_string_iterator(), MOST_JOBS + 1)]
    names = sorted(path.stem for path in (conf_dir() / key).glob("*.yaml"))
    if not (found := choices.filter(names)):
        raise InputError(f"{override}: no choice of {key} is like that; there are {', '.join(names) or 'none'}")
    return [f"{key}={name}" for name in found]


def _reason(error: BaseException) -> str:
    """What an error says, in one line; without the traces and lists that Hydra and OmegaConf print below it."""
    if isinstance(error, RecursionError):
        return "it leads back to itself"
    known = type(error).__module__.split(".")[0] in ("hydra", "omegaconf")
    return str(error).strip().split("\n")[0] if known else one_line(error) or type(error).__name__


def _explain(error: Exception, overrides: Sequence[Override]) -> InputError:
    """One line: the object, the value, the nearest right ones."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options or [] if not option.startswith("_")]
        return InputError(f"{group}={choice}: there is no such {group}; nearest: {nearest(choice, options)}")
    found = re.search(r"An item is already at '([^']+)'", text)
    if found:
        return InputError(f"+{found.group(1)}: that key is there; write it without the plus sign")
    found = re.search(r"[Cc]ould not (?:override|append|delete)[^']*'([^']+)'", text) or re.search(
        r"Could not find '([^']+)'", text
    )
    if found:
        key = found.group(1).split("=", 1)[0].lstrip("+~").split("@")[0]
        return InputError(f"{key}: there is no such key; nearest: {_suggested(key, overrides)}")
    found = re.search(r"Multiple values for ([\w/.@]+)", text)
    if found:
        return InputError(f"{found.group(1)} is given twice; give it once")
    full_key = getattr(error, "full_key", None)
    return InputError(f"{full_key}: {_reason(error)}" if full_key else _reason(error))


def _suggested(key: str, overrides: Sequence[Override]) -> str:
    """The keys nearest to one that does not exist, among those that the right groups of ``overrides`` compose."""
    value = next((str(o.input_line).partition("=")[2] for o in overrides if o.key_or_group == key), "")
    kept = [str(o.input_line) for o in overrides if o.key_or_group in GROUPS and not _is_part(o.value())]
    try:
        config = hydra_compose("config", overrides=kept)
    except Exception:  # a choice that is none, too
        return nearest(key, GROUPS)
    if isinstance(config.get("method"), DictConfig):
        OmegaConf.set_struct(config, False)
        config.method.pop("recipes", None)
    return nearest_keys(key, value, [*GROUPS, *flatten(OmegaConf.to_container(config))])
