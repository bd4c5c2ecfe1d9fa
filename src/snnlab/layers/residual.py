"""Two branches whose outputs are added: y = shortcut(x) + body(x).

Factors belong into a branch (layers/scale.py): x + alpha f(x / beta) has the body scale - f - scale.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from snnlab.layers.edges import Flow, Signal
from snnlab.layers.network import Composite, Network, States


class ResidualState(NamedTuple):
    """States of the two networks by layer."""

    shortcut: States
    body: States


class Residual(Composite):
    """Add the outputs of two networks that see the same input.

    Args:
        body: the long branch.
        shortcut: the short one; None passes the input through.

    Shapes: x [T, B, ...] -> y [T, B, ...], both branches alike.

    Raises:
        ValueError: when both branches use a name, or (at the first input) their outputs differ in shape.
    """

    shortcut: Network
    body: Network

    def __init__(self, body: Network, shortcut: Network | None = None) -> None:
        super().__init__(shortcut=Network([]) if shortcut is None else shortcut, body=body)

    def initial_state(self, current: Tensor) -> ResidualState:
        return ResidualState({}, {})  # each network makes its own when it is stepped

    def step(self, current: Tensor, state: ResidualState) -> tuple[Tensor, ResidualState]:
        short, shortcut = self.shortcut.step(current, state.shortcut)
        long, body = self.body.step(current, state.body)
        return self.add(short, long), ResidualState(shortcut, body)

    def forward(self, currents: Tensor) -> Tensor:
        short = self.shortcut(currents)
        return self.add(short, self.body(currents))

    def add(self, short: Tensor, long: Tensor) -> Tensor:
        if short.shape != long.shape:
            raise ValueError(
                f"Residual: the shortcut gives {list(short.shape)}, the body {list(long.shape)}; "
                "give the shortcut the body's channels and stride"
            )
        return short + long

    def flow(self, signal: Signal, enter: Flow) -> Signal:
        return enter(self.shortcut, signal).join(enter(self.body, signal))
