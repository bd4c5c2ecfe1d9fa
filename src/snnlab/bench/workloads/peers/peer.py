"""What a peer's file gives: ``neuron(decay, threshold)`` makes that library's LIF, set to the equations of nets.py.

Beside it: PACKAGE, the package to import; BATCH_FIRST, whether its neuron takes [B, T, ...] in place of [T, B, ...];
SETTING, how it was set so that its spikes are ours; DIFFERS, what no setting makes equal, "" where there is nothing.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from types import ModuleType

from torch import Tensor

from snnlab.errors import InputError, nearest
from snnlab.neurons.neuron import Temporal


class PeerNeuron(Temporal):
    """A peer's neuron layer: it has ``forward`` over a whole sequence, no ``step`` of ours."""

    @abstractmethod
    def forward(self, currents: Tensor) -> Tensor:
        """Spikes of currents, from a state of zeros; both in the peer's order of time and batch."""


def names() -> list[str]:
    """Names of the peers: the files of this folder but this one."""
    import snnlab.bench.workloads.peers as room

    return sorted(module.name for module in pkgutil.iter_modules(room.__path__) if module.name != "peer")


def chosen(text: str) -> list[str]:
    """The peers of ``all``, ``none`` or a list with commas.

    Raises:
        InputError: when one is unknown.
    """
    if text in ("all", "none"):
        return names() if text == "all" else []
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in names():
            raise InputError(f"peers = {name} is no peer; nearest: {nearest(name, [*names(), 'all', 'none'])}")
    return wanted


def load(name: str) -> ModuleType:
    """Return the file of the peer ``name``.

    Raises:
        ImportError: when its package is not installed or cannot be imported.
    """
    module = importlib.import_module(f"snnlab.bench.workloads.peers.{name}")
    importlib.import_module(module.PACKAGE)
    return module
