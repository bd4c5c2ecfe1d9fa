"""Pictures of a run: the input that is drawn is the input that was seen; questions and data sets add their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.legend import Legend
from matplotlib.text import Text

from snnlab import style
from snnlab.callbacks import figures
from snnlab.callbacks.history import History
from snnlab.config.build import build
from snnlab.config.compose import compose
from snnlab.data.contract import Batch
from snnlab.layers.network import Network
from snnlab.layers.observe import observe
from snnlab.neurons.lif import LIF
from snnlab.questions.class_of_sequence import ClassOfSequence
from snnlab.questions.classes import confusion_figure


def drawn(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[set[str], dict[str, Any]]:
    """Draw an untrained run's pictures; return their names, and what ``input`` showed and the network got."""
    seen: dict[str, Any] = {}

    def input_figure(frames: Any, labels: Any, question: Any) -> Any:
        seen.update(shown=frames, labels=labels)
        return plt.figure()

    monkeypatch.setattr(figures, "input_figure", input_figure)
    parts = build(compose([*options, "logger=none"]).config)
    unroll = parts.method.network.unroll
    monkeypatch.setattr(parts.method.network, "unroll", lambda frames: (seen.update(got=frames), unroll(frames))[1])
    (tmp_path / "figures").mkdir()
    paths = figures.Figures(tmp_path, "a run", SimpleNamespace(rows=[])).draw(parts.method, parts.data)
    return {path.stem for path in paths}, seen


def test_the_spikes_shown_are_those_that_the_network_got(tmp_path, monkeypatch):
    state = torch.random.get_rng_state()
    names, seen = drawn(tmp_path, monkeypatch, "method=stbp", "data=digits", "encoder=rate", "model.hidden=[8]")
    assert {"input", "spikes", "membranes", "confusion_matrix"} <= names
    assert torch.equal(seen["shown"], seen["got"]) and 0 < float(seen["shown"].mean()) < 1
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("method", ["multispike_fast_deep", "ann"])
def test_every_method_on_yin_yang_has_its_regions_drawn(tmp_path, monkeypatch, method):
    names, seen = drawn(tmp_path, monkeypatch, f"method={method}", "data=yin_yang", "model.hidden=[8]")
    assert {"input", "confusion_matrix", "decision_regions"} <= names
    shown, got = seen["shown"], seen["got"]
    assert shown.shape[1:] == got.shape[1:] == (8, 1, 1, 5)
    if method == "multispike_fast_deep":
        assert set(shown.unique().tolist()) == {0, 1}  # spikes over time, where the network gets their times, one each
        assert shown.sum(0).eq(got[0].isfinite()).all()


def test_values_are_drawn_against_what_was_asked(tmp_path, monkeypatch):
    options = ["data.steps=8", "data.test_sequences=20", "model.hidden=[8]"]
    names, _ = drawn(tmp_path, monkeypatch, "method=fptt", "data=adding", *options)
    assert "answers" in names and "confusion_matrix" not in names


# legible at any size -------------------------------------------------------------------------------------------------
class LongNames(ClassOfSequence):
    """Classes with names that fit nowhere."""

    def caption(self, targets, sample):
        return f"class {int(targets[sample])} of the quick brown foxes that jump over the lazy dogs at dawn"


def assert_legible(figure):
    """Every word has 7 points at least; headings, titles, labels and legends lie inside and apart from each other."""
    figure.canvas.draw()
    box = figure.bbox.padded(2)
    assert all(text.get_fontsize() >= 7 for text in figure.findobj(Text) if text.get_text().strip())
    shown = [axes for axes in figure.axes if axes.get_visible()]
    words = [text for axes in shown for text in (axes._left_title, axes.title, axes.xaxis.label, axes.yaxis.label)]
    words += [figure._suptitle] if figure._suptitle else []
    words += [legend for owner in (figure, *shown) for legend in owner.findobj(Legend)]
    places = [
        (word, word.get_window_extent()) for word in dict.fromkeys(words) if isinstance(word, Legend) or word.get_text()
    ]
    for i, (word, place) in enumerate(places):
        assert box.contains(*place.min) and box.contains(*place.max), word
        for other, another in places[i + 1 :]:
            assert not place.padded(-1).overlaps(another.padded(-1)), (word, other)
    plt.close(figure)


def network_with(steps, units):
    """What ``unroll`` and the spike functions tell of one layer, and a method that holds it."""
    network = Network([("hidden1", LIF(decay=0.9, threshold=1.0, reset="hard"))])
    torch.manual_seed(0)
    seen = observe(network, torch.rand(steps, 2, units))
    return seen.record, seen.distances, SimpleNamespace(network=network)


