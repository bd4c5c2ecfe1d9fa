"""The loggers of ``logger=...`` beside the record: W&B (wandb_run.py); Lightning's for TensorBoard, CSV and MLflow.

In each are the figures of every epoch, the learning rate, the config, the pictures, and how the run ended. Figures of
an epoch stand against the epoch, counted from 0 as in metrics.csv, learning rates against the training step. A resumed
run goes on where it was.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from snnlab.atomic import write_bytes, write_text
from snnlab.errors import InputError
from snnlab.runs.late import Late
from snnlab.runs.record import RunRecord
from snnlab.runs.wandb_run import PROJECT, described, make_wandb_logger

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny"}  # what is to be installed, by what is imported
MLFLOW = {  # of MLflow's variables: its folders are files, it tells nobody, a server that is away is asked once more
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
ENDED = {"completed": "FINISHED", "interrupted": "KILLED"}  # anything else: FAILED


class Lightnings(Late):
    """One of Lightning's loggers.

    Args:
        record: of the run.
        node: the logger's part of the config.
        sweep: that the run belongs to.
    """

    def __init__(self, record: RunRecord, node: Mapping[str, Any], sweep: str | None) -> None:
        super().__init__(self.start)
        self.record, self.node, self.sweep = record, node, sweep

    @abstractmethod
    def start(self) -> Any:
        """Lightning's logger, with the config in it."""

    def place(self, name: str) -> Path:
        """Where its files lie: in the run's folder, or in one of the run's name where the config says."""
        folder = self.node["folder"]
        return (Path(folder).expanduser() / self.record.folder.name if folder else self.record.folder / name).resolve()

    def send(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        of_epoch = any(key.startswith(("train/", "val/", "test/")) for key in metrics)
        values = {key: value for key, value in metrics.items() if key != "epoch" or not of_epoch}
        run.log_metrics(values, int(metrics["epoch"]) if of_epoch else step)
        if of_epoch:
            run.save()

    def config(self) -> dict[str, Any]:
        """Every value of the config by its dotted key, as W&B gets it."""
        config: dict[str, Any] = described(self.record)["config"]
        return config


class TensorBoard(Lightnings):
    """Event files; the config and the status as texts, the config again as hyperparameters of the final figures."""

    title = "TensorBoard"

    def start(self) -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        run = TensorBoardLogger(str(self.place("tensorboard")), name="", version="", default_hp_metric=False)
        run.log_hyperparams(self.config())
        text = yaml.safe_dump(self.config(), sort_keys=False)
        run.experiment.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))
        return run

    def close(self, run: Any, status: str, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        import numpy as np
        from PIL import Image

        for path in pictures:
            with Image.open(path) as image:
                run.experiment.add_image(f"figures/{path.stem}", np.asarray(image.convert("RGB")), dataformats="HWC")
        run.experiment.add_text("status", f"{status}: {summary['reason']}" if summary.get("reason") else status)
        if numbers := {key: value for key, value in summary.items() if isinstance(value, int | float)}:
            run.log_hyperparams(self.config(), numbers)
        run.finalize("success")

    def let_go(self, run: Any) -> None:
        run.finalize("failed")


class Csv(Lightnings):
    """Rows of metrics.csv by training step and epoch, the config in hparams.yaml, the end in summary.yaml."""

    title = "CSV"

    def start(self) -> Any:
        from lightning.pytorch.loggers import CSVLogger

        place = self.place("csv")
        before = list(rows(place / "metrics.csv"))
        (place / "metrics.csv").unlink(missing_ok=True)
        run = CSVLogger(str(place), name="", version="")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
            run.log_hyperparams(self.config())
        run.experiment.metrics += before
        self.resumed = bool(before)
        return run

    def send(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        rows = run.experiment.metrics
        if self.resumed and step is not None:  # what was done after the last checkpoint is done again
            rows[:], self.resumed = [row for row in rows if int(row["step"]) < step], False
        run.log_metrics(metrics, step)
        run.save()

    def close(self, run: Any, status: str, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        run.save()
        folder = Path(run.log_dir)
        (folder / "figures").mkdir(exist_ok=True)
        for path in pictures:
            write_bytes(folder / "figures" / path.name, path.read_bytes())
        write_text(folder / "summary.yaml", yaml.safe_dump({"status": status, **summary}, sort_keys=False))


def rows(path: Path) -> Iterator[dict[str, str]]:
    """What a file of Lightning's CSV logger holds, nothing where there is none."""
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if (row.get("step") or "").isdecimal():
                    yield {key: value for key, value in row.items() if value}


class Mlflow(Lightnings):
    """A run in a store of MLflow's; the config as parameters, pictures as artifacts."""

    title = "MLflow"

    def start(self) -> Any:
        for variable, value in MLFLOW.items():
            os.environ.setdefault(variable, value)
        with unchanged("MLFLOW_TRACKING_URI"):
            try:
                return self.open()
            except Exception:  # a run that started at the same moment has made the experiment
                return self.open()

    def open(self) -> Any:
        from lightning.pytorch.loggers import MLFlowLogger

        folder, given = self.node["folder"], os.environ.get("MLFLOW_TRACKING_URI", "")
        local = Path(folder).expanduser() if folder else self.record.folder / "mlflow"
        store = given if given and not folder else "file://" + quote(str(local.resolve()))
        experiment = self.node["experiment"] or os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.sweep or PROJECT
        tags = {"job_type": "train", "tags": ",".join(described(self.record)["tags"])}
        tags |= {"group": self.sweep} if self.sweep else {}
        known = self.known(store)
        run = MLFlowLogger(experiment, self.record.folder.name, store, tags=tags, run_id=known)
        client, name = run.experiment, run.run_id
        if known:
            client.update_run(known, status="RUNNING")
        else:
            run.log_hyperparams(self.config())
            client.log_artifact(name, str(self.record.folder / "config.yaml"))
            self.id_file.parent.mkdir(exist_ok=True)
            write_text(self.id_file, f"{name}\n")
        return run

    @property
    def id_file(self) -> Path:
        """Where MLflow's name of the run is kept, so that a resume goes on in the same one."""
        return self.record.folder / "mlflow" / "id"

    def known(self, store: str) -> str | None:
        """MLflow's name of a run that is resumed, None where the store has none."""
        from mlflow.tracking import MlflowClient

        if not self.id_file.is_file() or not re.fullmatch(r"\w{1,64}", name := self.id_file.read_text().strip()):
            return None
        with contextlib.suppress(Exception):
            return str(MlflowClient(store).get_run(name).info.run_id)
        return None

    def close(self, run: Any, status: str, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        client, name = run.experiment, run.run_id
        numbers = {key: value for key, value in summary.items() if isinstance(value, int | float)}
        run.log_metrics(numbers)
        for path in pictures:
            client.log_artifact(name, str(path), "figures")
        client.set_tag(name, "status", status)
        if summary.get("reason"):
            client.set_tag(name, "reason", str(summary["reason"])[:5000])
        client.set_terminated(name, ENDED.get(status, "FAILED"))


@contextlib.contextmanager
def unchanged(variable: str) -> Iterator[None]:
    """Let an environment variable be afterwards what it was before: MLflow sets its own, for whatever comes next."""
    before = os.environ.get(variable)
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before


LIGHTNINGS: dict[str, type[Lightnings]] = {"tensorboard": TensorBoard, "csv": Csv, "mlflow": Mlflow}


def check_loggers(logger: Mapping[str, Any]) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        InputError: naming what to install.
    """
    for name in logger:
        if name in PACKAGES and find_spec(name) is None:
            raise InputError(f"logger={name} needs the package {PACKAGES[name]}: pip install {PACKAGES[name]}")


def make_loggers(config: Mapping[str, Any], record: RunRecord, sweep: str | None) -> list[Late]:
    """The loggers that a config asks for, none of them started."""
    wandb = make_wandb_logger(config, record, sweep)
    own = [LIGHTNINGS[name](record, node, sweep) for name, node in config["logger"].items() if name in LIGHTNINGS]
    return [*([wandb] if wandb else []), *own]
