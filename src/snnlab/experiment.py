"""Config in, built parts and a record out: the one room that reads a config.

The command line, evaluation, tables and notebooks all come through here. ``build`` makes every part and refuses what
cannot work before any data is read; ``run`` fits, tests once with the checkpoint chosen on validation, and records.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from snnlab import schema
from snnlab.composition import Composition, compose, conf_dir
from snnlab.errors import InputError, RunFailure, one_line
from snnlab.parts import instantiate_part

if TYPE_CHECKING:
    import lightning as L

    from snnlab.data.datamodule import DataModule
    from snnlab.methods.method import Method

log = logging.getLogger("snnlab")


@dataclass
class Parts:
    """Everything a run is made of, built and checked, with no data read yet."""

    data: DataModule
    method: Method
    initializer: Any
    config: dict[str, Any]


@dataclass
class Result:
    """What a finished run leaves: its folder, its metrics by split, its figures."""

    folder: Path
    metrics: dict[str, dict[str, Any]]
    figures: list[Path]


def build(config: DictConfig) -> Parts:
    """Make data module, encoder, model, method and optimizer from a composed config; nothing is read.

    Raises:
        InputError: when a value is wrong or the parts do not fit.
    """
    import lightning as L
    import torch

    from snnlab.methods.method import UnansweredError
    from snnlab.neurons import kernels

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    schema.check_plain(plain)  # type: ignore[arg-type]
    schema.check_arguments("trainer", plain["trainer"], L.Trainer)
    chosen = plain.get("kernels", "auto")
    kernels.enabled, kernels.half = chosen != "step", chosen == "half"
    L.seed_everything(plain["seed"], verbose=False)
    data = instantiate_part("data", plain["data"])
    encoder = instantiate_part("encoder", plain["encoder"]) if "_target_" in plain["encoder"] else None
    model = instantiate_part("model", plain["model"])
    initializer = instantiate_part("init", plain["init"])
    try:
        method = instantiate_part("method", plain["method"], model=model, data=data.spec, encoder=encoder)
    except UnansweredError as error:
        raise InputError(f"{error}; choose method={' or '.join(_methods_for(data.spec.asks))}") from error
    check_trainer(plain["trainer"], method.automatic_optimization)
    if (precision := plain["trainer"]["precision"]) is not None:
        method.check_precision(str(precision))
    try:
        method.configure_optimizers()
    except (ValueError, TypeError) as error:
        names = [f"method.{key}" for key in plain["method"] if str(key).endswith("optimizer")]
        raise InputError(f"{', '.join(names)}: {one_line(error)}") from error
    if not method.trains and data.spec.sizes.get("val") == 0:
        raise InputError(
            "data.val_size = 0 leaves nothing to choose and check this method on; data.val_size=5000 is usual"
        )
    if method.trains:
        with torch.no_grad():
            frames = torch.zeros(1, 1, *data.spec.input_shape)
            initializer(method.network, frames)
    return Parts(data, method, initializer, plain)  # type: ignore[arg-type]


def _methods_for(question: str) -> list[str]:
    """The methods of this house that answer what a data set asks, by the names of their configs."""
    from hydra.utils import get_object

    configs = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "method").glob("*.yaml"))}
    return [
        name for name, node in configs.items() if question in get_object(OmegaConf.select(node, "_target_")).answers
    ]


def check_trainer(trainer: Mapping[str, Any], automatic: bool) -> None:
    """Refuse what Lightning takes and a recorded run cannot: it has whole, validated epochs on one device.

    Raises:
        InputError: naming the argument and what would do instead.
    """
    epochs = trainer["max_epochs"]
    if epochs is None or epochs < 1:
        raise InputError(f"trainer.max_epochs = {epochs} must be at least 1; dry_run=true looks without training")
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):
        if trainer[name] is not None and trainer[name] <= 0:
            raise InputError(f"trainer.{name} = {trainer[name]} leaves nothing to work on; null takes all batches")
    if trainer["accumulate_grad_batches"] < 1:
        raise InputError(f"trainer.accumulate_grad_batches = {trainer['accumulate_grad_batches']} must be at least 1")
    refused = {
        "max_steps": (-1, "use trainer.max_epochs and trainer.limit_train_batches"),
        "fast_dev_run": (False, "use dry_run=true, or trainer.max_epochs=1 with trainer.limit_train_batches=2"),
        "overfit_batches": (0.0, "use trainer.limit_train_batches"),
        "val_check_interval": (None, "each epoch is validated once, at its end"),
        "enable_checkpointing": (None, "the test is scored with a checkpoint"),
        "barebones": (False, "a run is recorded"),
        "num_nodes": (1, "a run uses one device; sweeps spread over machines"),
    }
    for name, (only, instead) in refused.items():
        if trainer[name] not in (only, True if name == "enable_checkpointing" else only):
            raise InputError(f"trainer.{name} = {trainer[name]} is not for a recorded run: {instead}")
    if trainer["devices"] not in (1, "1"):
        raise InputError(f"trainer.devices = {trainer['devices']}: a run uses one device; sweeps spread over machines")
    if not automatic:
        if trainer["gradient_clip_val"] is not None:
            raise InputError(
                "trainer.gradient_clip_val: this method takes its own steps; lower its learning rates instead"
            )
        if trainer["accumulate_grad_batches"] != 1:
            raise InputError(
                "trainer.accumulate_grad_batches: this method takes its own steps; raise data.batch_size instead"
            )


def make_trainer(config: Mapping[str, Any], folder: Path | None, callbacks: list[Any], loggers: list[Any]) -> L.Trainer:
    """Make the Trainer of ``trainer.*``; ``folder`` None keeps everything in memory."""
    import lightning as L
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.callbacks import ProgressBar

    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message="Total length of .* across ranks is zero.*")  # data.val_size=0
    warnings.filterwarnings("ignore", message=".*The number of training batches.*")
    warnings.filterwarnings("ignore", message=".*Found .* module.s. in eval mode.*")
    arguments = dict(config["trainer"])
    arguments["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if folder is None:
        arguments["enable_checkpointing"] = False
    try:
        return L.Trainer(
            **arguments, callbacks=callbacks, logger=loggers, default_root_dir=str(folder) if folder else None
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"trainer: {one_line(error)}") from error


def run(composition: Composition, sweep: str | None = None) -> Result:
    """Train, validate after each epoch, test once with the best checkpoint, and record all of it.

    Args:
        composition: from ``compose``.
        sweep: name of the sweep this run belongs to; W&B groups by it, and the run's folder lies in the sweep's.

    Raises:
        InputError: before any data is read where that is possible.
        RunFailure: NaN loss, full disk.
        KeyboardInterrupt: after a checkpoint has been written.
    """
    import lightning as L
    import torch

    from snnlab.callbacks.checkpoints import CheckpointOnInterrupt, EpochCheckpoints
    from snnlab.callbacks.figures import Figures
    from snnlab.callbacks.health import Health
    from snnlab.callbacks.history import History
    from snnlab.callbacks.memory import PeakMemory
    from snnlab.callbacks.progress import make_progress
    from snnlab.callbacks.reproducible import ReseedEachEpoch
    from snnlab.neurons import kernels
    from snnlab.reports.run_record import RunRecord
    from snnlab.reports.wandb_run import StartAfterFirstStep, close_wandb, finish_wandb, make_wandb_logger

    parts = build(composition.config)
    config = parts.config
    make_trainer(config, None, [], [])  # a wrong trainer argument is refused here, before any data is read
    parts.data.setup()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    record, checkpoint = RunRecord.open(composition, config, parts, sweep)
    log.info("%s", record.announcement())
    try:
        history, memory = History(record.folder), PeakMemory()
        validated = parts.data.spec.sizes.get("val") != 0  # 0: an author's protocol
        checkpoints = EpochCheckpoints(record.folder, *parts.method.monitor, validated)
        wandb_logger = make_wandb_logger(config, record, sweep)
        callbacks: list[L.Callback] = [
            ReseedEachEpoch(config["seed"]),
            checkpoints,
            CheckpointOnInterrupt(record.folder),
        ]
        callbacks += [history, memory]
        if config["callbacks"]["health"]:
            callbacks.append(Health())
        figures = Figures(record, history) if config["callbacks"]["figures"] else None
        if config["callbacks"]["progress"]:
            callbacks += make_progress(config["trainer"]["enable_progress_bar"])
        if wandb_logger:
            callbacks.append(StartAfterFirstStep(wandb_logger))
        trainer = make_trainer(config, record.folder, callbacks, [wandb_logger] if wandb_logger else [])

        L.seed_everything(config["seed"], verbose=False)
        kernels.used.clear()
        kernels.looped.clear()
        parts.method.prepare(parts.data)
        started = time.perf_counter()
        if parts.method.trains:
            trainer.fit(parts.method, datamodule=parts.data, ckpt_path=checkpoint, weights_only=True)
            if trainer.interrupted:
                raise KeyboardInterrupt
            best = checkpoints.best()
            parts.method.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
        else:
            trainer.validate(parts.method, datamodule=parts.data, verbose=False)
            best = checkpoints.only(trainer)
        fit_seconds = time.perf_counter() - started - (wandb_logger.seconds if wandb_logger else 0)
        parts.method.to(trainer.strategy.root_device)
        parts.method.finish(parts.data)
        trainer.test(parts.method, datamodule=parts.data, verbose=False)
        record.complete(history, trainer, fit_seconds, memory, best, kernels.path())
        pictures = figures.draw(parts.method, parts.data) if figures else []
        if wandb_logger:
            finish_wandb(wandb_logger, record, pictures)
        return Result(record.folder, record.content["metrics"], pictures)
    except (KeyboardInterrupt, SystemExit) as error:
        if record.content["status"] != "completed":  # a picture interrupted does not undo the run
            record.fail("interrupted", "interrupted by the user")
        raise KeyboardInterrupt from error
    except BaseException as error:
        if record.content["status"] != "completed":
            record.fail("failed", one_line(error))
        if isinstance(error, OSError) and error.errno == 28:
            raise RunFailure(
                f"disk full while writing {error.filename or record.folder}; free some space, then resume=auto"
            ) from error
        raise
    finally:
        close_wandb()


__all__ = ["Composition", "Parts", "Result", "build", "compose", "make_trainer", "run"]
