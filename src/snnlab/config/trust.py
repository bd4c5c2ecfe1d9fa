"""What a stored config may build: it may be a stranger's, and to build a part, or to import its module, is to run it.

A node with a ``_target_`` may name a class of snnlab, an optimizer or a scheduler of torch, or a class of a package
that the user has named: in SNNLAB_PACKAGES, or by having run with it on this machine, which ``name`` remembers. It must
be of the type that its place declares, the base of its group or the annotation of its argument. All of this is decided
before anything is built, and which packages are meant before anything is imported. What is typed on the command line is
trusted.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from snnlab.atomic import write_text
from snnlab.config import schema
from snnlab.config.paths import cache_dir
from snnlab.errors import InputError
from snnlab.kernels.compiled import open_to_others

VARIABLE = "SNNLAB_PACKAGES"
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
LONGEST = 1000  # of a list; the deepest network has some hundred layers
KEYS = ("_target_", "_partial_")  # of Hydra's own, those that a run stores
GROUPS = {  # the base of each group of a config that is built
    "data": "snnlab.data.contract.DataModule",
    "encoder": "snnlab.data.encoders.Encoder",
    "model": "snnlab.models.model.Model",
    "init": "snnlab.initializers.initializer.Initializer",
    "method": "snnlab.methods.base.method.Method",
    "hardware": "snnlab.hardware.target.Target",
}
BASES = (  # where an argument declares no class
    *GROUPS.values(),
    "snnlab.neurons.neuron.Neuron",
    "snnlab.neurons.surrogate.Surrogate",
    "snnlab.questions.question.Question",
    "snnlab.regularizers.regularizer.Regularizer",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
)


def is_known(path: str) -> bool:
    """Whether a dotted path is one of snnlab, or of torch's optimizers and schedulers, and of nothing private there."""
    return bool(DOTTED.fullmatch(path)) and "._" not in path and path.startswith(("snnlab.", "torch.optim."))


def is_named(path: str) -> bool:
    """Whether a dotted path lies in a package that the user has named."""
    if not DOTTED.fullmatch(path) or "._" in path:
        return False
    package = path.split(".")[0]
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return package in given or (package in (known := _remembered()) and known[package] == _place(package))


def check_stored(config: Mapping[str, Any], where: object) -> None:
    """Hold every part of a stored config against its declared type; nothing is built.

    Args:
        where: names the record in errors.

    Raises:
        InputError: naming the place, what stands there, and what may.
    """
    _check_words(config, f"{where}: config")
    for key, value in config.items():
        if key in GROUPS and isinstance(value, Mapping):
            _check(value, f"{where}: config.{key}", (_class(GROUPS[key]),))
        elif _targets(value):
            raise InputError(f"{where}: config.{key} is not built, so no _target_ may stand in it")


