"""The class signature is the schema: every value of a config is held against the argument it will become."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError

from snnlab.errors import InputError, nearest

_MISSING: dict[str, Any] = {}
Text = typing.Annotated[str, StringConstraints(min_length=1)]
PLAIN: dict[str, Any] = {
    "seed": int,
    "kernels": typing.Literal["auto", "half", "step"],
    "threads": int | None,
    "debug": bool,
    "dry_run": bool,
    "resume": Text,
    "logger.name": typing.Literal["wandb", "none"],
    "logger.mode": typing.Literal["auto", "online", "offline"],
    "logger.project": Text | None,
    "logger.group": Text | None,
    **dict.fromkeys(("logger.tensorboard.folder", "logger.csv.folder", "logger.mlflow.folder"), Text | None),
    "logger.mlflow.experiment": Text | None,
    "callbacks.health": bool,
    "callbacks.figures": bool,
    "callbacks.progress": bool,
    "callbacks.early_stopping": int | None,
    "callbacks.checkpoints": typing.Literal["few", "all"],
    "callbacks.checkpoint_minutes": float | None,
    "callbacks.checkpoint_batches": int | None,
    "init.from_run": Text | None,
    "method.freeze": list[str] | None,
    "paths.data": Text,
    "paths.cache": Text,
    "paths.output": Text,
    "hardware.name": typing.Literal["none"],  # where it has no class, as below
    "encoder.name": typing.Literal["none"],
}
UNCHOSEN = {"hardware": "hardware=loihi2, int8, ...", "encoder": "encoder=rate, direct, ..."}  # what a group may lack
MOST_THREADS = 1024
LEAST, MOST = 1e-45, 1e8  # less is 0 in 32 bits; nothing here is more
OF_GROUP = {"method": "freeze", "init": "from_run"}  # keys of a group that no class reads
SPECIAL = ("_target_", "_partial_")  # keys of a node that are no argument of its class


def check_plain(config: Mapping[str, Any]) -> None:
    """Check the keys that no class reads.

    Raises:
        InputError: when a value has the wrong type, or nobody reads a key.
    """
    for group in ("logger", "callbacks", "paths", "hardware", "encoder"):
        node = config.get(group, {})
        if not isinstance(node, Mapping):
            raise InputError(f"{group} = {node!r} must be a mapping; {group}=NAME chooses one")
        known = [path.partition(".")[2] for path in PLAIN if path.startswith(f"{group}.")]
        of_class = group in UNCHOSEN and "_target_" in node
        for key in () if of_class else [key for item in node.items() for key in _keys(*item, known)]:
            if key not in known and group in UNCHOSEN:
                raise InputError(f"{group}.{key}: {group}=none has nothing to set; choose first: {UNCHOSEN[group]}")
            if key not in known:
                raise InputError(f"{group}.{key}: there is no such key; nearest: {nearest(str(key), known)}")
    for path, hint in PLAIN.items():
        value: Any = config
        if path.endswith(".name") and "_target_" in (config.get(path[: -len(".name")]) or {}):
            continue
        for key in path.split("."):
            value = value.get(key, _MISSING)
        if value is not _MISSING:  # a run stored before the key was there
            check_value(path, value, hint)
    for key, what in (("checkpoint_minutes", "minutes, 5 is usual"), ("checkpoint_batches", "batches, at least 1")):
        if (value := config.get("callbacks", {}).get(key)) is not None and not value > 0:
            raise InputError(f"callbacks.{key} = {value} must be a positive number of {what}; or null")
    if not 0 <= config["seed"] < 2**32:
        raise InputError(f"seed = {config['seed']} must lie in 0 to 4294967295; 0 is the default")
    if (number := config.get("threads")) is not None and not 1 <= number <= MOST_THREADS:
        raise InputError(f"threads = {number} must lie in 1 to {MOST_THREADS}; null takes as many as torch would")


def _keys(key: Any, value: Any, known: Collection[str]) -> list[str]:
    """A key of a group, or those of the mapping that it holds where it may hold one."""
    inside = isinstance(value, Mapping) and any(other.startswith(f"{key}.") for other in known)
    return [f"{key}.{inner}" for inner in value] if inside else [str(key)]


def check_node(path: str, node: Mapping[str, Any], hint: Any = Any, given: Collection[str] = ()) -> None:
    """Check a config node with a ``_target_`` against the signature of its class, and every such node inside it.

    Args:
        path: the key of the node.
        node: the node.
        hint: annotation of what it becomes.
        given: arguments that it gets from elsewhere.

    Raises:
        InputError: when the class cannot be found or is of another kind, a key is not an argument or is missing, or a
            value has the wrong type.
    """
    target = node.get("_target_")
    if not isinstance(target, str) or not target:
        raise InputError(f"{path}: _target_ is missing; it names the class, e.g. torch.optim.Adam")
    try:
        factory = get_object(target)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}._target_ = {target} cannot be imported: {reason}") from error
    try:
        arguments, _ = arguments_of(factory)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}._target_ = {target} is no class or function whose arguments are known") from error
    unnamed = [a for a in inspect.signature(factory).parameters.values() if a.kind == a.POSITIONAL_ONLY]
    if any(argument.default is argument.empty for argument in unnamed) and not node.get("_partial_"):
        raise InputError(f"{path}._target_ = {target} has arguments without names, which no config can give")
    for key in node:
        if not isinstance(key, str) or (key.startswith("_") and key not in SPECIAL and key not in arguments):
            raise InputError(
                f"{path}.{key}: there is no such key; nearest: {nearest(str(key), [*arguments, *SPECIAL])}"
            )
    partial = node.get("_partial_", False)
    check_value(f"{path}._partial_", partial, bool)
    check_kind(f"{path}._target_ = {target}", factory, hint, partial)
    values = {key: value for key, value in node.items() if key not in SPECIAL}
    check_arguments(path, values, factory)
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [name for name, a in arguments.items() if a.default is a.empty and a.kind in plain]
    missing = [name for name in needed if name not in values and name not in given]
    if missing and not partial:
        raise InputError(f"{path}.{missing[0]} is missing: {target} needs it")


def check_kind(what: str, factory: Any, hint: Any, partial: bool) -> None:
    """Raise InputError unless ``factory`` makes what the annotation ``hint`` asks for, as far as that can be told."""
    if inspect.isclass(factory):
        made: Any = factory
    else:
        made = hints_of(factory, result=True).get("return", Any)
    parts = [part for part in _parts(hint) if part is not type(None)]
    of_class = all(
        inspect.isclass(part) and part is not Any and not is_callable(part) and not _is_open(part) for part in parts
    )
    if made is Any or not inspect.isclass(made):
        if of_class and (partial or inspect.isbuiltin(factory)):
            raise InputError(f"{what} is of another kind: {' or '.join(map(_asked, parts))} belongs there")
        called = all(is_callable(part) and typing.get_args(part) for part in parts)
        if inspect.isroutine(factory) and called and not partial:
            raise InputError(f"{what} is a function; add _partial_: true, so that it is called later")
        return
    for part in _parts(hint):
        if part is Any or _is_open(part) or not (inspect.isclass(part) or is_callable(part)):
            return
        if not is_callable(part):
            if issubclass(made, part) and not partial:
                return
            continue
        result = _result(part)
        if (
            partial
            and (typing.get_args(part) or not inspect.isclass(factory))
            and (result is Any or not inspect.isclass(result) or issubclass(made, result))
        ):
            return
        if not partial and inspect.isclass(factory) and "__call__" in dir(factory) and not _takes_all(factory):
            return
    raise InputError(f"{what} is of another kind: {' or '.join(map(_asked, parts))} belongs there")


def _is_open(hint: Any) -> bool:
    """Whether a class of an annotation says what something can do, not what it is."""
    return bool(getattr(hint, "_is_protocol", False))


def _takes_all(factory: Any) -> bool:
    """Whether a class's instances take any arguments, as torch's modules do: then nothing says that they fit."""
    kinds = [parameter.kind for parameter in inspect.signature(factory.__call__).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _asked(hint: Any) -> str:
    if not is_callable(hint):
        return str(hint.__name__)
    result = _result(hint)
    known = inspect.isclass(result) and result is not Any
    return f"{result.__name__} with _partial_: true" if known else "something to be called"


def _result(hint: Any) -> Any:
    """What a Callable of an annotation returns."""
    return typing.get_args(hint)[1] if typing.get_args(hint) else Any


def is_callable(hint: Any) -> bool:
    """Whether an annotation is a Callable, of whatever arguments and result."""
    return hint is Callable or typing.get_origin(hint) is Callable


def check_arguments(path: str, values: Mapping[str, Any], factory: Any) -> None:
    """Check ``values`` against the arguments of ``factory``, a class or a function; raises as ``check_node``."""
    arguments, hints = arguments_of(factory)
    open_ended = any(argument.kind == argument.VAR_KEYWORD for argument in arguments.values())
    for key, value in values.items():
        if key not in arguments and not open_ended:
            raise InputError(f"{path}.{key}: there is no such key; nearest: {nearest(str(key), arguments)}")
        hint = hints.get(key, Any)
        if isinstance(value, Mapping) and "_target_" in value and _takes_object(hint):
            check_node(f"{path}.{key}", value, hint)
        elif (
            isinstance(value, list)
            and value
            and all(isinstance(item, Mapping) and "_target_" in item for item in value)
        ):
            for place, item in enumerate(value):
                check_node(f"{path}.{key}[{place}]", item)
        elif key in hints:
            check_value(f"{path}.{key}", value, hint)
            if isinstance(value, Mapping) and "_target_" in value:
                raise InputError(f"{path}.{key}._target_: there is no such key; {key} is no class, it holds values")


def _takes_object(hint: Any) -> bool:
    """Whether an argument may be more than numbers, texts, and lists and mappings of them."""
    plain = (int, float, str, bool, type(None), dict, list, tuple, Path)
    return any(part not in plain and typing.get_origin(part) not in (*plain, typing.Literal) for part in _parts(hint))


def arguments_of(factory: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Return the arguments that a config gives to ``factory``, a class or a function, and their resolved annotations.

    In the place of a flat part (see ``flat_parts``) stand the arguments of that part.
    """
    hints, parts = hints_of(factory), flat_parts(factory)
    arguments: dict[str, inspect.Parameter] = {}
    for name, argument in inspect.signature(factory).parameters.items():
        if argument.kind != argument.POSITIONAL_ONLY:  # of some of Python's own: a config gives names
            arguments |= inspect.signature(parts[name]).parameters if name in parts else {name: argument}
    for name, part in parts.items():
        hints = {key: hint for key, hint in hints.items() if key != name} | hints_of(part)
    return arguments, hints


