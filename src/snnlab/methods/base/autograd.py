"""The family that follows a gradient: Lightning steps the optimizer along that of ``loss``, by autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from snnlab.data.contract import Batch
from snnlab.methods.base.method import Method

Regularizer = Callable[[Mapping[str, Tensor]], Tensor]  # spikes [T, B, ...] by layer -> a term of the training loss


class Autograd(Method):
    """loss(scores) + regularizer(spikes of the hidden layers), differentiated through the whole sequence."""

    regularizer: Regularizer | None = None  # None adds nothing

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        frames = self.frames(batch)
        if self.regularizer is None:
            scores = self.scores(frames)
            loss = self.loss(scores, batch.labels)
        else:
            with self.network.observe() as seen:
                scores = self.scores(frames)
            last = list(self.network.leaves())[-1]  # the readout is no hidden layer
            penalty = self.regularizer({name: spikes for name, spikes in seen.items() if name != last})
            loss = self.loss(scores, batch.labels) + penalty
        self.log_scores("train", scores, batch.labels, loss)
        return loss