def _check_words(value: Any, place: str) -> None:
    """Refuse what Hydra and OmegaConf would act on, and every path to code that is not known."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or (key.startswith("_") and key not in KEYS) or "${" in key:
                raise InputError(f"{place}.{key} has no place in a stored config; it is not followed")
            if key == "_partial_" and not isinstance(item, bool):
                raise InputError(f"{place}._partial_ = {item!r:.60} must be true or false")
            if key == "_target_":
                if not isinstance(item, str) or not (is_known(item) or is_named(item)):
                    raise _unnamed(f"{place}._target_", item)
            else:
                _check_words(item, f"{place}.{key}")
    elif isinstance(value, list):
        if len(value) > LONGEST:
            raise InputError(f"{place} has {len(value):,} entries, at most {LONGEST:,} are built")
        for number, item in enumerate(value):
            _check_words(item, f"{place}[{number}]")
    elif isinstance(value, str):
        if "${" in value or value == "???":
            raise InputError(f"{place} = {value!r:.80} refers to something else; a stored config holds values alone")
        dotted = DOTTED.fullmatch(value) and re.search(r"config\.(method|model)\.", place)
        if dotted and not (is_known(value) or is_named(value)):  # such as method.neuron, which is imported
            raise _unnamed(place, value)


def _unnamed(place: str, target: Any) -> InputError:
    package = target.split(".")[0] if isinstance(target, str) and DOTTED.fullmatch(target) else None
    named = (
        f"; if you trust its package, {VARIABLE}={package} names it" if package not in (None, "snnlab", "torch") else ""
    )
    return InputError(
        f"{place} = {target!r:.80}: a stored config builds classes of snnlab, torch's optimizers and schedulers, and "
        f"classes of packages that you have named{named}"
    )


def _check(node: Mapping[str, Any], place: str, bases: tuple[type, ...]) -> None:
    """Hold a node, and those in it, against the classes that may stand there."""
    if "_target_" not in node:
        if found := _targets(node):
            raise InputError(f"{place} has no _target_, so {found[0]!r:.80} in it is not built")
        return
    built = locate(node["_target_"])
    if not (inspect.isclass(built) and issubclass(built, bases)):
        wanted = " or ".join(f"{base.__module__}.{base.__name__}" for base in bases)
        raise InputError(f"{place}._target_ = {node['_target_']} is no subclass of {wanted}, which has its place there")
    try:
        _, hints = schema.arguments_of(built)
    except (TypeError, ValueError):
        hints = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            _check(value, f"{place}.{key}", _declared(hints.get(key)))
        elif isinstance(value, Mapping | list):
            for inner, target in _nodes(value, f"{place}.{key}"):
                _check(target, inner, _declared(None))


def _declared(hint: Any) -> tuple[type, ...]:
    """The classes of a part that an annotation names: itself, those of a union, what a callable returns."""
    found = tuple(cls for cls in _classes(hint) if is_known(f"{cls.__module__}.{cls.__name__}") or _is_own(cls))
    return found or tuple(map(_class, BASES))


def _is_own(cls: type) -> bool:
    return cls.__module__ not in ("builtins", "typing") and is_named(f"{cls.__module__}.{cls.__name__}")


def _classes(hint: Any) -> Iterator[type]:
    if inspect.isclass(hint) and not typing.get_args(hint):
        if not getattr(hint, "_is_protocol", False):
            yield hint
    elif typing.get_args(hint):
        arguments = typing.get_args(hint)
        for part in arguments[-1:] if schema.is_callable(hint) else arguments:
            yield from _classes(part)


def _targets(value: Any) -> list[Any]:
    return [node["_target_"] for _, node in _nodes(value, "")]


def _nodes(value: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every outermost node with a ``_target_`` in ``value``, with its place."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield place, value
            return
        for key, item in value.items():
            yield from _nodes(item, f"{place}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _nodes(item, f"{place}[{number}]")


def locate(path: str) -> Any:
    """What lies at a dotted path, None where nothing does; its module is imported, so the path must be trusted."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except Exception:  # a module that is imported may raise anything
        return None


def _class(path: str) -> type:
    found: type = locate(path)
    return found


# packages that the user has named by running with them ---------------------------------------------------------------
def name(config: Mapping[str, Any]) -> None:
    """Remember the packages that a config composed here builds from, and where they lie: the user has named them."""
    paths = [target for target in _texts(config) if DOTTED.fullmatch(target)]
    packages = {path.split(".")[0] for path in paths if not is_known(path)}
    found = {package: place for package in packages if (place := _place(package)) and _is_imported(package)}
    known = _remembered()
    if found.items() <= known.items():
        return
    folder = _folder()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if open_to_others(folder) is None:
            write_text(folder / "packages.json", json.dumps(known | found, indent=1))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _is_imported(package: str) -> bool:
    import sys

    return package in sys.modules


def _place(package: str) -> str | None:
    """Where a package lies, found without importing it; None for one that is not there, or comes with Python."""
    import sys

    if package in sys.stdlib_module_names:
        return None
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    place = next(iter(spec.submodule_search_locations or ()), spec.origin)
    return None if place is None else str(Path(place).resolve())


def _folder() -> Path:
    return cache_dir().expanduser() / "packages"


def _remembered() -> dict[str, str]:
    """Packages by name, and where each lay; none where others can write to the list."""
    path = _folder() / "packages.json"
    try:
        if not path.is_file() or open_to_others(_folder()):
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
