"""Pictures of the local methods: receptive fields as they are, and the spikes of one presentation."""

import matplotlib.pyplot as plt
import pytest
import torch

from snnlab.data.contract import Batch, DataSpec
from snnlab.data.encoders import Direct
from snnlab.methods.base.local_figures import fields_figure, picture
from snnlab.methods.vdsp import VDSP
from snnlab.models.mlp import MLP


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_neuron_shows_its_weights_and_its_class():
    weight = torch.arange(3 * 12).view(3, 12) / 36
    axes = fields_figure(weight, torch.tensor([4, -1, 7]), (1, 3, 4)).axes
    assert [axis.get_title() for axis in axes] == ["4", "-", "7", ""]  # two by two; -1: it never fired
    for field, axis in zip(weight, axes, strict=False):
        (image,) = axis.images
        assert image.get_array().tolist() == field.view(3, 4).tolist()
        assert image.get_clim() == pytest.approx((0, 35 / 36))  # one scale for all
    assert not axes[3].images


def test_no_more_neurons_are_shown_than_asked_for():
    figure = fields_figure(torch.rand(9, 4), torch.zeros(9, dtype=torch.long), (1, 2, 2), most=2)
    assert sum(bool(axis.images) for axis in figure.axes) == 2


def test_a_field_of_any_shape_is_a_plane():
    polarities = torch.tensor([[[1.0, 2], [3, 4]], [[3, 4], [5, 6]]])
    assert picture(polarities.flatten(), (2, 2, 2)).tolist() == [[2, 3], [4, 5]]  # their mean
    assert picture(torch.arange(5.0), (5,)).tolist() == [[0, 1, 2], [3, 4, 0]]  # folded, the rest empty


def test_the_spikes_of_a_presentation_are_drawn_where_they_are():
    torch.manual_seed(0)
    method = VDSP(MLP([]), DataSpec("pixels", "image", (1, 6, 6), 4), Direct(40), neurons=20, gain=6.0, lr=1e-3)
    method.assignment.copy_(torch.arange(20) % 4)
    batch = Batch(torch.rand(3, 1, 6, 6), torch.tensor([2, 0, 1]))
    inputs, outputs = method.presentation(batch).axes
    with method.network.observe() as seen:
        counts = method.network(method.frames(batch)[:, :1]).sum((0, 1))
    for axis, name in ((inputs, "input"), (outputs, "readout")):
        spikes = seen[name][:, 0].flatten(1)
        assert axis.collections[0].get_offsets().tolist() == spikes.nonzero().tolist() and spikes.sum() > 0
        assert axis.get_title().startswith(f"{name}: {int(spikes.sum())} spikes")
    votes = torch.stack([counts[method.assignment == c].sum() for c in range(4)])
    assert outputs.get_title().endswith(f"label 2, voted {int(votes.argmax())}")
    assert [int(text.get_text()) for text in outputs.texts] == [
        int(method.assignment[unit]) for _, unit in seen["readout"][:, 0].nonzero()
    ]
