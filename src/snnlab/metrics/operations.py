"""Accumulates and multiply-accumulates of one inference, as far as they have an effect.

    accumulates             weights added, or subtracted: |x| for an input x, times the weights that it reaches
    multiply_accumulates    weights multiplied first: 1 for an input x, times the same
    dense_operations        every input times every weight, whatever their values, at every step

A weight accumulates where all that reached it are whole numbers: spikes, signed spikes, or counts (2 events in a bin
are 2 accumulates). It multiplies where anything else did: pooled spikes, values sent at events, membranes, images; and
wherever the network says that what it reads is no spikes (layers/edges.py), so the first layer of direct coding
multiplies at every step.
Inputs and weights that are 0 count in ``dense_operations`` only. Borders are exact: padding is no input. What comes
back to a layer counts at each step at which it does. Biases, pools, norms, leaks, resets and memory traffic do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from snnlab.layers.chain import Chain
from snnlab.layers.edges import Edge
from snnlab.layers.network import Network
from snnlab.weights.gate import gates
from snnlab.weights.weight import Weight

Reached = dict[tuple[str, torch.Size], tuple[Tensor, Tensor]]  # by name and shape: weights that a unit reaches, all


class Operations(Metric):
    """Means over inferences; what they are stands in the docstring of this file.

    ``update`` takes, for each of some weights, totals over so many samples: accumulates and multiply-accumulates it
    would have made, whether it made the latter (0 or 1), and its dense operations, all [weights]. Which weights
    are 0 must not change before ``reset``.
    """

    full_state_update = False
    accumulates: Tensor
    multiply_accumulates: Tensor
    multiplies: Tensor
    dense: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("accumulates", "multiply_accumulates", "dense"):
            self.add_state(name, torch.zeros(1, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("multiplies", torch.zeros(1, dtype=torch.float64), dist_reduce_fx="max")
        self.add_state("samples", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.reached: Reached = {}

    def update(
        self, accumulates: Tensor, multiply_accumulates: Tensor, multiplies: Tensor, dense: Tensor, samples: int
    ) -> None:
        self.accumulates = self.accumulates + accumulates
        self.multiply_accumulates = self.multiply_accumulates + multiply_accumulates
        self.multiplies = torch.maximum(self.multiplies, multiplies)
        self.dense = self.dense + dense
        self.samples = self.samples + samples

    def reset(self) -> None:
        super().reset()
        self.reached = {}

    def compute(self) -> dict[str, Tensor]:
        samples = self.samples.clamp(min=1)
        multiplies = self.multiplies > 0
        return {
            "accumulates": torch.where(multiplies, 0.0, self.accumulates).sum() / samples,
            "multiply_accumulates": torch.where(multiplies, self.multiply_accumulates, 0.0).sum() / samples,
            "dense_operations": self.dense.sum() / samples,
        }

    @contextmanager
    def watch(
        self,
        network: Network,
        frames: Tensor,
        spiking_input: bool = True,
        beside: Mapping[str, Weight] | None = None,
    ) -> Iterator[None]:
        """Count, while the context is open, what ``network`` does with frames [T, B, ...], forward or step by step.

        Args:
            spiking_input: whether frames are spikes or event counts rather than analog.
            beside: weights outside of the network, which read analog values.
        """
        edges = Chain(network).edges(spiking_input)
        analog = gates(network) | dict(beside or {})
        edges += [Edge(name, weight, (), False) for name, weight in analog.items()]
        counter = Counter(edges, self.reached, self.samples.device)
        link, entering = Chain(network).entering(frames)
        hooks = []
        for place, edge in enumerate(edges):
            if (
                not edge.spikes
                and link is not None
                and link.weight is not None
                and edge.weight.layer is link.weight.layer
            ):
                counter.add(place, entering.flatten(0, 1), len(frames) // len(entering))  # a hook would slow it down
            else:
                hooks.append(edge.weight.layer.register_forward_hook(counter.hook(place)))
        try:
            yield
        finally:
            for handle in hooks:
                handle.remove()
        self.update(*counter.totals(), samples=frames.shape[1])


class Counter:
    """Totals over one sequence of what reached the weights ``edges``."""

    def __init__(self, edges: list[Edge], reached: Reached, device: torch.device) -> None:
        self.edges, self.reached = edges, reached
        zeros, places = torch.zeros(3, dtype=torch.float64, device=device), max(1, len(edges))
        self.sums = [zeros] * places  # accumulates, multiplications, dense
        self.multiplies = [zeros[0]] * places

    def hook(self, place: int) -> Any:
        def see(_layer: nn.Module, inputs: Any, _output: Tensor) -> None:
            self.add(place, torch.cat(inputs, 1).detach() if len(inputs) > 1 else inputs[0].detach())

        return see

    def add(self, place: int, inputs: Tensor, times: int = 1) -> None:
        """Count inputs [B, ...] of a weight, seen so many times."""
        edge = self.edges[place]
        key = edge.name, inputs.shape[1:]
        if key not in self.reached:
            every = edge.weight.reach(inputs).expand_as(inputs[:1]).sum(dtype=torch.float64)
            self.reached[key] = edge.weight.reach(inputs, edge.weight.used != 0), every
        reached, every = self.reached[key]
        values = inputs.abs().to(torch.promote_types(inputs.dtype, torch.float32))  # one buffer: large ones are dear
        plain, sends, active = values.sum(0), values.ceil_().sum(0), values.sign_().sum(0)  # exact below 2^24
        adds, multiplies = ((of_unit.double() * reached).sum() for of_unit in (sends, active))
        multiplied = (plain != sends).any() if edge.spikes else torch.ones_like(every)
        self.sums[place] = self.sums[place] + torch.stack([adds, multiplies, every * len(inputs)]) * times
        self.multiplies[place] = torch.maximum(self.multiplies[place], multiplied.double())

    def totals(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Accumulates, multiply-accumulates, whether it makes the latter, dense operations: all [weights]."""
        adds, multiplications, dense = torch.stack(self.sums, 1)
        return adds, multiplications, torch.stack(self.multiplies), dense
