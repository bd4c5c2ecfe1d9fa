"""What a run is, decided once: its composed config, less what cannot change numbers, less what equals a default.

Resume, sweeps, stored runs and tables ask this file. A key that is added later, with a default that keeps the old
numbers, therefore leaves every stored run what it was; a default that is changed parts old from new. A *row* of a table
is a run less its seed; a run that starts from another (``hardware.start``) does so from a row, not from a path.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import operator
from collections.abc import Mapping
from typing import Any

from snnlab.checkpoint import inside, read_record
from snnlab.config import libraries, schema
from snnlab.config.moved import today
from snnlab.config.trust import is_known, locate
from snnlab.errors import InputError, one_line
from snnlab.runs.latest import run_folder

OUTSIDE = ("resume", "threads", "debug", "dry_run", "paths", "logger")
OF_CALLBACKS = "early_stopping"  # all others only look
OF_DATA = ("root", "cache", "num_workers", "download")  # where the samples come from and who carries them
OF_HARDWARE = ("source", "assumptions", "must_fit")  # what is said of a chip, and whether a report stops a run
OF_TRAINER = (
    *("enable_progress_bar", "enable_model_summary", "enable_autolog_hparams", "enable_checkpointing"),
    *("log_every_n_steps", "profiler", "detect_anomaly"),
    "max_time",  # of one sitting: a run that it ends is interrupted, and goes on
    "strategy",  # of several devices, ddp is the only one; their number stays: sums taken apart are rounded otherwise
)
# a share of the batches as a fraction, a number of them as a whole number: 1.0 is all of them and 1 is one
SHARES = (
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches"),
    *("overfit_batches", "val_check_interval"),
)
DEFAULTS: dict[str, Any] = {  # of keys and groups that no class reads; what a run had before they were there
    "kernels": "auto",
    "callbacks": {},
    "hardware": {"name": "none"},
    "encoder": {"name": "none"},
    "init": {"_target_": "snnlab.initializers.default.Default"},
}
Node = dict[str, Any]


def identity(config: Mapping[str, Any]) -> str:
    """Hash of a config composed here: the same for two configs exactly if they are the same run."""
    return digest(deciding(config))


def row(config: Mapping[str, Any]) -> str:
    """The same less the seed: runs of one row may be averaged."""
    return digest(less_seed(deciding(config)))


def deciding(config: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Node:
    """Return what is left of ``config`` once all that decides nothing is taken away.

    Args:
        config: a whole one, its interpolations resolved.
        stored: None for a config composed here, whose classes are all imported. For one that was read from a run.json,
            its ``identity`` (or {}): the parts that ``trust.is_known`` does not know are taken from there.
    """
    libraries.load()
    import lightning as L

    config = today(config)
    left: Node = {}
    for key, value in config.items():
        if key in OUTSIDE:
            continue
        if isinstance(value, Mapping):
            value = {name: item for name, item in value.items() if key != "method" or name != "recipes"}
            if key == "callbacks":
                value = {name: item for name, item in value.items() if name == OF_CALLBACKS and item is not None}
            if not value.get(own := schema.OF_GROUP.get(key, "")):
                value.pop(own, None)
            dropped = {"data": OF_DATA, "hardware": OF_HARDWARE, "trainer": OF_TRAINER}.get(key, ())
            value = {name: item for name, item in value.items() if name not in dropped}
            if key == "data" and value.get("seed") == config.get("seed"):
                value.pop("seed", None)
            if key == "hardware" and value.get("start") is not None:
                before = ((stored or {}).get("hardware") or {}).get("start", value["start"])
                value = {**value, "start": of_start(value["start"], config["seed"]) if stored is None else before}
            own_seed = {"seed": value["seed"]} if key == "data" and "seed" in value else {}  # 0 too is another than 3
            known = None if stored is None else today(stored.get(key))
            value = _less(value, defaults(L.Trainer)) if key == "trainer" else _reduced(value, stored is None, known)
            value |= own_seed
            if value.get("from_run"):  # which run, not where it lies
                value["from_run"] = (known or {}).get("from_run") or _begun_from(str(value["from_run"]))
        if key not in DEFAULTS or not (same(value, DEFAULTS[key]) or value in ({}, None)):
            left[key] = value
    return left


def of_start(folder: str, seed: int) -> str:
    """What the run is that ``hardware.start`` names, wherever it lies: its row, and its seed where that is another."""
    try:
        content = read_record(inside(run_folder(folder), "run.json"))
        begun, data = less_seed(recorded(content)), content["provenance"].get("hash")
        other = "" if content["seed"] == seed else f"-seed{content['seed']}"
    except (InputError, AttributeError, LookupError, TypeError) as error:
        raise InputError(f"hardware.start = {folder} is no run to start from: {one_line(error)}") from error
    return f"row-{digest({**begun, 'hash': data})}{other}"


def recorded(content: Mapping[str, Any]) -> Node:
    """``deciding`` of the content of a run.json; nothing is imported for it that ``trust.is_known`` does not know.

    A run that goes on from another one, its parent, is not the run that had all its epochs in one piece.
    """
    try:
        left, parent = deciding(content["config"], content.get("identity", {})), content.get("parent")
        return {**left, "parent": {key: parent[key] for key in ("row", "epochs")}} if parent else left
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        what = f"{content.get('method')} on {content.get('data')}, started {content.get('started')}"
        raise InputError(f"run.json of {what}: its config is none ({one_line(error)[:80]}); run it again") from error


def _begun_from(run: str) -> str:
    """What decides the weights of a stored run: what it is."""
    try:
        content = read_record(inside(run_folder(run), "run.json"))
    except InputError as error:
        raise InputError(f"init.from_run = {run}: {error}") from error
    return digest(recorded(content)) if isinstance(content, Mapping) else run


def less_seed(left: Mapping[str, Any]) -> Node:
    """What ``deciding`` left, less the seed."""
    return {key: value for key, value in left.items() if key != "seed"}


def digest(left: Mapping[str, Any]) -> str:
    """16 hexadecimal digits for what ``deciding`` left."""
    return hashlib.sha256(json.dumps(canonical(left), sort_keys=True).encode()).hexdigest()[:16]


def canonical(value: Any) -> Any:
    """One spelling for what counts as equal: 1 for 1.0, a list for a tuple, null for an empty mapping."""
    if isinstance(value, Mapping):
        return {
            str(key): repr(item) if key in SHARES and isinstance(item, float) else canonical(item)
            for key, item in value.items()
        } or None
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The dotted keys at which two configs, as ``deciding`` left them, differ; both values, None for one not there."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*one, *(key for key in other if key not in one)]:
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= {f"{key}.{inner}": pair for inner, pair in differences(a, b).items()}
        elif not same({key: a}, {key: b}):
            found[key] = (a, b)
    return found


def value_at(config: Mapping[str, Any], key: str, otherwise: Any) -> Any:
    """The value at a dotted key of a whole config; one that is not there is its default, ``otherwise`` without one."""
    if key in DEFAULTS and key not in config:
        return DEFAULTS[key]
    *path, last = key.split(".")
    node: Any = config
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return otherwise
    if last in node:
        return node[last]
    target = "lightning.Trainer" if path == ["trainer"] else node.get("_target_")
    if target != "lightning.Trainer" and not (isinstance(target, str) and is_known(target)):
        return otherwise
    return _plain(_defaults_of(target).get(last, otherwise))


def same(one: Any, other: Any) -> bool:
    """Whether two values of a config mean the same; true is not 1."""
    return json.dumps(canonical(one), sort_keys=True) == json.dumps(canonical(other), sort_keys=True)


def defaults(factory: Any) -> Node:
    """Default by argument of a class or function; of those that a class hands on as ``**options``, its bases' too."""
    found: Node = {}
    for each in factory.__mro__ if inspect.isclass(factory) else (factory,):
        if inspect.isclass(each) and "__init__" not in vars(each):
            continue
        arguments = inspect.signature(each.__init__ if inspect.isclass(each) else each).parameters.values()
        for argument in arguments:
            if argument.default is not argument.empty:
                found.setdefault(argument.name, argument.default)
        if not any(argument.kind == argument.VAR_KEYWORD for argument in arguments):
            break
    return found


