"""The norms of layers/batch_norm_through_time.py as a method offers them: one for every step, one for all, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from snnlab.data.contract import DataSpec
from snnlab.errors import InputError
from snnlab.layers.batch_norm_through_time import BatchNormThroughTime, SharedBatchNorm
from snnlab.layers.blocks import Blocks
from snnlab.neurons.neuron import Neuron

Norm = Literal["bntt", "shared", "none"]


class StepNorms:
    """Makes the norms of a network.

    Args:
        owner: class of the method, for messages.
        kind: bntt (a norm for every step), shared (one batch norm for all steps) or none.
        data, encoder: what says how many steps there are: the encoder for images, the data set for events.
        momentum, eps: of the norm.
        shift: whether norms learn an offset; those on a shortcut do in any case.

    Raises:
        ValueError: when ``kind`` is unknown.
    """

    def __init__(
        self,
        owner: str,
        kind: Norm,
        data: DataSpec,
        encoder: nn.Module | None,
        momentum: float = 0.1,
        eps: float = 1e-4,
        shift: bool = False,
    ) -> None:
        if kind not in ("bntt", "shared", "none"):
            raise ValueError(f"{owner}: norm = {kind!r} must be bntt, shared or none")
        self.kind, self.data, self.encoder = kind, data, encoder
        self.momentum, self.eps, self.shift = momentum, eps, shift

    def time_steps(self) -> int:
        """T, which the encoder chooses for images and the data set for events.

        Raises:
            InputError: when neither does.
        """
        source = self.data if self.encoder is None else self.encoder
        steps = getattr(source, "time_steps", None)
        if steps is None:
            raise InputError(
                f"data={self.data.name} does not fix its number of time steps, and method.norm=bntt keeps a norm for "
                "each; use method.norm=shared or method.norm=none"
            )
        return int(steps)

    def make(self, channels: int, shift: bool) -> nn.Module:
        if self.kind == "none":
            return nn.Identity()
        if self.kind == "shared":
            return SharedBatchNorm(channels, self.momentum, self.eps, shift)
        return BatchNormThroughTime(channels, self.time_steps(), self.momentum, self.eps, shift)


class NormedBlocks(Blocks):
    """Blocks with a norm behind each weight but the readout's.

    Args:
        neuron, readout_neuron, bias: as in Blocks.
        norms: makes the norms.
    """

    def __init__(
        self, neuron: Callable[..., Neuron], readout_neuron: Callable[..., nn.Module], bias: bool, norms: StepNorms
    ) -> None:
        super().__init__(neuron, readout_neuron, bias)
        self.norms = norms

    def norm(self, channels: int) -> nn.Module:
        return self.norms.make(channels, self.norms.shift)

    def shortcut_norm(self, channels: int) -> nn.Module:
        """With an offset, which S-ResNet's code leaves there whatever the other norms have."""
        return self.norms.make(channels, shift=True)
