"""Sheets of pictures of samples, drawn by ``python -m snnlab.data show``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import InputError

SHOWN = 6  # samples of a batch
TIMES = 8  # of each sample of events


class Sheet(NamedTuple):
    """Pictures in rows and columns."""

    cells: dict[tuple[int, int], np.ndarray]  # (row, column): [H, W] or [H, W, 3] in [0, 1]
    titles: tuple[str, ...] = ()  # of the columns


def of_batch(inputs: Tensor) -> Sheet:
    """Return one row a sample: an image; binned events at some times, ON red and OFF blue; other values over time.

    Shapes: inputs [B, C, H, W] in [0, 1], [T, B, P, H, W] with H > 1, or [T, B, ...].
    """
    if inputs.dim() == 4:
        return Sheet({(row, 0): image.permute(1, 2, 0).numpy() for row, image in enumerate(inputs)})
    if inputs.dim() == 3 or inputs.shape[3] == 1:
        return Sheet({(row, 0): inputs[:, row].flatten(1).T.numpy() for row in range(inputs.shape[1])})
    steps = np.linspace(0, len(inputs) - 1, TIMES).round().astype(int)
    frames = inputs[steps].clamp(max=1)  # [times, B, P, H, W]
    off, on = frames[:, :, 0], frames[:, :, -1]
    coloured = torch.stack([on, torch.zeros_like(on) if frames.shape[2] == 2 else on, off], -1).numpy()
    cells = {(row, column): coloured[column, row] for row in range(inputs.shape[1]) for column in range(TIMES)}
    return Sheet(cells, tuple(f"t = {step}" for step in steps))


def draw(sheet: Sheet, title: str, out: Path) -> None:
    """Write ``sheet`` to ``out``; raise InputError where that cannot be done."""
    from matplotlib.figure import Figure

    rows, columns = (1 + max(place[axis] for place in sheet.cells) for axis in (0, 1))
    figure = Figure(figsize=(max(6, columns), rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, cell in sheet.cells.items():
        axes[place].imshow(cell, cmap="gray", vmin=0, vmax=1, aspect="auto" if columns == 1 else "equal")
    for axis, text in zip(axes[0], sheet.titles, strict=False):
        axis.set_title(text, fontsize=8)
    figure.suptitle(title)
    try:
        figure.savefig(out, dpi=120)
    except (OSError, ValueError) as error:
        raise InputError(f"--out {out} cannot be written ({error}); choose a .png in a folder that exists") from error
