"""What seeds tell of rows, by hand; the same in CSV and LaTeX; the pictures of a sweep and the files that it leaves."""

import csv
import io
import math
from pathlib import Path

import pytest

from snnlab.errors import InputError
from snnlab.tables import curves, front, statistics
from snnlab.tables.__main__ import table
from snnlab.tables.report import report
from snnlab.tables.rows import read_runs, rows_of
from tables.test_tables import config, write

ACCURACY = {0.1: {0: 0.80, 1: 0.90, 2: 0.85}, 0.2: {0: 0.85, 1: 0.92, 2: 0.90}, 0.3: {1: 0.5}}


def runs(folder):
    for lr, values in ACCURACY.items():
        for seed, accuracy in values.items():
            content = config(seed)
            content["method"]["lr"] = lr
            metrics = {"train": {}, "val": {}, "test": {"accuracy": accuracy, "loss": 1 - accuracy}}
            place = folder / f"{lr}_{seed}"
            overrides = ["method=stbp", "data=digits", f"method.lr={lr}", f"seed={seed}"]
            write(place, seed, accuracy, content=content, metrics=metrics, overrides=overrides)
            lines = [f"{epoch},{accuracy * (epoch + 1) / 3}" for epoch in range(3)]
            (place / "metrics.csv").write_text("\n".join(["epoch,val/accuracy", *lines]) + "\n")
    return read_runs([folder])


def test_figures_by_hand(tmp_path):
    low, high, single = statistics.statistics_of(runs(tmp_path), "test/accuracy")
    assert (low.spread.n, low.seeds, low.rank) == (3, [0, 1, 2], 2)
    assert low.spread.mean == pytest.approx(0.85) and low.spread.std == pytest.approx(0.05)
    assert low.spread.half == pytest.approx(4.302653 * 0.05 / math.sqrt(3), rel=1e-6)  # Student's t, 2 degrees
    differences = [-0.05, -0.02, -0.05]
    assert low.difference.n == 3 and low.difference.mean == pytest.approx(sum(differences) / 3)
    assert low.difference.half == pytest.approx(4.302653 * math.sqrt(0.0003) / math.sqrt(3), rel=1e-6)
    assert high.rank == 1 and high.difference is None
    assert single.spread == (1, 0.5, None, None) and single.rank == 3
    assert (
        single.difference.n == 1 and single.difference.mean == pytest.approx(-0.42) and single.difference.half is None
    )


def test_of_losses_less_is_better(tmp_path):
    assert [row.rank for row in statistics.statistics_of(runs(tmp_path), "test/loss")] == [2, 1, 3]


def test_the_same_figures_in_every_form(tmp_path):
    runs(tmp_path)
    told = table([str(tmp_path), "--statistics"], tmp_path)
    assert "| `method=stbp data=digits method.lr=0.1` | 3 | 0.8500 | 0.0500 | 0.7258 to 0.9742 | 2 | -0.0400 ± 0.0430 (3 pairs) |" in told  # fmt: skip  # noqa: E501
    first, _, last = csv.DictReader(io.StringIO(table([str(tmp_path), "--csv"], tmp_path)))
    assert first["run"] == "method=stbp data=digits method.lr=0.1" and first["seeds"] == "0 1 2"
    assert float(first["interval_low"]) == pytest.approx(0.85 - 4.302653 * 0.05 / math.sqrt(3))
    assert float(first["mean"]) + float(first["difference"]) == pytest.approx(0.81) and first["pairs"] == "3"
    assert last["std"] == last["interval_low"] == last["difference_low"] == ""
    tex = table([str(tmp_path), "--latex", "--metrics", "test/accuracy,test/loss"], tmp_path)
    assert r"method=stbp data=digits method.lr=0.2 & 3 & $\mathbf{0.8900 \pm 0.0361}$ &" in tex
    assert statistics.latex("a_b%{}\\~^") == r"a\_b\%\{\}\textbackslash{}\textasciitilde{}\textasciicircum{}"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--csv", "--latex"], "--csv stands alone; leave out --latex"),
        (["--csv", "--before", "x"], "--csv stands alone; leave out --before"),
        (["--csv", "--metrics", "test/accuracyy"], "no run has it; nearest: test/accuracy"),
        (["--curves", "x.gif"], "--curves x.gif: the name ends in .png"),
        (["--axes", "x.png", "--metrics", "nothing"], "no run has it"),
        (["--front", "x.png", "--metrics", "test/accuracy"], "--front takes two --metrics"),
        (["--front", "x.png", "--metrics", "test/accuracy,nothing"], "no run has it"),
        (["--curves", "no/such/x.png"], "--curves no/such/x.png: there is no folder no/such"),
    ],
)
def test_what_cannot_be_told_is_refused(words, error, tmp_path):
    runs(tmp_path)
    with pytest.raises(InputError, match=error):
        table([str(tmp_path), *words], Path())


