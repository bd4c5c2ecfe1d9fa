"""Rows against bits and energy: which bits a target has, what the front is, and the names of the rows."""

import matplotlib.pyplot as plt
import pytest
from omegaconf import OmegaConf

from snnlab.config.parts import instantiate_part
from snnlab.config.paths import conf_dir
from snnlab.errors import InputError
from snnlab.tables.__main__ import table
from snnlab.tables.picture import Point, bits_of, figure_of, front, points_of
from snnlab.tables.rows import read_runs
from tables.test_tables import config, write

BITS = {"none": 32, "int8": 8, "int4": 4, "ternary": 2, "binary": 1, "loihi2": 8, "truenorth": 9, "speck2f": 8}


def chip(name):
    return OmegaConf.to_container(OmegaConf.load(conf_dir() / "hardware" / f"{name}.yaml"))


def runs(folder, *points):
    for name, accuracy, joule in points:
        for seed in (0, 1):
            metrics = {"train": {}, "val": {}, "test": {"accuracy": accuracy + 0.01 * seed, "energy_joule": joule}}
            content = config(seed) | {"hardware": chip(name)}
            write(folder / f"{name}{seed}", seed, 0.0, content=content, hardware=name, metrics=metrics)
    return read_runs([folder])


@pytest.mark.parametrize(("name", "bits"), BITS.items())
def test_bits_of_each_target(name, bits):
    assert bits_of({"config": {"hardware": chip(name)}}) == bits
    if name != "none":
        assert instantiate_part("hardware", chip(name)).weight_bits == bits


def test_the_front_is_what_nothing_beats():
    known = [Point(name, name, "", 8, accuracy, 0.0, joule) for name, accuracy, joule in [
        ("good", 0.9, 2.0), ("cheap", 0.8, 1.0), ("beaten", 0.85, 3.0), ("best", 0.95, 4.0), ("unknown", 0.99, None)
    ]]  # fmt: skip
    assert [point.name for point in front(known)] == ["cheap", "good", "best"]


def test_rows_are_named_by_their_target_and_drawn(tmp_path):
    found = runs(tmp_path / "runs", ("none", 0.9, 2e-8), ("int8", 0.89, 1e-8), ("loihi2", 0.88, 3e-8))
    points = points_of(found)
    assert [point.name for point in points] == [f"method=stbp data=digits hardware={p.hardware}" for p in points]
    assert {point.hardware: (point.bits, round(point.accuracy, 3)) for point in points} == {
        "none": (32, 0.905), "int8": (8, 0.895), "loihi2": (8, 0.885)
    }  # fmt: skip
    assert "front.png" in table([str(tmp_path / "runs"), "--picture", str(tmp_path / "front.png")], tmp_path)
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="ends in"):
        table([str(tmp_path / "runs"), "--picture", "front.xyz"], tmp_path)


def test_targets_have_a_shape_each_and_no_words_lie_over_the_points():
    pairs = [("stbp", "none"), ("stbp", "rpu"), ("ottt", "none"), ("ottt", "int4")]
    points = [Point("", hardware, series, 32, 0.9, 0.01, 1e-7) for series, hardware in pairs]
    points.append(Point("", "int4", "stbp", 4, 0.8, 0.0, 1e-8, started=True))
    figure = figure_of(points)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["stbp", "ottt", "none", "rpu", "int4", "hollow: after training"]
    for axis in figure.axes:
        assert not axis.texts
        marks = [container.lines[0] for container in axis.containers]
        assert len({line.get_marker() for line in marks}) == 3
        assert [line.get_markerfacecolor() == "white" for line in marks] == [False] * 4 + [True]
    assert len({container.lines[0].get_xdata()[0] for container in figure.axes[0].containers[:4]}) == 2  # side by side
    plt.close(figure)


def test_a_row_says_whether_its_network_fits(tmp_path):
    chips = {"fits": True, "loihi2": True, "speck2f": False}
    for name, fits in chips.items():
        content = config(0) | {"hardware": chip("int8" if name == "fits" else name)}
        report = {"target": name, "fits": fits, "needs": [], "cores": {}}
        write(tmp_path / name, 0, 0.9, content=content, hardware=name, fit_report=report)
    text = table([str(tmp_path), "--metrics", "test/accuracy,fit"], tmp_path)
    assert text.count("| fits |") == 2 and text.count("| does not fit |") == 1
