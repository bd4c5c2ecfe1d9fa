"""The family that is online in time: own steps, from frames that come one after the other.

Images are encoded as their frames are needed, so that nothing of a sequence has to be kept but what the rule keeps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from snnlab.data.contract import Batch
from snnlab.methods.base.own_steps import OwnSteps


class Online(OwnSteps):
    """A method gives ``learn``, which shows a batch and steps on the way."""

    clips = True
    gradient_clip: float | None = None  # largest norm of the gradient at a step; None does not clip

    def clip(self, optimizer: Any) -> None:
        if self.gradient_clip is not None:
            self.clip_gradients(optimizer, self.gradient_clip, "norm")
        super().clip(optimizer)

    def stream(self, batch: Batch) -> Iterator[Tensor]:
        """Yield the frames [B, ...] of a batch; images are encoded as they are needed."""
        return iter(batch.inputs) if self.encoder is None else self.encoder.frames(batch.inputs)  # type: ignore[operator, no-any-return]

    def steps(self, batch: Batch) -> int:
        """T of a batch."""
        return len(batch.inputs) if self.encoder is None else int(self.encoder.time_steps)  # type: ignore[arg-type]

    @abstractmethod
    def learn(
        self, batch: Batch, backward: Callable[[Tensor], Any], take_step: Callable[[], Any]
    ) -> tuple[Tensor, Tensor]:
        """The method's algorithm on one batch; return scores [B, K] and the loss to report, both without gradient.

        Args:
            backward: adds the gradient of a scalar to ``.grad``.
            take_step: moves the parameters along ``.grad`` and clears it.
        """

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()

        def take_step() -> None:
            optimizer.step()
            optimizer.zero_grad()

        scores, loss = self.learn(batch, self.manual_backward, take_step)
        self.log_scores("train", scores, batch.labels, loss)
