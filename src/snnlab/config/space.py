"""The space of a search: which keys of a config vary, over which values, and on what condition.

In ``conf/search/NAME.yaml`` (or that folder of ``--config-dir``) and on the command line a key takes Hydra's words:

    interval(0.1, 1)  tag(log, interval(1e-4, 1e-1))         a number, evenly or by its magnitude
    int(interval(1, 64))  range(5, 20, 5)  range(0, 1, 0.1)  a whole number, or steps that leave the end out
    choice(a, b, c)  a,b,c  glob(*)                          one of a few; glob: of the choices of a group
    tag(log, times, interval(0.1, 10))                       times what the config has by itself

A file has ``space`` (every key has to be there), ``optional`` (a key that is not there is left out), ``when`` (keys
that vary only beside a choice, in a mapping below it, ``method.surrogate=sigmoid``), and settings of the search. A key
may hold ``*``: it stands for every key of the config like it.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from omegaconf import OmegaConf

from snnlab.config.compose import compose
from snnlab.config.line import GROUPS, MOST_JOBS, read
from snnlab.config.own import check_file
from snnlab.config.paths import conf_dir
from snnlab.config.recipes import flatten
from snnlab.config.words import nearest_keys
from snnlab.errors import InputError, nearest

SECTIONS = ("space", "optional", "when")
TAGS = ("log", "times")


@dataclass(frozen=True)
class Values:
    """What one key may be: ``choices`` as they are typed, or numbers from ``low`` to ``high``, both included."""

    text: str  # as it was written
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    whole: bool = False
    times: bool = False  # low and high are factors of what the config has by itself

    def middle(self) -> str:
        """One of them as a value of an override: the first choice, or a number from inside."""
        if self.choices:
            return self.choices[0]
        value = (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2
        if self.step is not None:
            value = self.low + self.step * int((value - self.low) / self.step + 1e-9)
        return spelled(int(value) if self.whole else value)

    def all(self) -> tuple[str, ...] | None:
        """Every value, None where there is no end of them."""
        if self.choices:
            return self.choices
        step = self.step if self.step is not None else 1 if self.whole and not self.log else None
        if step is None:
            return None
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(spelled(int(self.low + i * step) if self.whole else self.low + i * step) for i in range(count))


class Parameter(NamedTuple):
    """A key that varies, where ``when`` (other keys and their values) holds."""

    key: str
    values: Values
    when: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What a study calls it: the key, and of one beside a choice that choice, ``method.width (triangle)``."""
        return self.key + "".join(f" ({value})" for _, value in self.when)

    def holds(self, chosen: Mapping[str, str]) -> bool:
        """Whether it varies beside what was chosen so far."""
        return all(chosen.get(key) == value for key, value in self.when)


@dataclass
class Space:
    """Parameters in the order in which they are drawn, and what the file says of the search itself."""

    parameters: list[Parameter]
    settings: dict[str, Any] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    def described(self) -> list[list[Any]]:
        """What it is, for a name: each parameter's key, values and condition."""
        return [[p.key, repr(replace(p.values, text="")), list(p.when)] for p in self.parameters]

    def first(self) -> dict[str, str]:
        """One point of it."""
        chosen: dict[str, str] = {}
        for parameter in self.parameters:
            if parameter.holds(chosen):
                chosen[parameter.key] = parameter.values.middle()
        return chosen

    def points(self) -> Iterator[dict[str, str]]:
        """Every point.

        Raises:
            InputError: naming a parameter that has no end of values.
        """

        def below(chosen: dict[str, str], rest: Sequence[Parameter]) -> Iterator[dict[str, str]]:
            if not rest:
                yield chosen
                return
            parameter, *left = rest
            if not parameter.holds(chosen):
                yield from below(chosen, left)
                return
            values = parameter.values.all()
            if values is None:
                raise InputError(
                    f"sampler=grid: {parameter.key}={parameter.values.text} has no end of values; name some, as "
                    f"{parameter.key}=choice({spelled(parameter.values.low)},{spelled(parameter.values.high)}), or use "
                    "sampler=tpe"
                )
            for value in values:
                yield from below({**chosen, parameter.key: value}, left)

        yield from below({}, self.parameters)

    def grid(self) -> list[dict[str, str]]:
        """Every point, or an InputError for more than ``MOST_JOBS``."""
        found = list(itertools.islice(self.points(), MOST_JOBS + 1))
        if len(found) > MOST_JOBS:
            raise InputError(f"sampler=grid: the space has more than {MOST_JOBS:,} points; use sampler=tpe")
        return found


def spelled(value: float | int) -> str:
    """A number as an override has it, with eight digits: ``0.0012345679``."""
    return str(value) if isinstance(value, int) else f"{float(f'{value:.8g}')!r}"


def names(config_dir: Path | None) -> dict[str, Path]:
    """The spaces that there are, by name."""
    folders = [conf_dir(), *([config_dir] if config_dir else [])]
    return {path.stem: path for folder in folders for path in sorted((folder / "search").glob("*.yaml"))}


def is_varied(override: str) -> bool:
    """Whether an override of a search's command line is a part of its space.

    Raises:
        InputError: when it cannot be read.
    """
    return _varied(override).is_sweep_override()


