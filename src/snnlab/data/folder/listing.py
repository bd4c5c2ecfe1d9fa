"""What lies in a folder of one's own: files, their labels, and which of them train, validate and test.

Labels are the names of the class folders, or stand in a table (labels.csv) of files and labels.
    FOLDER/cat/1.png                     classes by folder
    FOLDER/train/cat/1.png  FOLDER/val/... FOLDER/test/...     and splits by folder, by any of their usual names
    FOLDER/labels.csv: file,label        by table; a first line of names may be there, a third column ``split`` too
Nothing but tables is read here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.data.files import read_text
from snnlab.data.splits import stratified_order
from snnlab.errors import InputError

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
TABLE = "labels.csv"
LONGEST = 255  # letters of a label, as of a folder's name
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control signs, bytes that are no UTF-8, line breaks
FILE_COLUMNS = ("file", "filename", "file_name", "path", "filepath", "image", "image_id", "recording", "name", "id")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "y")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")


class Sample(NamedTuple):
    """One file: its name below the folder, the text of its label, its split, "" where none is said."""

    name: str
    label: str
    split: str


class Listing(NamedTuple):
    """All samples, sorted by name, and the classes 0 to K - 1 by the names of their labels."""

    folder: Path
    names: list[str]
    labels: np.ndarray  # int64 [N], 0 to K - 1
    classes: tuple[str, ...]
    splits: list[str]  # train, val, test, or "" for what is to be divided
    left_out: int  # files without a label, or of another kind

    @property
    def paths(self) -> list[Path]:
        return [self.folder / name for name in self.names]

    def counts(self, part: np.ndarray) -> np.ndarray:
        """Return how many of the samples at indices ``part`` each class has, [K]."""
        return np.bincount(self.labels[part], minlength=len(self.classes))


def files_below(folder: Path) -> list[str]:
    """Return the names of all files below ``folder``, sorted; hidden ones and links to folders are left out."""

    def walk(place: str, prefix: str) -> Iterator[str]:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from walk(entry.path, f"{prefix}{entry.name}/")
                elif entry.is_file():
                    yield prefix + entry.name

    try:
        return sorted(walk(str(folder), ""))
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); mend it, take it out, or check its permissions"
        ) from error


def list_samples(folder: Path, table: str | None, files: list[str], kind: str) -> Listing:
    """Return the samples in ``folder``.

    Args:
        table: of labels, below the folder or anywhere; None takes labels.csv where there is one, else class folders.
        files: the names of the files that are samples.
        kind: what they are, in errors.

    Raises: InputError: no sample, a sample without a class folder, a table that names what is not there, fewer than
        two classes, folders of splits among folders of classes, or a class that none trains.
    """
    tables = _tables(folder, table)
    samples = _from_tables(folder, tables, files) if tables else _from_folders(folder, files, kind)
    if not samples:
        raise InputError(f"data.folder: {folder} holds no {kind} with a label; {_layouts()}")
    names = natural(sample.label for sample in samples)
    for name in names:
        if any(unicodedata.category(sign) in UNPRINTABLE for sign in name):
            raise InputError(
                f"data.folder: a class in {folder} is called {name!a}, which holds signs that are no UTF-8 or "
                "cannot be printed; rename it"
            )
    if len(names) < 2:
        raise InputError(
            f"data.folder: all {len(samples)} {kind} in {folder} are of one class, {names[0]!r}; two or more are needed"
        )
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[sample.label] for sample in samples], np.int64)
    splits = [sample.split for sample in samples]
    trained = {label for label, split in zip(labels.tolist(), splits, strict=True) if split in ("train", "")}
    if untrained := [names[label] for label in range(len(names)) if label not in trained]:
        raise InputError(
            f"data.folder: no training sample of class {untrained[0]!r} in {folder}, which is in another split"
        )
    return Listing(folder, [s.name for s in samples], labels, tuple(names), splits, len(files) - len(samples))


def natural(labels: Iterator[str]) -> list[str]:
    """Return the different labels in natural order: numbers by value, and by value inside of names (a2 before a10)."""
    found = set(labels)
    with suppress(ValueError):
        values = {label: float(label) for label in found}
        if all(map(math.isfinite, values.values())):
            return sorted(found, key=lambda label: (values[label], label))
    return sorted(
        found,
        key=lambda label: [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in re.split(r"(\d+)", label)],
    )


def divide(listing: Listing, val_fraction: float, test_fraction: float, seed: int) -> dict[str, np.ndarray]:
    """Return the sorted indices of train, val and test.

    What no folder or table puts into val or test is taken for it from the training samples: that share of them, of
    each class its part, chosen by ``seed`` alone.

    Raises: InputError: a split that would be empty, or a class that none would train.
    """
    splits = np.array(listing.splits)
    given = {name: np.flatnonzero(splits == name) for name in ("val", "test")}
    pool = np.flatnonzero((splits == "train") | (splits == ""))
    order = pool[stratified_order(listing.labels[pool], seed)]
    parts, start = {}, 0
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        stop = start + (0 if len(given[name]) else max(1, round(fraction * len(pool))))
        parts[name] = given[name] if len(given[name]) else np.sort(order[start:stop])
        start = stop
    parts["train"] = np.sort(order[start:])
    trained = set(listing.labels[parts["train"]].tolist())
    if missing := [name for i, name in enumerate(listing.classes) if i not in trained]:
        raise InputError(
            f"data.folder: {len(pool)} samples in {listing.folder} are too few to divide: none of class {missing[0]!r} "
            "would be left for training; add some, or lower data.val_fraction and data.test_fraction"
        )
    return {name: parts[name] for name in ("train", "val", "test")}


def content_hash(listing: Listing, digests: list[str]) -> str:
    """SHA-256 over name, label, split and content of every sample in order."""
    lines = zip(listing.names, listing.labels.tolist(), listing.splits, digests, strict=True)
    text = "".join(f"{name}\t{listing.classes[label]}\t{split}\t{digest}\n" for name, label, split, digest in lines)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# folders --------------------------------------------------------------------------------------------------------------
def _from_folders(folder: Path, files: list[str], kind: str) -> list[Sample]:
    tops = sorted({name.split("/")[0] for name in files if "/" in name})
    named = [top for top in tops if top.lower() in SPLIT_OF]
    divided = any(SPLIT_OF[top.lower()] == "train" for top in named)
    if divided and len(named) < len(tops):
        other = next(top for top in tops if top not in named)
        raise InputError(
            f"data.folder: {folder} holds {named[0]}/, a split, and {other}/; it must hold splits only, or classes only"
        )
    samples = []
    for name in files:
        *above, _ = name.split("/")
        split = SPLIT_OF[above.pop(0).lower()] if divided and above else ""
        if not above:
            raise InputError(f"data.folder: {folder / name} lies in no class folder; {_layouts()}")
        samples.append(Sample(name, unicodedata.normalize("NFC", above[0]), split))
    return samples


def _layouts() -> str:
    return f"needed are CLASS/FILE, train/CLASS/FILE and test/CLASS/FILE, or a table {TABLE} of file,label"


# tables ---------------------------------------------------------------------------------------------------------------
def _tables(folder: Path, table: str | None) -> list[tuple[Path, str]]:
    """Return the tables of labels, each with the folder below ``folder`` that its names start from."""
    if table is not None:
        path = folder / Path(table).expanduser()
        if not path.is_file():
            raise InputError(f"data.labels = {table}: there is no such file in {folder}; name a table of file,label")
        return [(path, "")]
    if (folder / TABLE).is_file():
        return [(folder / TABLE, "")]
    found = sorted(path for path in folder.glob(f"*/{TABLE}") if path.parent.name.lower() in SPLIT_OF)
    return [(path, f"{path.parent.name}/") for path in found]


def _from_tables(folder: Path, tables: list[tuple[Path, str]], files: list[str]) -> list[Sample]:
    known = {unicodedata.normalize("NFC", name): name for name in files}
    bare: dict[str, list[str]] = {}  # by the name without its ending, as some tables give it
    for name in known:
        bare.setdefault(name.rpartition(".")[0], []).append(name)
    found: dict[str, tuple[Sample, str]] = {}
    for path, prefix in tables:
        for where, file, label, split in _rows(path):
            name = unicodedata.normalize("NFC", file.replace("\\", "/").removeprefix("./"))
            if os.path.isabs(name):
                name = os.path.relpath(name, folder)
            exact = [choice for choice in (prefix + name, name) if choice in known][:1]
            choices = exact or bare.get(prefix + name) or bare.get(name) or []
            if len(choices) != 1:
                what = f"one of {', '.join(choices[:3])}" if choices else f"not among the files of {folder}"
                raise InputError(f"{where} names {file!r}, which is {what}")
            if not label:
                raise InputError(f"{where}: {file!r} has no label")
            if len(label) > LONGEST:
                raise InputError(f"{where}: a label has {len(label):,} letters, at most {LONGEST} are read")
            if not split and prefix:
                split = prefix[:-1]
            elif not split and (top := choices[0].split("/")[0].lower()) in SPLIT_OF and "/" in choices[0]:
                split = top
            if split and split.lower() not in SPLIT_OF:
                raise InputError(f"{where}: {split!r} is no split; train, val and test are")
            sample = Sample(known[choices[0]], label, SPLIT_OF[split.lower()] if split else "")
            if sample.name in found and found[sample.name][0] != sample:
                raise InputError(f"{where}: {file!r} is labelled {label!r}, and otherwise in {found[sample.name][1]}")
            found[sample.name] = sample, where
    samples = [sample for sample, _ in sorted(found.values())]
    whole = _whole_numbers({sample.label for sample in samples})
    return [sample._replace(label=whole.get(sample.label, sample.label)) for sample in samples]


def _whole_numbers(labels: set[str]) -> dict[str, str]:
    """Return 3 for 3.0 where every label is such a number, as some programs write them."""
    if all(re.fullmatch(r"[-+]?\d+(\.0*)?", label) for label in labels):
        return {label: str(int(label.partition(".")[0])) for label in labels}
    return {}


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield place, file, label and split ("" where none is said) of each row of a table."""
    text = read_text(path)
    first = text.split("\n", 1)[0]
    parting = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=parting, strict=True))
    except csv.Error as error:
        raise InputError(f"{path} is no table of file,label ({error})") from error
    filled = [(line, [cell.strip() for cell in row]) for line, row in enumerate(rows, 1) if any(row)]
    if not filled:
        raise InputError(f"{path} is empty; each row is a file and its label")
    names = [cell.lower() for cell in filled[0][1]]
    columns = [
        next((names.index(word) for word in words if word in names), None)
        for words in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS)
    ]
    titled = columns[0] is not None and columns[1] is not None
    if not titled:
        columns = [0, 1, 2 if len(names) > 2 else None]
    for line, row in filled[titled:]:
        where = f"line {line} of {path}"
        if len(row) <= max(column for column in columns if column is not None):
            raise InputError(
                f"{where} is {parting.join(row)!r}; needed are a file and its label, parted by {parting!r}"
            )
        file, label, split = ("" if column is None else row[column] for column in columns)
        yield where, file, unicodedata.normalize("NFC", label), split
