"""W&B starts after the first training step, leaves the run's numbers alone, and never takes it down."""

from __future__ import annotations

import json
import logging
import os
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab.callbacks.history import History
from snnlab.config.compose import compose
from snnlab.evaluate.__main__ import main as evaluate
from snnlab.runs import wiring
from snnlab.runs.late import StartAfterFirstStep
from snnlab.runs.wandb_run import LateWandb, make_wandb_logger, run_id, start_wandb, wandb_mode

TINY = ["method=stbp", "data=digits", "callbacks.figures=false", "callbacks.progress=false", "callbacks.health=false"]
TINY += ["model.hidden=[4]", "encoder.time_steps=2", "trainer.max_epochs=2"]
TINY += [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]


class Line(L.LightningModule):
    """A line fitted to noise; ``events`` tells what happened in order."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.layer, self.events = nn.Linear(2, 1), events

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.events.append("step")
        loss = self.layer(batch + 0.1 * torch.randn(2)).pow(2).mean()
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(start: Any, events: list[str], tmp_path: Any) -> tuple[Line, LateWandb]:
    late = LateWandb(start)
    torch.manual_seed(0)
    line = Line(events)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=[late],
        callbacks=[StartAfterFirstStep(late)],
        default_root_dir=str(tmp_path),
        **quiet,
    )
    trainer.fit(line, torch.utils.data.DataLoader(torch.ones(6, 2), batch_size=2))
    return line, late


def test_starts_once_after_the_first_step_and_draws_no_number(tmp_path: Any) -> None:
    events: list[str] = []

    def start() -> Any:
        events.append("start")
        torch.rand(7), np.random.random(3)
        return SimpleNamespace(log=lambda row: events.append(f"log {row['trainer/global_step']} {sorted(row)[1]}"))

    line, late = fit(start, events, tmp_path)
    assert events == ["step", "start", "log 1 learning_rate", "step", "step", "log 2 train/loss"]
    assert late.seconds > 0
    without, _ = fit(lambda: None, [], tmp_path)
    assert torch.equal(line.layer.weight, without.layer.weight)


def test_one_that_cannot_start_is_asked_once(tmp_path: Any) -> None:
    asked: list[str] = []
    _, late = fit(lambda: asked.append("start"), [], tmp_path)
    assert asked == ["start"]
    assert late.run() is None


def test_off_is_off() -> None:
    assert make_wandb_logger({"logger": {"name": "none"}}, None, None) is None  # type: ignore[arg-type]


# what arrives --------------------------------------------------------------------------------------------------------
def records(folder: Path) -> Iterator[Any]:
    """The records of the one offline run below ``folder``, which W&B writes in LevelDB's log format."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # its process writes the last of it when it ends
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        piece, at = data[at + 7 : at + 7 + size], at + 7 + size
        whole = piece if kind in (1, 2) else whole + piece
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def items(group: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in group}


