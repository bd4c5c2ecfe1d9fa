"""The angle between two updates, against angles known by construction."""

import math

import pytest
import torch

from snnlab.metrics.angle import Angle, angle


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 0.0009, 30.0, 90.0, 179.999, 180.0])
def test_angles_by_construction_even_where_the_cosine_cannot_tell(degrees):
    radians = math.radians(degrees)
    a = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    b = 5 * torch.tensor([[math.cos(radians), math.sin(radians)]], dtype=torch.float64)
    assert angle(a, b).item() == pytest.approx(degrees, abs=1e-8)


def test_mean_over_updates_leaves_out_those_without_a_direction():
    metric = Angle()
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    metric.update(x, y)
    metric.update(x, x)
    metric.update(torch.zeros(2), x)
    assert metric.compute().item() == pytest.approx(45.0)
