"""TensorBoard, CSV and MLflow beside the record: what arrives there, a resume included; none takes a run down."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnlab.callbacks.history import History
from snnlab.config.compose import compose
from snnlab.config.line import expand_sweeps
from snnlab.errors import InputError
from snnlab.runs import loggers, wiring
from snnlab.runs.identity import identity

TINY = ["method=stbp", "data=digits", "callbacks.progress=false", "callbacks.health=false", "kernels=step"]
TINY += ["model.hidden=[4]", "encoder.time_steps=2", "trainer.max_epochs=2"]
TINY += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
NAMES = ("tensorboard", "csv", "mlflow")
EVERY = f"logger=[{','.join(NAMES)}]"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    """Run TINY with options; return its folder and what was warned of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def one_picture(self: Any, *_: Any) -> list[Path]:
        from PIL import Image

        Image.new("RGB", (3, 2), (255, 0, 0)).save(self.folder / "rates.png")
        return [self.folder / "rates.png"]

    monkeypatch.setattr("snnlab.callbacks.figures.Figures.draw", one_picture)
    monkeypatch.setattr(
        "snnlab.callbacks.figures.Figures.__init__",
        lambda self, folder, *_, **__: setattr(self, "folder", folder / "figures"),
    )

    def run(*options: str) -> tuple[Path, list[str]]:
        caplog.clear()
        folder = wiring.run(compose([*TINY, *options])).folder
        return folder, [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name == "snnlab"]

    return run


class Held:
    """What one logger holds of a run: curves by name as (axis, value), the config, pictures, how the run ended."""

    def __init__(self, name: str, place: Path) -> None:
        self.curves: dict[str, list[tuple[int, float]]] = {}
        getattr(self, name)(place)

    def tensorboard(self, place: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(place)).Reload()
        for tag in found.Tags()["scalars"]:
            self.curves[tag] = [(event.step, event.value) for event in found.Scalars(tag)]
        text = found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
        self.config, self.pictures = yaml.safe_load(text), found.Tags()["images"]
        self.status = found.Tensors("status/text_summary")[-1].tensor_proto.string_val[0].decode()

    def csv(self, place: Path) -> None:
        with (place / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                for key, value in row.items():
                    axis = row["step" if key.startswith("learning_rate") else "epoch"]
                    if value and key not in ("epoch", "step"):
                        self.curves.setdefault(key, []).append((int(axis), float(value)))
        self.config = yaml.safe_load((place / "hparams.yaml").read_text())
        self.pictures = [f"figures/{path.stem}" for path in (place / "figures").glob("*.png")]
        self.status = yaml.safe_load((place / "summary.yaml").read_text())["status"]

    def mlflow(self, place: Path) -> None:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"file://{place.resolve()}")
        (self.run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
        for key in self.run.data.metrics:
            history = client.get_metric_history(self.run.info.run_id, key)
            self.curves[key] = [(metric.step, metric.value) for metric in history]
        self.config = self.run.data.params
        self.pictures = [
            Path(file.path).with_suffix("").as_posix()
            for file in client.list_artifacts(self.run.info.run_id, "figures")
        ]
        self.status = self.run.data.tags["status"]
        kinds = {"completed": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
        assert self.run.info.status == kinds[self.status]


def check(held: Held, folder: Path) -> None:
    """A completed run of two epochs is whole in a logger, no figure twice at one place of its axis."""
    metrics = json.loads((folder / "run.json").read_text())["metrics"]
    for name in ("train/loss", "val/accuracy"):
        assert dict(held.curves[name]).keys() == {0, 1}
    assert held.curves["learning_rate"][0] == (1, pytest.approx(0.001))
    assert held.curves["learning_rate"][-1] == (3, pytest.approx(0.0005))
    assert held.curves["test/accuracy"][-1][1] == pytest.approx(metrics["test"]["accuracy"])
    assert float(held.config["method.optimizer.lr"]) == 0.001 and held.config["data"] == "digits"
    assert held.pictures == ["figures/rates"] and held.status == "completed"


def test_metrics_learning_rate_config_and_a_picture_are_in_each(train: Any) -> None:
    folder, warned = train(EVERY)
    assert not warned
    for name in NAMES:
        check(Held(name, folder / name), folder)


def test_runs_share_a_folder_of_the_users(train: Any, tmp_path: Path) -> None:
    places = [f"logger.{name}.folder={tmp_path}/all {name}" for name in NAMES]
    first, _ = train(EVERY, *places)
    second, warned = train(EVERY, *places, "seed=1")
    assert not warned
    for name in ("tensorboard", "csv"):
        for folder in (first, second):
            check(Held(name, tmp_path / f"all {name}" / folder.name), folder)
            assert not (folder / name).exists()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"file://{tmp_path}/all mlflow")
    (experiment,) = [e for e in client.search_experiments() if e.name == "snnlab"]
    names = {run.info.run_name for run in client.search_runs([experiment.experiment_id])}
    assert names == {first.name, second.name}


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("no"), "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_does_not_end_well_says_so_and_goes_on_in_the_same_place(
    train: Any, monkeypatch: Any, error: Any, status: str
) -> None:
    write = History.write

    def breaks(self: History) -> None:
        write(self)
        if self.epochs == 2:
            raise error

    monkeypatch.setattr(History, "write", breaks)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        train(EVERY)
    (folder,) = Path("outputs").iterdir()
    before = {name: Held(name, folder / name) for name in NAMES}
    assert {held.status.split(":")[0] for held in before.values()} == {status}
    monkeypatch.setattr(History, "write", write)
    again, warned = train(EVERY, "resume=auto")
    assert again.samefile(folder) and not warned
    for name in NAMES:
        check(held := Held(name, folder / name), folder)
        if name == "csv":
            assert [axis for axis, _ in held.curves["learning_rate"]] == [1, 3]
    assert held.run.info.run_id == before["mlflow"].run.info.run_id


