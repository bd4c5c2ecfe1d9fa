"""Pieces of cortical microcircuits: layers of rates, the way from one to the next, and two feedback pathways.

A rate network is a chain of stages; e is the event rate of a stage, [B, N] or [B, C, H, W], x what reaches its weight:
    x = pass(e_below),  e = sigma(W x + b)                     pass: flatten and average pools, which learn nothing
Feedback from the stage above travels the same way backwards, through weights of W's shape:
    down(signal, V) = pass^T(V^T signal)                       with V = W_above it is what backpropagation sends
and it comes twice, from bursts through a facilitating pathway Y and from events through a depressing pathway Q:
    v = down(burst_rate, Y) - down(event_rate, Q)              apical potential: 0 where Q's part cancels Y's
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snnlab.errors import InputError
from snnlab.layers.chain import Chain
from snnlab.layers.network import Network
from snnlab.weights.weight import Weight


class EventRate(nn.Sigmoid):
    """Event rates e = sigma(v) of somatic potentials v, both [B, ...]; 0 < e < 1."""

    def slope(self, rate: Tensor) -> Tensor:
        """d sigma/dv, as a function of the rate."""
        return rate * (1 - rate)

    def gate(self, rate: Tensor) -> Tensor:
        """h = slope / rate: how strongly apical input moves the burst probability."""
        return 1 - rate


@dataclass
class Stage:
    """One layer of rates with what feeds it: layers that pass on what they get, a weight, the rates."""

    name: str  # of the weight
    passing: list[nn.Module]
    weight: Weight
    rate: EventRate

    def gather(self, below: Tensor) -> Tensor:
        """x: what reaches the weight, of the rates (or the input) below."""
        for layer in self.passing:
            below = layer(below)
        return below

    def down(self, signal: Tensor, weight: Tensor, x: Tensor, below: Tensor) -> Tensor:
        """Send ``signal`` [B, units] of this stage down through ``weight``, of W's shape, to the shape of ``below``."""
        arrived = self.weight.back(signal, x, weight)
        inputs = [below]
        for layer in self.passing:
            inputs.append(layer(inputs[-1]))
        for layer, source in zip(reversed(self.passing), reversed(inputs[:-1]), strict=True):
            arrived = transposed(layer, arrived, source)
        return arrived


class Pathways(nn.Module):
    """Feedback weights from the stage above, each of the shape of its W: Y for bursts, Q for events.

    Args:
        shape: of both.
        burst, event: whether Y and Q have a storage of their own; where not, the method ties them to something else.
    """

    def __init__(self, shape: torch.Size, burst: bool = True, event: bool = True) -> None:
        super().__init__()
        self.Y = nn.Parameter(torch.zeros(shape)) if burst else None
        self.Q = nn.Parameter(torch.zeros(shape)) if event else None


def stages(network: Network, method: str) -> list[Stage]:
    """Return the stages of a network in order.

    Raises:
        InputError: when a layer is none of flatten, average pool, weight and rates.
    """
    found: list[Stage] = []
    for stage in Chain(network).stages(EventRate):
        for link in [*stage.before, *stage.between]:
            known = isinstance(link.layer, nn.Flatten | nn.AvgPool2d) and link in stage.before
            if not known and not isinstance(link.layer, nn.Identity):
                raise InputError(
                    f"method={method} trains a chain of weights and rates, and layer {link.name} of this model is "
                    f"{type(link.layer).__name__}; use model=mlp or small_conv with model.dropout=0"
                )
            if not side_by_side(link.layer):
                raise InputError(
                    f"method={method}: layer {link.name} of this model has windows that are not square and side by "
                    "side, which is not sent back"
                )
        if stage.weight is None or stage.weight.weight is None:
            continue  # layers behind the last rates, which learn nothing
        if stage.end is None:
            raise InputError(
                f"method={method}: no rates follow the weight {stage.weight.name} of this model; use model=mlp"
            )
        passing = [link.layer for link in stage.before if not isinstance(link.layer, nn.Identity)]
        rate: Any = stage.end.layer
        found.append(Stage(stage.weight.name, passing, stage.weight.weight, rate))
    return found


def side_by_side(layer: nn.Module) -> bool:
    """Whether a pool has square windows that tile its input; other layers have none."""
    if not isinstance(layer, nn.AvgPool2d):
        return True
    sizes = [layer.kernel_size, layer.stride, layer.padding]
    kernel, stride, padding = ({*size} if isinstance(size, tuple) else {size} for size in sizes)
    return len(kernel) == 1 and stride == kernel and padding == {0} and not layer.ceil_mode


def transposed(layer: nn.Module, signal: Tensor, source: Tensor) -> Tensor:
    """Send ``signal`` back through a layer without weights, to the shape of its input ``source``."""
    if isinstance(layer, nn.AvgPool2d):
        kernel = int(layer.kernel_size)  # type: ignore[arg-type]
        spread = signal.repeat_interleave(kernel, -1).repeat_interleave(kernel, -2) / kernel**2
        rows, columns = (source.shape[axis] - spread.shape[axis] for axis in (-2, -1))
        return nn.functional.pad(spread, (0, columns, 0, rows))  # what did not fill a window was not pooled
    return signal.reshape(source.shape)