def flat_parts(factory: Any) -> dict[str, Any]:
    """Return the arguments of ``factory`` whose own fields stand in its config, as ``data.batch_size`` does, by class.

    A part says so itself: its attribute ``flat`` is true.
    """
    return {name: hint for name, hint in hints_of(factory).items() if getattr(hint, "flat", False) is True}


def hints_of(factory: Any, result: bool = False) -> dict[str, Any]:
    """Return the annotations of the arguments of ``factory``, resolved; none where one of them cannot be.

    With ``result`` that of what it returns is among them, as ``return``.
    """
    try:
        hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (NameError, TypeError, AttributeError):
        return {}
    return {name: hint for name, hint in hints.items() if result or name != "return"}


def check_value(path: str, value: Any, hint: Any) -> None:
    """Raise InputError unless ``value`` is of the annotated type."""
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception as error:  # pydantic cannot check annotations such as a Protocol; the class itself will
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and not isinstance(value, hint):
            where = f"{hint.__module__}.{hint.__name__}"
            raise InputError(f"{path} = {value!r} must be a config with a _target_, e.g. {where}") from error
        return
    try:
        adapter.validate_python(
            tuple(value) if isinstance(value, list) and _accepts_tuple(hint) else value, strict=True
        )
    except ValidationError as error:
        choices = _choices(hint)
        if choices and isinstance(value, str):
            raise InputError(f"{path} = {value}: choose one of {nearest(value, map(str, choices), 20)}") from error
        if choices:
            raise InputError(f"{path} = {value}: choose one of {', '.join(map(str, choices))}") from error
        lists = [part for part in _parts(hint) if typing.get_origin(part) in (list, tuple)]
        some = [choice for part in lists for item in typing.get_args(part) for choice in _choices(item)]
        if some:
            raise InputError(f"{path} = {value}: choose some of [{', '.join(map(str, some))}]") from error
        if _accepts_path(hint) and isinstance(value, str):
            return
        raise InputError(f"{path} = {value!r:.100} must be {_spell(hint)}") from error
    whole = isinstance(value, int) and not isinstance(value, bool)
    check_numbers(path, float(value) if whole and float in _parts(hint) and int not in _parts(hint) else value)