def _varied(override: str) -> Override:
    """``read``; ``choice(null,1)`` too, which Hydra takes without the word alone."""
    parsed = read(override)
    found = re.fullmatch(r"([^=]+)=choice\((.*)\)", override)
    return parsed if found is None or parsed.is_sweep_override() else read(f"{found[1]}={found[2]}")


def space_of(chosen: Sequence[str], varied: Sequence[str], config_dir: Path | None, settings: Sequence[str]) -> Space:
    """The space of files, by name, the later of which win, and of overrides that vary, which win over all of them.

    Args:
        settings: keys that a file may set for the search itself.

    Raises:
        InputError: for a name that is none, and values that cannot be read.
    """
    known, found = names(config_dir), Space([])
    optional: set[str] = set()
    for name in chosen:
        if name not in known:
            raise InputError(f"search={name}: there is no such search; nearest: {nearest(name, known)}")
        if chosen.count(name) > 1:
            raise InputError(f"search=[{','.join(chosen)}]: {name} is named {chosen.count(name)} times; name it once")
        one = _of_file(known[name], settings)
        own = {(p.key, p.when) for p in one.parameters}
        found.parameters = [*(p for p in found.parameters if (p.key, p.when) not in own), *one.parameters]
        found.settings |= one.settings
        optional |= one.optional
    for override in varied:
        parsed = _varied(override)
        key = parsed.key_or_group
        found.parameters = [p for p in found.parameters if p.key != key]
        found.parameters.append(Parameter(key, _values(key, parsed)))
    return replace(found, optional=frozenset(optional))


def _of_file(path: Path, settings: Sequence[str]) -> Space:
    check_file(path)
    loaded: Any = OmegaConf.to_container(OmegaConf.load(path))
    node: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    sections = {key: node.get(key) or {} for key in SECTIONS}
    for key in node:
        if key not in (*SECTIONS, *settings):
            raise InputError(
                f"{path}: {key}: there is no such key; nearest: {nearest(str(key), [*SECTIONS, *settings])}"
            )
    for section, content in sections.items():
        if not isinstance(content, dict):
            raise InputError(f"{path}: {section} = {content!r} must be a mapping of keys to their values")
    parameters = [
        Parameter(str(key), _read(path, key, value)) for s in SECTIONS[:2] for key, value in sections[s].items()
    ]
    for condition, content in sections["when"].items():
        parsed = read(str(condition))
        if not isinstance(content, dict):
            raise InputError(f"{path}: when {condition} = {content!r} must be a mapping of keys to their values")
        when = ((parsed.key_or_group, str(condition).partition("=")[2]),)
        parameters += [Parameter(str(key), _read(path, key, value), when) for key, value in content.items()]
    own = {key: value for key, value in node.items() if key in settings}
    return Space(parameters, own, frozenset(map(str, sections["optional"])))


