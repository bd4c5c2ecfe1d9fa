"""Every method's memory can be measured at other numbers of steps than those it was trained with."""

import pytest

from small_runs import small_run
from snnlab.config.compose import compose
from snnlab.evaluate.ask import ask
from snnlab.runs.wiring import run


@pytest.mark.parametrize("method", ["bntt", "vdsp"])  # a norm of its own for each step; classes named from the data
def test_a_method_that_was_made_for_fewer_steps_is_measured(tmp_path, monkeypatch, method):
    monkeypatch.chdir(tmp_path)
    folder = run(compose(small_run(method))).folder
    values = ask(folder, "memory_over_time", ["steps=[2,8]"])[0]["values"]
    (curve,) = values["bytes"].values()
    assert values["steps"] == [2, 8] and len(curve) == 2 and min(curve) > 0
