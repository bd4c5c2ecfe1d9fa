"""Spikes of other libraries, which read the exported graph, against those of the network, bin by bin.

A bin is one neuron at one step of one sample. What a library reads is the file as it was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snnlab.errors import InputError, nearest
from snnlab.export.nir_graph import library
from snnlab.export.simulators import SIMULATORS, firing, imported
from snnlab.layers.network import Network


@dataclass(frozen=True)
class Row:
    """One layer in one library."""

    simulator: str
    layer: str
    steps: int
    bins: int
    spikes: int
    mismatches: int
    first: str = ""  # where they differ first, in words


@dataclass
class Verdict:
    """What was compared, and what each library took to be otherwise; ``refused`` says why one could not run."""

    rows: list[Row]
    allowed: dict[str, list[str]]
    refused: dict[str, str]

    @property
    def mismatches(self) -> int:
        return sum(row.mismatches for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        rows = [vars(row) for row in self.rows]
        return {"rows": rows, "allowed": self.allowed, "refused": self.refused}

    def lines(self) -> list[str]:
        """A table for people."""
        wide = max([len(row.layer) for row in self.rows], default=5)
        lines = []
        if self.rows:
            lines.append(f"{'verify':10} {'layer':{wide}} {'steps':>6} {'bins':>12} {'spikes':>10} {'mismatches':>10}")
        for row in self.rows:
            numbers = f"{row.steps:6,} {row.bins:12,} {row.spikes:10,} {row.mismatches:10,}"
            lines.append(f"{row.simulator:10} {row.layer:{wide}} {numbers}" + (f"  {row.first}" if row.first else ""))
        lines += [f"{name:10} allowed for: {', '.join(words)}" for name, words in self.allowed.items() if words]
        return lines + [f"{name:10} not run: {why}" for name, why in self.refused.items()]


def chosen(text: str) -> list[str]:
    """The libraries that ``--verify`` names.

    Raises:
        InputError: for one that there is not, or that is not installed.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in SIMULATORS:
            raise InputError(f"--verify {name}: there is no such library here; nearest: {nearest(name, SIMULATORS)}")
        imported(name)
    return names


@torch.no_grad()
def verify(path: Path, network: Network, frames: Tensor, names: Sequence[str]) -> Verdict:
    """Run ``frames`` [T, B, ...] through the network, and through the graph in ``path`` as each library reads it."""
    network = network.eval()
    with network.observe() as seen:
        network(frames)
    spikes = {name: seen[name] for name in seen}
    verdict = Verdict([], {}, {})
    for name in names:
        graph = library().read(path)
        shape = [int(size) for size in graph.input_type["input"]]
        layers = {node: node.removesuffix(".lif") for node in firing(graph)}
        try:
            simulator = SIMULATORS[name](graph)
            theirs = [simulator.run(frames[:, b].reshape(len(frames), *shape)) for b in range(frames.shape[1])]
        except InputError as error:
            verdict.refused[name] = str(error)
            continue
        verdict.allowed[name] = simulator.allowed
        for node, layer in layers.items():
            other = torch.stack([sample[node] for sample in theirs], 1)
            verdict.rows.append(row(name, layer, spikes[layer], other))
    return verdict


def row(simulator: str, layer: str, ours: Tensor, theirs: Tensor) -> Row:
    """Compare spikes [T, B, ...]."""
    ours, theirs = ours.flatten(2), theirs.flatten(2)
    differs = (ours != theirs).nonzero()
    first = ""
    if len(differs):
        t, b, n = differs[differs[:, 0].argmin()].tolist()
        here, there = ("fires" if spikes[t, b, n] else "is silent" for spikes in (ours, theirs))
        first = f"first: sample {b}, step {t}, neuron {n} {here} here and {there} there"
    return Row(simulator, layer, len(ours), ours.numel(), int(ours.sum()), len(differs), first)
