"""Turns, ratios of rounds, and the time limit, on times made by hand."""

from itertools import groupby

import pytest

from snnlab.bench.workloads.rounds import interleave, pairwise, planned
from snnlab.bench.workloads.workload import Case, table


def test_ratios_are_taken_inside_each_round_and_then_the_median():
    # the machine is ten times slower in the third round; the ratio of the medians would be 4 / 2
    slow, fast = [4.0, 3.0, 30.0, 8.0, 5.0], [2.0, 1.0, 20.0, 2.0, 2.5]
    ratio = pairwise(slow, fast)  # 2, 3, 1.5, 4, 2
    assert ratio == (2.0, 2.0, 3.0)
    assert pairwise([3.0], [2.0]) == (1.5, 1.5, 1.5)
    case = Case("by hand", "fast", {"slow": slow, "fast": fast})
    assert case.ratio("slow") == ratio and case.median("slow") == 5.0
    assert case.ratio("fast", to="slow").median == 0.5
    assert case.as_dict()["ratios"]["slow"] == {"median": 2.0, "lower": 2.0, "upper": 3.0}


def test_a_ratio_pairs_only_the_rounds_that_both_took_part_in():
    assert pairwise([6.0, 8.0], [2.0, 4.0, 100.0]) == (2.5, 2.25, 2.75)
    with pytest.raises(ValueError, match="0 and 2 rounds give no ratio"):
        pairwise([], [1.0, 2.0])


def test_jobs_take_turns_after_two_warm_up_calls():
    calls = []
    jobs = {name: lambda name=name: calls.append(name) or 0.5 for name in "abc"}
    found = interleave(jobs, 2, 60.0, (), calls.append)
    assert calls[:6] == ["a", "a", "b", "b", "c", "c"]
    assert [name for name, _ in groupby(calls[6:])] == ["a", "b", "c", "a", "b", "c"]
    assert len(calls) > 12  # a quick job is called many times in its turn
    assert found == {name: [0.5, 0.5] for name in "abc"}  # a job's own seconds count, where it tells them


def test_the_slowest_gets_fewer_rounds_and_then_none_but_the_kept_ones_stay():
    took = {"floor": 1.0, "ours": 1.0, "slow": 5.0, "slower": 20.0}
    assert planned(took, 10, 1000.0, ("floor", "ours")) == {"floor": 10, "ours": 10, "slow": 10, "slower": 10}
    assert planned(took, 10, 140.0, ("floor", "ours")) == {"floor": 10, "ours": 10, "slow": 10, "slower": 3}
    assert planned(took, 10, 100.0, ("floor", "ours")) == {"floor": 10, "ours": 10, "slow": 3, "slower": 3}
    assert planned(took, 10, 50.0, ("floor", "ours")) == {"floor": 10, "ours": 10, "slow": 3, "slower": 0}
    assert planned(took, 10, 5.0, ("floor", "ours")) == {"floor": 10, "ours": 10, "slow": 0, "slower": 0}


def test_what_the_time_limit_leaves_out_is_told():
    told = []
    found = interleave({"floor": lambda: 1e-3, "slow": lambda: 1e-3}, 4, 1e-9, ("floor",), told.append)
    assert set(found) == {"floor"} and len(found["floor"]) == 3  # never fewer rounds than that
    assert told[0].startswith("slow is left out: ") and told[1] == "3 of 4 rounds within seconds=1e-09"


def test_the_table_names_the_reference_and_shows_quartiles():
    lines = table(Case("net", "floor", {"floor": [0.1, 0.1], "ours": [0.2, 0.3]}, {"ours": "spikes equal"}))
    assert lines[1] == "net, 2 rounds" and "/ floor" in lines[2]
    assert lines[4].split() == ["ours", "250", "ms", "2.5", "2.25", "to", "2.75", "spikes", "equal"]
    assert "MiB" in table(Case("memory", "floor", {"floor": [2**20]}, unit="bytes"))[-1]
