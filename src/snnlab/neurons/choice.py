"""A neuron by its name, for every method that has ``method.neuron`` and ``method.neuron_options``.

A name of NEURONS is a file of this folder; ``package.module.Class`` is a neuron of anybody's own package.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from snnlab.errors import InputError, nearest
from snnlab.neurons.neuron import Neuron

NEURONS = {
    "ahp": "snnlab.neurons.ahp.AHP",
    "lif": "snnlab.neurons.lif.LIF",
    "plif": "snnlab.neurons.plif.PLIF",
    "cuba_lif": "snnlab.neurons.cuba_lif.CubaLIF",
    "alif": "snnlab.neurons.alif.ALIF",
    "egru": "snnlab.neurons.egru.EGRU",
    "ltc": "snnlab.neurons.ltc.LTC",
    "memristive": "snnlab.neurons.memristive.Memristive",
}


def choose_neuron(
    name: str, options: Mapping[str, Any] | None = None, shared: Mapping[str, Any] | None = None
) -> Callable[..., Neuron]:
    """Return what makes one layer of the neuron ``name``; a class that names ``features`` is to be told how many.

    Args:
        name: of NEURONS, or the dotted path of a class.
        options: arguments that only this neuron has; one that its class does not name is refused.
        shared: arguments that the method has for any neuron (decay, threshold, surrogate, ...); those that the class
            does not name are left out, and ``options`` come before them.

    Raises:
        InputError: no such neuron, or no such option.
    """
    target = NEURONS.get(name, name)
    module, _, attribute = target.rpartition(".")
    if not module:
        raise InputError(
            f"method.neuron = {name}: choose one of {nearest(name, NEURONS, len(NEURONS))}, or package.module.Class"
        )
    try:
        found = import_module(module)
    except (ImportError, ValueError) as error:
        raise InputError(f"method.neuron = {name} cannot be imported: {error}") from error
    if (neuron := getattr(found, attribute, None)) is None:
        there = [key for key, value in vars(found).items() if inspect.isclass(value) and issubclass(value, Neuron)]
        raise InputError(f"method.neuron = {name}: {module} has no such class; nearest: {nearest(attribute, there)}")
    if not (inspect.isclass(neuron) and issubclass(neuron, Neuron)):
        raise InputError(f"method.neuron = {name} is no subclass of snnlab.neurons.neuron.Neuron")
    arguments, hints = inspect.signature(neuron).parameters, get_type_hints(neuron.__init__)
    for key in options or {}:
        if key not in arguments:
            raise InputError(
                f"method.neuron_options.{key}: {neuron.__name__} has no such key; nearest: {nearest(key, arguments)}"
            )
        _check(f"method.neuron_options.{key}", (options or {})[key], hints.get(key, Any))
    given = {key: value for key, value in (shared or {}).items() if key in arguments}
    return functools.partial(neuron, **{**given, **(options or {})})


def _check(path: str, value: Any, hint: Any) -> None:
    """Raise InputError unless ``value`` is of the annotated type."""
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        kind = " or ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else getattr(hint, "__name__", hint)
        raise InputError(f"{path} = {value!r} must be {kind}") from error
