"""Overrides in, one composed config out; what cannot be composed is explained in one line.

A config is composed twice. The first pass tells which method and which data set were chosen; the method's ``recipes``
entry for that data set (by its name, else by its kind) then becomes overrides that come before the user's own. Images
presented as a sequence take the entry ``sequence``, else ``event``: an entry of the set's name is for still images.
"""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from snnlab.config.line import GROUPS, checked, is_part, opened, quoted, read, reason, referring
from snnlab.config.own import check_chosen, check_classes
from snnlab.config.paths import cache_dir, conf_dir
from snnlab.config.recipes import experiment_nodes, flatten, kind_of, recipe_of
from snnlab.config.schema import OF_GROUP
from snnlab.config.words import nearest_keys
from snnlab.errors import InputError, RunFailure, nearest

MOST_KEPT = 500  # choices whose composition is kept
Choices = tuple[str, ...]  # lines that choose of groups
Kept = dict[Choices, bytes]  # pickled: a copy comes out of that three times as fast as by copy.deepcopy
First = tuple[DictConfig, str]  # a config, and the kind of its data
CHOSEN: Kept = {}  # what Hydra made of them in this process; snnlab's own configs do not change

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
    """Use the Hydra that a sweep has started, or start one on ``conf_dir()``; a script's own is put aside for it."""
    theirs = GlobalHydra.instance().hydra
    if theirs is not None and str(conf_dir()) in [source.path for source in theirs.config_loader.get_sources()]:
        yield
        return
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="snnlab"):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs


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
    kept: Kept = CHOSEN if config_dir is None else {}
    first: dict[Choices, First] = {}
    compositions = []
    with _hydra():
        for job in jobs:
            with of_job(job, jobs):
                compositions.append(_composed(list(job), config_dir, kept, first))
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
    overrides: list[str], config_dir: str | Path | None, kept: Kept, first: dict[Choices, First]
) -> Composition:
    """Compose one job; ``first`` keeps what the first pass made of the lines that it looks at."""
    given = [checked(override) for override in overrides]
    if any(override.key_or_group in ("compile", "trainer.compile", "method.compile") for override in given):
        raise InputError(
            "compile: kernels=auto compiles neurons over all time steps; torch.compile of the rest takes seconds and "
            "made no step faster (docs/speed.md), so there is no such setting"
        )
    deciding = [o for o in given if o.key_or_group in GROUPS or o.key_or_group.startswith("data.")]
    lines = tuple(str(override.input_line) for override in deciding)
    if lines not in first:
        made = _compose(deciding, config_dir, kept)
        if config_dir is not None:
            check_classes(made, _choices(made), Path(config_dir), ["data"])  # which has a word in what its recipe is
        first[lines] = made, kind_of(made, given)
    made, kind = first[lines]
    recipe = recipe_of(made, kind, _choices(made), given, config_dir)
    config = _compose([*(read(override) for override in recipe), *given], config_dir, kept)
    choices = _choices(config)
    if config_dir is not None:
        check_classes(config, choices, Path(config_dir))
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    if isinstance(config.method, DictConfig):
        config.method.pop("recipes", None)
    config.pop("experiment", None)
    if unknown := sorted(map(str, set(config) - _known())):
        raise InputError(f"{unknown[0]}: there is no such key; nearest: {_suggested(unknown[0], given)}")
    OmegaConf.set_struct(config, True)
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        OmegaConf.resolve(config)
    except Exception as error:  # of a text with ${...}: what it names is not there, or leads back to itself
        key = getattr(error, "full_key", None)
        raise InputError(f"{key or referring(given)}: {reason(error)}") from error
    if missing:
        raise InputError(f"{missing[0]} = ??? is still to be given a value: {missing[0]}=...")
    return Composition(config, choices, overrides, recipe)


@functools.cache
def _known() -> set[str]:
    """The keys that a config has."""
    return {*map(str, OmegaConf.load(conf_dir() / "config.yaml")), *GROUPS} - {"defaults", "hydra"}


def _compose(overrides: Sequence[Override], config_dir: str | Path | None, kept: Kept) -> DictConfig:
    """Compose; a mapping with a ``_target_`` replaces its node, on the line and in an experiment."""
    parts: list[str] = []
    texts: list[Override] = []
    later: list[Override] = []
    for override in overrides:
        key = override.key_or_group
        if is_part(override.value()):
            parts.append(key)
        below = any(key == part or key.startswith(f"{part}.") for part in parts)
        (later if below else texts).append(override)
    if config_dir is not None:
        values = ((override.key_or_group, override.value()) for override in overrides)
        chosen = [(key, each) for key, value in values for each in (value if isinstance(value, list) else [value])]
        check_chosen([(key, str(each)) for key, each in chosen if key in GROUPS], Path(config_dir))
    search = [] if config_dir is None else [f"hydra.searchpath=[{quoted(f'file://{Path(config_dir).resolve()}')}]"]
    try:
        lines = [opened(any_limit(override)) for override in texts]
        config = _from_choices(lines, search, kept)
        if config is None:
            config = hydra_compose("config", overrides=[*search, *lines], return_hydra_config=True)
    except Exception as error:  # whatever Hydra cannot compose is the fault of a line, or of a file of one's own
        raise _explain(error, overrides) from error
    _leave_replaced(config, overrides, config_dir)
    for override in later:
        _place(config, override, overrides)
    return config


