"""A stored run opened again: its config with changes, its parts with their weights, its data."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnlab.callbacks.memory import LiveBytes
from snnlab.checkpoint import inside, load_weights
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.config.line import GROUPS
from snnlab.config.paths import conf_dir
from snnlab.config.recipes import flatten
from snnlab.config.schema import PLAIN, arguments_of
from snnlab.config.trust import check_stored, locate
from snnlab.errors import InputError, nearest, one_line
from snnlab.methods.base.method import Method
from snnlab.runs.record import RunRecord
from snnlab.runs.resume import other_data

log = logging.getLogger("snnlab")
PLAIN_WORD = re.compile(r"[a-z_][\w.]*=(?!.*[A-Za-z_]\w*\.[A-Za-z_])[\w\[\],.+-]+")  # no path to code among its values

MOST_BYTES = 2**30  # of the tensors that a stored config may ask for before its weights are known to fit


def stored_config(
    run: str | Path, overrides: Sequence[str] = (), config_dir: str | Path | None = None
) -> dict[str, Any]:
    """Return the config of a stored run with ``overrides`` applied.

    Raises:
        InputError: when the run is none, or an override names nothing that exists.
    """
    record = RunRecord.read(run)
    check_stored(record.content["config"], record.path)
    config: Any = OmegaConf.create(here(record.content["config"], overrides))
    for override in sorted(overrides, key=lambda o: o.partition("=")[0] not in GROUPS):  # groups before their values
        key, equals, _ = override.partition("=")
        if not equals:
            raise InputError(f"{override!r} cannot be read as key=value")
        if key in GROUPS:
            config[key] = compose([override, f"seed={config.seed}"], config_dir).config[key]
            continue
        known = [*flatten(OmegaConf.to_container(config)), *PLAIN, *_arguments(OmegaConf.to_container(config))]
        if key not in known:
            raise InputError(f"{key}: there is no such key; nearest: {nearest(key, known)}")
        try:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
        except OmegaConfBaseException as error:
            raise InputError(f"{override}: {str(error).splitlines()[0]}") from error
    container = OmegaConf.to_container(config)
    assert isinstance(container, dict)
    return container  # type: ignore[return-value]


def here(config: Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A stored config with the data root and the cache of today: the run may have been made on another machine.

    They are those of a run that starts now: SNNLAB_DATA and SNNLAB_CACHE, or ``paths.data`` and ``paths.cache`` among
    the overrides.
    """
    typed = [o.removeprefix("paths.") for o in overrides if o.partition("=")[0] in ("paths.data", "paths.cache")]
    paths = OmegaConf.merge(OmegaConf.load(conf_dir() / "paths" / "default.yaml"), OmegaConf.from_dotlist(typed))
    data = {"root": paths.data, "cache": paths.cache}
    known = config.get("data") or {}
    return {
        **config,
        "paths": {**(config.get("paths") or {}), "data": paths.data, "cache": paths.cache},
        "data": {**known, **{key: value for key, value in data.items() if key in known}},
    }


def of_run(overrides: Sequence[str]) -> list[str]:
    """The line of a run made whole: ``resume=RUN`` stands for what RUN was begun with; what is typed now wins.

    Where that run lay and had its data is of no account, and what is more than a name or a number has to be typed
    again: the folder may be a stranger's.

    Raises:
        InputError: when RUN is no run.
    """
    typed = {override.partition("=")[0].lstrip("+"): override.partition("=")[2] for override in overrides}
    run = typed.get("resume", "never").strip("'\"")
    if run in ("never", "auto"):
        return list(overrides)
    stored = [str(override) for override in RunRecord.read(run).content["overrides"]]
    kept = [override for override in stored if PLAIN_WORD.fullmatch(override)]
    left = [*typed, "debug", "dry_run", "data.root", "data.cache"]
    return [o for o in kept if o.partition("=")[0] not in left and not o.startswith("paths.")] + list(overrides)


