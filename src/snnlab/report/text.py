"""What a record says, made fit for a page: printable, of a sane length, without the paths of the machine.

A run's folder may come from a stranger, so every text of it goes through ``told``; that it is no HTML is the business
of the templates, which escape whatever they are given.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from snnlab.errors import plain
from snnlab.runs.units import unit_of, with_unit
from snnlab.tables.rows import FIT, cell

MOST, MOST_BLOCK = 300, 60_000  # letters of a text, and of a block of them such as a whole config
_STOP = r"""\s:"'<>|,;=*?"""
_PARTS = r"""(?:[^/\\\n:"'<>|,;=*?]*[/\\])*"""
ABSOLUTE = (
    re.compile(  # /home/me/data, ~me/data, file:///home, C:\Users\me, \\host\share: all but the last name is left out
        rf"""(?:(?<![\w:/\\.…)\]}}~<-])(?:file:/*)?(?:~[\w.-]*)?[/\\]{{1,3}}(?=[^{_STOP}/\\])"""
        rf"""|(?<!\w)[A-Za-z]:[/\\](?!/)){_PARTS}([^{_STOP}/\\]*)"""
    )
)


def told(value: object, most: int = MOST) -> str:
    """``value`` as a text in one line of at most ``most`` letters; of an absolute path the last name alone."""
    text = str(value)
    if len(text) > 4 * most:
        text = text[: 4 * most]
    key, equals, path = text.partition("=")
    text = f"{key}={_last(path)}" if equals and _is_path(path) else _last(text) if _is_path(text) else text
    text = plain(ABSOLUTE.sub(r"…/\1", text))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _is_path(text: str) -> bool:
    """Whether a whole value is an absolute path, which may hold spaces."""
    return bool(re.match(r"(?:~[\w.-]*)?[/\\]+[^/\\\s]|[A-Za-z]:[/\\](?!/)", text)) and "\n" not in text


def _last(path: str) -> str:
    """The last name of an absolute path; anything else as it is."""
    return "…/" + re.split(r"[/\\]", path.rstrip("/\\"))[-1] if _is_path(path) else path


def tree(value: Any) -> Any:
    """A config, or a part of one, with every key and text ``told``; what no config holds is told as a text."""
    if isinstance(value, Mapping):
        return {told(key, 80): tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tree(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else told(value)


def word(metric: str) -> str:
    """A metric as a heading: ``test/energy_joule`` is test energy; its figures have the unit."""
    return told(
        re.sub(r"(?<=\w)_(joule_seconds|joule_steps|joule|bytes)\b", "", metric).replace("/", " ").replace("_", " "), 60
    )


def figure(metric: str, values: Sequence[float]) -> str:
    """Values of a metric over seeds, as in every table, with the unit its name tells."""
    unit = "s" if metric.endswith("seconds") and not unit_of(metric) else unit_of(metric)
    if not values or metric == FIT:
        return cell(values, metric)
    if unit == "" or unit.startswith(("J", "B")):
        return cell(values, metric)
    mean, *spread = (statistics.fmean(values), *([statistics.stdev(values)] if len(values) > 1 else []))
    if unit == "s":
        return " ± ".join(f"{part:,.0f}" if mean >= 100 else f"{part:.3g}" for part in (mean, *spread)) + " s"
    return with_unit(mean, unit, *spread)
