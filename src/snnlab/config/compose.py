"""Overrides in, one composed config out; what cannot be composed is explained in one line.

A config is composed twice. The first pass tells which method and which data set were chosen; the method's ``recipes``
entry for that data set (by its name, else by its kind) then becomes overrides that come before the user's own. Images
presented as a sequence take the entry ``sequence``, else ``event``: an entry of the set's name is for still images.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnlab.config.paths import cache_dir, conf_dir
from snnlab.errors import InputError, nearest

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
    first: dict[tuple[str, ...], DictConfig] = {}
    with _hydra():
        return [_composed(list(job), config_dir, first) for job in jobs]


def _composed(
    overrides: list[str], config_dir: str | Path | None, first: dict[tuple[str, ...], DictConfig]
) -> Composition:
    """Compose one job; ``first`` holds the first passes so far by the overrides that decide them."""
    _check_overrides(overrides)
    search = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir is not None else []
    deciding = tuple(o for o in overrides if _key(o) in GROUPS or _key(o).startswith("data."))
    if deciding not in first:
        first[deciding] = _compose([*search, *deciding])
    recipe = _recipe(first[deciding], _choices(first[deciding]), overrides, config_dir)
    config = _compose([*search, *recipe, *overrides])
    choices = _choices(config)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    config.method.pop("recipes", None)
    config.pop("experiment", None)
    known = {*map(str, OmegaConf.load(conf_dir() / "config.yaml")), *GROUPS} - {"defaults", "hydra"}
    if unknown := sorted(map(str, set(config) - known)):
        raise InputError(f"{unknown[0]}: there is no such key; nearest: {nearest(unknown[0], known)}")
    OmegaConf.set_struct(config, True)
    try:
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise InputError(f"config: {_first_line(error)}") from error
    return Composition(config, choices, overrides, recipe)


def _check_overrides(overrides: list[str]) -> None:
    """Refuse what Hydra can read and a run has no use for: a group without one choice, a key taken away, no key."""
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parsed = parser.parse_override(override)
        except HydraException as error:
            raise InputError(f"{override!r} cannot be read as key=value: {_first_line(error)}") from error
        key = parsed.key_or_group
        if not key:
            raise InputError(f"{override!r} cannot be read as key=value: it names no key")
        if re.match(r"hydra\b", key):
            raise InputError(f"{override}: Hydra's own settings are fixed; paths.output says where runs are written")
        if parsed.is_delete():
            raise InputError(f"{override}: a key cannot be taken away; give {key} another value")
        if key in GROUPS and (not isinstance(choice := parsed.value(), str | QuotedString) or choice == ""):
            options = sorted(path.stem for path in (conf_dir() / key).glob("*.yaml"))
            raise InputError(f"{override}: {key} needs a choice; choose one of {', '.join(options)}")


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return hydra_compose("config", overrides=list(map(_opened, overrides)), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides) from error


def _opened(override: str) -> str:
    """A mapping called ``something_options`` takes any key; the class that gets it says which it knows."""
    return f"++{override}" if re.match(r"[a-z]\S*_options\b[^=]*=", override) else override


def _choices(config: DictConfig) -> dict[str, str | None]:
    chosen = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(chosen, dict)
    return {group: chosen[group] for group in GROUPS if group in chosen}


def _recipe(
    config: DictConfig, choices: dict[str, str | None], overrides: list[str], config_dir: str | Path | None
) -> list[str]:
    """The method's overrides for this data set, less all that the user or the experiment has decided."""
    recipes = config.method.get("recipes")
    if not recipes:
        return []
    groups = {_key(override) for override in overrides} & set(GROUPS)
    values = {_key(override) for override in overrides} - groups
    more_groups, more_values = _experiment_keys(choices.get("experiment"), config_dir)
    groups, values = groups | more_groups, values | more_values
    kind = _kind(config.data)
    in_rows = kind == "sequence" and "sequence" in config.data
    spikes = "event" if kind == "task" else kind  # the made-up tasks are spikes over time, as recorded events are
    names = ("sequence", "event") if in_rows else (choices["data"], kind, spikes)
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
    except OmegaConfBaseException as error:
        raise InputError(f"config: {_first_line(error)}") from error
    return str(instantiate_part("data", DictConfig(resolved)).spec.kind)


