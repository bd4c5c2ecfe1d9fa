"""What the trainer, metrics and records cost over a hand-written loop of the same run, part of an epoch each.

    by hand     for batch in loader: encode, forward, loss, zero_grad, backward, optimizer step
    trainer     a recorded run's training epoch: Lightning, our metrics and callbacks, the W&B logger offline

Both train the same net on the same batches, in turns inside one process: the hand-written epoch runs when an epoch of
the trainer has ended. The first of each is not counted (the memory of a step is measured in it). Validation and
checkpoints come once an epoch and are not in it; the times run from the epoch's start to the end of its last step.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import lightning as L
import torch

from snnlab.bench.workloads.workload import Bench, Case, Report
from snnlab.config.build import Parts, build
from snnlab.config.compose import compose
from snnlab.errors import InputError
from snnlab.runs.wiring import prepared, wire


def measure(
    bench: Bench,
    run: str = "method=stbp data=mnist",
    batches: int = 100,
    wandb: bool = True,
) -> Report:
    """Train ``run``, overrides as on the command line, both ways.

    Args:
        batches: of each epoch.
        wandb: whether the trainer also logs to W&B, offline.

    Raises:
        InputError: when the run cannot be composed, or its method takes its own steps.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = [*run.split(), f"seed={bench.seed}", f"paths.output={folder}", "callbacks.figures=false"]
        options += ["callbacks.progress=false"]
        options += ["logger.mode=offline"] if wandb else ["logger=none"]
        options += [f"trainer.max_epochs={1 + bench.rounds}", f"trainer.limit_train_batches={batches}"]
        options += ["trainer.limit_val_batches=1", "trainer.enable_progress_bar=false"]
        composition = compose(options)
        parts, twin = build(composition.config), build(composition.config)
        if not parts.method.automatic_optimization:
            raise InputError(f"overhead: run = {run} takes its own steps; choose a method that returns its loss")
        try:
            parts.data.setup()
            twin.data.setup()
        except InputError as error:
            bench.skip(f"{run}: skipped, {error}")
            return Report()
        turns = Turns(twin, batches, bench.seconds)
        fit_recorded(composition, parts, turns)
    rounds = {"by hand": turns.by_hand[1:], "trainer": turns.trainer[1:]}
    case = Case(f"{run}, {turns.steps} steps of an epoch", "by hand", rounds)
    case.notes["trainer"] = f"{case.ratio('trainer').median - 1:+.1%}"
    bench.add(case)
    return Report({"steps": turns.steps})


class Turns(L.Callback):
    """Times each training epoch of the trainer, and runs the hand-written one after it."""

    def __init__(self, twin: Parts, batches: int, seconds: float) -> None:
        self.twin, self.batches, self.seconds = twin, batches, seconds
        self.trainer, self.by_hand = list[float](), list[float]()
        self.steps = 0
        self._began, self._started, self._ended = time.perf_counter(), 0.0, 0.0
        twin.method.prepare(twin.data)
        made = twin.method.configure_optimizers()
        self.optimizer: torch.optim.Optimizer = made["optimizer"] if isinstance(made, dict) else made
        self.loader: Any = twin.data.train_dataloader()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._started = time.perf_counter()
        self.steps = 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._ended = time.perf_counter()
        self.steps += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.trainer.append(self._ended - self._started)
        self.by_hand.append(self.epoch_by_hand(trainer.current_epoch))
        if len(self.by_hand) > 1 and time.perf_counter() - self._began > self.seconds:
            trainer.should_stop = True

    def epoch_by_hand(self, epoch: int) -> float:
        """Seconds of one hand-written epoch on the batches that the trainer had."""
        method = self.twin.method
        method.train()
        self.loader.sampler.set_epoch(epoch)
        started = time.perf_counter()
        for i, batch in enumerate(self.loader):
            if i == self.batches:
                break
            loss = method.loss(method.scores(method.frames(batch)), batch.labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - started


def fit_recorded(composition: Any, parts: Parts, turns: Turns) -> None:
    """Train as ``runs.wiring.run`` does, with its callbacks, its logger and its record."""
    from snnlab.runs.loggers import make_loggers
    from snnlab.runs.resume import begin

    record = begin(composition, parts.config, parts, None).record
    loggers = make_loggers(parts.config, record, None)
    try:
        trainer = wire(parts, record.folder, loggers, [turns]).trainer
        with prepared(parts):
            trainer.fit(parts.method, datamodule=parts.data)
    finally:
        for logger in loggers:
            logger.finish("completed", {})
