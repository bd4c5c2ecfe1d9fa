"""One run in the calling process: the run that ``python -m snnlab`` would make, and the process as it was before.

A run seeds generators, sets torch's flags, filters of warnings, levels of loggers and handlers of signals, and draws
with a backend of its own. It takes each as a process that has just begun has it, and all of them are put back.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch.backends import cudnn

from snnlab import style
from snnlab.callbacks.progress import make_bar
from snnlab.callbacks.reproducible import random_state, set_random_state
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.layers.network import Network
from snnlab.runs import wiring
from snnlab.runs.stored import load_method, of_run

CPU = torch.device("cpu")
FLAGS: list[tuple[Callable[[], Any], Callable[[Any], Any], Any]] = [  # read, set, the value in a new process
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_default_device, lambda place: torch.set_default_device(None if place == CPU else place), CPU),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (torch.get_deterministic_debug_mode, lambda m: torch.use_deterministic_algorithms(m > 0, warn_only=m == 1), 0),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, False),
    (lambda: cudnn.benchmark, lambda on: setattr(cudnn, "benchmark", on), False),
    (lambda: cudnn.deterministic, lambda on: setattr(cudnn, "deterministic", on), False),
]
SET_BY_RUNS = ("CUBLAS_", "KMP_", "PL_", "WANDB_")  # variables of the environment; others may be changed meanwhile
SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # as Python's own filters


def run(overrides: Sequence[str], config_dir: str | Path | None = None, progress: bool = True) -> wiring.Result:
    """Make one run; arguments and errors as ``snnlab.run``."""
    listed = isinstance(overrides, Iterable) and not isinstance(overrides, str | Mapping)
    words = list(overrides) if listed else []
    if not listed or not all(isinstance(word, str) for word in words):
        raise InputError(f'run: {overrides!r:.80} is no list of texts; give one like ["data=digits", "seed=1"]')
    if config_dir is not None and not isinstance(config_dir, str | os.PathLike):
        raise InputError(f"run: config_dir = {config_dir!r:.80} is no path of a folder")
    if config_dir is not None and not Path(config_dir).expanduser().is_dir():
        raise InputError(f"run: config_dir = {config_dir}: there is no such folder")
    with left_as_found():
        composition = compose(of_run(words), None if config_dir is None else Path(config_dir).expanduser())
        if composition.config.dry_run:
            raise InputError("run: dry_run=true makes no run; python -m snnlab ... dry_run=true prints what it finds")
        return wiring.run(composition, progress=make_bar if progress else lambda *_: [])


def load(run: str | Path) -> Network:
    """The trained network of a stored run, as ``snnlab.load``."""
    if not isinstance(run, str | os.PathLike):
        raise InputError(f"load: {run!r:.80} is no path of a run's folder")
    with left_as_found():
        return load_method(run).network.eval()


@contextmanager
def left_as_found() -> Iterator[None]:
    """Compute as in a new process, and put back whatever a run sets that the whole process shares."""
    random, environment = random_state(), dict(os.environ)
    flags = [read() for read, _, _ in FLAGS]
    levels = {name: logging.getLogger(name).level for name in wiring.TALKATIVE}
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()} if main else {}
    try:
        set_flags([fresh for _, _, fresh in FLAGS])
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            warnings.catch_warnings(),
            style.own_backend(),
            matplotlib.rc_context(),
        ):
            matplotlib.rc_file_defaults()
            warnings.resetwarnings()
            for kind in SILENT:
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        set_flags(flags)
        for name in {name for name in (*os.environ, *environment) if name.startswith(SET_BY_RUNS)}:
            if name not in environment:
                del os.environ[name]
            elif os.environ.get(name) != environment[name]:
                os.environ[name] = environment[name]
        set_random_state(random)


def set_flags(values: Sequence[Any]) -> None:
    """Set those of torch's ``FLAGS`` that have other values."""
    for (read, write, _), value in zip(FLAGS, values, strict=True):
        if read() != value:
            write(value)