@pytest.mark.parametrize(("steps", "units"), [(1, 1), (1, 2048), (10, 300), (500, 10), (500, 2048), (1000, 5)])
def test_rasters_and_membranes_are_legible_at_any_size(steps, units):
    states, distances, method = network_with(steps, units)
    spikes = states["hidden1"][0]
    assert torch.equal((distances["hidden1"] >= 0).float(), spikes)  # it is what is compared with 0
    with plt.rc_context(style.STYLE):
        for figure in (figures.spikes_figure(states, method), figures.membranes_figure(states, distances, method)):
            style.heading(figure, "spikes: stbp on a_data_set (simulated, subset), seed 4294967295 " * 2, "a note")
            assert_legible(figure)


def test_membranes_are_drawn_before_the_reset_with_their_spikes_above_the_threshold():
    states, distances, method = network_with(30, 4)
    figure = figures.membranes_figure(states, distances, method)
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "^" and len(line.get_ydata())]
    assert marks and all((line.get_ydata() >= 1.0).all() for line in marks)
    assert figure.axes[0].get_ylabel().replace("\n", " ") == "v before the reset"
    plt.close(figure)


def test_of_many_units_those_that_fire_are_drawn():
    spikes = torch.zeros(10, 2000)
    spikes[3, 100:400] = 1
    _, axes = plt.subplots()
    assert style.raster(axes, spikes) == "64 of 300 that fire, of 2,000"
    assert axes.images[0].get_array().sum() == 64
    assert style.raster(axes, torch.zeros(10, 2000)) == "64 of 2,000 units"
    assert style.raster(axes, torch.ones(2, 8)) == "8 units"
    plt.close("all")


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16, 16), (3, 32, 32), (28,), (1, 1, 5)])
@pytest.mark.parametrize(("steps", "samples"), [(1, 1), (20, 6)])
def test_inputs_are_legible_whatever_their_labels(shape, steps, samples):
    labels = torch.arange(samples)
    told = figures.Told(LongNames(), labels.flip(0))
    with plt.rc_context(style.STYLE):
        figure = figures.input_figure(torch.rand(steps, samples, *shape), labels, told)
        style.heading(figure, "input: a run", "the first samples of the test split")
        assert_legible(figure)


@pytest.mark.parametrize("classes", [2, 10, 20, 100])
def test_confusion_and_examples_are_legible(classes):
    torch.manual_seed(0)
    labels, answers = torch.randint(classes, (400,)), torch.randint(classes, (400,))
    kept = [(i, torch.rand(2, 16, 16), labels[i : i + 1], answers[i : i + 1]) for i in range(8)]
    with plt.rc_context(style.STYLE):
        assert_legible(confusion_figure(lambda: iter([(answers, labels)]), classes))
        assert_legible(figures.examples_figure(kept, kept[:1], LongNames()))
        assert figures.examples_figure([], [], LongNames()) is None


def test_curves_mark_the_chosen_epoch_and_show_what_matters_first(tmp_path):
    history = History(tmp_path, "val/accuracy", "max")
    names = ("accuracy", "loss", "a", "b", "c", "d", "e")
    history.rows = [{"epoch": e} | {f"val/{name}": float(-abs(e - 3)) for name in names} for e in range(6)]
    with plt.rc_context(style.STYLE):
        figure = figures.curves_figure(history, "val/accuracy")
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["accuracy", "loss", "a", "b", "c", "d"]
        assert "chosen: epoch 4" in {text.get_text() for text in figure.legends[0].get_texts()}
        assert_legible(figure)
        assert_legible(figures.rates_figure({f"hidden{i}": [(0.0, 0.1), (0.25, 0.2)] for i in range(9)}))


def test_one_picture_that_fails_costs_no_other(tmp_path, monkeypatch):
    def breaks(*_):
        raise ValueError("no")

    monkeypatch.setattr(figures, "spikes_figure", breaks)
    names, _ = drawn(tmp_path, monkeypatch, "method=stbp", "data=digits", "encoder.time_steps=2", "model.hidden=[4]")
    assert {"input", "membranes", "confusion_matrix", "examples"} <= names and "spikes" not in names


def test_examples_show_the_busiest_part_of_a_film_and_what_other_pictures_tell_of_it() -> None:
    frames = torch.zeros(16, 2, 2, 4, 4)
    frames[6:8, :, 1] = 1
    batch = Batch(frames, torch.tensor([0, 1]), None)
    spec = SimpleNamespace(question=ClassOfSequence())
    test = SimpleNamespace(batch=lambda places: Batch(frames[:, places], batch.labels[places], None))
    found = figures.Found(
        SimpleNamespace(predictions=lambda batch: torch.tensor([1, 1]), here=lambda batch: batch),
        SimpleNamespace(spec=spec, test_dataloader=lambda: [batch], splits=SimpleNamespace(test=test)),
    )
    found.first = torch.tensor([0])
    right, wrong = found.examples()
    assert [kept[0] for kept in right] == [0, 1] and not wrong
    assert right[0][1][1].eq(1).all() and right[0][1][0].eq(0).all()
