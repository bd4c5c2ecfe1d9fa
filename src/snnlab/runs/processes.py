"""A run that several processes share (``trainer=ddp``, ``trainer.devices=2``): Lightning's DDP, and who does what.

Process 0 is the one that was started. It reads the data once, so that downloads and caches are there, and Lightning
starts the others by repeating the command line. Process 0 alone makes the record, the folder, checkpoints, pictures and
the logger's run, and speaks; the others are silent, leave signals to process 0, and tell it by a file in the run's
folder why one of them cannot go on. So a run has one message and one exit code, those of process 0.

Batches: ``data.batch_size`` is that of all processes together. In training each takes its part of every batch, in the
order of the one process. What is validated and tested goes around in whole batches, whose scores are then to the bit
those of one process; where random numbers are drawn for them, in parts. So each sample is seen once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch import distributed as dist

from snnlab import ranks
from snnlab.atomic import write_text
from snnlab.data.loader import EpochBatches
from snnlab.errors import InputError, RunFailure, one_line
from snnlab.runs.record import RunRecord
from snnlab.runs.resume import Begun

log = logging.getLogger("snnlab")
PATIENCE = 5.0  # seconds in which a process that lost the others learns why, or ends
KINDS = {kind.__name__: kind for kind in (InputError, RunFailure)}


class SharedBatches(DDPStrategy):
    """Lightning's DDP without its wrapper around the module, which sees nothing but ``backward``.

    What a rule learns is added up by the methods themselves (methods/base/method.py, ``gather``), whether autograd has
    made it or not; batches are shared out by our sampler.

    Args:
        limits: most batches of validation and test, by stage, as ``trainer.limit_val_batches`` has them.
    """

    def __init__(self, limits: Mapping[str, int | float | None]) -> None:
        super().__init__()
        self.limits = limits

    def configure_ddp(self) -> None:
        """No wrapper."""

    def barrier(self, name: str | None = None, *args: Any, **kwargs: Any) -> None:
        """Nobody waits for process 0 to write: it may be the only one that was interrupted."""
        if name != "Trainer.save_checkpoint":
            super().barrier(name, *args, **kwargs)

    def process_dataloader(self, dataloader: object) -> object:
        sampler = getattr(dataloader, "sampler", None)
        if isinstance(sampler, EpochBatches):
            if sampler.shuffle:  # it is learned from
                parts, first = True, None
            else:
                few = 0 < sampler.size % sampler.batch_size < self.world_size
                parts, first = self.draws and not few, self.first(sampler)
            sampler.share(self.global_rank, self.world_size, parts, first)
        return dataloader

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Lightning's means over epochs divide by numbers of samples, whose own mean it would cut to a whole number."""
        if isinstance(tensor, Tensor) and not tensor.is_floating_point() and reduce_op == "mean":
            tensor = tensor.double()
        return super().reduce(tensor, group, reduce_op)

    @property
    def draws(self) -> bool:
        """Whether the method draws random numbers to score a batch: its parts get those of the whole batch."""
        assert self.lightning_module is not None
        return any(getattr(part, "draws", False) for part in self.lightning_module.modules())

    def first(self, sampler: EpochBatches) -> int:
        """How many batches of validation or test all processes take together."""
        assert self.lightning_module is not None
        stage = "test" if self.lightning_module.trainer.testing else "val"
        limit, every = self.limits[stage], len(sampler)
        return every if limit is None else int(every * limit) if isinstance(limit, float) else min(every, limit)


def check(parts: Any, trainer: L.Trainer, sweep: str | None, repeatable: bool) -> None:
    """Refuse what several processes cannot share.

    Args:
        trainer: of the run.
        repeatable: whether repeating this process's command line makes the same run.

    Raises:
        InputError: naming the setting, the reason, and what would do.
    """
    asked = f"trainer.devices = {parts.config['trainer']['devices']}"
    if sweep is not None:
        raise InputError(f"{asked}: the jobs of a sweep use one device each; start this run alone, without -m")
    if not repeatable and "LOCAL_RANK" not in os.environ and "SLURM_PROCID" not in os.environ:
        raise InputError(
            f"{asked}: the other processes are started by repeating a command line, and this run has none of its own; "
            "use python -m snnlab, or torchrun"
        )
    parts.method.check_processes(asked)


