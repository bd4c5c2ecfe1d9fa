"""What a stored run can be asked after its training: one file of this room per question.

``python -m snnlab.evaluate RUN QUESTION [key=value ...]`` calls ``analyse`` of the file QUESTION.py; its keyword
arguments are the question's options. An analysis never touches the run: its values and pictures get a folder of their
own under RUN/evaluations/.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import lightning as L

from snnlab.command import value_of
from snnlab.config.schema import check_arguments
from snnlab.data.contract import DataModule
from snnlab.errors import InputError, nearest
from snnlab.methods.base.method import Method


class Stored(NamedTuple):
    """A stored run, trained and ready: its method in evaluation mode, its data set up, its resolved config.

    The method lies on the device that ``trainer.accelerator`` chooses; ``method.here(batch)`` brings a batch to it.
    ``rebuild(overrides)`` makes the method once more from the changed config, untrained; ``trainer(arguments,
    callbacks)`` makes a Trainer like the run's, with some arguments changed, that keeps everything in memory.
    A question that compares two runs has a second parameter of this type, ``against=FOLDER`` on the command line.
    """

    method: Method
    data: DataModule
    config: dict[str, Any]
    folder: str
    rebuild: Callable[[Sequence[str]], Method]
    trainer: Callable[[dict[str, Any], list[Any]], L.Trainer]


class Analysis(NamedTuple):
    """The answer: ``values`` for evaluation.json (numbers, lists, texts) and matplotlib ``figures`` by file name."""

    values: dict[str, Any]
    figures: dict[str, Any]


def questions() -> list[str]:
    """Names of the analyses: the files of this folder that hold an ``analyse``."""
    room = Path(__file__).parent
    return sorted(path.stem for path in room.glob("*.py") if "\ndef analyse(" in path.read_text(encoding="utf-8"))


def find(name: str) -> Callable[..., Analysis]:
    """Return ``analyse`` of the question ``name``.

    Raises:
        InputError: when there is no such question.
    """
    if name not in questions():
        raise InputError(f"{name!r} is no question to ask of a run; nearest: {nearest(name, questions())}")
    return importlib.import_module(f"snnlab.evaluate.{name}").analyse  # type: ignore[no-any-return]


def options(analyse: Callable[..., Analysis]) -> dict[str, inspect.Parameter]:
    """The keyword arguments of an analysis, by name; the first parameter is the stored run."""
    return dict(list(inspect.signature(analyse).parameters.items())[1:])


class Asked(NamedTuple):
    """A question as it was put: its ``arguments`` by name, of which ``others`` are folders of runs.

    ``changes`` are the overrides that are no option of the question: they change the config of the run.
    """

    analyse: Callable[..., Analysis]
    arguments: dict[str, Any]
    others: set[str]
    changes: list[str]


def read(question: str, overrides: Sequence[str]) -> Asked:
    """Read what follows a question on the command line.

    Raises:
        InputError: when there is no such question, or an option is missing or of the wrong type.
    """
    analyse = find(question)
    known = options(analyse)
    given = [override for override in overrides if override.partition("=")[0] in known]
    arguments = {name: value_of(name, value) for name, _, value in (override.partition("=") for override in given)}
    missing = [name for name, option in known.items() if option.default is option.empty and name not in arguments]
    if missing:
        raise InputError(f"{question} needs {missing[0]}=...: {usage(question)}; --help says what they are")
    hints = get_type_hints(analyse)
    others = {name for name in arguments if hints[name] in (Stored, Stored | None)}
    check_arguments(question, {name: value for name, value in arguments.items() if name not in others}, analyse)
    return Asked(analyse, arguments, others, [override for override in overrides if override not in given])


def page(name: str) -> str:
    """What a question answers and its options, for people.

    Raises:
        InputError: when there is no such question.
    """
    analyse = find(name)
    lines = [f"{name}: {inspect.cleandoc(analyse.__doc__ or '')}", ""]
    for key, default in _typed(analyse).items():
        lines.append(f"  {key}={'...  (needed)' if default is None else default}")
    return "\n".join(lines) + "\n"


def usage(name: str) -> str:
    """How to ask a question, in one line; raises as ``page``."""
    words = [f"{key}=..." if default is None else f"[{key}={default}]" for key, default in _typed(find(name)).items()]
    return " ".join(["python -m snnlab.evaluate RUN", name, *words])


def _typed(analyse: Callable[..., Analysis]) -> dict[str, str | None]:
    """The options of an analysis by name, with their defaults as they are typed; None for one that is needed."""
    typed: dict[str, str | None] = {}
    for key, option in options(analyse).items():
        value = list(option.default) if isinstance(option.default, tuple) else option.default
        text = "null" if value is None else str(value).replace(" ", "")
        typed[key] = None if option.default is option.empty else text
    return typed
