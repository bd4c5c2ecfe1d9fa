"""Picture of a trained method on the yin-yang task: the class it names at every point, and the test points."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from snnlab.data.contract import Batch
from snnlab.data.tasks.yin_yang import YinYang, classes_of, inputs_of
from snnlab.methods.base.method import Method

SIDE = 121  # points of the grid along one axis
COLOURS = ("#fdba74", "#99f6e4", "#c7d2fe")
DARK = ("#c2410c", "#0f766e", "#4338ca")


@torch.no_grad()
def predicted(method: Method, points: np.ndarray, bias: float) -> np.ndarray:
    """Return the class that ``method`` names for each point [N, 2]."""
    images = inputs_of(torch.from_numpy(points).float(), bias).to(method.device)
    labels = torch.zeros(len(points), dtype=torch.long, device=method.device)
    parts = [method.predictions(Batch(i, j)) for i, j in zip(images.split(1000), labels.split(1000), strict=True)]
    return torch.cat(parts).cpu().numpy()


def decision_regions(method: Method, data: YinYang) -> Any:
    """Figure: regions of the named classes behind the test points; those that are wrong are ringed."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    axis_points = np.linspace(0, 1, SIDE)
    grid = np.stack(np.meshgrid(axis_points, axis_points), -1)
    named = predicted(method, grid.reshape(-1, 2), data.bias).reshape(SIDE, SIDE)
    named = np.ma.masked_where(classes_of(grid) < 0, named)
    data.setup()
    assert data.splits is not None
    test: Any = data.splits.test
    points, labels = test.points.numpy(), test.labels.numpy()
    wrong = predicted(method, points, data.bias) != labels
    figure, axis = plt.subplots(figsize=(4.6, 4.4))
    axis.imshow(named, origin="lower", extent=(0, 1, 0, 1), cmap=ListedColormap(COLOURS), vmin=0, vmax=2)
    for label, (name, colour) in enumerate(zip(("yin", "yang", "dot"), DARK, strict=True)):
        mine = labels == label
        axis.scatter(points[mine, 0], points[mine, 1], s=4, color=colour, linewidths=0, label=name)
    axis.scatter(
        points[wrong, 0], points[wrong, 1], s=22, facecolors="none", edgecolors="#1b1b1f", linewidths=0.7, label="wrong"
    )
    axis.set(xlabel="x", ylabel="y", aspect="equal", title=f"{int(wrong.sum())} of {len(labels)} test points are wrong")
    axis.legend(frameon=False, fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.06))
    return figure
