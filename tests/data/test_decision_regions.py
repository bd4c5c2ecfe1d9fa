"""Decision regions: every point of the picture has the colour of the class that is named there."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from snnlab.data.loader import with_loader
from snnlab.data.tasks.decision_regions import PALE, SIDE
from snnlab.data.tasks.yin_yang import YinYang, classes_of


def named(x, y):
    """A classifier that is known, and not symmetric in x and y."""
    return np.where(x < 0.3, 2, np.where(y < 0.6, 1, 0))


def predictions(batch):
    x, y, _, _, bias = batch.inputs.flatten(1).unbind(1)
    assert (bias == 0.25).all()
    return torch.from_numpy(named(x.numpy(), y.numpy()))


@pytest.fixture
def picture(tmp_path):
    import matplotlib.pyplot as plt

    data = with_loader(YinYang, tmp_path, tmp_path, train_size=3, val_size=3, test_size=60, bias=0.25)
    figure = data.pictures(predictions)["decision_regions"]()
    yield data, figure.axes[0]
    plt.close(figure)


def test_regions_have_the_colours_of_the_named_classes(picture):
    image = picture[1].images[0]
    shown = image.get_array()
    assert image.origin == "lower" and list(image.get_extent()) == [0, 1, 0, 1] and shown.shape == (SIDE, SIDE)
    seen = set()
    for row in range(0, SIDE, 7):
        for column in range(0, SIDE, 7):
            x, y = column / (SIDE - 1), row / (SIDE - 1)
            if classes_of(np.array([x, y])) < 0:
                assert shown.mask[row, column]  # outside of the figure
                continue
            label = int(named(np.float32(x), np.float32(y)))
            assert to_hex(image.to_rgba(shown)[row, column]) == to_hex(PALE[label])
            seen.add(label)
    assert seen == {0, 1, 2}


def test_points_that_are_named_wrongly_are_ringed_and_counted(picture):
    data, axis = picture
    points, labels = data.splits.test.points.numpy(), data.splits.test.labels.numpy()
    wrong = named(points[:, 0], points[:, 1]) != labels
    assert 0 < wrong.sum() < 60
    *classes, ringed = axis.collections
    np.testing.assert_array_equal(ringed.get_offsets(), points[wrong])
    assert axis.get_title() == f"{wrong.sum()} of 60 test points are wrong"
    for label, shown in enumerate(classes):
        np.testing.assert_array_equal(shown.get_offsets(), points[labels == label])
