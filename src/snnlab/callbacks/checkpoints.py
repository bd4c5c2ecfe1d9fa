"""One checkpoint per epoch; the best on validation is the one that is tested, the last where nothing is validated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from snnlab.errors import RunFailure


class EpochCheckpoints(ModelCheckpoint):
    """Save ``checkpoints/epoch000.ckpt``, ... and know which had the best ``metric`` (the earlier one of equals).

    Without ``validated`` there is no metric, and the last epoch is the one.
    """

    def __init__(self, folder: Path, metric: str, mode: Literal["min", "max"], validated: bool = True) -> None:
        super().__init__(
            dirpath=folder / "checkpoints",
            filename="epoch{epoch:03d}",
            auto_insert_metric_name=False,
            monitor=metric if validated else None,
            mode=mode,
            save_top_k=-1,
            save_on_train_epoch_end=not validated,
            save_weights_only=False,
        )

    def best(self) -> Path:
        """Path of the checkpoint chosen on validation data."""
        if not self.best_model_path:
            raise RunFailure(
                f"no epoch was completed and validated on {self.monitor}, so there is nothing to test; "
                "check trainer.max_epochs and trainer.limit_val_batches"
            )
        return Path(self.best_model_path)

    def only(self, trainer: L.Trainer) -> Path:
        """Save the weights of a run that does not train, as those of its epoch 0, and return their path."""
        path = Path(str(self.dirpath)) / "epoch000.ckpt"
        trainer.save_checkpoint(path)
        return path


class CheckpointOnInterrupt(L.Callback):
    """Write ``checkpoints/interrupted.ckpt`` when a run is stopped by hand or by an error.

    ``resume`` goes on from the last whole epoch, which repeats the run to the bit; this file is for a look inside.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            trainer.save_checkpoint(self.folder / "checkpoints" / "interrupted.ckpt")
