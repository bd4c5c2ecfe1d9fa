"""Pictures of the local methods: what each output neuron has learned, and who fires in one presentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from snnlab import style

MOST_NAMED = 40  # spikes that are named by their class; more would cover each other


def fields_figure(weight: Tensor, assignment: Tensor, input_shape: tuple[int, ...], most: int = 100) -> Any:
    """Weights [N, inputs] of the first ``most`` neurons as images, each with the class it was given."""
    import matplotlib.pyplot as plt

    weight, assignment = weight[:most].float().cpu(), assignment[:most].cpu()
    columns = math.ceil(math.sqrt(len(weight)))
    rows = -(-len(weight) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(0.75 * columns + 0.3, 0.85 * rows + 0.5), squeeze=False)
    low, high = float(weight.min()), float(weight.max())
    for j, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if j < len(weight):
            axis.imshow(picture(weight[j], input_shape), cmap="Greys", vmin=low, vmax=high, interpolation="nearest")
            axis.set_title("-" if assignment[j] < 0 else str(int(assignment[j])), fontsize=style.SMALL, pad=1.5)
    return figure


def picture(field: Tensor, input_shape: tuple[int, ...]) -> Tensor:
    """Weights [inputs] as a plane: colours or polarities are averaged; a line of inputs is folded to a square."""
    if len(input_shape) == 3 and min(input_shape[1:]) > 1:
        return field.view(input_shape).mean(0)
    width = math.ceil(math.sqrt(len(field)))
    return torch.nn.functional.pad(field, (0, -len(field) % width)).view(-1, width)


def presentation_figure(seen: Mapping[str, Tensor], assignment: Tensor, label: int, voted: int) -> Any:
    """Spikes [T, 1, ...] of each layer while a sample is shown, weights at rest; the last by its neurons' class."""
    import matplotlib.pyplot as plt

    names, assignment = list(seen), assignment.cpu()
    figure, axes = plt.subplots(len(names), 1, figsize=(7, 1.9 * len(names) + 0.6), sharex=True, squeeze=False)
    for axis, name in zip(axes[:, 0], names, strict=True):
        spikes = seen[name][:, 0].flatten(1).cpu()
        times, units = spikes.nonzero(as_tuple=True)
        last = name == names[-1]
        colours = [f"C{max(int(c), 0) % 6}" for c in assignment[units]] if last else style.INK
        axis.scatter(times, units, s=26 if last else 4, marker="|", c=colours, linewidths=1.1)
        title = f"{name}: {int(spikes.sum())} spikes"
        if last:
            title += f", with their class; label {label}, voted {voted}"
        axis.set(ylabel="unit", title=title, ylim=(-0.5, spikes.shape[1] - 0.5))
    few = len(times) <= MOST_NAMED
    for time, unit in zip(times.tolist(), units.tolist(), strict=True) if few else ():
        axes[-1, 0].annotate(
            str(int(assignment[unit])), (time, unit), (2, 1), textcoords="offset points", fontsize=style.SMALL
        )
    axes[-1, 0].set(xlabel="time step", xlim=(-0.5, len(seen[names[-1]]) - 0.5))
    return figure
