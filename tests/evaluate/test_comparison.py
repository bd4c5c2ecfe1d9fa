"""The picture of two runs beside each other."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import torch

from snnlab.evaluate.accuracy_over_time import Curve
from snnlab.evaluate.comparison import figure


def test_networks_that_never_fire_are_drawn_without_a_logarithm_of_nothing():
    run = SimpleNamespace(method=object())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for spikes, scale in ((torch.zeros(3), "linear"), (torch.arange(3.0), "log")):
            curve = Curve(torch.full((3,), 0.1), {"hidden1": spikes}, {"hidden1": 4})
            picture = figure(curve, curve, 1, run, run)
            assert picture.axes[1].get_xscale() == scale
            picture.canvas.draw()
