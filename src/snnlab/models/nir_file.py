"""A NIR file as plain values: its nodes by name, its edges, its metadata. The file may be a stranger's.

What is read is held against limits, in another process (nir_trial.py); nothing in it is run, imported or followed.
"""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.errors import InputError
from snnlab.models import nir_trial


@dataclass
class Node:
    """A node: its type, its values by name (arrays of numbers, or a text), its metadata likewise."""

    name: str
    type: str
    values: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def array(self, key: str) -> np.ndarray:
        """A value as numbers of 64 bits.

        Raises:
            InputError: where it is not there, is no number, or is not finite.
        """
        if key not in self.values:
            raise InputError(f"node {self.name} ({self.type}) has no {key}")
        found = np.asarray(self.values[key])
        if found.dtype.kind not in "biuf" or not found.size or not np.isfinite(found).all():
            raise InputError(f"node {self.name} ({self.type}): {key} must be finite numbers")
        return found.astype(np.float64)

    def number(self, key: str) -> float:
        """A value that is one number, or the same for every neuron."""
        found = self.array(key)
        low, high = float(found.min()), float(found.max())
        if not high - low <= 1e-6 * max(abs(low), abs(high)):
            raise InputError(
                f"node {self.name} ({self.type}): {key} goes from {low:g} to {high:g}, and a layer here has one for "
                "all of its neurons"
            )
        return float(found.flat[0])

    def sizes(self, key: str) -> tuple[int, int]:
        """A value that is one whole number, or two: of rows and of columns."""
        found = self.array(key).ravel()
        if len(found) not in (1, 2) or (found != np.rint(found)).any() or not (0 <= found.min() <= found.max() < 2**20):
            raise InputError(f"node {self.name} ({self.type}): {key} must be one or two whole numbers")
        return int(found[0]), int(found[-1])

    def text(self, key: str) -> str | None:
        """A text of the metadata."""
        found = np.asarray(self.metadata.get(key, ""))
        return str(found.item()) if found.size == 1 and found.dtype.kind == "U" and found.item() else None

    def known(self, key: str) -> float | None:
        """A finite number of the metadata."""
        found = np.asarray(self.metadata.get(key, ""))
        is_number = found.size == 1 and found.dtype.kind in "iuf" and np.isfinite(found).all()
        return float(found.item()) if is_number else None


@dataclass
class File:
    """A graph: nodes by name, edges from name to name, and what is known of the whole as a node's metadata."""

    path: Path
    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    about: Node

    def after(self, name: str) -> list[str]:
        return [b for a, b in self.edges if a == name]

    def before(self, name: str) -> list[str]:
        return [a for a, b in self.edges if b == name]


def read(path: str | Path) -> File:
    """Read a NIR file.

    Raises:
        InputError: no file, no HDF5, no graph, or more than is read; in one line that names the file.
    """
    path = Path(path).expanduser()
    try:
        return structured(path, values_of(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def values_of(path: Path) -> dict[str, np.ndarray]:
    """Every value of the file by its path in the graph."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); name a .nir file") from error
    found = os.fstat(handle)
    os.close(handle)
    if not stat.S_ISREG(found.st_mode):
        raise InputError("is no file; name a .nir file")
    if found.st_size > nir_trial.BYTES:
        raise InputError(f"has {found.st_size:,} bytes, at most {nir_trial.BYTES:,} are read")
    command = [sys.executable, "-P", nir_trial.__file__, str(path.absolute())]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode:
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        why = "HDF5 finds no end in it" if ended.returncode == -signal.SIGXCPU else (lines or ["HDF5 fails"])[-1]
        raise InputError(f"is no graph that can be read ({why})")
    with np.load(io.BytesIO(ended.stdout), allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def structured(path: Path, values: dict[str, np.ndarray]) -> File:
    """The nodes and edges that the values make."""
    nodes: dict[str, Node] = {}
    about = Node("the graph", "NIRGraph")
    for key, value in values.items():
        first, _, rest = key.partition("/")
        if first == "metadata":
            about.metadata[rest] = value
        elif first == "nodes":
            name, _, inner = rest.partition("/")
            node = nodes.setdefault(name, Node(name, ""))
            where = node.metadata if inner.startswith("metadata/") else node.values
            where[inner.removeprefix("metadata/")] = value
    for node in nodes.values():
        node.type = str(node.values.pop("type", ""))[:40]
    pairs = values.get("edges", np.empty((0, 2), str))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind != "U":
        raise InputError("has no list of edges, pairs of names")
    edges = list(dict.fromkeys((str(a), str(b)) for a, b in pairs))
    for name in (name for edge in edges for name in edge if name not in nodes):
        raise InputError(f"has an edge to {name!a}, which is no node")
    return File(path, nodes, edges, about)