def _reduced(node: Any, trusted: bool, known: Any) -> Any:
    """``node`` with every value taken away, here and further in, that its class would take by itself."""
    if isinstance(node, list):
        return [_reduced(item, trusted, None) for item in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get("_target_")
    foreign = target is not None and not (isinstance(target, str) and is_known(target))
    if foreign and not trusted:
        return known if isinstance(known, Mapping) and known.get("_target_") == target else dict(node)
    inner = known if isinstance(known, Mapping) else {}
    node = {key: _reduced(value, trusted, inner.get(key)) for key, value in node.items()}
    return _less(node, _defaults_of(target)) if isinstance(target, str) else node


def _defaults_of(target: str) -> Node:
    """The defaults of the class at a dotted path, its flat parts included; of one that is no longer there, none."""
    found = locate(target)
    if not callable(found):
        return {}
    try:
        parts = [defaults(part) for part in schema.flat_parts(found).values()]
        return functools.reduce(operator.or_, parts, defaults(found))
    except (TypeError, ValueError):  # something else than a class or a function
        return {}


def _less(node: Mapping[str, Any], known: Mapping[str, Any]) -> Node:
    return {
        key: value
        for key, value in node.items()
        if key not in known or not same({key: value}, {key: _plain(known[key])})
    }


def _plain(default: Any) -> Any:
    """A default as a config would spell it: ``partial(SGD, lr=0.1)`` or a dataclass as the node that makes it."""
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        cls = type(default)
        fields = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
        return {"_target_": f"{cls.__module__}.{cls.__qualname__}", **_less(fields, defaults(cls))}
    function, keywords = getattr(default, "func", None), getattr(default, "keywords", None)
    if function is None or keywords is None:
        return default
    target = f"{function.__module__}.{function.__qualname__}"
    return {"_target_": target, "_partial_": True, **_less(keywords, defaults(function))}
