"""Picture of the answers to a task of points in the plane: the class named at every point, and the test points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from snnlab import style

SIDE = 121  # points of the grid along one axis
PALE = ("#f2c9a6", "#a6cfe6", "#a6dcc8")  # of DARK, for the regions behind the points
DARK = (style.RED, style.BLUE, style.GREEN)


def decision_regions(
    named: Callable[[np.ndarray], np.ndarray],
    inside: Callable[[np.ndarray], np.ndarray],
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
) -> Any:
    """Figure: regions of the named classes behind the test points; those that are wrong are ringed.

    Args:
        named: the class that is named for each point [N, 2] of [0, 1]^2.
        inside: which points [..., 2] belong to the task; the others stay white.
        points, labels: of the test split, [N, 2] and [N].
        names: of the classes, three at most.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    axis_points = np.linspace(0, 1, SIDE)
    grid = np.stack(np.meshgrid(axis_points, axis_points), -1)
    regions = named(grid.reshape(-1, 2)).reshape(SIDE, SIDE)
    regions = np.ma.masked_where(~inside(grid), regions)
    wrong = named(points) != labels
    figure, axis = plt.subplots(figsize=(4.6, 4.4))
    colours, most = ListedColormap(PALE[: len(names)]), len(names) - 1
    axis.imshow(regions, origin="lower", extent=(0, 1, 0, 1), cmap=colours, vmin=0, vmax=most)
    for label, (name, colour) in enumerate(zip(names, DARK, strict=False)):
        mine = labels == label
        axis.scatter(points[mine, 0], points[mine, 1], s=4, color=colour, linewidths=0, label=name)
    axis.scatter(
        points[wrong, 0], points[wrong, 1], s=22, facecolors="none", edgecolors=style.INK, linewidths=0.7, label="wrong"
    )
    axis.set(xlabel="x", ylabel="y", aspect="equal", title=f"{int(wrong.sum())} of {len(labels)} test points are wrong")
    axis.legend(frameon=False, fontsize=style.SMALL, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.06))
    return figure
