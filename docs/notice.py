"""Write NOTICE: whose licences an installed snnlab is under, each dependency with its own.

The list is walked from pyproject.toml through the ``Requires-Dist`` of what is installed, markers evaluated here, so it
holds for the environment that this runs in: one made by ``make setup`` on Linux. Versions are those of constraints.txt.

usage: python docs/notice.py           (make notice)
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
NOT_FOR_USERS = ("dev", "docs")  # extras of people who change snnlab
HEAD = """\
snnlab (distribution: snnlab-lightning)
Copyright 2026 The snnlab developers

The source in this repository, and the wheel made from it, are under the Apache License 2.0 (file LICENSE).

An installation is more than that source. It needs tonic, which is GPL-3.0-only and requires expelliarmus (GPL-2.0, by
the text that it comes with) and importRosbag (GPL-3.0 or later). Whoever passes on a whole that has tonic in it (an
environment, a container image, a bundle) passes it on under the GPL-3.0; snnlab's own files stay under Apache-2.0 for
everybody who takes them out of it. expelliarmus does not say whether a later version of its licence may be taken, so
have that looked at before you pass on a whole. A torch built for CUDA brings NVIDIA's libraries as well, under NVIDIA's
own terms.

The lists below are made by `make notice` from the metadata of an environment with the pinned versions of
constraints.txt, on Linux: names and licences as each package states them.
"""


def dependencies(requirements: Iterable[str]) -> set[str]:
    """The canonical names of all distributions that ``requirements`` bring here, one through another.

    Raises:
        importlib.metadata.PackageNotFoundError: where one of them is not installed.
    """
    waiting = [Requirement(text) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        node = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if node in seen:
            continue
        seen.add(node)
        for text in metadata.distribution(wanted.name).requires or []:
            further = Requirement(text)
            extras = ["", *wanted.extras]
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
    return {name for name, _ in seen}


def licence(distribution: metadata.Distribution) -> str:
    """What a distribution says of its licence: expression, a short text, classifiers, or the title of its file."""
    about = distribution.metadata
    if expression := about.get("License-Expression"):
        return expression
    words = (about.get("License") or "").strip()
    if 3 <= len(words) < 60 and "\n" not in words and words not in ("UNKNOWN", "gpl"):
        return words
    kinds = [kind.split(" :: ")[-1] for kind in about.get_all("Classifier") or [] if kind.startswith("License :: ")]
    if kinds:
        return ", ".join(kinds)
    for file in distribution.files or []:
        if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
            return f"{', '.join(line.title() for line in lines[:2])} (of its file {file.name})"
    return "not stated"


def listed(names: Iterable[str]) -> str:
    """One line a distribution: its name, its licence."""
    found = [metadata.distribution(name) for name in names]
    rows = sorted(((d.metadata["Name"], licence(d)) for d in found), key=lambda row: row[0].lower())
    return "".join(f"  {name:<40} {words}\n" for name, words in rows)


def notice() -> str:
    """The whole file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plain = dependencies(project["dependencies"])
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name not in NOT_FOR_USERS}
    more = dependencies(need for needs in extras.values() for need in needs) - plain
    return (
        f"{HEAD}\nWhat an installation brings\n\n{listed(plain)}"
        f"\nWhat the extras {', '.join(sorted(extras))} bring beside it\n\n{listed(more)}"
    )


if __name__ == "__main__":
    (ROOT / "NOTICE").write_text(notice())
