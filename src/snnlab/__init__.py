"""snnlab: published training methods for spiking neural networks on one bench.

``snnlab.load(run)`` gives the trained network of a stored run; everything else is a command
(``python -m snnlab --help``) or a class in the room of its kind (``snnlab.neurons``, ``snnlab.data``, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__version__ = "0.1.0"


def load(run: str | Path) -> Any:
    """Return the trained network of the run folder ``run``, in evaluation mode.

    The checkpoint is the one chosen on validation data.

    Raises:
        snnlab.errors.InputError: when ``run`` is no run folder or holds no checkpoint.
    """
    from snnlab.runs.stored import load_method

    return load_method(run).network.eval()
