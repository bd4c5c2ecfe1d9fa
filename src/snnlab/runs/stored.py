"""A stored run opened again: its config with changes, its parts with their weights, its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snnlab.checkpoint import load_weights
from snnlab.config.build import build
from snnlab.config.compose import GROUPS, compose, flatten
from snnlab.config.schema import PLAIN, arguments_of
from snnlab.errors import InputError, nearest
from snnlab.methods.base.method import Method
from snnlab.runs.identity import locate
from snnlab.runs.record import RunRecord


def stored_config(run: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config of a stored run with ``overrides`` applied.

    Raises:
        InputError: when the run is none, or an override names nothing that exists.
    """
    record = RunRecord.read(run)
    config = OmegaConf.create(record.content["config"])
    for override in sorted(overrides, key=lambda o: o.partition("=")[0] not in GROUPS):  # groups before their values
        key, equals, _ = override.partition("=")
        if not equals:
            raise InputError(f"{override!r} cannot be read as key=value")
        if key in GROUPS:
            config[key] = compose([override, f"seed={config.seed}"]).config[key]
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


def _arguments(node: Any, path: str = "") -> Iterator[str]:
    """The keys that the classes of a stored config take today; one that came later has its default there."""
    if not isinstance(node, Mapping):
        return
    if "_target_" in node and (found := locate(str(node["_target_"]))) is not None:
        yield from (f"{path}{name}" for name in arguments_of(found)[0])
    for key, value in node.items():
        yield from _arguments(value, f"{path}{key}.")


def load_parts(run: str | Path, overrides: Sequence[str] = ()) -> Any:
    """Build the parts of a stored run and load its chosen checkpoint.

    Raises:
        InputError: when the run is none, is unfinished, or its weights do not fit the overridden config.
    """
    record = RunRecord.read(run)
    if "checkpoint" not in record.content:
        raise InputError(
            f"{run}: status is {record.content['status']}, so no checkpoint was chosen; finish it with resume=auto"
        )
    parts = build(OmegaConf.create(stored_config(run, overrides)))
    misfit = f"{run}: the stored weights do not fit the overridden config"
    load_weights(parts.method, record.folder / record.content["checkpoint"], misfit)
    return parts


def load_method(run: str | Path) -> Method:
    """Return the trained method of a stored run, in evaluation mode."""
    method: Method = load_parts(run).method
    if method.needs_data:
        method = open_run(run).method
    return method.eval()


def open_run(run: str | Path, overrides: Sequence[str] = ()) -> Any:
    """Build the parts of a stored run with its weights, set up its data, prepare the method for being asked.

    Raises:
        InputError: as ``load_parts``, and where the data cannot be used or is not what the run saw.
    """
    parts = load_parts(run, overrides)
    parts.data.setup()
    before = RunRecord.read(run).content["provenance"]
    if parts.data.provenance.hash != before["hash"] and not any(o.startswith("data") for o in overrides):
        raise InputError(
            f"{run}: the data is not what the run saw ({before['source']}, SHA-256 {before['hash'][:12]}...); "
            "set SNNLAB_DATA to that data, or score it on purpose with a data override"
        )
    parts.method.prepare(parts.data)
    parts.method.opened(parts.data)
    return parts


def rebuild(run: str | Path, overrides: Sequence[str]) -> Method:
    """Return an untrained method of a stored run's config with ``overrides`` applied.

    Raises:
        InputError: as ``stored_config``, and when the overridden config cannot be built.
    """
    method: Method = build(OmegaConf.create(stored_config(run, overrides))).method
    return method