# what goes wrong -----------------------------------------------------------------------------------------------------
def measured(folder: Path) -> Any:
    content = json.loads((folder / "run.json").read_text())
    assert content["status"] == "completed"
    return content["metrics"]


def test_a_folder_that_cannot_be_written_costs_one_warning_each(train: Any, tmp_path: Path) -> None:
    twin, _ = train("logger=none")
    (tmp_path / "file").write_text("no folder")
    folder, warned = train(EVERY, *(f"logger.{name}.folder={tmp_path}/file" for name in NAMES))
    assert [line.split(" could not start (")[0] for line in warned] == ["TensorBoard", "CSV", "MLflow"]
    assert all("\n" not in line for line in warned)
    assert measured(folder) == measured(twin)


@pytest.mark.parametrize("name", NAMES)
def test_one_that_breaks_in_the_middle_costs_one_warning(train: Any, monkeypatch: Any, name: str) -> None:
    twin, _ = train("logger=none")
    write = History.write

    def breaks(self: History) -> None:
        write(self)

        def send(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(loggers.LIGHTNINGS[name], "send", send)

    monkeypatch.setattr(History, "write", breaks)
    folder, (warned,) = train(EVERY)
    assert "could not log ([Errno 28] No space left on device)" in warned
    assert measured(folder) == measured(twin)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_package_that_is_missing_is_said_before_anything_is_made(train: Any, monkeypatch: Any, name: str) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=f"logger={name} needs the package {loggers.PACKAGES[name]}: pip install"):
        train(f"logger=[csv,{name}]")
    assert not Path("outputs").exists()


# how they are chosen -------------------------------------------------------------------------------------------------
def test_a_list_of_loggers_is_no_sweep_and_no_part_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /logger: [csv, tensorboard]\n"
    )
    line = ["method=stbp", "data=digits", "logger=[wandb,csv]"]
    both = compose(line).plain()["logger"]
    assert both["name"] == "wandb" and both["csv"] == {"folder": None}
    assert expand_sweeps([*line, "seed=0,1"]) == [[*line, "seed=0"], [*line, "seed=1"]]
    assert set(compose(["experiment=mine", "data=digits"], tmp_path).plain()["logger"]) == {"csv", "tensorboard"}
    assert set(compose([*line, "experiment=mine"], tmp_path).plain()["logger"]) == {*both}
    one = compose(["method=stbp", "data=digits", "logger=mlflow", "logger.mlflow.folder=a,b"]).plain()
    assert one["logger"]["mlflow"]["folder"] == "a,b"
    assert identity(one) == identity(compose(line).plain())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("logger=[csv,tensorbord]", "there is no such logger; nearest: tensorboard"),
        ("logger=[]", "needs a choice; choose one of csv, mlflow, none, tensorboard, wandb"),
        ("logger=[csv,3]", "needs a choice"),
        ("logger=[csv,csv]", r"each once, and none alone; e.g. logger=\[csv\]"),
        ("logger=[none,csv]", r"each once, and none alone; e.g. logger=\[csv\]"),
        ("logger=csv,mlflow", r"a list is written logger=\[csv,mlflow\]"),
        ("model=[mlp,lenet]", "needs a choice"),
        ("logger=csv +logger.csv.place=x", "logger.csv.place: there is no such key"),
        ("logger=csv logger.csv=3", "logger.csv: there is no such key"),
        ("logger=csv logger.csv.folder=''", "logger.csv.folder = '' must be text that is not empty or null"),
    ],
)
def test_what_is_no_choice_is_one_line(line: str, words: str) -> None:
    from snnlab.config.build import check_values

    with pytest.raises(InputError, match=words):
        check_values(compose(["method=stbp", "data=digits", *line.split()]).plain())