def check_numbers(path: str, value: Any) -> None:
    """Raise InputError for a number, here or further in, that no tensor holds as what it is."""
    if isinstance(value, list | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            check_numbers(path, item)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{path} = {value} must be a finite number")
    if isinstance(value, float) and value and not LEAST <= abs(value) <= MOST:
        raise InputError(f"{path} = {value} must be 0 or lie within {LEAST:g} to {MOST:g} in size")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise InputError(f"{path} = {value} must lie within 64 bits, as every whole number here")


def _parts(hint: Any) -> list[Any]:
    return [part for arg in typing.get_args(hint) for part in _parts(arg)] if _is_union(hint) else [hint]


def _choices(hint: Any) -> list[Any]:
    """The values that an annotation names."""
    return [choice for part in _parts(hint) for choice in typing.get_args(part) if _is_literal(part)]


def _is_union(hint: Any) -> bool:
    import types

    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _accepts_tuple(hint: Any) -> bool:
    return any(typing.get_origin(part) is tuple for part in _parts(hint))


def _accepts_path(hint: Any) -> bool:
    return any(part is Path for part in _parts(hint))


WORDS: dict[Any, str] = {
    Text: "text that is not empty",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def _spell(hint: Any) -> str:
    if typing.get_origin(hint) in (list, tuple):
        inner = typing.get_args(hint)
        if typing.get_origin(hint) is tuple and Ellipsis not in inner and len(set(inner)) == 1:
            return f"a list of {len(inner)} {_spell(inner[0])}s".replace(f"{len(inner)} a ", f"{len(inner)} ")
        return f"a list of {_spell(inner[0])}s".replace("a list of a ", "a list of ") if inner else "a list"
    if _is_union(hint):  # a tensor is nothing that a config can hold
        return " or ".join(_spell(part) for part in _parts(hint) if getattr(part, "__module__", "") != "torch")
    if typing.get_origin(hint) is dict or hint is dict:
        return "a mapping {key: value}"
    if hint in WORDS:
        return WORDS[hint]
    return (
        "a config with a _target_"
        if callable(hint) and typing.get_origin(hint)
        else str(getattr(hint, "__name__", hint))
    )
