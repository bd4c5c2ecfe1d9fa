"""The family that learns first and sets afterwards: something follows from the chosen weights and the training data.

Training and validation see the network as it learns. With the chosen weights ``finish`` sets the rest, once: when the
test starts, or when a stored run is opened.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from snnlab.data.contract import DataModule
from snnlab.methods.base.method import Method


class TwoPhase(Method):
    """Stands before the family that trains: ``class X(TwoPhase, Autograd)``."""

    needs_data = True

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the second phase is set."""

    @abstractmethod
    def finish(self, data: DataModule) -> None:
        """Set the second phase; it follows from weights and data alone, and leaves torch's generator as it was."""

    def on_test_start(self) -> None:
        if not self.finished:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.finish(data)

    def opened(self, data: DataModule) -> None:
        self.finish(data)
