"""What pages say of a run and of a table, told in words and figures; nothing here knows HTML."""

from __future__ import annotations

import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from snnlab.checkpoint import inside
from snnlab.errors import InputError
from snnlab.report.text import figure, told, tree, word
from snnlab.runs.identity import value_at
from snnlab.runs.latest import run_folder
from snnlab.runs.record import flags_of, flat, label_of
from snnlab.tables.curves import histories
from snnlab.tables.names import ABSENT, CHOICES, differs, flatten, spelled
from snnlab.tables.names import word as value_word
from snnlab.tables.rows import FIT, MATTER, Row, Run, key_of, look_up, named, rows_of, status_of, threads_of

VALIDATED = ("val/accuracy", "val/judge_accuracy", "val/loss")
MOST_FIGURES, MOST_NEEDS, MOST_NOTES = 120, 200, 20
MOST_PICTURES, PICTURE_BYTES, PICTURE_SIDE = 40, 8 << 20, 12_000  # of a run; bytes and pixels of one
MOST_ROWS = 120  # of a table, whose rows are held each against each; of a larger one those around it
NEAREST = 6
GROUPS = ("method", "data", *CHOICES)
FOUND = "runs"  # the table of runs that were named one by one
PNG = b"\x89PNG\r\n\x1a\n"
MARKS = {
    "simulated": "events made by a model of a camera, not recorded",
    "synthetic": "data made from a seed, not measured",
    "altered": "data that is not as it was published",
    "subset": "a part of the published data",
    "reconstruction": "a method rebuilt from a part of its paper; not to be held against the paper's figures",
    "author's protocol: no validation": "trained without a validation split, as the authors did",
}


@dataclass
class Table:
    """The runs that lie in one folder, and their rows; ``slug`` names its page."""

    name: str
    slug: str
    runs: list[Run]

    @cached_property
    def rows(self) -> dict[tuple[str, str], Row]:
        return rows_of(self.runs)

    @cached_property
    def names(self) -> list[str]:
        return [told(name.replace("`", ""), 400) for name in named(self.rows)]

    @cached_property
    def shown(self) -> list[str]:
        """The names less the marks, where these stand beside them."""
        marks = [marks_of(row.runs[0]) for row in self.rows.values()]
        return [_without(name, found) for name, found in zip(self.names, marks, strict=True)]

    @cached_property
    def contrast(self) -> Contrast:
        return Contrast(self)

    @cached_property
    def metrics(self) -> list[str]:
        """The columns: figures of the test that matter, those of validation where nothing was tested, the time."""
        known = [metric for metric in MATTER if self.has(metric)] or [
            metric for metric in VALIDATED if self.has(metric)
        ]
        return known + (["fit_seconds"] if self.has("fit_seconds") else [])

    @property
    def main(self) -> str | None:
        """The figure that the rows are told apart by."""
        return next((metric for metric in self.metrics if metric not in (FIT, "fit_seconds")), None)

    def has(self, metric: str) -> bool:
        """Whether some row has a figure; that of a run that was made again since is in none."""
        return any(row.values(metric) for row in self.rows.values())

    def status(self, row: Row) -> str:
        scored = [run for run in row.runs if any(look_up(run, metric) is not None for metric in self.metrics)]
        return told(status_of(row, scored))


