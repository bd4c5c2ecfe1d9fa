"""One part of a run (data, encoder, model, initialiser, method) made from its config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from snnlab.config import libraries, schema
from snnlab.errors import InputError, one_line


def instantiate_part(name: str, node: DictConfig | Mapping[str, Any], **parts: Any) -> Any:
    """Check ``node`` against its class and instantiate it.

    Raises:
        InputError: when the class refuses an argument; the class's own words, after the part's name.
    """
    libraries.load()
    container = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    assert isinstance(container, dict)
    schema.check_node(name, container)  # type: ignore[arg-type]
    for argument, part in schema.flat_parts(get_object(container["_target_"])).items():
        keys = [key for key in inspect.signature(part).parameters if key in container]
        parts[argument] = part(**{key: container.pop(key) for key in keys})
    try:
        # partial, so that Hydra does not turn the parts (a DataSpec, say) into configs of their own
        return instantiate({**container, "_partial_": True}, _convert_="all")(**parts)
    except InputError:
        raise
    except (InstantiationException, ValueError, TypeError) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        if isinstance(cause, ValueError):
            raise InputError(f"{name}: {one_line(cause)}") from error
        raise
