"""The figures of every epoch: metrics.csv, the learning curves and run.json are made from them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import lightning as L

from snnlab.atomic import write_text


class History(L.Callback):
    """Collect what was logged in each epoch, rewrite metrics.csv after it, and survive a resume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self.samples = 0

    @property
    def epochs(self) -> int:
        return len(self.rows)

    def at(self, epoch: int) -> dict[str, float]:
        """Metrics of one epoch, by their logged names."""
        return {key: value for key, value in self.rows[epoch].items() if key != "epoch"}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.samples += pl_module.data.question.size(batch.labels)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        logged = {key: float(value) for key, value in sorted(trainer.callback_metrics.items()) if "/" in key}
        if not logged:  # a resume first ends the epoch whose checkpoint it took up, which is in metrics.csv already
            return
        del self.rows[trainer.current_epoch :]
        self.rows.append({"epoch": trainer.current_epoch, **logged})
        self.write()

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """A run that does not train is validated once, as its epoch 0."""
        if trainer.state.fn == "validate":
            self.rows = [{"epoch": 0, **{k: float(v) for k, v in sorted(trainer.callback_metrics.items()) if "/" in k}}]
            self.write()

    def write(self) -> None:
        columns = sorted({key for row in self.rows for key in row} - {"epoch"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", *columns])
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "metrics.csv", text.getvalue())

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """After a resume, take back the epochs that were run before."""
        path = self.folder / "metrics.csv"
        if path.is_file() and not self.rows:
            with path.open() as file:
                for row in csv.DictReader(file):
                    self.rows.append({k: float(v) if k != "epoch" else int(v) for k, v in row.items() if v})
