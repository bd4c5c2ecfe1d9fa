"""A run that meets a value that is not finite fails at once, and says where: it never hides behind a threshold.

Looked at: the samples and targets of every batch, parameters and buffers, the outputs of weights and the membranes of
every layer (kernels/watch.py), the loss. On the CPU they are read with every batch, samples before anything learns from
them; elsewhere a read makes the device wait, so they are read once in ``EVERY`` batches and at the end of each epoch.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from snnlab import kernels
from snnlab.data.loader import EpochBatches
from snnlab.errors import RunFailure
from snnlab.methods.base.finite import broken_parameter, held, name_of

EVERY = 50  # batches between two reads of a device
PARAMETERS = 10  # batches between two looks at the parameters: what is not finite there stays so

SAMPLES = "the samples"


class Finite(L.Callback):
    """See the docstring of this file.

    Raises:
        RunFailure: naming the sample, the parameter or the layer.
    """

    def __init__(self) -> None:
        self.watch = kernels.Watch()
        self._open: Any = None
        self._held: list[tuple[str, Tensor]] = []  # parameters and buffers, looked up once an epoch

    # before -----------------------------------------------------------------------------------------------------------
    def begin(self, trainer: L.Trainer, module: Any, split: str, batch: Any, batch_idx: int) -> None:
        """Notice the batch and what is made of it."""
        self.close()
        if batch_idx == 0 or not self._held:  # a resumed epoch begins anywhere
            self._held = list(held(module))
            if (found := broken_parameter(module)) is not None:
                raise RunFailure(f"{found} before the first batch of {split}: {WAYS}")
        self._open = kernels.watching(self.watch)
        self._open.__enter__()
        self.watch.notice(SAMPLES, *(part for part in batch if isinstance(part, Tensor)))
        if kernels.read_freely(module.device):
            self.ask(trainer, module, split, batch_idx)

    # after ------------------------------------------------------------------------------------------------------------
    def end(self, trainer: L.Trainer, module: Any, split: str, batch_idx: int, last: bool) -> None:
        """Ask the watch where it is time to."""
        if last or batch_idx % PARAMETERS == 0:
            for name, tensor in self._held:
                self.watch.notice(name, tensor)
        if last or kernels.read_freely(module.device) or batch_idx % EVERY == EVERY - 1:
            self.ask(trainer, module, split, batch_idx)
        self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None

    # asking -----------------------------------------------------------------------------------------------------------
    def ask(self, trainer: L.Trainer, module: Any, split: str, batch_idx: int) -> None:
        """Raise RunFailure where something was not finite since the last time."""
        key = self.watch.first()
        if key is None:
            return
        self.close()
        when = f"at step {module.global_step} ({split}, batch {batch_idx})"
        if (sample := broken_sample(trainer, split, batch_idx)) is not None:
            raise RunFailure(
                f"{sample} of the {split} data is not finite: mend it or leave it out; the run stopped {when}"
            )
        if key == SAMPLES:
            raise RunFailure(f"a sample of the {split} data is not finite {when}: mend it or leave it out")
        raise RunFailure(f"{broken_parameter(module) or name_of(module, key) + ' is not finite'} {when}: {WAYS}")

    # hooks ------------------------------------------------------------------------------------------------------------
    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.begin(trainer, pl_module, "train", batch, batch_idx)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        if kernels.read_freely(pl_module.device):  # before the parameters are moved: a layer is the cause, not they
            self.ask(trainer, pl_module, "train", trainer.fit_loop.batch_idx)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.end(trainer, pl_module, "train", batch_idx, trainer.is_last_batch)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.begin(trainer, pl_module, "val", batch, batch_idx)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.end(trainer, pl_module, "val", batch_idx, batch_idx + 1 == trainer.num_val_batches[dataloader_idx])

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.begin(trainer, pl_module, "test", batch, batch_idx)

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.end(trainer, pl_module, "test", batch_idx, batch_idx + 1 == trainer.num_test_batches[dataloader_idx])

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.close()


WAYS = (
    "training diverged or a number outgrew its bits; lower the learning rate, set trainer.gradient_clip_val=1, or take "
    "trainer.precision=32-true"
)


def broken_sample(trainer: L.Trainer, split: str, batch_idx: int) -> str | None:
    """The first sample that is not finite of those shown in this epoch, by its number in the split, or None.

    Slow: it reads the batches again, the newest first.
    """
    loader: Any = {
        "train": trainer.train_dataloader,
        "val": trainer.val_dataloaders,
        "test": trainer.test_dataloaders,
    }[split]
    sampler = getattr(loader, "sampler", None)
    if not isinstance(sampler, EpochBatches):
        return None
    for indices in reversed(list(sampler.of_epoch())[: batch_idx + 1]):
        shown = loader.dataset[indices]
        if all(bool(torch.isfinite(part).all()) for part in shown if isinstance(part, Tensor)):
            continue
        for index in indices:
            one = loader.dataset[[index]]
            for name, part in zip(one._fields, one, strict=True):
                if isinstance(part, Tensor) and not bool(torch.isfinite(part).all()):
                    return f"sample {index} ({name})"
    return None
