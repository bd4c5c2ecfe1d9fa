"""What runs rest on, as BibTeX: their methods, their data, the parts of them that have a paper, and snnlab itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from snnlab.report.text import told
from snnlab.runs.identity import value_at

HERE = Path(__file__).resolve().parent
ENTRY = re.compile(r"^@(?!comment)(?P<kind>\w+)\{(?P<key>[^,\s]+),\n(?P<fields>.*?)^\}$", re.MULTILINE | re.DOTALL)
USES = re.compile(r"^  snnlab = \{(.*?)\},\n", re.MULTILINE)
NONE = re.compile(r"^@comment\{(?P<use>[\w.]+=\w+): (?P<why>.*)\}$", re.MULTILINE)
FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)
FILMS = re.compile(r"films of (\w+) by the camera model")


class Entry(NamedTuple):
    """One of references.bib: its key, its text as BibTeX, its fields, and the choices it is cited for."""

    key: str
    text: str
    fields: dict[str, str]
    uses: tuple[str, ...]


@cache
def entries() -> tuple[Entry, ...]:
    """All of references.bib, in the order of the file."""
    found = []
    for match in ENTRY.finditer((HERE / "references.bib").read_text(encoding="utf-8")):
        uses = USES.search(match["fields"])
        fields = USES.sub("", match["fields"])
        text = f"@{match['kind']}{{{match['key']},\n{fields}}}\n"
        words = tuple(use.strip() for use in uses[1].split(",")) if uses else ()
        found.append(Entry(match["key"], text, dict(FIELD.findall(fields)), words))
    return tuple(found)


@cache
def without() -> dict[str, str]:
    """The choices that have no paper, and why."""
    return dict(NONE.findall((HERE / "references.bib").read_text(encoding="utf-8")))


def is_used(use: str, run: Mapping[str, Any]) -> bool:
    """Whether a run made a choice: ``method=stbp``, ``init=fluctuation``, ``method.neuron=ahp``, ``films=MNIST``."""
    key, _, name = use.partition("=")
    if key == "films":
        notes = run["provenance"].get("notes")
        return any(name in FILMS.findall(str(note)) for note in (notes if isinstance(notes, list) else ()))
    if key == "init":
        target = (run["config"].get("init") or {}).get("_target_", "")
        return str(target).startswith(f"snnlab.initializers.{name}.")
    return (run.get(key) if "." not in key else value_at(run["config"], key, None)) == name


def used(runs: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """What some runs rest on, in the order of references.bib, snnlab first."""
    return [itself(), *(entry for entry in entries() if any(is_used(use, run) for use in entry.uses for run in runs))]


def unpublished(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods and data sets of some runs that no entry stands for, each with the reason where there is one."""
    named = {use for entry in entries() for use in entry.uses}
    chosen = sorted({f"{group}={run[group]}" for run in runs for group in ("method", "data")} - named)
    return [told(f"{use:.120}: {without().get(use, 'not among the references of snnlab')}") for use in chosen]


def bibtex(runs: Sequence[Mapping[str, Any]]) -> str:
    """The entries for some runs, and a comment for each choice that has none."""
    notes = "".join(f"% {line.replace('%', ' ')}\n" for line in unpublished(runs))
    return notes + ("\n" if notes else "") + "\n".join(entry.text for entry in used(runs))


@cache
def itself() -> Entry:
    """snnlab, as its CITATION.cff says, which lies in the installed package or at the top of a checkout."""
    packaged = HERE.parent / "CITATION.cff"
    file = packaged if packaged.is_file() else HERE.parents[2] / "CITATION.cff"
    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    authors = " and ".join(_author(person) for person in known["authors"])
    fields = {"title": f"{{{known['title']}}}", "author": authors, "version": str(known["version"])}
    for key, field in (("date-released", "date"), ("doi", "doi"), ("url", "url"), ("repository-code", "url")):
        if known.get(key):
            fields.setdefault(field, str(known[key]))
    lines = "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items())
    return Entry("snnlab", f"@software{{snnlab,\n{lines}}}\n", fields, ())


def _author(person: Mapping[str, str]) -> str:
    return f"{person['family-names']}, {person['given-names']}" if "family-names" in person else f"{{{person['name']}}}"


def as_text(entry: Entry) -> str:
    """An entry for people: authors, title, where and when."""
    clean = {key: _unescaped(value) for key, value in entry.fields.items()}
    authors = [_forward(name) for name in clean.get("author", "").split(" and ")]
    if len(authors) > 3 or authors[-1:] == ["others"]:
        authors = [authors[0], "et al."]
    where = next((clean[key] for key in ("journal", "booktitle", "institution", "howpublished") if key in clean), "")
    version = f"version {clean['version']}" if "version" in clean else ""
    place = " ".join(part for part in (where, clean.get("volume", "")) if part)
    tail = ", ".join(part for part in (place, version, clean.get("year", clean.get("date", ""))) if part)
    return f"{_listed(authors)}. {clean.get('title', '')}. {tail}."


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    if names[-1:] == ["et al."]:
        return " ".join(names).rstrip(".")
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names).rstrip(".")


def _forward(name: str) -> str:
    family, comma, given = name.partition(", ")
    return f"{given} {family}" if comma else name


LETTERS = {r"{\'e}": "é", r"{\"o}": "ö", r"{\"u}": "ü"}


def _unescaped(text: str) -> str:
    for spelled, letter in LETTERS.items():
        text = text.replace(spelled, letter)
    return text.replace("{", "").replace("}", "").replace("--", "–")


def link(entry: Entry) -> tuple[str, str]:
    """Where an entry can be read and what that is called: its DOI, else arXiv, else a page, else nothing."""
    for field, name, place in (("doi", "doi", "https://doi.org/"), ("eprint", "arXiv", "https://arxiv.org/abs/")):
        if field in entry.fields:
            return place + entry.fields[field], f"{name}:{entry.fields[field]}"
    return entry.fields.get("url", ""), entry.fields.get("url", "")
