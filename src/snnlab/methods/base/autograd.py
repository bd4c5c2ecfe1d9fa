"""The family that follows a gradient: Lightning steps the optimizer along that of ``loss``, by autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
            scores, penalty = self.penalised(frames)
            loss = self.loss(scores, batch.labels) + penalty
        self.log_scores("train", scores, batch.labels, loss)
        return loss

    def penalised(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of frames [T, B, ...], and the penalty of the hidden layers on the way."""
        regularizer: Any = self.regularizer
        hidden = self.network.neurons()
        hidden.pop(list(self.network.leaves())[-1], None)  # the readout is no hidden layer
        reads_states = getattr(regularizer, "reads_states", False)
        if not reads_states and all(neuron.sends == "spikes" for neuron in hidden.values()):
            with self.network.observe() as seen:
                scores = self.scores(frames)
            return scores, regularizer({name: spikes for name, spikes in seen.items() if name in hidden})
        outputs, record = self.network.unroll(frames)  # of values sent, the events and their gradient lie in the states
        scores = self.score_of(outputs)
        found = {name: record[name] for name in hidden}
        events = {
            name: spikes if hidden[name].sends == "spikes" else state.spikes for name, (spikes, state) in found.items()
        }
        penalty = regularizer(events)
        if reads_states:
            penalty = penalty + regularizer.of_states({name: state.v for name, (_, state) in found.items()})
        return scores, penalty
