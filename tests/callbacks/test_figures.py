"""Pictures of a run: the input that is drawn is the input that was seen; questions and data sets add their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch

from snnlab.callbacks import figures
from snnlab.config.build import build
from snnlab.config.compose import compose


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
