"""Loss and accuracy of an epoch are the means over its samples, and Lightning is told of them once an epoch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from snnlab.config.compose import compose
from snnlab.methods.base.method import Method
from snnlab.runs.wiring import run


def test_an_epoch_is_the_mean_over_its_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    seen: dict[tuple[str, int], list[tuple[float, int, int]]] = {}
    told: list[str] = []
    score, log = Method.log_scores, Method.log

    def log_scores(self: Method, split: Any, scores: Tensor, labels: Tensor, loss: Tensor) -> None:
        hits = int((scores.argmax(-1) == labels).sum())
        seen.setdefault((split, self.current_epoch), []).append((loss.item(), hits, len(labels)))
        score(self, split, scores, labels, loss)

    monkeypatch.setattr(Method, "log_scores", log_scores)
    monkeypatch.setattr(Method, "log", lambda self, name, *a, **k: (told.append(name), log(self, name, *a, **k)))
    options = ["method=stbp", "data=digits", "logger=none", "callbacks.figures=false", "model.hidden=[16]"]
    result = run(compose([*options, "trainer.max_epochs=2", "data.batch_size=150"]))  # 1297 = 8 x 150 + 97
    rows = list(csv.DictReader((result.folder / "metrics.csv").open()))
    for (split, epoch), parts in seen.items():
        row = rows[epoch] if split != "test" else {f"test/{k}": v for k, v in result.metrics["test"].items()}
        size = sum(n for *_, n in parts)
        assert float(row[f"{split}/loss"]) == pytest.approx(sum(x * n for x, _, n in parts) / size, rel=1e-6)
        assert float(row[f"{split}/accuracy"]) == pytest.approx(sum(hits for _, hits, _ in parts) / size, abs=1e-7)
    assert len(seen["train", 1]) == 9
    assert [told.count(f"{split}/loss") for split in ("train", "val", "test")] == [2, 2, 1]