def exit_code(folder: Path) -> int:
    (code,) = [record.exit.exit_code for record in records(folder) if record.WhichOneof("record_type") == "exit"]
    return int(code)


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "summary":
            found |= items(record.summary.update)
    return found


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    """Run TINY with options; return its folder and what was warned of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)

    def run(*options: str) -> tuple[Path, list[str]]:
        caplog.clear()
        folder = wiring.run(compose([*TINY, *options])).folder
        return folder, [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING and r.name == "snnlab"]

    return run


def test_config_curves_learning_rate_and_evaluations_arrive(train: Any) -> None:
    folder, warned = train("logger.mode=offline")
    found = list(records(folder))
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    config = items(run.config.update)
    content = json.loads((folder / "run.json").read_text())
    assert (config["method"], config["data"], config["hardware"]) == ("stbp", "digits", "none")
    assert len(config["identity"]) == len(config["row"]) == 16 and config["method.optimizer.lr"] == 0.001
    assert not any(isinstance(value, dict) and value for key, value in config.items() if key != "_wandb")
    rows = [items(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
    rates = {row["epoch"]: row["learning_rate"] for row in rows if "learning_rate" in row}
    assert rates == {0: 0.001, 1: pytest.approx(0.0005)}  # cosine over two epochs
    axes = {(m.metric.name or m.metric.glob_name): m.metric.step_metric for m in found if m.HasField("metric")}
    assert axes["val/*"] == axes["train/*"] == axes["learning_rate*"] == "epoch" and "trainer/global_step" in axes
    assert summary(folder)["final/test/accuracy"] == content["metrics"]["test"]["accuracy"]
    assert summary(folder)["status"] == "completed" and exit_code(folder) == 0 and not warned
    assert evaluate([str(folder), "logger.mode=offline"]) == 0
    (evaluation,) = (folder / "evaluations").iterdir()
    assert summary(evaluation)["test/accuracy"] == content["metrics"]["test"]["accuracy"]
    (asked,) = [record.run for record in records(evaluation) if record.WhichOneof("record_type") == "run"]
    assert asked.job_type == "evaluation" and asked.run_group == folder.name == items(asked.config.update)["run"]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("no"), "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_does_not_end_well_says_so(train: Any, monkeypatch: Any, error: Any, status: str) -> None:
    def breaks(self: Any, *_: Any) -> None:
        raise error

    monkeypatch.setattr(History, "on_train_epoch_end", breaks)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        train("logger.mode=offline")
    (folder,) = Path("outputs").iterdir()
    assert summary(folder)["status"] == status == json.loads((folder / "run.json").read_text())["status"]
    assert exit_code(folder) == 1


# what goes wrong -----------------------------------------------------------------------------------------------------
def measured(folder: Path) -> Any:
    content = json.loads((folder / "run.json").read_text())
    assert content["status"] == "completed"
    return content["metrics"]


def test_its_process_may_die_in_the_middle(train: Any, monkeypatch: Any) -> None:
    def kill(self: Any) -> None:
        for path in Path("/proc").glob("[0-9]*/stat"):
            if "(wandb-core)" in (told := path.read_text()) and int(told.rpartition(")")[2].split()[1]) == os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)

    if not Path("/proc/self/stat").exists():
        pytest.skip("the processes of this system are not under /proc")
    twin, _ = train("logger=none")
    monkeypatch.setattr(History, "write", kill)
    folder, warned = train("logger.mode=offline")
    assert len(warned) == 1 and "W&B could not log (" in warned[0] and "\n" not in warned[0]
    assert measured(folder) == measured(twin)
    monkeypatch.undo()
    again, warned = train("logger.mode=offline", f"paths.output={folder.parent.resolve()}", "seed=1")
    assert not warned and exit_code(again) == 0  # the next job of a sweep has its own


def test_a_server_that_cannot_be_reached_leaves_an_offline_record(train: Any, monkeypatch: Any) -> None:
    import wandb

    real = wandb.init

    def init(**arguments: Any) -> Any:
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("Timed out.\nConsider a longer one")
        return real(**arguments)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    folder, warned = train()
    assert len(warned) == 1 and "W&B is offline (Timed out.); wandb sync " in warned[0]
    assert measured(folder) and exit_code(folder) == 0


@pytest.mark.parametrize("broken", ["import", "init", "mode"])
def test_without_any_w_and_b_there_is_one_warning(train: Any, monkeypatch: Any, broken: str) -> None:
    import wandb

    def init(**_: Any) -> None:
        raise RuntimeError("no")

    if broken == "import":
        monkeypatch.setitem(sys.modules, "wandb", None)
    elif broken == "init":
        monkeypatch.setattr(wandb, "init", init)
    else:
        monkeypatch.setenv("WANDB_MODE", "nonsense")
        wandb.teardown()
    folder, warned = train()
    assert len(warned) == 1 and "W&B could not start (" in warned[0] and measured(folder)


# what W&B's own variables say ----------------------------------------------------------------------------------------
@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", "/nowhere")
    monkeypatch.setenv("NETRC", "/nowhere/netrc")
    wandb.teardown()
    yield monkeypatch.setenv
    wandb.teardown()


@pytest.mark.parametrize(
    ("name", "value", "mode"),
    [("WANDB_MODE", mode, mode) for mode in ("online", "offline", "disabled", "dryrun", "shared")]
    + [("WANDB_DISABLED", "true", "disabled"), ("WANDB_NOTES", "", "offline")],
)
def test_the_mode_follows_its_variables_unless_the_config_names_one(variables: Any, name: str, value: str, mode: str):
    variables(name, value)
    assert wandb_mode("auto") == mode
    assert wandb_mode("offline") == "offline"


def test_what_its_variables_give_is_left_to_them(variables: Any, monkeypatch: Any, tmp_path: Path) -> None:
    import wandb

    asked: list[dict[str, Any]] = []
    run = SimpleNamespace(define_metric=lambda *_, **__: None)
    monkeypatch.setattr(wandb, "init", lambda **arguments: (asked.append(arguments), run)[1])
    logger = {"mode": "offline", "project": None, "group": None}
    start_wandb({"name": "run", "group": "sweep", "tags": ["a"]}, logger, tmp_path)
    variables("WANDB_DIR", str(tmp_path / "elsewhere"))
    variables("WANDB_PROJECT", "mine")
    variables("WANDB_NAME", "hers")
    start_wandb({"name": "run", "group": "sweep", "tags": ["a"]}, logger, tmp_path)
    start_wandb({"name": "run", "group": "sweep", "tags": ["a"]}, logger | {"project": "typed"}, tmp_path)
    first, second, third = asked
    assert (first["project"], first["dir"], first["name"], first["group"]) == ("snnlab", str(tmp_path), "run", "sweep")
    assert not {"project", "dir", "name"} & set(second) and second["tags"] == ["a"]
    assert third["project"] == "typed"
    assert first["id"] == second["id"] == run_id(tmp_path)  # a resume goes on in the same run
    (tmp_path / "wandb" / "id").write_text("../../etc/passwd")
    assert run_id(tmp_path) not in (first["id"], "../../etc/passwd")
    variables("WANDB_MODE", "disabled")
    wandb.teardown()
    assert start_wandb({}, logger | {"mode": "auto"}, tmp_path / "none") is None and not (tmp_path / "none").exists()
