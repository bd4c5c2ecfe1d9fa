"""The class signature is the schema: every value of a config is held against the argument it will become."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object
from pydantic import ConfigDict, TypeAdapter, ValidationError

from snnlab.errors import InputError, nearest

_MISSING: dict[str, Any] = {}
PLAIN: dict[str, Any] = {
    "seed": int,
    "kernels": typing.Literal["auto", "half", "step"],
    "debug": bool,
    "dry_run": bool,
    "resume": str,
    "logger.name": typing.Literal["wandb", "none"],
    "logger.mode": typing.Literal["auto", "online", "offline"],
    "logger.project": str | None,
    "logger.group": str | None,
    "callbacks.health": bool,
    "callbacks.figures": bool,
    "callbacks.progress": bool,
    "callbacks.checkpoints": typing.Literal["few", "all"],
    "paths.data": str,
    "paths.cache": str,
    "paths.output": str,
}


def check_plain(config: Mapping[str, Any]) -> None:
    """Check the keys that no class reads.

    Raises:
        InputError: when a value has the wrong type.
    """
    for path, hint in PLAIN.items():
        value: Any = config
        for key in path.split("."):
            value = value.get(key, _MISSING)
        if value is not _MISSING:  # a run stored before the key was there
            check_value(path, value, hint)
    if not 0 <= config["seed"] < 2**32:
        raise InputError(f"seed = {config['seed']} must lie in 0 to 4294967295; 0 is the default")


def check_node(path: str, node: Mapping[str, Any]) -> None:
    """Check a config node with a ``_target_`` against the signature of its class, and every such node inside it.

    Raises:
        InputError: when the class cannot be found, a key is not an argument, or a value has the wrong type.
    """
    target = node.get("_target_")
    if target is None:
        raise InputError(f"{path}: _target_ is missing; it names the class, e.g. torch.optim.Adam")
    try:
        factory = get_object(target)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}._target_ = {target} cannot be imported: {reason}") from error
    check_arguments(path, {key: value for key, value in node.items() if key[0] != "_"}, factory)


def check_arguments(path: str, values: Mapping[str, Any], factory: Any) -> None:
    """Check ``values`` against the arguments of ``factory``, a class or a function; raises as ``check_node``."""
    arguments, hints = arguments_of(factory)
    open_ended = any(argument.kind == argument.VAR_KEYWORD for argument in arguments.values())
    for key, value in values.items():
        if key not in arguments and not open_ended:
            raise InputError(f"{path}.{key}: there is no such key; nearest: {nearest(key, arguments)}")
        if isinstance(value, Mapping) and "_target_" in value:
            check_node(f"{path}.{key}", value)
        elif key in hints:
            check_value(f"{path}.{key}", value, hints[key])


def arguments_of(factory: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Return the arguments that a config gives to ``factory``, a class or a function, and their resolved annotations.

    In the place of a flat part (see ``flat_parts``) stand the arguments of that part.
    """
    hints, parts = hints_of(factory), flat_parts(factory)
    arguments: dict[str, inspect.Parameter] = {}
    for name, argument in inspect.signature(factory).parameters.items():
        arguments |= inspect.signature(parts[name]).parameters if name in parts else {name: argument}
    for name, part in parts.items():
        hints = {key: hint for key, hint in hints.items() if key != name} | hints_of(part)
    return arguments, hints


def flat_parts(factory: Any) -> dict[str, Any]:
    """Return the arguments of ``factory`` whose own fields stand in its config, as ``data.batch_size`` does, by class.

    A part says so itself: its attribute ``flat`` is true.
    """
    return {name: hint for name, hint in hints_of(factory).items() if getattr(hint, "flat", False) is True}


def hints_of(factory: Any) -> dict[str, Any]:
    """Return the annotations of the arguments of ``factory``, resolved; none where one of them cannot be."""
    try:
        hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (NameError, TypeError, AttributeError):
        return {}
    return {name: hint for name, hint in hints.items() if name != "return"}


def check_value(path: str, value: Any, hint: Any) -> None:
    """Raise InputError unless ``value`` is of the annotated type."""
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception as error:  # pydantic cannot check annotations such as a Protocol; the class itself will
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and not isinstance(value, hint):
            where = f"{hint.__module__}.{hint.__name__}"
            raise InputError(f"{path} = {value!r} must be a config with a _target_, e.g. {where}") from error
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path} = {value} must be a finite number")
    try:
        adapter.validate_python(
            tuple(value) if isinstance(value, list) and _accepts_tuple(hint) else value, strict=True
        )
    except ValidationError as error:
        choices = [choice for part in _parts(hint) for choice in typing.get_args(part) if _is_literal(part)]
        if choices and isinstance(value, str):
            raise InputError(f"{path} = {value}: choose one of {nearest(value, map(str, choices), 20)}") from error
        if choices:
            raise InputError(f"{path} = {value}: choose one of {', '.join(map(str, choices))}") from error
        if _accepts_path(hint) and isinstance(value, str):
            return
        raise InputError(f"{path} = {value!r} must be {_spell(hint)}") from error


def _parts(hint: Any) -> list[Any]:
    return [part for arg in typing.get_args(hint) for part in _parts(arg)] if _is_union(hint) else [hint]


def _is_union(hint: Any) -> bool:
    import types

    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _accepts_tuple(hint: Any) -> bool:
    return any(typing.get_origin(part) is tuple for part in _parts(hint))


def _accepts_path(hint: Any) -> bool:
    from pathlib import Path

    return any(part is Path for part in _parts(hint))


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def _spell(hint: Any) -> str:
    if typing.get_origin(hint) in (list, tuple):
        inner = typing.get_args(hint)
        if typing.get_origin(hint) is tuple and Ellipsis not in inner and len(set(inner)) == 1:
            return f"a list of {len(inner)} {_spell(inner[0])}s".replace(f"{len(inner)} a ", f"{len(inner)} ")
        return f"a list of {_spell(inner[0])}s".replace("a list of a ", "a list of ") if inner else "a list"
    if _is_union(hint):
        return " or ".join(_spell(part) for part in _parts(hint))
    if hint in WORDS:
        return WORDS[hint]
    return (
        "a config with a _target_"
        if callable(hint) and typing.get_origin(hint)
        else str(getattr(hint, "__name__", hint))
    )