@dataclass
class Told:
    """A run: where its page lies, the table and the row it is in, and what is said of it."""

    run: Run
    slug: str
    table: Table
    number: int  # of its row, from 1 on
    counts: bool  # whether it is one of the row's, or was made again since

    @property
    def row(self) -> Row:
        return list(self.table.rows.values())[self.number - 1]

    @property
    def key(self) -> str:
        """What all runs of the row are, by runs/identity.py."""
        return list(self.table.rows)[self.number - 1][0]

    @property
    def name(self) -> str:
        return self.table.names[self.number - 1]

    @property
    def shown(self) -> str:
        """The name less the marks."""
        return self.table.shown[self.number - 1]

    @property
    def title(self) -> str:
        return f"{told(label_of(self.run), 60)} on {told(self.run['data'], 60)}, seed {self.run['seed']}"

    @property
    def marks(self) -> list[str]:
        return marks_of(self.run)

    def word(self, key: str) -> str:
        """A choice, or how it ended."""
        return told(self.run.get(key, ""), 60)

    @property
    def reason(self) -> str:
        return told(self.run.get("reason", ""))

    @property
    def started(self) -> str:
        return told(self.run["started"], 30).replace("T", " ")

    @property
    def command(self) -> str:
        """What was typed; where a path of the machine stood, its last name."""
        return " ".join(["python -m snnlab", *(quoted(told(word)) for word in self.run["overrides"][:60])])

    def figures(self) -> list[tuple[str, str, str, float]]:
        """Split, name, figure with its unit, number: what is measured at the test, in validation and in training."""
        found = [
            (split, word(key) or split, figure(f"{split}/{key}", [float(value)]), float(value))
            for split in ("test", "val", "train")
            for key, value in flat(mapping(self.run["metrics"].get(split)), between="/").items()
        ]
        order = ("test", "val", "train")
        found.sort(
            key=lambda each: (order.index(each[0]), not each[1].endswith("accuracy"), each[1] != "loss", each[1])
        )
        return found[:MOST_FIGURES]

    def curves(self) -> dict[str, dict[int, float]]:
        return {metric: values for metric, values in histories(self.run).items() if values}

    def settings(self) -> dict[str, str]:
        """What decides its numbers, by the dotted keys of the command line."""
        left = flat(self.row.left)
        return {told(key, 80): told(value_word(value), 120) for key, value in list(left.items())[:400]}

    def config(self) -> Any:
        return tree(self.run["config"])

    def facts(self) -> list[tuple[str, str]]:
        """The environment: versions, machine, time."""
        run = self.run
        machine, git = mapping(run.get("machine")), mapping(run.get("git"))
        commit = told(git.get("commit") or "not recorded", 12).rstrip("…")
        peak = mapping(run.get("memory")).get("peak_bytes")
        found = [
            ("commit", commit + (", with changes that were not committed" if git.get("dirty") else "")),
            *((f"{key}", told(machine[key], 80)) for key in ("device", "cpu", "cores", "processes") if key in machine),
            ("threads", str(threads_of(run) or "")),
            ("kernels", kernels_of(run)),
            ("peak memory", figure("bytes", [peak]) if is_number(peak) else ""),
            ("parameters", f"{run['parameters']:,}" if type(run.get("parameters")) is int else ""),
            *((word(key), figure(key, [value])) for key, value in run["timing"].items() if key != "epochs"),
            ("epochs", f"{run['timing']['epochs']:g}" if "epochs" in run["timing"] else ""),
            ("checkpoint", told(run.get("checkpoint", ""), 80)),
        ]
        versions = mapping(run.get("versions"))
        found += [(told(key, 40), told(value, 40)) for key, value in list(versions.items())[:30]]
        return [(key, value) for key, value in found if value]

    def provenance(self) -> list[tuple[str, str]]:
        """Where the samples came from."""
        p = self.run["provenance"]
        sizes = ", ".join(f"{told(split, 20)} {size:,}" for split, size in list(p["sizes"].items())[:6])
        notes = listing(p.get("notes"))
        found = [
            ("source", told(p["source"], 40)),
            ("samples", sizes),
            ("altered", "yes" if p["altered"] else "no"),
            ("subset", "yes" if p["subset"] else "no"),
            ("verified", told(p.get("verified") or "", 160)),
            ("SHA-256", told(p["hash"], 80)),
            *(("note", told(note)) for note in notes[:MOST_NOTES]),
        ]
        return [(key, value) for key, value in found if value]

    def fit(self) -> dict[str, Any] | None:
        """The report of the chip: layer by layer what it needs, what there is, the verdict."""
        report = mapping(self.run.get("fit_report"))
        if not report:
            return None
        needs = [need for need in listing(report.get("needs")) if isinstance(need, Mapping)]
        return {
            "target": told(report.get("target", ""), 60),
            "fits": bool(report.get("fits")),
            "needs": [need_of(need) for need in needs[:MOST_NEEDS]],
            "cores": sum(number for number in mapping(report.get("cores")).values() if type(number) is int),
            "assumed": [told(each, 80) for each in listing(report.get("assumed"))[:MOST_NOTES]],
            "more": max(len(needs) - MOST_NEEDS, 0),
        }


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` where it is a mapping; a part of a record that is none says nothing."""
    return value if isinstance(value, Mapping) else {}


def listing(value: Any) -> list[Any]:
    """Likewise a list."""
    return value if isinstance(value, list) else []


def is_number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float)


def need_of(need: Mapping[str, Any]) -> dict[str, Any]:
    """One limit of one layer in words; ``share`` of it in percent, at most 100."""
    asked, limit = need.get("need"), need.get("limit")
    share = min(max(100 * asked / limit, 0.0), 100.0) if is_number(asked) and is_number(limit) and limit else None
    return {
        **{key: told(need.get(key, ""), 80) for key in ("layer", "what", "instead")},
        **{key: f"{v:,}" if is_number(v) else told(v, 60) for key, v in (("need", asked), ("limit", limit))},
        **{key: bool(need.get(key)) for key in ("fits", "assumed")},
        "share": None if share is None else round(share, 1),
    }


def kernels_of(run: Run) -> str:
    """Which neurons ran fused and which step by step."""
    parts = [(told(way, 20), listing(each)) for way, each in list(mapping(run["kernels"]).items())[:4] if listing(each)]
    return "; ".join(f"{way}: {', '.join(told(name, 40) for name in each[:20])}" for way, each in parts)


def marks_of(run: Run) -> list[str]:
    """What has to be said wherever a figure of a run stands."""
    marks = [told(flag, 60) for flag in flags_of(run["provenance"])]
    return marks + (["reconstruction"] if "reconstruction" in label_of(run) else [])


def _without(name: str, marks: Sequence[str]) -> str:
    for mark in marks:
        name = name.replace(f" ({mark})", "")
    return name


def quoted(word: str) -> str:
    """A word for a shell."""
    return word if re.fullmatch(r"[\w@%+=:,./…-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def tables_of(folders: Sequence[str | Path], runs: Sequence[Run]) -> list[Table]:
    """Runs by the folder they lie in, a table each, in the order in which they come; one found twice counts once."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    roots = [(run_folder(folder), run_folder(folder).resolve()) for folder in folders]
    seen = set()
    for run in runs:
        place = Path(run["folder"]).resolve()
        if place in seen:
            continue
        seen.add(place)
        root = next(full for _, full in roots if place.is_relative_to(full))
        inner = place.parent.relative_to(root).parts if place != root else None
        groups.setdefault((FOUND,) if inner is None else (root.name, *inner), []).append(run)
    names = {key: "/".join(key[1:] or key) for key in groups}
    for key in names:
        if list(names.values()).count(names[key]) > 1:
            names[key] = "/".join(key)
    slugs = slugs_of(list(names.values()))
    return [Table(told(names[key], 80), slug, found) for (key, found), slug in zip(groups.items(), slugs, strict=True)]


def slugs_of(names: Sequence[str]) -> list[str]:
    """A file's name for each, of letters, digits, ``-``, ``_`` and ``.`` alone, no two alike on any file system."""
    taken: Counter[str] = Counter()
    found = []
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        slug = base = re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-._")[:120] or "unnamed"
        while slug.casefold() in taken:
            taken[base.casefold()] += 1
            slug = f"{base}-{taken[base.casefold()]}"
        taken[slug.casefold()] += 1
        found.append(slug)
    return found


def told_of(tables: Sequence[Table]) -> list[Told]:
    """Every run of the tables, with its row."""
    found = []
    for table in tables:
        number = {id(run): i for i, row in enumerate(table.rows.values(), 1) for run in row.runs}
        keys = list(table.rows)
        for run in table.runs:
            place = number.get(id(run)) or keys.index(key_of(run)) + 1
            found.append(Told(run, f"{table.slug}-{Path(run['folder']).name}", table, place, id(run) in number))
    for each, slug in zip(found, slugs_of([each.slug for each in found]), strict=True):
        each.slug = slug
    return found


def pictures_of(run: Run) -> Iterator[tuple[str, bytes, int, int]]:
    """Name, content, width, height of the pictures in a run's folder: PNG files of a sane size, no links out of it."""
    folder = Path(run["folder"])
    count = 0
    for place in ("figures", "evaluations"):
        try:
            paths = sorted(path for path in inside(folder, place).rglob("*.png"))
        except (OSError, InputError):
            continue
        for path in paths:
            if count < MOST_PICTURES and (found := picture_of(folder, path)):
                count += 1
                yield path.relative_to(folder / place).with_suffix("").as_posix(), *found


def picture_of(folder: Path, path: Path) -> tuple[bytes, int, int] | None:
    """The content of a PNG file and its size in pixels; None where it is none, too large, or elsewhere."""
    try:
        file = inside(folder, str(path.relative_to(folder)))
        if not file.is_file() or not 33 <= file.stat().st_size <= PICTURE_BYTES:
            return None
        content = file.read_bytes()
    except (OSError, InputError):
        return None
    if content[:8] != PNG or content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", content[16:24])
    return (content, width, height) if 0 < width <= PICTURE_SIDE and 0 < height <= PICTURE_SIDE else None


class Contrast:
    """In what the rows of a table differ, by the keys of the command line.

    Where two rows chose another method, model, chip, ..., that is said and what lies inside it is not: a chip that
    another row has not is no difference in its limits.
    """

    def __init__(self, table: Table) -> None:
        self.rows = list(table.rows.values())
        flats = [flatten(row.left) for row in self.rows]
        keys = sorted({key for values in flats for key in values if "_target_" not in key and key not in GROUPS})
        self.full = [
            {key: values[key] if key in values else value_at(row.runs[0]["config"], key, ABSENT) for key in keys}
            for values, row in zip(flats, self.rows, strict=True)
        ]
        self.choices = [{group: choice(row, group) for group in GROUPS} for row in self.rows]

    def between(self, other: int, here: int) -> list[tuple[str, str, str]]:
        """What is different between two rows, counted from 0: key, the other's value, the value here."""
        one, two = self.choices[other], self.choices[here]
        found = [(group, one[group], two[group]) for group in GROUPS if one[group] != two[group]]
        apart = {group for group, _, _ in found}
        a, b = self.full[other], self.full[here]
        for key in a:
            inside = key.rpartition(".")[0]
            if key.partition(".")[0] in apart or (a[key] is ABSENT and b[key] is ABSENT):
                continue
            mine, theirs = (b, a) if b[key] is not ABSENT else (a, b)
            if differs(mine[key], theirs[key], inside in mine):
                found.append((told(key, 80), self.word(key, other), self.word(key, here)))
        return found

    def word(self, key: str, number: int) -> str:
        value = self.full[number][key]
        return "-" if value is ABSENT else told(spelled(key, value, self.rows[number].runs[0]).partition("=")[2], 60)

    def varied(self, here: int) -> list[tuple[str, str, str]]:
        """The keys in which some row differs from one: key, its value, what the others have and how often."""
        others: dict[str, Counter[str]] = {}
        mine = {}
        for other in around(here, len(self.rows)):
            for key, theirs, value in self.between(other, here):
                others.setdefault(key, Counter())[theirs] += 1
                mine[key] = value
        order = [*(group for group in GROUPS if group in mine), *sorted(mine.keys() - {*GROUPS})]
        return [(key, mine[key], counted(others[key])) for key in order]

    def nearest(self, here: int) -> list[tuple[int, list[tuple[str, str, str]]]]:
        """The rows that differ in the fewest keys, counted from 0, and in what."""
        found = [(other, self.between(other, here)) for other in around(here, len(self.rows))]
        return sorted(found, key=lambda each: (len(each[1]), each[0]))[:NEAREST]


def around(here: int, count: int) -> list[int]:
    """The other rows of a table; of a very large one those that stand nearest."""
    first = max(0, min(here - MOST_ROWS // 2, count - MOST_ROWS))
    return [i for i in range(first, min(first + MOST_ROWS, count)) if i != here]


def choice(row: Row, group: str) -> str:
    """What a row chose of a group, by its name."""
    if group != "init":
        return told(row.runs[0].get(group, "-"), 60)
    target = (row.left.get("init") or {}).get("_target_", "default")
    return told(str(target).rpartition(".")[2].lower(), 60)


def counted(values: Counter[str]) -> str:
    """Values by how often they are there: rectangle (3 rows), sigmoid."""
    words = [f"{value} ({count} rows)" if count > 1 else value for value, count in values.most_common(6)]
    return ", ".join(words) + (f", and {len(values) - 6} more" if len(values) > 6 else "")
