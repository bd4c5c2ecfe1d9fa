"""Picture of FPTT: answers against right values."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def answers_figure(answers: Tensor, labels: Tensor) -> Any:
    """Answers [B, K] against labels [B, K], one colour for each of the K values."""
    import matplotlib.pyplot as plt

    picture, axis = plt.subplots(figsize=(3.2, 3.2))
    for k in range(labels.shape[1]):
        axis.plot(labels[:, k], answers[:, k], "o", markersize=2.5)
    ends = [float(labels.min()), float(labels.max())]
    axis.plot(ends, ends, color="#1b1b1f", linewidth=0.8)
    axis.set(xlabel="right value", ylabel="answer", aspect="equal")
    return picture
