"""W&B starts after the first training step and leaves the run's numbers alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from snnlab.runs.wandb_run import LateWandb, StartAfterFirstStep, make_wandb_logger


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
        return SimpleNamespace(log_metrics=lambda metrics, step: events.append(f"log {step}"), finalize=events.append)

    line, late = fit(start, events, tmp_path)
    assert events == ["step", "start", "step", "step", "log 2", "success"]
    assert late.seconds > 0
    without, _ = fit(lambda: None, [], tmp_path)
    assert torch.equal(line.layer.weight, without.layer.weight)


def test_one_that_cannot_start_is_asked_once(tmp_path: Any) -> None:
    asked: list[str] = []
    _, late = fit(lambda: asked.append("start"), [], tmp_path)
    assert asked == ["start"]
    assert late.logger() is None


def test_off_is_off() -> None:
    assert make_wandb_logger({"logger": {"name": "none"}}, None, None) is None  # type: ignore[arg-type]
