"""Sheets of pictures of samples, drawn by ``python -m snnlab.data show``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from snnlab import style
from snnlab.atomic import FULL, write_bytes
from snnlab.errors import InputError

SHOWN = 6  # samples of a batch
TIMES = 8  # of each sample of events


class Sheet(NamedTuple):
    """Pictures in rows and columns."""

    cells: dict[tuple[int, int], Tensor]  # (row, column): [C, H, W] in [0, 1], C as ``style.frame`` has it
    titles: tuple[str, ...] = ()  # of the columns
    axes: tuple[str, str] = ("", "")  # what goes to the right and upward, where a cell is no picture


def of_batch(inputs: Tensor) -> Sheet:
    """Return one row a sample: an image; binned events at some times; other values over time.

    Shapes: inputs [B, C, H, W] in [0, 1], [T, B, P, H, W] with H > 1, or [T, B, ...].
    """
    if inputs.dim() == 4:
        return Sheet({(row, 0): image for row, image in enumerate(inputs)})
    if inputs.dim() == 3 or inputs.shape[3] == 1:
        over_time = {(row, 0): inputs[:, row].flatten(1).T[None] for row in range(inputs.shape[1])}
        return Sheet(over_time, axes=("time step", "input"))
    steps = np.linspace(0, len(inputs) - 1, TIMES).round().astype(int)
    frames = inputs[steps].clamp(max=1)  # [times, B, P, H, W]
    cells = {(row, column): frames[column, row] for row in range(inputs.shape[1]) for column in range(TIMES)}
    return Sheet(cells, tuple(f"step {step}" for step in steps))


def draw(sheet: Sheet, title: str, out: Path) -> None:
    """Write ``sheet`` to ``out``; raise InputError where that cannot be done."""
    import matplotlib.pyplot as plt

    rows, columns = (1 + max(place[axis] for place in sheet.cells) for axis in (0, 1))
    with plt.rc_context(style.STYLE):
        figure = plt.Figure(figsize=(max(6, columns), rows + 0.8))
        axes = figure.subplots(rows, columns, squeeze=False, sharex=bool(sheet.axes[0]))
        for place, axis in np.ndenumerate(axes):
            axis.set_visible(place in sheet.cells)
        for place, cell in sheet.cells.items():
            if sheet.axes[0]:
                axes[place].imshow(cell[0], cmap="Greys", aspect="auto", origin="lower", interpolation="nearest")
                axes[place].set_ylabel(sheet.axes[1])
                style.whole_numbers(axes[place].yaxis)
            else:
                style.frame(axes[place], cell, 0, 1)
        axes[-1, 0].set_xlabel(sheet.axes[0])
        for axis, text in zip(axes[0], sheet.titles, strict=False):
            axis.set_title(text, fontsize=style.SMALL, loc="center")
        if next(iter(sheet.cells.values())).shape[0] == 2:
            style.polarity_legend(figure)
        style.heading(figure, title, "some training samples")
        try:
            write_bytes(out, style.drawn(figure, out.suffix.lstrip(".") or "png"))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise InputError(
                f"--out {out} cannot be written ({error}); choose a .png in a folder that exists"
            ) from error
