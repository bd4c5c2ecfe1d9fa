"""snnlab: published training methods for spiking neural networks on one bench.

In Python, four functions (docs/python.md):

    run(overrides)              one run in this process, as ``python -m snnlab`` would make it
    load(run)                   the trained network of a stored run
    observe(network, frames)    spikes and states of every layer, step by step
    runs(folder)                what lies in a folder of runs, as a pandas table

Everything else is a command (``python -m snnlab --help``) or a class in the room of its kind (``snnlab.neurons``,
``snnlab.data``, ...). Light to import: torch comes with the first call.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from snnlab.version import __version__ as __version__

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from snnlab.layers.network import Network
    from snnlab.layers.observe import Observed
    from snnlab.runs.wiring import Result


def run(overrides: Sequence[str] = (), config_dir: str | Path | None = None, progress: bool = True) -> Result:
    """Make one run in this process: ``run(["method=stbp", "data=digits"])``.

    The folder, the record and the numbers are those of ``python -m snnlab method=stbp data=digits`` in the current
    folder. Generators, threads, torch's flags, signals and pyplot's backend are afterwards what they were before.

    Args:
        overrides: as on the command line, without sweeps and flags.
        config_dir: one more folder of configs, as ``--config-dir``.
        progress: whether to show a bar of the epochs.

    Returns:
        ``folder``; ``record``, the content of run.json; ``metrics["test"]["accuracy"]``; ``figures``, the paths of the
        pictures; ``network``, trained, read when it is asked for. Printed, it is what the command prints.

    Raises:
        snnlab.errors.InputError: for what cannot work, in one line, before a folder is made.
        snnlab.errors.RunFailure: for a run that could not go on.
        KeyboardInterrupt: after a checkpoint; the same call with ``resume=auto`` goes on.
    """
    result: Result = _in_process().run(overrides, config_dir, progress)
    return result


def load(run: str | Path) -> Network:
    """Return the trained network of the run folder ``run``, in evaluation mode.

    The checkpoint is the one chosen on validation data.

    Raises:
        snnlab.errors.InputError: when ``run`` is no run folder or holds no checkpoint.
    """
    network: Network = _in_process().load(run)
    return network


def _in_process() -> Any:
    """The file that leaves a process as it was; importing lightning draws numbers from Python's generator."""
    state = random.getstate()
    from snnlab.runs import in_process

    random.setstate(state)
    return in_process


def observe(network: Network, frames: Tensor) -> Observed:
    """Run frames [T, B, ...] through ``network`` and return what every layer held at every step.

    Returns:
        ``outputs``, those of ``network(frames)``, and by the name of a layer, each [T, B, ...]: ``spikes``;
        ``membranes``, v after the step; ``states``, every state; ``distances``, v less the threshold before the reset.

    Raises:
        snnlab.errors.InputError: when ``network`` is none, or ``frames`` no sequence.
    """
    from snnlab.layers.observe import observe

    return observe(network, frames)


class _Runs(ModuleType):
    """The room ``snnlab.runs``, which is also the function ``snnlab.runs``."""

    def __call__(self, *folders: str | Path) -> pandas.DataFrame:
        """Return a table with a row for every run below ``folders`` (``outputs``), in the order of their names.

        Columns: method, model, data, encoder, hardware, seed, status; the typed keys in which the runs differ; metrics
        (``test/accuracy``), timing, memory, parameters; where the data came from; ``row``, the same for runs that
        differ in their seed alone; the machine; the folder. What a run does not have is missing.

        Raises:
            snnlab.errors.InputError: when a folder holds no run, or pandas is not installed.
        """
        from snnlab.tables.frame import frame

        return frame(folders or ("outputs",))


if TYPE_CHECKING:
    runs = _Runs("snnlab.runs")
else:
    from snnlab import runs

    runs.__class__ = _Runs  # importing a module of the room sets ``snnlab.runs`` to the room, so that is what is called
