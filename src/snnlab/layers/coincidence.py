"""Coincidences of signed error spikes and input spikes at the synapses of one layer of weights.

    counts[o, i] = sum over t, b of d[t, b, o] x[t, b, i]       (1) d in {-1, 0, 1}, x in {0, 1}
    of the bias:   sum over t, b of d[t, b, o]                  (2) its input spikes at every step

A synapse needs what happens at its two ends in the same step, nothing else. On the CPU rows (t, b) without an error
spike are skipped, which is most of them once a network has learned; a GPU would have to wait to know them. The counts
are whole numbers, so they are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.weights.weight import Values, Weight


class Coincidences:
    """Counters of one weight; the equations are in the docstring of this file.

    Args:
        weight: a dense one [O, I] with its bias [O]: what the counts will move.
        active: indices [A] of the inputs that may spike; None takes all I.

    ``events`` is the number of coincidences so far, ``pulses`` the number of spikes sent to it from both ends.
    """

    def __init__(self, weight: Weight, active: Tensor | None = None) -> None:
        self.of, self.active = weight, active
        self.inputs = weight.inputs if active is None else len(active)
        zero = weight.used.new_zeros((), dtype=torch.float64)
        self.events, self.pulses = zero, zero
        self.reset()

    def reset(self) -> None:
        used = self.of.used
        self.weight = used.new_zeros(self.of.outputs, self.inputs)
        self.bias = used.new_zeros(self.of.outputs)

    def add(self, d: Tensor, x: Tensor) -> None:
        """Count d [T, B, O] against x [T, B, A]."""
        d, x = d.flatten(0, -2), x.flatten(0, -2)  # [T*B, ...]
        errors = d.abs().sum(1)
        self.pulses = self.pulses + (errors.sum() + x.sum()).double()
        if d.device.type == "cpu":
            rows = errors.nonzero()[:, 0]
            d, x, errors = d[rows], x[rows], errors[rows]
        self.weight.addmm_(d.T, x)  # (1)
        self.bias += d.sum(0)  # (2)
        self.events = self.events + (errors @ x.sum(1)).double()

    def take(self) -> list[tuple[Values, Tensor]]:
        """The values of weight and bias with their counts, in full shape; the counters start anew."""
        weight = self.weight
        if self.active is not None:
            weight = torch.zeros_like(self.of.used)
            weight[:, self.active] = self.weight
        counts = [(self.of.values, weight)]
        if (bias := self.of.bias_values) is not None:
            counts.append((bias, self.bias))
        self.reset()
        return counts
