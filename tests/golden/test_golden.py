"""The golden set: numbers that must not move while walls do; ``make golden`` holds them to the bit.

Here, on whatever machine runs the tests, they are held within a tolerance: another processor rounds differently, a
membrane that ends on the other side of its threshold is a spike more or less, and a few of those move a score of some
twenty samples.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from golden.cases import CASES
from golden.record import STORED, differences, machine, run_case

RELATIVE, ABSOLUTE = 0.05, 0.06  # of a number; a score of 20 samples moves by 0.05 where one of them does


def far(kept: object, found: object, path: str = "") -> list[str]:
    """As ``differences``, less what rounding explains."""
    if isinstance(kept, dict) and isinstance(found, dict):
        keys = sorted({*kept, *found} - {"weights", "history"})
        return [d for key in keys for d in far(kept.get(key), found.get(key), f"{path}/{key}")]
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        return [d for i, (a, b) in enumerate(zip(kept, found, strict=True)) for d in far(a, b, f"{path}/{i}")]
    if isinstance(kept, float) and isinstance(found, int | float):
        return [] if abs(kept - found) <= max(ABSOLUTE, RELATIVE * abs(kept)) else differences(kept, found, path)
    return differences(kept, found, path)


@pytest.mark.timeout(900)  # the largest takes half a minute on a quiet machine, ten times that on a busy one
@pytest.mark.parametrize("name", CASES)
def test_a_run_of_the_golden_set_comes_to_its_numbers(name, monkeypatch):
    if name.startswith("real_") and not os.environ.get("SNNLAB_DATA"):
        if os.environ.get("SNNLAB_REQUIRE_DATA"):
            pytest.fail("SNNLAB_DATA is not set")
        pytest.skip("SNNLAB_DATA is not set, and this run needs real data")
    kept = json.loads(STORED.read_text())
    found = json.loads(json.dumps(run_case(name)))
    other = differences(kept["cases"][name], found) if kept["machine"] == machine() else far(kept["cases"][name], found)
    assert not other, other[:20]


def test_every_case_is_kept():
    assert list(json.loads(STORED.read_text())["cases"]) == list(CASES)


def test_numbers_that_moved_are_found():
    kept = [{"metrics": {"accuracy": 0.5, "spikes": 1000.0}, "status": "completed", "weights": "a"}]
    near = [{"metrics": {"accuracy": 0.55, "spikes": 1040.0}, "status": "completed", "weights": "b"}]
    away = [{"metrics": {"accuracy": 0.7, "spikes": 900.0}, "status": "failed"}]
    assert far(kept, near) == [] and len(differences(kept, near)) == 3
    assert len(far(kept, away)) == 3


def test_the_cases_cover_the_house():
    root = Path(__file__).parents[2]
    lines = " ".join(line for lines in CASES.values() for line in lines)
    assert len(CASES) >= 30
    for method in (root / "conf/method").glob("*.yaml"):
        assert f"method={method.stem}" in lines, method.stem
    for question in (root / "src/snnlab").glob("evaluat*/*.py"):
        if question.stem not in ("__init__", "__main__", "analysis", "stored", "ask"):
            assert f" {question.stem}" in lines, question.stem
