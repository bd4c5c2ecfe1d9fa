"""What flows along a network while its connections are looked up: where a signal comes from, and what it drives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from snnlab.weights.weight import Weight

INPUT = "input"  # the network's own input, as the source of an edge


@dataclass(eq=False)
class Edge:
    """A weight and what it connects.

    name: of the layer that is or holds it, an inner one as <layer>.<path>.
    sources: layers of neurons whose output reaches the weight, or ``input``.
    targets: layers of neurons that its output drives; none in front of another weight or what never fires.
    spikes: whether what reaches it is spikes.
    recurrent: whether what it brings arrives one step later.
    """

    name: str
    weight: Weight
    sources: tuple[str, ...]
    spikes: bool
    recurrent: bool = False
    targets: list[str] = field(default_factory=list)


class Signal(NamedTuple):
    """sources, spikes, recurrent: as of the edge that it enters; drives: lists that the next layer of neurons joins."""

    sources: tuple[str, ...] = (INPUT,)
    spikes: bool = True
    drives: tuple[list[str], ...] = ()
    recurrent: bool = False

    def join(self, other: Signal) -> Signal:
        """The sum of two signals: spikes where both are."""
        sources = dict.fromkeys([*self.sources, *other.sources])
        drives = {id(targets): targets for targets in (*self.drives, *other.drives)}
        spikes, recurrent = self.spikes and other.spikes, self.recurrent or other.recurrent
        return Signal(tuple(sources), spikes, tuple(drives.values()), recurrent)


Flow = Callable[[Any, Signal], Signal]  # one of a composite's networks and what enters it -> what leaves it
