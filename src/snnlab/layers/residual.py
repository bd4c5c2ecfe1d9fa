"""Two branches whose outputs are joined.

    add     y = shortcut(x) + body(x)
    and     y = shortcut(x) * body(x)           of spikes: where both fire
    iand    y = shortcut(x) * (1 - body(x))     of spikes: where the shortcut fires and the body does not

The three are the element-wise functions of Fang et al. 2021 (arXiv:2102.04159), whose S is the shortcut and A the body.
Factors belong into a branch (layers/scale.py): x + alpha f(x / beta) has the body scale - f - scale.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from snnlab.layers.edges import Flow, Signal
from snnlab.layers.network import Composite, Network, States

Join = Literal["add", "and", "iand"]


class ResidualState(NamedTuple):
    """States of the two networks by layer."""

    shortcut: States
    body: States


class Residual(Composite):
    """Join the outputs of two networks that see the same input.

    Args:
        body: the long branch.
        shortcut: the short one; None passes the input through.
        join: how, see above.

    Shapes: x [T, B, ...] -> y [T, B, ...], both branches alike.

    Raises:
        ValueError: when ``join`` is unknown, both branches use a name, or (at the first input) their outputs differ
            in shape.
    """

    shortcut: Network
    body: Network

    def __init__(self, body: Network, shortcut: Network | None = None, join: Join = "add") -> None:
        if join not in ("add", "and", "iand"):
            raise ValueError(f"Residual: join = {join!r} must be add, and or iand")
        super().__init__(shortcut=Network([]) if shortcut is None else shortcut, body=body)
        self.join = join

    def initial_state(self, current: Tensor) -> ResidualState:
        return ResidualState({}, {})  # each network makes its own when it is stepped

    def step(self, current: Tensor, state: ResidualState) -> tuple[Tensor, ResidualState]:
        short, shortcut = self.shortcut.step(current, state.shortcut)
        long, body = self.body.step(current, state.body)
        return self.joined(short, long), ResidualState(shortcut, body)

    def forward(self, currents: Tensor) -> Tensor:
        short = self.shortcut(currents)
        return self.joined(short, self.body(currents))

    def joined(self, short: Tensor, long: Tensor) -> Tensor:
        if short.shape != long.shape:
            raise ValueError(
                f"Residual: the shortcut gives {list(short.shape)}, the body {list(long.shape)}; "
                "give the shortcut the body's channels and stride"
            )
        if self.join == "add":
            return short + long
        return short * (long if self.join == "and" else 1 - long)

    def flow(self, signal: Signal, enter: Flow) -> Signal:
        return enter(self.shortcut, signal).join(enter(self.body, signal))
