"""Weights & Biases: online when logged in, else offline; a help for people, never the only record."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from snnlab.reports.run_record import RunRecord, flags_of, label_of

log = logging.getLogger("snnlab")


def make_wandb_logger(config: dict[str, Any], record: RunRecord, sweep: str | None) -> Any:
    """Return a WandbLogger writing below the run's folder, or None when the logger is off or cannot start."""
    if config["logger"]["name"] == "none":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_CONSOLE", "off")
    from lightning.pytorch.loggers import WandbLogger

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


def finish_wandb(logger: Any, record: RunRecord, pictures: list[Path]) -> None:
    """Send the test metrics and the figures, and close the run."""
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
