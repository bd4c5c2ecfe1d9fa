"""The same topologies with rectified linear units: the reference without spikes, and what ``conversion`` converts.

    x = mean over t of the input        one pass, T = 1; a still image under direct coding is itself
    a_l = max(0, W_l a_{l-1} (+ b_l))   pools are averages
    L = cross-entropy of the readout's W a

Without biases, which is the default, a = W x scales with x, and thresholds can balance a spiking twin exactly.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnlab.data.contract import DataSpec
from snnlab.errors import InputError
from snnlab.layers.blocks import Blocks
from snnlab.methods.base.autograd import Autograd
from snnlab.methods.base.method import Model, Optimizer, Scheduler
from snnlab.methods.base.rates import Rates


class RectifiedBlocks(Blocks):
    """Rectified linear units in the place of neurons, a plain linear readout.

    Args:
        bias: whether weights carry a bias.
    """

    def __init__(self, bias: bool) -> None:
        self.bias = bias

    def neuron(self, features: int) -> nn.Module:
        return nn.ReLU()

    def recurrent(self, features: int) -> nn.Module:
        raise InputError("a recurrent layer needs time, and rectified units see one frame; use model=mlp or lenet")

    def readout(self, inputs: int, outputs: int) -> list[tuple[str, nn.Module]]:
        return [("readout_weight", self.linear(inputs, outputs))]


class ANN(Rates, Autograd):
    """A network of rectified linear units on the mean frame.

    Args:
        model, data, encoder, optimizer, scheduler: as in Method.
        bias: whether weights carry a bias; ``conversion`` takes networks without.
    """

    def __init__(
        self,
        model: Model,
        data: DataSpec,
        encoder: nn.Module | None,
        optimizer: Optimizer,
        scheduler: Scheduler | None = None,
        bias: bool = False,
    ) -> None:
        self.bias = bias
        super().__init__(model, data, encoder, optimizer, scheduler)

    def blocks(self) -> Blocks:
        return RectifiedBlocks(self.bias)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores, labels)
