"""The figures of every epoch: metrics.csv, learning curves, run.json and the choice of the best epoch rest on them."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning as L

from snnlab import ranks
from snnlab.atomic import write_text


class History(L.Callback):
    """Collect what was logged in each epoch and rewrite metrics.csv after it.

    All of it is part of every checkpoint, so that a resumed run has the rows, the samples and the seconds of the epochs
    that it goes on from, and of no others.

    Args:
        folder: of the run.
        metric, mode: what the best epoch is chosen by; metric None: nothing is validated, and the last one is.
        idle: seconds so far in which something else than training was waited for.
    """

    def __init__(
        self,
        folder: Path,
        metric: str | None = None,
        mode: Literal["min", "max"] = "max",
        idle: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.folder, self.metric, self.mode, self.idle = folder, metric, mode, idle
        self.rows: list[dict[str, float]] = []
        self.samples = 0
        self.before = 0.0  # seconds of the parts before this one
        self.started: float | None = None
        self.validated = False  # whether this epoch was
        self.of_validation: set[str] = set()  # what validation logs; it stands still in an epoch without one
        self.known: set[str] = set()

    @classmethod
    def of(cls, folder: Path, checkpoint: dict[str, Any]) -> History:
        """The history in a checkpoint."""
        history = cls(folder)
        history.load_state_dict(checkpoint["callbacks"]["History"])
        return history

    @property
    def epochs(self) -> int:
        return len(self.rows)

    @property
    def last(self) -> int:
        """The last epoch that has a row, -1 before there is one."""
        return int(self.rows[-1]["epoch"]) if self.rows else -1

    def at(self, epoch: int) -> dict[str, float]:
        """Metrics of one epoch, by their logged names."""
        (row,) = (row for row in self.rows if row["epoch"] == epoch)
        return {key: value for key, value in row.items() if key != "epoch"}

    def best(self) -> int | None:
        """The epoch with the best ``metric``, the earlier one of equals; None where no epoch has it."""
        if self.metric is None:
            return None if not self.rows else self.last
        found = {int(row["epoch"]): row[self.metric] for row in self.rows if self.metric in row}
        found = {epoch: value for epoch, value in found.items() if not math.isnan(value)}
        choose = min if self.mode == "min" else max
        return choose(found, key=lambda epoch: found[epoch]) if found else None

    def seconds(self) -> float:
        """Of training, over all parts of the run."""
        return self.before + (0.0 if self.started is None else time.perf_counter() - self.started - self.idle())

    # what a checkpoint holds ------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        kept = {"rows": self.rows, "samples": self.samples, "seconds": self.seconds()}
        return kept | {"of_validation": sorted(self.of_validation), "metric": self.metric, "mode": self.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [dict(row) for row in state_dict["rows"]]
        self.samples, self.before = state_dict["samples"], state_dict["seconds"]
        self.of_validation = set(state_dict["of_validation"])
        self.metric, self.mode = state_dict["metric"], state_dict["mode"]

    # what is logged ---------------------------------------------------------------------------------------------------
    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """A kill may have left a metrics.csv that knows more, or less, than the checkpoint."""
        if self.rows and trainer.is_global_zero:
            self.write()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.validated = False

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.samples += ranks.whole(pl_module.data.question.size(batch.labels))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.known = set(trainer.callback_metrics)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """A run that does not train is validated once, as its epoch 0."""
        if not trainer.sanity_checking:
            self.validated = True
            self.of_validation |= set(trainer.callback_metrics) - self.known
        if trainer.state.fn == "validate":
            self.add(0, trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """An epoch that was cut short (trainer.max_time) is none."""
        if trainer.is_last_batch:
            self.add(trainer.current_epoch, trainer)

    def add(self, epoch: int, trainer: L.Trainer) -> None:
        logged = {key: float(value) for key, value in sorted(trainer.callback_metrics.items()) if "/" in key}
        stale = set() if self.validated else self.of_validation
        self.rows.append({"epoch": epoch, **{key: value for key, value in logged.items() if key not in stale}})
        if trainer.is_global_zero:
            self.write()

    def write(self) -> None:
        columns = sorted({key for row in self.rows for key in row} - {"epoch"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", *columns])
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "metrics.csv", text.getvalue())

    def read(self) -> None:
        """Take the rows back from metrics.csv."""
        with (self.folder / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                self.rows.append({k: float(v) if k != "epoch" else int(v) for k, v in row.items() if v})
