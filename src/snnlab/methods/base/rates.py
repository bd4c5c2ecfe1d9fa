"""The family without time: one frame of rates [1, B, ...], the mean of the encoded samples, and no spikes to count."""

from __future__ import annotations

from torch import Tensor

from snnlab.data.contract import Batch
from snnlab.methods.base.method import Method
from snnlab.metrics.multiply_accumulates import multiply_accumulates


class Rates(Method):
    """Stands before the family that trains: ``class X(Rates, Autograd)``. The test counts multiply-accumulates.

    Every weight multiplies once, whatever its input is.
    """

    operations: float = 0.0  # multiply-accumulates of one inference

    @property
    def spiking_input(self) -> bool:
        return False

    def frames(self, batch: Batch) -> Tensor:
        """The mean over time, [1, B, ...]: a still image, or the rates of spikes or events."""
        return self.encoded(batch).mean(0, keepdim=True)

    def observed_scores(self, frames: Tensor) -> Tensor:
        macs = multiply_accumulates(self.network, frames[0])
        self.operations = sum(macs.values())
        if self.cost.macs is None:
            self.cost.memory.update(self.network)
            self.cost.look_at(self.network, macs)
        return self.scores(frames)

    def on_test_epoch_end(self) -> None:
        self.log("test/multiply_accumulates", self.operations)
        energy = self.cost.values()["ann_energy_joule"]
        self.log("test/energy_joule", energy)
        self.log_cost("sparsity/connections", "memory_bytes/weights")
