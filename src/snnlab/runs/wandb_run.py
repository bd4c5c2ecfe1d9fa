"""Weights & Biases: online when logged in, else offline; a help for people, never the only record."""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.seed import isolate_rng

from snnlab.runs.record import RunRecord, flags_of, label_of

log = logging.getLogger("snnlab")


class LateWandb(Logger):
    """A WandbLogger that starts after the first training step, or when there is something to log before it.

    W&B takes 2 s to import and start, which no step has to wait for. ``seconds`` tells how long it took, so that the
    time of the fit can do without; it draws no number from the generators of the run.
    """

    def __init__(self, start: Any) -> None:
        super().__init__()
        self._start, self._logger, self._started, self.seconds = start, None, False, 0.0

    def logger(self) -> Any:
        """Return the WandbLogger, started if it has not been, or None where it cannot start."""
        if not self._started:
            self._started, before = True, time.perf_counter()
            with isolate_rng():
                self._logger = self._start()
            self.seconds = time.perf_counter() - before
        return self._logger

    @property
    def name(self) -> str | None:
        return None

    @property
    def version(self) -> str | None:
        return None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is there from the start."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if (logger := self.logger()) is not None:
            logger.log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        if self._logger is not None:
            self._logger.finalize(status)


class StartAfterFirstStep(L.Callback):
    """Start W&B once a training step has been taken."""

    def __init__(self, late: LateWandb) -> None:
        self.late = late

    def on_train_batch_end(self, *_: Any) -> None:
        self.late.logger()


def make_wandb_logger(config: dict[str, Any], record: RunRecord, sweep: str | None) -> LateWandb | None:
    """Return a logger that will write below the run's folder, or None when it is off."""
    if config["logger"]["name"] == "none":
        return None
    return LateWandb(partial(start_wandb, config, record, sweep))


def start_wandb(config: dict[str, Any], record: RunRecord, sweep: str | None) -> Any:
    """Start W&B and return its WandbLogger, or None when it cannot start."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    wandb.setup()  # only now it knows that it is to be silent, and keeps its warning about an option of Lightning's
    mode = config["logger"]["mode"]
    if mode == "auto":
        mode = "online" if logged_in() else "offline"
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # W&B's own staging belongs to the run, not to the home folder
        os.environ[name] = str(record.folder.resolve() / "wandb")
    content = record.content
    tags = [str(content[group]) for group in ("method", "data", "hardware")] + flags_of(content["provenance"])
    tags += [label_of(content)] if label_of(content) != content["method"] else []
    try:
        logger = WandbLogger(
            name=record.folder.name,
            save_dir=str(record.folder),
            project=config["logger"]["project"],
            mode=mode,
            group=config["logger"]["group"] or sweep,
            tags=tags,
            config={"config": config, "provenance": content["provenance"], "git": content["git"]},
        )
        logger.experiment  # noqa: B018  starts the run here, where a failure can be told from a training error
    except Exception as error:
        log.warning("W&B could not start (%s); run.json and metrics.csv hold the record", str(error).split("\n")[0])
        return None
    return logger


def logged_in() -> bool:
    """Whether W&B has a key, found without asking anyone."""
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except wandb.errors.UsageError:  # no key, and no terminal to ask for one
        return False


def finish_wandb(late: LateWandb, record: RunRecord, pictures: list[Path]) -> None:
    """Send the test metrics and the figures."""
    if (logger := late.logger()) is None:
        return
    import wandb

    try:
        _send(logger, record, pictures, wandb)
    except Exception as error:
        log.warning("W&B could not take the figures (%s); run.json and figures/ hold them", str(error).split("\n")[0])


def _send(logger: Any, record: RunRecord, pictures: list[Path], wandb: Any) -> None:
    flat = {
        f"final/{split}/{key}": value for split, tree in record.content["metrics"].items() for key, value in _flat(tree)
    }
    logger.experiment.summary.update(flat)
    logger.experiment.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in pictures})
    table = wandb.Table(columns=["metric", "value"], data=[[key, value] for key, value in sorted(flat.items())])
    logger.experiment.log({"metrics": table})


def close_wandb() -> None:
    """Close a run that is still open, so that the next job of a sweep does not log into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def _flat(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    for key, value in tree.items():
        rows += _flat(value, f"{prefix}{key}/") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return rows