def _experiment_keys(experiment: str | None, config_dir: str | Path | None) -> tuple[set[str], set[str]]:
    """The groups that an experiment chooses and, by dotted path, the values that it sets."""
    if experiment in (None, "null"):
        return set(), set()
    folders = [Path(config_dir)] if config_dir is not None else []
    path = next(p for folder in [*folders, conf_dir()] if (p := folder / "experiment" / f"{experiment}.yaml").is_file())
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    groups: set[str] = set()
    values = {key for key in flatten({k: v for k, v in node.items() if k != "defaults"}) if key not in GROUPS}
    values -= {key for key in values if any(other.startswith(f"{key}.") for other in values)}
    for entry in node.get("defaults", []):
        if isinstance(entry, dict):
            groups |= {str(key).removeprefix("override").strip().lstrip("/") for key in entry}
        elif entry != "_self_":  # an experiment that starts from another one
            more_groups, more_values = _experiment_keys(entry, config_dir)
            groups, values = groups | more_groups, values | more_values
    return groups, values


def flatten(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key below ``node``."""
    for key, value in node.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, dict):
            yield from flatten(value, f"{path}.")


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~").split("@")[0]


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
    """Return the jobs of a multirun: every combination of ``a=1,2 b=x,y``, each as plain overrides."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise _explain(error, list(overrides)) from error
    jobs: list[list[str]] = [[]]
    for override in parsed:
        if override.is_sweep_override():
            key = str(override.input_line).split("=", 1)[0]
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            values = [str(override.input_line)]
        jobs = [[*job, value] for job in jobs for value in values]
    return jobs


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def _explain(error: Exception, overrides: list[str]) -> InputError:
    """One line: the object, the value, the nearest right ones."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options or [] if not option.startswith("_")]
        return InputError(f"{group}={choice}: there is no such {group}; nearest: {nearest(choice, options)}")
    if isinstance(error, OverrideParseException):
        return InputError(f"{error.override!r} cannot be read as key=value: {_first_line(error)}")
    if "quote" in text.lower() and isinstance(error, HydraException):
        return InputError(_first_line(error))
    found = re.search(r"[Cc]ould not (?:override|append|delete)[^']*'([^']+)'", text) or re.search(
        r"Could not find '([^']+)'", text
    )
    if found:
        key = _key(found.group(1))
        return InputError(f"{key}: there is no such key; nearest: {_nearest_keys(key, _known_keys(overrides))}")
    found = re.search(r"Multiple values for ([\w/.@]+)", text)
    if found:
        return InputError(f"{found.group(1)} is given twice; give it once")
    if isinstance(error, ConfigCompositionException | OmegaConfBaseException | HydraException):
        full_key = getattr(error, "full_key", None)
        return InputError(f"{full_key}: {_first_line(error)}" if full_key else _first_line(error))
    return InputError(_first_line(error))


def _known_keys(overrides: list[str]) -> list[str]:
    """Every group and key of the config that the right groups among ``overrides`` compose."""
    kept = [override for override in overrides if _key(override) in GROUPS]
    try:
        config = hydra_compose("config", overrides=kept)
    except (HydraException, OmegaConfBaseException):
        return list(GROUPS)
    if config.get("method") is not None:
        OmegaConf.set_struct(config, False)
        config.method.pop("recipes", None)
    return [*GROUPS, *flatten(OmegaConf.to_container(config))]


def _nearest_keys(wrong: str, keys: list[str]) -> str:
    """Keys for an error message: those like ``wrong`` in its own part, else those anywhere with a name like its own."""
    part, dot, name = wrong.rpartition(".")
    own = [key for key in keys if (key.startswith(part.split(".")[0] + dot) if dot else "." not in key)]
    if not difflib.get_close_matches(wrong, own, cutoff=0.75):
        names = difflib.get_close_matches(name, {key.rpartition(".")[2] for key in keys}, cutoff=0.75)
        if names:
            return ", ".join(sorted({key for key in keys if key.rpartition(".")[2] in names}))
    return nearest(wrong, own or GROUPS)
