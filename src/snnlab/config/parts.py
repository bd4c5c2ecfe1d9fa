"""One part of a run (data, encoder, model, initialiser, method) made from its config."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from snnlab.config import libraries, schema
from snnlab.config.memory import weights_that_fit
from snnlab.errors import InputError, one_line


def _data() -> Any:
    from snnlab.data.contract import DataModule

    return DataModule


def _encoder() -> Any:
    from snnlab.data.encoders import Encoder

    return Encoder


def _target() -> Any:
    from snnlab.hardware.target import Target

    return Target


def _method() -> Any:
    from snnlab.methods.base.method import Method

    return Method


KINDS: dict[str, Callable[[], Any]] = {  # what each part is, by its name; a model and an initialiser are called
    "data": _data,
    "encoder": _encoder,
    "method": _method,
    "hardware": _target,
    "model": lambda: Callable,
    "init": lambda: Callable,
}
CALLED = {"model": 3, "init": 2}  # with: blocks, input shape and outputs; network and frames


def instantiate_part(name: str, node: DictConfig | Mapping[str, Any], **parts: Any) -> Any:
    """Check ``node`` against its class and instantiate it.

    Raises:
        InputError: when the class is of another kind or refuses an argument; its own words, after the part's name.
    """
    libraries.load()
    container = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    if not isinstance(container, Mapping):
        raise InputError(f"{name} = {container!r} must be a config with a _target_; {name}=NAME chooses one")
    container = {str(key): value for key, value in container.items()}
    if container.get("_partial_"):
        raise InputError(f"{name}._partial_ = {container['_partial_']}: {name} is made at once; leave it out")
    schema.check_node(name, container, KINDS[name](), parts)
    for argument, part in schema.flat_parts(get_object(container["_target_"])).items():
        keys = [key for key in inspect.signature(part).parameters if key in container]
        parts[argument] = part(**{key: container.pop(key) for key in keys})
    try:
        # partial, so that Hydra does not turn the parts (a DataSpec, say) into configs of their own
        with weights_that_fit("the network" if name == "method" else name):
            made = instantiate({**container, "_partial_": True}, _convert_="all")(**parts)
    except InputError:
        raise
    except (InstantiationException, ValueError, TypeError, OverflowError) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, InputError):
            raise cause from error
        if isinstance(cause, ValueError | OverflowError):
            raise InputError(f"{_teller(cause, name, parts)}: {one_line(cause)}") from error
        raise
    kind = KINDS[name]()
    if not (_can_be_called(made, CALLED[name]) if kind is Callable else isinstance(made, kind)):
        what = f"something to be called with {CALLED[name]} things" if kind is Callable else kind.__name__
        raise InputError(
            f"{name}._target_ = {container['_target_']} makes a {type(made).__name__}, and {what} is needed"
        )
    return made


def _can_be_called(made: Any, count: int) -> bool:
    """Whether something takes so many arguments; true where nothing says that it does not."""
    try:
        inspect.signature(made).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return callable(made)
    return True


def _teller(error: BaseException, name: str, parts: Mapping[str, Any]) -> str:
    """The part whose own code refused something: one of ``parts``, or ``name``, which was being made."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    model = parts.get("model")
    files = {base.__module__ for base in type(model).__mro__ if base is not object} if model is not None else set()
    return "model" if frame.f_globals.get("__name__") in files else name