def _arguments(node: Any, path: str = "") -> Iterator[str]:
    """The keys that the classes of a stored config take today; one that came later has its default there."""
    if not isinstance(node, Mapping):
        return
    if "_target_" in node and (found := locate(str(node["_target_"]))) is not None:
        yield from (f"{path}{name}" for name in arguments_of(found)[0])
    for key, value in node.items():
        yield from _arguments(value, f"{path}{key}.")


def load_parts(run: str | Path, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Any:
    """Build the parts of a stored run and load its chosen checkpoint.

    Raises:
        InputError: when the run is none, is unfinished, or its weights do not fit the overridden config.
    """
    record = RunRecord.read(run)
    if "checkpoint" not in record.content:
        raise InputError(
            f"{run}: status is {record.content['status']}, so no checkpoint was chosen; finish it with resume=auto"
        )
    checkpoint = inside(record.folder, record.content["checkpoint"])
    parts = _built(run, overrides, config_dir)
    misfit, mine = f"{run}: the stored weights do not fit the overridden config", record.content.get("run")
    load_weights(parts.method, checkpoint, misfit, run=mine)
    return parts


def _built(run: str | Path, overrides: Sequence[str], config_dir: str | Path | None) -> Any:
    """``build`` of a stored config; whatever its values make a class of ours raise is one line."""
    config = stored_config(run, overrides, config_dir)
    try:
        with LiveBytes(MOST_BYTES):
            return build(OmegaConf.create(config))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{run}: its config cannot be built ({type(error).__name__}: {one_line(error)[:200]}); --debug tells more"
        ) from error


def _check_batch(run: str | Path, parts: Any, overrides: Sequence[str]) -> None:
    """Refuse a stored config whose batches [T, B, ...] would fill the memory, unless their size is typed."""
    spec, keys = parts.data.spec, ("data.batch_size", "data.time_steps", "encoder.time_steps")
    steps = spec.time_steps or getattr(parts.method.encoder, "time_steps", 1)
    count = min(parts.config["data"]["batch_size"], max(spec.sizes.values(), default=1) or 1)
    needed = 4 * steps * count * math.prod(spec.input_shape)
    if needed > MOST_BYTES and not any(override.startswith(keys) for override in overrides):
        raise InputError(
            f"{run}: a batch of {count:,} samples and {steps:,} steps takes {needed:,} bytes; if more than "
            f"{MOST_BYTES:,} are meant, type data.batch_size=..."
        )


def load_method(run: str | Path) -> Method:
    """Return the trained method of a stored run, in evaluation mode."""
    method: Method = load_parts(run).method
    if method.needs_data:
        method = open_run(run).method
    return method.eval()


def open_run(run: str | Path, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Any:
    """Build the parts of a stored run with its weights, set up its data, prepare the method for being asked.

    Raises:
        InputError: as ``load_parts``, and where the data cannot be used or is not what the run saw.
    """
    parts = load_parts(run, overrides, config_dir)
    _check_batch(run, parts, overrides)
    parts.data.setup()
    content = RunRecord.read(run).content
    found = other_data(content["provenance"], parts.data.provenance.as_dict())
    if found and not any(override.startswith("data") for override in overrides):
        raise InputError(
            f"{run}: the data is not what the run saw: {found}; set SNNLAB_DATA to that data, or score it on purpose "
            "with a data override"
        )
    threads, now = content.get("machine", {}).get("threads"), torch.get_num_threads()
    if threads not in (None, now):
        log.info("threads: %d here, %d when the run was made; last digits may differ", now, threads)
    parts.method.prepare(parts.data)
    parts.method.opened(parts.data)
    return parts


def rebuild(run: str | Path, overrides: Sequence[str], config_dir: str | Path | None = None) -> Method:
    """Return an untrained method of a stored run's config with ``overrides`` applied.

    Raises:
        InputError: as ``stored_config``, and when the overridden config cannot be built.
    """
    method: Method = _built(run, overrides, config_dir).method
    return method
