"""What a method's ``recipes`` and an experiment add to the user's overrides, and what of it the user has decided."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from snnlab.config.line import GROUPS, reason, referring
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError


def recipe_of(
    config: DictConfig,
    kind: str,
    choices: dict[str, str | None],
    overrides: Sequence[Override],
    config_dir: str | Path | None,
) -> list[str]:
    """The method's overrides for this data set, less all that the user or the experiment has decided.

    Args:
        kind: of the data set, from ``kind_of``.
    """
    if (recipes := _recipes(config)) is None:
        return []
    keys = {override.key_or_group for override in overrides}
    groups, values = keys & set(GROUPS), keys - set(GROUPS)
    more_groups, more_values = _experiment_keys(choices.get("experiment"), config_dir)
    groups, values = groups | more_groups, values | more_values
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


def kind_of(config: DictConfig, overrides: Sequence[Override]) -> str:
    """image, sequence, event or task: data sets know it before they read anything; "" where no recipe asks for it."""
    from snnlab.config.parts import instantiate_part

    if _recipes(config) is None:
        return ""
    try:
        resolved = OmegaConf.to_container(config.data, resolve=True)
    except Exception as error:
        raise InputError(f"{referring(overrides)}: {reason(error)}") from error
    return str(instantiate_part("data", DictConfig(resolved)).spec.kind)


def _recipes(config: DictConfig) -> DictConfig | None:
    """What a method has for some data sets, by their name or kind."""
    recipes = config.method.get("recipes") if isinstance(config.method, DictConfig) else None
    return recipes if isinstance(recipes, DictConfig) else None


def _experiment_keys(experiment: str | None, config_dir: str | Path | None) -> tuple[set[str], set[str]]:
    """The groups that an experiment chooses and, by dotted path, the values that it sets."""
    groups: set[str] = set()
    values: set[str] = set()
    for node in experiment_nodes(experiment, config_dir):
        keys = {key for key in flatten({k: v for k, v in node.items() if k != "defaults"}) if key not in GROUPS}
        values |= {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}
        for entry in node.get("defaults", []):
            if isinstance(entry, dict):
                groups |= {str(key).removeprefix("override").strip().lstrip("/") for key in entry}
    return groups, values


def experiment_nodes(experiment: str | None, config_dir: str | Path | None) -> Iterator[dict[str, Any]]:
    """The files that make an experiment, those from which it starts first."""
    if experiment in (None, "null"):
        return
    folders = [Path(config_dir)] if config_dir is not None else []
    path = next(p for folder in [*folders, conf_dir()] if (p := folder / "experiment" / f"{experiment}.yaml").is_file())
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    for entry in node.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            yield from experiment_nodes(entry, config_dir)
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