def test_pictures_of_many_runs(tmp_path):
    found = runs(tmp_path / "runs")
    assert curves.curves(found, tmp_path / "curves.png") and curves.axes(found, tmp_path / "axes.svg")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG" and b"<svg" in (tmp_path / "axes.svg").read_bytes()
    assert not curves.curves(found, tmp_path / "none.png", "val/loss")
    assert not curves.axes(found[:3], tmp_path / "none.png") and not (tmp_path / "none.png").exists()
    assert curves.varied([curves.settings(row) for row in rows_of(found).values()]) == ["method.lr"]
    assert curves.history(found[0], "val/accuracy") == pytest.approx({0: 0.8 / 3, 1: 1.6 / 3, 2: 0.8})


def test_the_front_of_two_figures(tmp_path):
    assert front.best([(0.9, 3.0), (0.8, 1.0), (0.7, 2.0), (0.9, 4.0), (0.8, 1.0)]) == [1, 0]
    assert front.best([(0.3, 1.0), (0.2, 2.0), (0.4, 3.0)], smaller=True) == [0, 1]  # a loss
    runs(tmp_path / "runs")
    words = [str(tmp_path / "runs"), "--front", str(tmp_path / "front.svg"), "--metrics", "test/accuracy,test/loss"]
    assert "front.svg" in table(words, tmp_path)
    assert b"<svg" in (drawn := (tmp_path / "front.svg").read_bytes()) and b"`" not in drawn  # as names stand in tables


def test_what_a_picture_draws_is_seen(tmp_path, monkeypatch):
    """One epoch is a point with its bar, no legend lies over points, rows joined to none have one colour."""
    drawn = []
    monkeypatch.setattr(curves, "_save", lambda figure, path: drawn.append(figure))
    found = runs(tmp_path)
    for run in found:
        (Path(run["folder"]) / "metrics.csv").write_text("epoch,val/accuracy\n0,0.5\n")
        run["overrides"] = [*run["overrides"], "method.decay=0.5"]
    curves.curves(found, tmp_path / "curves.png")
    (axis,) = drawn.pop().axes
    assert len(axis.containers) == 3 and len({bar.lines[0].get_xdata()[0] for bar in axis.containers}) == 3
    for run in found:
        run["config"]["method"]["decay"] = run["config"]["method"]["lr"] / 2
    curves.axes(found, tmp_path / "axes.png")
    figure = drawn.pop()
    assert [(len(axis.containers), axis.get_legend()) for axis in figure.axes] == [(1, None)] * 2
    for run in found:
        run["config"]["method"]["decay"] = 0.5 if run["config"]["method"]["lr"] < 0.3 else 0.7
    curves.axes(found, tmp_path / "axes.png")
    figure = drawn.pop()
    figure.canvas.draw()
    legends = [(axis, legend) for axis in figure.axes if (legend := axis.get_legend())]
    assert legends
    for axis, legend in legends:
        assert legend.get_window_extent().x0 >= axis.get_window_extent().x1 - 1


def test_a_damaged_history_costs_its_line_alone(tmp_path):
    found = runs(tmp_path)
    for number, content in enumerate((b"\xff\xfe", b"epoch,val/accuracy\nx,y\n", b"", b"epoch,val/accuracy\n0,nan\n")):
        (tmp_path / f"0.1_{number % 3}" / "metrics.csv").write_bytes(content)
        assert curves.history(found[number % 3], "val/accuracy") == {}
    assert curves.curves(found, tmp_path / "curves.png")


def test_a_model_that_follows_from_the_data_is_no_axis():
    known = [
        {"method": method, "data": data, "model": f"for {data}", "method.lr": lr}
        for method in ("stbp", "ann")
        for data in ("mnist", "nmnist")
        for lr in (0.1, 0.2)
    ]
    assert curves.varied(known) == ["method", "data", "method.lr"]


def test_a_sweep_leaves_its_tables_and_pictures(tmp_path):
    told = report(runs(tmp_path), tmp_path)
    assert "test/accuracy" in told and "to the best, paired" in told
    names = ["table.md", "table.csv", "table.tex", "curves.png", "axes.png"]
    assert all((tmp_path / name).stat().st_size for name in names) and f"{{{','.join(names)}}}" in told
    (alone,) = [name for name in tmp_path.iterdir() if name.name == "0.3_1"]
    told = report(read_runs([alone]), alone)
    assert "axes.png" not in told and "paired" not in told