def _read(path: Path, key: Any, value: Any) -> Values:
    text = f"choice({','.join(map(_plain, value))})" if isinstance(value, list) else str(value)
    name = str(key).replace("*", "_")  # no override has one
    try:
        return replace(_values(str(key), _varied(f"{name}={text}")), text=text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _plain(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _values(key: str, parsed: Override) -> Values:
    text, value = str(parsed.input_line).partition("=")[2], parsed.value()
    if not parsed.is_sweep_override():
        raise InputError(f"{key}={text} is one value; a space has several: interval(0.1,1), choice(a,b), range(1,9)")
    tags = set(getattr(value, "tags", ()))
    if unknown := sorted(tags - set(TAGS)):
        raise InputError(f"{key}={text}: there is no tag {unknown[0]}; there are {' and '.join(TAGS)}")
    log, times = "log" in tags, "times" in tags
    if isinstance(value, Glob):
        found = value.filter(sorted(path.stem for path in (conf_dir() / key).glob("*.yaml")))
        return _of_choices(key, text, tuple(found), tags)
    if isinstance(value, ChoiceSweep):
        return _of_choices(key, text, tuple(parsed.sweep_string_iterator()), tags)
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None and high is not None
        whole = isinstance(low, int) and isinstance(high, int)
        made = Values(text, (), low, high, None, log, whole, times)
    else:
        assert isinstance(value, RangeSweep)
        numbers = list(itertools.islice(value.range(), MOST_JOBS + 1))
        if len(numbers) < 2 or value.step <= 0 or len(numbers) > MOST_JOBS:
            raise InputError(f"{key}={text}: a range has 2 to {MOST_JOBS:,} values, the smallest first")
        whole = all(isinstance(number, int) for number in numbers)
        last = numbers[-1] if whole else float(f"{numbers[-1]:.12g}")
        made = Values(text, (), numbers[0], last, value.step, log, whole, times)
    if not made.low < made.high:
        raise InputError(f"{key}={text}: {spelled(made.low)} must be less than {spelled(made.high)}")
    if log and (made.low <= 0 or made.step is not None):
        raise InputError(f"{key}={text}: log takes an interval that begins above 0, as tag(log, interval(1e-4, 1e-1))")
    return made


def _of_choices(key: str, text: str, choices: tuple[str, ...], tags: set[str]) -> Values:
    if tags:
        raise InputError(
            f"{key}={text}: {' and '.join(sorted(tags))} is for numbers, as tag(log, interval(1e-4, 1e-1))"
        )
    if len(set(choices)) < 2:
        raise InputError(f"{key}={text}: a choice needs two values at least, each once")
    return Values(text, tuple(dict.fromkeys(choices)))


def settled(space: Space, fixed: Sequence[str], config_dir: Path | None) -> Space:
    """The space of one config: what is typed as one value does not vary, ``*`` and ``times`` are what they stand for.

    Args:
        fixed: the overrides that all trials have.

    Raises:
        InputError: for a key that is not in the config, and where nothing is left to vary.
    """
    typed = {read(override).key_or_group for override in fixed}
    left = [p for p in space.parameters if p.key not in typed]
    left = [p for p in left if all(key not in typed or f"{key}={value}" in fixed for key, value in p.when)]
    left = [p._replace(when=tuple(pair for pair in p.when if pair[0] not in typed)) for p in left]
    groups = [f"{p.key}={p.values.middle()}" for p in left if p.key in GROUPS]
    config = compose([*fixed, *groups], config_dir).plain()
    known = {key: _at(config, key) for key in flatten(config)}
    found: list[Parameter] = []
    for parameter in left:
        beside = known
        if parameter.when:
            when = [f"{key}={value}" for key, value in parameter.when]
            of_groups = [override for override in groups if override.partition("=")[0] not in dict(parameter.when)]
            other = compose([*fixed, *of_groups, *when], config_dir).plain()
            beside = {key: _at(other, key) for key in flatten(other)}
        for key in sorted(fnmatch.filter(beside, parameter.key)) if "*" in parameter.key else [parameter.key]:
            if key in typed or (made := _of_key(key, parameter, beside, space.optional)) is None:
                continue
            found.append(made)
    found.sort(key=lambda parameter: bool(parameter.when))  # a choice before what hangs on it
    keys = {p.key for p in found}
    for parameter in found:
        for key, value in parameter.when:
            chooser = next((p for p in found if p.key == key), None)
            if chooser is None or value not in chooser.values.choices:
                there = [] if chooser is None else list(chooser.values.choices)
                raise InputError(
                    f"when {key}={value}: the space has no such choice; "
                    + (f"nearest: {nearest(value, there)}" if there else f"nearest: {nearest(key, keys)}")
                )
    if not found:
        raise InputError("there is nothing to search for: vary a key, as 'method.optimizer.lr=interval(1e-4,1e-1)'")
    return replace(space, parameters=found)


def _of_key(key: str, parameter: Parameter, config: Mapping[str, Any], optional: frozenset[str]) -> Parameter | None:
    """A parameter of one key; None where it may be missing, and is."""
    may_lack = parameter.key in optional
    if key not in config:
        if may_lack:
            return None
        if key.split(".")[0] in GROUPS and "_options." in key:  # the class that gets them knows them
            return parameter
        raise InputError(f"{key}: there is no such key; nearest: {nearest_keys(key, '', list(config))}")
    values, own = parameter.values, config[key]
    if not values.times:
        return parameter._replace(key=key)
    if isinstance(own, bool) or not isinstance(own, int | float) or own <= 0:
        if may_lack:
            return None
        raise InputError(f"{key}={values.text}: {key} is {own!r}, and times needs a number above 0; give the numbers")
    low, high = values.low * own, values.high * own
    whole = isinstance(own, int)
    low, high = (max(round(low), 1), max(round(high), 2)) if whole else (low, high)
    return parameter._replace(key=key, values=replace(values, low=low, high=high, whole=whole, times=False))


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = node[name]
    return node


def as_experiment(overrides: Sequence[str], notes: Sequence[str]) -> str:
    """The text of an experiment that is what ``overrides`` are on the command line.

    Args:
        notes: lines of a comment at its head.
    """
    import yaml

    defaults: list[Any] = []
    content: dict[str, Any] = {}
    for override in overrides:
        parsed = read(override)
        key, value = parsed.key_or_group, _unquoted(parsed.value())
        if key == "experiment":
            defaults.insert(0, value)
        elif key in GROUPS and not isinstance(value, Mapping):
            defaults.append({f"override /{key}": value})
        else:
            node = content
            *path, last = key.split(".")
            for name in path:
                node = node.setdefault(name, {})
            if isinstance(value, Mapping) and isinstance(node.get(last), dict):
                value = {**value, **node[last]}
            node[last] = value
    head = "".join(f"# {note}\n" for note in notes)
    listed = yaml.safe_dump({"defaults": defaults}, sort_keys=False) if defaults else ""
    return f"# @package _global_\n{head}{listed}" + (yaml.safe_dump(content, sort_keys=False) if content else "")


def _unquoted(value: Any) -> Any:
    """A parsed value as plain texts, numbers, lists and mappings."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {str(_unquoted(key)): _unquoted(item) for key, item in value.items()}
    return [_unquoted(item) for item in value] if isinstance(value, list) else value
