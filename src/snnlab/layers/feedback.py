"""A chain whose output returns to its input one step later through another chain.

    y[t] = body(x[t] + path(y[t-1]))        (1) at t = 0 nothing returns

As layers/recurrent.py, with networks for the neuron and the weight, so that the shapes of x and y may differ.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from snnlab.layers.edges import Flow, Signal
from snnlab.layers.network import Composite, Network, States


class FeedbackState(NamedTuple):
    """output: y [B, ...] of the step before, None at the start; states of the two networks by layer."""

    output: Tensor | None
    path: States
    body: States


class Feedback(Composite):
    """Close a loop around ``body``; a sequence is always stepped through.

    Args:
        body: from x [B, ...] to y [B, ...], usually neuron first.
        path: from y [B, ...] to a current in the shape of x.

    Shapes: x [T, B, ...] -> y [T, B, ...].

    Raises:
        ValueError: when both networks use a name, or (at the first return) the path's output has not the shape of x.
    """

    path: Network
    body: Network

    def __init__(self, body: Network, path: Network) -> None:
        super().__init__(path=path, body=body)

    def initial_state(self, current: Tensor) -> FeedbackState:
        return FeedbackState(None, {}, {})

    def step(self, current: Tensor, state: FeedbackState) -> tuple[Tensor, FeedbackState]:
        path = state.path
        if state.output is not None:
            returned, path = self.path.step(state.output, path)
            if returned.shape != current.shape:
                raise ValueError(
                    f"Feedback: the path returns {list(returned.shape)} to a current of {list(current.shape)}; "
                    "bring it to that size and those channels"
                )
            current = current + returned  # (1)
        output, body = self.body.step(current, state.body)
        return output, FeedbackState(output, path, body)

    def flow(self, signal: Signal, enter: Flow) -> Signal:
        driven: list[str] = []  # what x drives, and so what returns with it
        out = enter(self.body, Signal(signal.sources, False, (*signal.drives, driven)))  # x plus a current
        for targets in enter(self.path, Signal(out.sources, out.spikes, recurrent=True)).drives:
            targets.extend(driven)
        return out