def check_batches(parts: Any, number: int) -> None:
    """Refuse a last batch that has not a sample for each of ``number`` processes; data must have been set up."""
    size, batch = len(parts.data.splits.train), parts.config["data"]["batch_size"]
    rest = size % batch
    if number > batch or 0 < rest < number:
        raise InputError(
            f"data.batch_size = {batch} leaves {rest or batch} of {size} samples to a batch, and {number} processes "
            "share each; choose another batch size"
        )


@contextmanager
def together(others: Others) -> Iterator[None]:
    """Start the processes that share a run, and end them with this one; nothing where there is one.

    Raises:
        SystemExit: in the others, at whatever ends them: process 0 says it.
    """
    if others.number == 1:
        yield
        return
    before = dict(os.environ)
    try:
        with unheard():
            others.launcher.launch(lambda: None)
        others.strategy.setup_environment()
        yield
    except BaseException as error:
        if others.first:
            raise
        others.leave(error)
        raise SystemExit(0) from None
    finally:
        ranks.leave()
        others.end()
        for name in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


class Others:
    """What a process of a run knows of the others; all but process 0 are silent from here on.

    Args:
        trainer: made of the run's ``trainer.*``.
    """

    def __init__(self, trainer: L.Trainer) -> None:
        self.strategy: Any = trainer.strategy
        self.launcher: Any = trainer.strategy.launcher
        self.number, self.rank = trainer.world_size, trainer.global_rank
        self.started: list[subprocess.Popen[bytes]] = []
        self.folder: Path | None = None
        if not self.first:
            silence()

    @property
    def first(self) -> bool:
        """Whether this is process 0, or the only one."""
        return self.rank == 0

    def begin(self, make: Callable[[], Begun]) -> Begun:
        """What process 0 makes, for all of them; in the others it writes nothing."""
        told: Any = None
        try:
            if self.first:
                begun = make()
                told = begun._replace(record=(begun.record.folder, begun.record.content), lock=None)  # type: ignore[arg-type]
        finally:
            told = ranks.from_first(told)
        if not self.first:
            if told is None:
                raise SystemExit(0)
            begun = told._replace(record=Unwritten(*told.record))
        self.folder = begun.record.folder
        if self.first and self.number > 1:
            self.forget()
        return begun

    def leave(self, error: BaseException) -> None:
        """Tell process 0, in the run's folder, why this one cannot go on."""
        if self.folder is None or not isinstance(error, Exception):
            return
        kind, text = type(error).__name__, one_line(error)
        known = kind if kind in KINDS else ""
        with contextlib.suppress(OSError):
            said = {"kind": known, "text": text if known else f"{kind}: {text}"}
            write_text(self.folder / f".rank{self.rank}", json.dumps(said))

    def reason(self, error: BaseException) -> BaseException:
        """Why a run ends with ``error``: where the others were lost, what the one of them left that was the first."""
        lost = isinstance(error, RuntimeError) and not isinstance(error, RunFailure)
        if not lost or not self.first or self.launcher is None or self.folder is None or not dist.is_initialized():
            return error
        started = self.take()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for path in sorted(self.folder.glob(".rank*")):
                said = json.loads(path.read_text())
                return KINDS.get(said["kind"], RunFailure)(said["text"])
            for rank, process in enumerate(started, 1):
                if code := process.poll():
                    what = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
                    return RunFailure(f"process {rank} of this run was ended {what}; go on with resume=auto")
            time.sleep(0.05)
        return error

    def take(self) -> list[subprocess.Popen[bytes]]:
        """The processes that were started here, which Lightning's observer, who would kill this one, forgets."""
        self.started += self.launcher.procs
        self.launcher.procs.clear()
        return self.started

    def forget(self) -> None:
        """Remove what others left in the folder."""
        for path in self.folder.glob(".rank*") if self.folder else ():
            path.unlink(missing_ok=True)

    def end(self) -> None:
        """Wait for the processes that were started here; those that take too long are killed."""
        until = time.monotonic() + PATIENCE
        for process in self.take():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.first:
            self.forget()


class Unwritten(RunRecord):
    """The record in the processes that do not write it."""

    def write(self) -> None:
        """Process 0 does."""


@contextmanager
def unheard() -> Iterator[None]:
    """Let what is started here hear no signal that stops process 0, which sees to the end of all."""
    here = threading.current_thread() is threading.main_thread()
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name) and here]
    before = {name: signal.signal(getattr(signal, name), signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, way in before.items():
            signal.signal(getattr(signal, name), way)


def silence() -> None:
    """Say nothing any more: process 0 speaks."""
    logging.getLogger("snnlab").setLevel(logging.CRITICAL + 1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(sys.stderr.fileno(), 2)  # torch's own warnings, too
