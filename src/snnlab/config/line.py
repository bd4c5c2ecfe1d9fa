"""One ``key=value`` of the command line: read, refused where a run has no use for it, spread over a sweep."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString

from snnlab.config.paths import conf_dir
from snnlab.errors import InputError, one_line

GROUPS = (
    "method",
    "model",
    "data",
    "encoder",
    "hardware",
    "init",
    "trainer",
    "logger",
    "callbacks",
    "paths",
    "experiment",
)
SEVERAL = ("logger",)  # groups of which a list may be chosen: logger=[wandb,csv]
# Taken letter by letter, as a shell hands them on: names of folders hold whatever sign their owner likes.
FOLDERS = (
    *("paths.data", "paths.cache", "paths.output", "resume", "method.run", "data.root", "data.cache"),
    *("logger.tensorboard.folder", "logger.csv.folder", "logger.mlflow.folder"),
)
PARSER = OverridesParser.create()
_parsed = functools.lru_cache(10_000)(PARSER.parse_override)  # the jobs of a sweep share most of their words
MOST_JOBS = 10_000  # of a sweep: each is composed and checked before the first one starts


def read(override: str, folders: Sequence[str] = FOLDERS) -> Override:
    """Parse ``key=value``; what Hydra's grammar has no form for is text, and names of ``folders`` always are.

    Raises:
        InputError: when it is no key=value.
    """
    key, equals, value = override.partition("=")
    as_text = f"{key}={quoted(value)}"
    if key.lstrip("+") in folders and equals and "${" not in value and not re.fullmatch(r"""(['"]).*\1""", value):
        return _parsed(as_text)
    try:
        return _parsed(override)
    except Exception as error:  # Hydra's own and those of the parser beneath it
        if equals and re.fullmatch(r"[+~]*[\w/.@]+", key) and value.strip() and value.strip()[0] not in "'\"[{":
            try:
                return _parsed(as_text)
            except Exception:
                pass
        why = reason(error).partition(" expecting ")[0]
        if key != key.strip() or not equals:
            why = "a space stands before the =" if equals else "it has no ="
        raise InputError(f"{override!r} cannot be read as key=value: {why}") from error


def quoted(text: str | Path) -> str:
    """A text as Hydra reads it whole, whatever signs it holds."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), str(text)) + "'"


def checked(override: str) -> Override:
    """Refuse what Hydra can read and a run has no use for: a group without one choice, a key taken away, no key."""
    parsed = read(override)
    key = parsed.key_or_group
    if not key:
        raise InputError(f"{override!r} cannot be read as key=value: it names no key")
    if re.match(r"hydra\b", key):
        raise InputError(f"{override}: Hydra's own settings are fixed; paths.output says where runs are written")
    if parsed.is_delete():
        raise InputError(f"{override}: a key cannot be taken away; give {key} another value")
    if parsed.package is not None:
        raise InputError(f"{override}: a part cannot be moved to another place; write {key}=...")
    if parsed.is_sweep_override():
        items = override.partition("=")[2] if key in SEVERAL else "1,2"
        raise InputError(
            f"{override}: several values are a sweep, and -m runs one: python -m snnlab -m ...; "
            f"a list is written {key}=[{items}], a text with a comma {key}='\"a,b\"'"
        )
    value = parsed.value()
    chosen = value if key in SEVERAL and isinstance(value, list) and value else [value]
    if len({str(each) for each in chosen}) < len(chosen) or (len(chosen) > 1 and "none" in map(str, chosen)):
        raise InputError(f"{override}: each once, and none alone; e.g. {key}=[{','.join(_others(chosen))}]")
    if key in GROUPS and not is_part(value) and not all(isinstance(c, str | QuotedString) and c != "" for c in chosen):
        options = sorted(path.stem for path in (conf_dir() / key).glob("*.yaml"))
        raise InputError(f"{override}: {key} needs a choice; choose one of {', '.join(options)}")
    return parsed


def _others(chosen: Sequence[Any]) -> list[str]:
    """Several choices, each once, without none."""
    return [name for name in dict.fromkeys(map(str, chosen)) if name != "none"]


def is_part(value: Any) -> bool:
    """Whether a value is a whole part, which takes the place of what was there, and is not merged into it."""
    return isinstance(value, Mapping) and "_target_" in value


def referring(overrides: Sequence[Override]) -> str:
    """The first line that refers to something else, whose fault it is where that cannot be found."""
    return next((str(o.input_line) for o in overrides if "${" in str(o.input_line)), "config")


def opened(override: str) -> str:
    """A mapping called ``something_options`` takes any key; the class that gets it says which it knows."""
    return f"++{override}" if re.match(r"[a-z]\S*_options\b[^=]*=", override) else override


def expand_sweeps(overrides: Sequence[str]) -> list[list[str]]:
    """Return the jobs of a multirun: every combination of ``a=1,2 b=x,y``, each as plain overrides.

    Raises:
        InputError: for a line that cannot be read, an interval, and more than ``MOST_JOBS`` jobs.
    """
    jobs: list[list[str]] = [[]]
    for override in overrides:
        values = _values(override)
        if len(jobs) * len(values) > MOST_JOBS:
            raise InputError(f"{override}: a sweep of more than {MOST_JOBS:,} jobs; sweep over fewer values at once")
        jobs = [[*job, value] for job in jobs for value in values]
    return jobs


def _values(override: str) -> list[str]:
    """The plain overrides that a swept one stands for; itself where it is none."""
    parsed = read(override, folders=[name for name in FOLDERS if name.startswith("paths.")])
    if not parsed.is_sweep_override():
        return [override]
    key = override.split("=", 1)[0]
    if not parsed.is_discrete_sweep():
        raise InputError(f"{override}: an interval has no end of values; name some: {key}=1e-4,1e-3,1e-2")
    if not isinstance(choices := parsed.value(), Glob):
        return [f"{key}={value}" for value in islice(parsed.sweep_string_iterator(), MOST_JOBS + 1)]
    names = sorted(path.stem for path in (conf_dir() / key).glob("*.yaml"))
    if not (found := choices.filter(names)):
        raise InputError(f"{override}: no choice of {key} is like that; there are {', '.join(names) or 'none'}")
    return [f"{key}={name}" for name in found]


def reason(error: BaseException) -> str:
    """What an error says, in one line; without the traces and lists that Hydra and OmegaConf print below it."""
    if isinstance(error, RecursionError):
        return "it leads back to itself"
    known = type(error).__module__.split(".")[0] in ("hydra", "omegaconf")
    return str(error).strip().split("\n")[0] if known else one_line(error) or type(error).__name__