def _from_choices(lines: Sequence[str], search: list[str], kept: Kept) -> DictConfig | None:
    """What Hydra would compose, from a copy of what it made of the same choices; None where it has to do it itself.

    Hydra reads some twenty files for each composition, which makes hundreds of jobs of a sweep a matter of minutes.
    """
    overrides = [read(line) for line in lines]
    choices = [o for o in overrides if o.key_or_group in GROUPS and not isinstance(o.value(), Mapping)]
    names = tuple(str(choice.input_line) for choice in choices)
    try:
        if names not in kept:
            if len(kept) >= MOST_KEPT:
                kept.clear()
            made = hydra_compose("config", overrides=[*search, *names], return_hydra_config=True)
            kept[names] = pickle.dumps(made)
        config: DictConfig = pickle.loads(kept[names])
        for override in overrides:
            if override.is_add():  # whether that key is there already is for Hydra to say
                return None
            if override not in choices:
                key, value = override.key_or_group, override.value()
                OmegaConf.update(config, key, value, merge=True, force_add=override.is_force_add())
    except Exception:  # Hydra comes to it, too, and says what is wrong
        return None
    return config


def any_limit(override: Override) -> str:
    """The text of an override; a limit of a chip, or what every choice of a group has, may not stand in its file."""
    text, key = str(override.input_line), override.key_or_group
    apart = key.startswith("hardware.") or key in [f"{group}.{name}" for group, name in OF_GROUP.items()]
    return f"++{text}" if apart and "@" not in key and text.startswith(key) else text


def _place(config: DictConfig, override: Override, overrides: Sequence[Override]) -> None:
    """Put a whole part, or a value below one, in its place."""
    key, value = override.key_or_group, override.value()
    owner, _, name = key.rpartition(".")
    node = OmegaConf.select(config, owner) if owner else config
    if not isinstance(node, DictConfig) or (name not in node and not override.is_add() and is_part(value)):
        raise InputError(f"{key}: there is no such key; nearest: {_suggested(key, overrides)}")
    if isinstance(value, QuotedString):
        value = value.text
    try:
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    except Exception as error:
        raise InputError(f"{override.input_line}: {reason(error)}") from error
    if key in GROUPS and isinstance(value, Mapping):
        config.hydra.runtime.choices[key] = str(value["_target_"]).rpartition(".")[2]


def _leave_replaced(config: DictConfig, overrides: Sequence[Override], config_dir: str | Path | None) -> None:
    """Take away what a part that an experiment replaces has left behind: Hydra merges the two."""
    typed = [override.key_or_group for override in overrides]
    for node in experiment_nodes(_choices(config).get("experiment"), config_dir):
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
            if is_part(value):
                yield f"{prefix}{key}", value
            yield from _parts(value, f"{prefix}{key}.")


def _choices(config: DictConfig) -> dict[str, str | None]:
    chosen = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(chosen, dict)
    return {group: chosen[group] for group in GROUPS if group in chosen}


def _explain(error: Exception, overrides: Sequence[Override]) -> InputError:
    """One line: the object, the value, the nearest right ones."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        there = error.options or [path.stem for path in (conf_dir() / group).glob("*.yaml")]  # none come for a list
        options = [option for option in there if not option.startswith("_")]
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
    found = re.search(r"^(\S+) appears more than once in the final defaults list", text)
    if found:
        return InputError(f"+{found.group(1)}: one is chosen already; write it without the plus sign")
    if "Error resolving interpolation" in text:
        return InputError(f"{referring(overrides)}: a choice is a name; it cannot refer to something else")
    found = re.search(r"Error merging override \+*([\w.]+)=(.*)", text)
    if found:
        return InputError(f"{found.group(1)} = {found.group(2)} cannot take the place of what is there, a mapping")
    full_key = getattr(error, "full_key", None)
    return InputError(f"{full_key}: {reason(error)}" if full_key else reason(error))


def _suggested(key: str, overrides: Sequence[Override]) -> str:
    """The keys nearest to one that does not exist, among those that the right groups of ``overrides`` compose."""
    value = next((str(o.input_line).partition("=")[2] for o in overrides if o.key_or_group == key), "")
    kept = [str(o.input_line) for o in overrides if o.key_or_group in GROUPS and not is_part(o.value())]
    try:
        config = hydra_compose("config", overrides=kept)
    except Exception:  # a choice that is none, too
        return nearest(key, GROUPS)
    if isinstance(config.get("method"), DictConfig):
        OmegaConf.set_struct(config, False)
        config.method.pop("recipes", None)
    return nearest_keys(key, value, [*GROUPS, *flatten(OmegaConf.to_container(config))])
