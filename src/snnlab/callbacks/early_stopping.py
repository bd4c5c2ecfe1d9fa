"""``callbacks.early_stopping=N``: training ends once N validations in a row have brought no better figure.

The figure is the one that the checkpoint for the test is chosen by. What is waited for follows from the history alone,
which every checkpoint holds, so a resumed run stops where it would have stopped.
"""

from __future__ import annotations

from typing import Any

import lightning as L

from snnlab.callbacks.history import History


class EarlyStopping(L.Callback):
    """It stands behind ``history``, which it looks at after each epoch.

    Args:
        history: of the run's epochs.
        patience: N, at least 1.
    """

    def __init__(self, history: History, patience: int) -> None:
        self.history, self.patience = history, patience

    @property
    def stops(self) -> bool:
        """Whether N epochs were validated since the best one."""
        best = self.history.best()
        since = [row for row in self.history.rows if best is not None and row["epoch"] > best]
        return sum(self.history.metric in row for row in since) >= self.patience

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.look(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.look(trainer)

    def look(self, trainer: L.Trainer) -> None:
        if self.stops:
            trainer.should_stop = True
