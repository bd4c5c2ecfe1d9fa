"""A checkpoint in the middle of an epoch: every few minutes, when a signal asks the run to stop, or its time is over.

    checkpoints/midway.ckpt     one file, replaced in one move; it goes when its epoch has a checkpoint of its own

It is written between two batches, when all that belongs to the one before is done, or in a validation, while training
stands still. It holds what an epoch's checkpoint holds, and what the epoch has come to: batches shown, random numbers,
running metrics, gradients that are being accumulated. Where the epoch goes on, its hooks have been called as at its
start; then all of that is put back before the next batch is drawn.

A signal (SIGINT, SIGTERM, SIGHUP, and those that clusters send before they take a machine away, SIGUSR1 and SIGUSR2)
waits for the end of its batch and is then sent again, to whoever listened before the fit; a second one, but for the
clusters' early warning, is not waited with.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torchmetrics import Metric

from snnlab.callbacks.history import History
from snnlab.callbacks.reproducible import random_state, set_random_state
from snnlab.data.loader import EpochBatches, EpochLoader
from snnlab.errors import RunFailure, TimeOver, one_line

log = logging.getLogger("snnlab")

FILE = "midway.ckpt"
SHARE = 100  # at most one in so many seconds is spent on writing it
WARNINGS = ("SIGUSR1", "SIGUSR2")  # of clusters, before they end a job
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", *WARNINGS)
LOOP = "epoch_loop."  # begins the names of what a checkpoint holds of the loop over batches


class Midway(L.Callback):
    """See the docstring of this file. It stands after the callback that saves whole epochs.

    Args:
        folder: of the run.
        history: of its epochs.
        minutes: from one checkpoint to the next; None writes them for signals only.
        batches: an epoch is saved after every so many, too.
        sitting: the time that this process has; one batch at least is trained in it.
    """

    def __init__(
        self,
        folder: Path,
        history: History,
        minutes: float | None = None,
        batches: int | None = None,
        sitting: Sitting | None = None,
    ) -> None:
        self.sitting, self.begun = sitting, False
        self.path, self.history = folder / "checkpoints" / FILE, history
        self.seconds, self.batches = float("inf") if minutes is None else 60 * minutes, batches
        self.due = float("inf")
        self.kept: dict[str, Any] | None = None  # of a part of an epoch, until it is gone on with
        self.asked: int | None = None  # the signal that wants an end
        self.listened: dict[int, Any] = {}  # to what signals, and who did before
        self.updates: dict[str, int] | None = None  # of each metric when the validation that is going on began
        self.loader: EpochLoader[Any] | None = None
        self.saving = False

    # when -------------------------------------------------------------------------------------------------------------
    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.trainer = trainer
        self.listen()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The epoch before has its checkpoint by now."""
        self.due = time.monotonic() + self.seconds
        if self.asked is not None:
            self.stop()
        self.loader = resumable(trainer)
        if self.loader is not None:
            self.loader.between = self.between
        if self.kept is None:
            return
        if self.loader is None:
            raise RunFailure(f"{self.path} is of an epoch whose batches have another order; remove it and go on")
        self.loader.sampler.begin = trainer.current_epoch, self.kept["batches"]  # type: ignore[attr-defined]
        if trainer.current_epoch == 0:  # Lightning has begun to read the first epoch already
            iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def between(self) -> bool:
        """Called when a batch is asked for and the one before is done; whether there is one."""
        begun, self.begun = self.begun, True
        if self.kept is not None:
            return self.go_on()
        shown = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        often = self.batches is not None and shown % self.batches == 0
        over = begun and self.sitting is not None and self.sitting.over(self.trainer)
        if shown and (self.asked is not None or often or over or time.monotonic() >= self.due):
            self.save()
        if self.asked is not None:
            self.stop()
        if over:
            raise time_over(self.history.epochs, self.trainer.max_epochs, shown)
        return True

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.listened:
            self.updates = {name: metric.update_count for name, metric in metrics_of(pl_module).items()}
            if self.asked is not None:
                self.stop()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.updates = None

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """The last epoch has its checkpoint by now."""
        if self.asked is not None:
            self.stop()
        self.let_go()

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """What stands still can be saved: in a validation, or while loader processes are waited for."""
        self.let_go()
        stopped = isinstance(exception, KeyboardInterrupt | SystemExit)
        if stopped and self.stands and trainer.state.fn == "fit" and trainer.world_size == 1:
            self.save()

    # signals ----------------------------------------------------------------------------------------------------------
    @property
    def stands(self) -> bool:
        """Whether training stands still, so that there is nothing to wait for."""
        return self.updates is not None or (self.loader is not None and self.loader.waiting)

    def listen(self) -> None:
        """Take over the signals that anybody listens to; of several processes each ends as it did."""
        if threading.current_thread() is not threading.main_thread() or self.trainer.world_size > 1:
            return
        self.owner = os.getpid()
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            if (before := signal.getsignal(number)) not in (None, signal.SIG_IGN):
                self.listened[number] = before
                signal.signal(number, self.note)

    def let_go(self) -> None:
        """Give the signals back to whoever listened before."""
        for number, before in self.listened.items():
            signal.signal(number, before)
        self.listened = {}

    def note(self, number: int, frame: Any) -> None:
        if os.getpid() != self.owner:  # a child that was just made
            signal.signal(number, self.listened[number])
            os.kill(os.getpid(), number)
            return
        self.asked = number
        if number not in [getattr(signal, name, None) for name in WARNINGS]:
            for each in self.listened:  # the next one ends it at once, also in a function that never returns to Python
                signal.signal(each, signal.SIG_DFL)
        if self.stands:
            self.stop()

    def stop(self) -> None:
        """Send the signal that was waited with; go on where whoever gets it lets us."""
        number, self.asked = self.asked, None
        self.let_go()
        assert number is not None
        signal.raise_signal(number)
        self.listen()

    # writing ----------------------------------------------------------------------------------------------------------
    def save(self) -> None:
        """Write the file. The run does not need it: what goes wrong is told."""
        started, self.saving = time.monotonic(), True
        try:
            self.trainer.save_checkpoint(self.path)
        except OSError as error:
            log.warning("%s cannot be written (%s); the run goes on without it", self.path, error.strerror)
        finally:
            self.saving = False
        now = time.monotonic()
        self.due = now + max(self.seconds, SHARE * (now - started))

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self.saving:
            checkpoint["midway"] = self.so_far(trainer, pl_module)

    def so_far(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        """What the epoch has come to."""
        loop, logged, before = trainer.fit_loop.epoch_loop, trainer._logger_connector, self.updates
        metrics = metrics_of(module)
        if before is not None:  # the validation is made again
            metrics = {name: metric for name, metric in metrics.items() if metric.update_count == before[name]}
        accumulating = loop.batch_progress.current.completed % trainer.accumulate_grad_batches
        gradients = {name: p.grad for name, p in module.named_parameters() if accumulating and p.grad is not None}
        return {
            "epoch": trainer.current_epoch,
            "batches": loop.batch_progress.current.completed,
            "validating": before is not None,
            "validated": self.history.validated,
            "random": random_state(),
            "metrics": {n: [m.update_count, dict(m.metric_state)] for n, m in metrics.items() if m.update_count},
            "results": [stored(each) for each in loop._results.values() if not each.has_reset],
            "logged": [dict(logged._callback_metrics), dict(logged._logged_metrics)],
            "gradients": gradients,
        }

    # going on ---------------------------------------------------------------------------------------------------------
    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Lightning is told of an epoch that begins; what this one has come to is put back once it has begun."""
        if "midway" not in checkpoint:
            return
        loops = checkpoint["loops"]["fit_loop"]
        self.kept = {**checkpoint["midway"], "loop": {k: v for k, v in loops.items() if k.startswith(LOOP)}}
        for progress in loops["epoch_progress"].values():
            progress |= dict.fromkeys(("ready", "started", "completed"), progress["processed"])

    def go_on(self) -> bool:
        """Put back what the epoch had come to, validate where that was cut short; whether a batch is left.

        Raises:
            RunFailure: where the file holds something else than this run has.
        """
        kept, self.kept = self.kept, None
        assert kept is not None
        loop, fetcher = self.trainer.fit_loop.epoch_loop, self.trainer.fit_loop._data_fetcher
        try:
            self.put_back(kept)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise RunFailure(f"{self.path} does not fit this run ({one_line(error)[:150]}); remove it") from error
        if kept["validating"]:
            loop.on_advance_end(fetcher)  # type: ignore[arg-type]
        return not loop.done

    def put_back(self, kept: Mapping[str, Any]) -> None:
        """All but the validation."""
        module, fit, logged = self.trainer.lightning_module, self.trainer.fit_loop, self.trainer._logger_connector
        loop, fetcher = fit.epoch_loop, fit._data_fetcher
        loop.load_state_dict(kept["loop"], LOOP)
        for each in (loop, loop.val_loop):
            each.on_iteration_done()  # it is not to start again
        assert fetcher is not None
        fetcher.fetched = kept["batches"]
        metrics = metrics_of(module)
        for name, (count, states) in kept["metrics"].items():
            put_back(metrics[name], count, states, module.device)
        logged._first_loop_iter = False  # what is logged adds to what was
        for entry in kept["results"]:
            log_again(module, entry, metrics)
        logged._callback_metrics, logged._logged_metrics = (dict(each) for each in kept["logged"])
        parameters = dict(module.named_parameters())
        for name, gradient in kept["gradients"].items():
            parameters[name].grad = gradient.to(parameters[name].device)
        self.history.validated = kept["validated"]
        set_random_state(kept["random"])


class Sitting(Timer):
    """``trainer.max_time``: how long one sitting may train. It is no part of what a checkpoint holds.

    A sitting ends between two batches, which ``Midway`` sees to, or with the epoch where batches have another order.
    """

    def __init__(self, duration: Any) -> None:
        super().__init__(duration, interval="epoch", verbose=False)

    def over(self, trainer: L.Trainer) -> bool:
        """Whether the time is over, and trainer.min_epochs and min_steps are done."""
        left = self.time_remaining()
        return left is not None and left <= 0 and trainer.fit_loop._can_stop_early

    def on_fit_start(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """The time begins now: nothing of it is over."""

    def state_dict(self) -> dict[str, Any]:
        return {}


def time_over(epochs: int, total: int | None, batches: int = 0) -> TimeOver:
    """What ends a run whose sitting is over."""
    more = f" and {batches} batches" if batches else ""
    return TimeOver(
        f"trainer.max_time is over after {epochs} of {total} epochs{more}; go on with the same command and resume=auto"
    )


def resumable(trainer: L.Trainer) -> EpochLoader[Any] | None:
    """The loader of the training batches, where it can begin at any of them; None where there are several processes."""
    loader: Any = trainer.train_dataloader
    ours = isinstance(loader, EpochLoader) and isinstance(loader.sampler, EpochBatches)
    return loader if ours and trainer.world_size == 1 else None


def metrics_of(module: Any) -> dict[str, Metric]:
    """The metrics that a method holds, by name."""
    return {name: each for name, each in module.named_modules() if isinstance(each, Metric)}


def put_back(metric: Metric, count: int, states: Mapping[str, Any], device: torch.device) -> None:
    """Give a metric the states that it had after ``count`` updates."""
    for name, state in states.items():
        setattr(metric, name, [each.to(device) for each in state] if isinstance(state, list) else state.to(device))
    metric._update_count, metric._computed = count, None


# Lightning keeps what a method logs, with how it is to be reduced over the epoch
HOW = ("name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx", "metric_attribute")
REDUCTIONS = ("mean", "sum", "min", "max")


def stored(result: Any) -> dict[str, Any]:
    """One of them, in what a checkpoint may hold."""
    how = {name: getattr(result.meta, name) for name in HOW} | {"reduce_fx": result.meta.reduce_fx.__name__}
    kept = {"hook": result.meta.fx, "how": how, "count": result.update_count, "states": None}
    return kept | ({"states": dict(result.metric_state), "cached": result._forward_cache} if result.is_tensor else {})


def log_again(module: Any, entry: Mapping[str, Any], metrics: Mapping[str, Metric]) -> None:
    """Let Lightning keep it again: a metric by its name, a tensor with what was reduced so far."""
    how, states = entry["how"], entry["states"]
    if how["reduce_fx"] not in REDUCTIONS:
        raise RunFailure(f"{how['name']} is logged with reduce_fx = {how['reduce_fx']!r:.40}, none of {REDUCTIONS}")
    module._current_fx_name = entry["hook"]
    how = how | {"logger": None if how["logger"] else False}  # None is True, and does not warn where there is none
    module.log(**how, value=0.0 if states is not None else metrics[how["metric_attribute"]], batch_size=1)
    if states is not None:
        result = module.trainer._results[f"{entry['hook']}.{how['name']}"]
        put_back(result, entry["count"], states, module.device)
        cached = entry["cached"]
        result._forward_cache = None if cached is None else cached.to(module.device)
