"""All that a neuron's ``step`` can see beside its current, its state and its tensors: what a program was traced for.

A program holds as long as nothing changes that ``step`` reads: the attributes of its modules and of the objects in
them, which module stands where, the attributes and functions of its classes, the globals that its functions name, what
they read from other modules and classes, and the same of the functions that they may call. ``sight`` turns these into a
key. What cannot be told apart raises Unseen, and such a neuron keeps its loop: a generator, an open file, an array of a
megabyte, and functions that ask the clock, the files, the environment or torch's own settings (whether gradients are
on). Not seen: names that are made up as the program runs (``getattr(module, name)``, ``eval``).
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import re
import sys
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

OWN = vars(nn.Module()).keys() - {"training"}  # what every module has
MOST = 4096  # values that are looked at
LARGEST = 1 << 16  # bytes of an array that are looked at
FIXED: tuple[Any, ...] = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    torch.dtype,
    torch.device,
    torch.layout,
    enum.Enum,
)
FIXED += (re.Pattern, np.dtype, np.ufunc, range)
PLAIN = (bool, int, str, bytes, complex, type(None))
CHANGING = {"time", "datetime", "os", "sys", "io", "posix", "pathlib", "threading", "contextvars", "uuid", "secrets"}
CHANGING |= {"socket", "gc"}
SETTLED = {"torch", "numpy", *sys.stdlib_module_names} - CHANGING  # packages whose contents stay as they are
MODES = {name for name in dir(torch) if re.fullmatch(r"(is|get)_.*(enabled|default_\w+|num_threads|rng_state)", name)}
APART = {"__init__", "__repr__", "extra_repr", "response"}  # functions that no step calls
WHOLE = {"forward", "unroll"}  # nor these, of a module that has a step


class Unseen(Exception):
    """Something that ``step`` can see and that cannot be told from what it was before."""


class Sight:
    """A key, and the objects in it that are told apart by their identity: they must live as long as the key does."""

    def __init__(self) -> None:
        self.key: list[Any] = []
        self.held: list[Any] = []
        self.containers: list[Any] = []  # what a step may change without a word
        self.inside: set[int] = set()  # objects that are being looked at
        self.count = 0

    def look(self, value: Any) -> None:
        """Add ``value`` to the key."""
        self.count += 1
        if self.count > MOST:
            raise Unseen(f"more than {MOST} values")
        add = self.key.append
        if isinstance(value, PLAIN):
            add(type(value))
            add(value)
        elif isinstance(value, float | np.generic):  # -0.0 is not 0.0, and nan is nan
            add(type(value))
            add(repr(value))
        elif isinstance(value, Tensor):
            self.identity(value)
            add(value._version)
        elif id(value) in self.inside:
            add("above")
        elif isinstance(value, FIXED):
            self.identity(value)
        else:
            self.inside.add(id(value))
            self.parts(value)
            self.inside.discard(id(value))

    def identity(self, value: Any) -> None:
        self.held.append(value)
        self.key.append(id(value))

    def parts(self, value: Any) -> None:
        self.key.append(type(value))
        if type(value) in (list, dict, set, deque, np.ndarray):
            self.containers.append(value)
        if isinstance(value, dict | types.MappingProxyType):
            self.key.append(len(value))
            for key, item in value.items():
                self.look(key)
                self.look(item)
        elif isinstance(value, list | tuple | deque):
            self.key.append(len(value))
            for item in value:
                self.look(item)
        elif isinstance(value, set | frozenset):
            self.key.append(frozenset(value))
        elif isinstance(value, np.ndarray):
            if value.nbytes > LARGEST or value.dtype.hasobject:
                raise Unseen(f"an array of {value.nbytes} bytes")
            self.key += [value.shape, value.dtype.str, hashlib.sha256(value.tobytes()).digest()]
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self.look(part)
        elif isinstance(value, types.MethodType):
            self.identity(value.__func__)
            self.look(value.__self__)
        elif isinstance(value, types.FunctionType):
            self.identity(value.__code__)
            self.look(value.__defaults__)
            self.look(value.__kwdefaults__)
            self.look(tuple(_cell(cell) for cell in value.__closure__ or ()))
        elif isinstance(value, nn.Module):
            self.module(value)
        elif hasattr(type(value), "__get__"):  # a property, a class method, a field of a named tuple
            self.identity(value)
        elif type(value).__module__.partition(".")[0] in ("builtins", "random", "numpy", "torch", "_io"):
            raise Unseen(f"a {type(value).__name__}")  # an iterator, a generator of random numbers
        else:
            slots = [name for kind in type(value).__mro__ for name in _slots(kind) if hasattr(value, name)]
            if not hasattr(value, "__dict__") and not slots:
                raise Unseen(f"a {type(value).__name__}")
            self.look({**getattr(value, "__dict__", {}), **{name: getattr(value, name) for name in slots}})
            self.kind(type(value))

    def module(self, value: nn.Module) -> None:
        """Everything about a module but the numbers in its tensors, which a program is given anew each time."""
        self.identity(type(value))
        for name, item in vars(value).items():
            if name not in OWN:
                self.key.append(name)
                self.look(item)
        for held in (value._parameters, value._buffers):
            for name, tensor in held.items():
                self.key += [name, None] if tensor is None else [name, tensor.shape, tensor.dtype, tensor.requires_grad]
        self.kind(type(value))
        for name, child in value._modules.items():
            self.key.append(name)
            self.look(child)

    def kind(self, whole: Any) -> None:
        """The attributes and functions of a class, and what its functions read from elsewhere."""
        functions, apart = [], APART | WHOLE if hasattr(whole, "step") else APART
        for part in whole.__mro__:
            if _package(part) in SETTLED:
                continue
            for name, item in vars(part).items():
                function = _function(item)
                if function is not None and name not in apart:
                    self.identity(function)
                    functions.append(function)
                elif function is None and not name.startswith(("__", "_abc_")):
                    self.key.append(name)
                    self.look(item)
        for where, name in outside(tuple(functions)):
            self.key.append(name)
            self.look(_held(where).get(name))


def sight(neuron: nn.Module) -> tuple[tuple[Any, ...], list[Any]]:
    """The key of all that the step of ``neuron`` can see now, and what must be kept alive with it.

    Raises:
        Unseen: where something cannot be told from what it was before.
    """
    seen = Sight()
    seen.look(neuron)
    try:
        hash(key := tuple(seen.key))
    except TypeError as error:
        raise Unseen(str(error)) from error
    return key, seen.held


@functools.lru_cache(maxsize=1024)
def outside(functions: tuple[types.FunctionType, ...]) -> tuple[tuple[Any, str], ...]:
    """The places (globals, a module or a class, and a name in it) that functions read from outside of their objects.

    Raises:
        Unseen: for a function that asks what changes without a trace.
    """
    met: set[Any] = set()
    return tuple(place for function in functions for place in _reads(function, met))


def _reads(function: types.FunctionType, met: set[Any]) -> Iterator[tuple[Any, str]]:
    """The globals that a function names, what it names in modules and classes, and those of all that it may call."""
    if function.__code__ in met:
        return
    met.add(function.__code__)
    for code in _codes(function.__code__):
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname == "IMPORT_NAME":
                yield from _value(sys.modules.get(name), code, met)
            elif instruction.opname == "LOAD_GLOBAL" and name in function.__globals__:
                yield from _place(function.__globals__, name, code, met)
            elif name in MODES or (instruction.opname == "LOAD_GLOBAL" and name in ("open", "input")):
                raise Unseen(f"{name} in {function.__qualname__}")


def _place(where: Any, name: str, code: types.CodeType, met: set[Any]) -> Iterator[tuple[Any, str]]:
    if (id(where), name) not in met:
        met.add((id(where), name))
        value = _held(where)[name]
        if _package(value) not in SETTLED:
            yield where, name
            yield from _value(value, code, met)


def _value(value: Any, code: types.CodeType, met: set[Any]) -> Iterator[tuple[Any, str]]:
    if _package(value) in CHANGING:
        raise Unseen(f"{_package(value)} in {code.co_name}")
    function = _function(value)
    if function is not None:
        yield from _reads(function, met)
    elif isinstance(value, types.ModuleType | type):
        for part in value.__mro__ if isinstance(value, type) else (value,):
            for name in code.co_names:
                if name in vars(part) and _package(part) not in SETTLED:
                    yield from _place(part, name, code, met)


def _held(where: Any) -> Any:
    return where if isinstance(where, dict) else vars(where)


def _package(value: Any) -> str:
    """The package that a module, a class or a function comes from; "" for any other value."""
    named = isinstance(value, types.ModuleType | type | types.FunctionType | types.BuiltinFunctionType)
    module = getattr(value, "__name__" if isinstance(value, types.ModuleType) else "__module__", None)
    return str(module).partition(".")[0] if named else ""


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _function(value: Any) -> types.FunctionType | None:
    value = getattr(value, "fget", value)  # of a property
    value = getattr(value, "__func__", value)  # of a static or class method
    value = getattr(value, "__wrapped__", value)
    return value if isinstance(value, types.FunctionType) else None


def _slots(kind: type) -> tuple[str, ...]:
    slots: Any = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(s for s in slots if s not in ("__dict__", "__weakref__"))


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def hooked(neuron: nn.Module) -> bool:
    """Whether somebody watches a part of the neuron: its loop calls the parts, a program does not."""
    if torch.nn.modules.module._has_any_global_hook():
        return True
    parts = iter(neuron.modules())
    next(parts)
    found: Callable[[nn.Module], Any] = lambda m: (  # noqa: E731
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
    )
    return any(found(part) for part in parts)
