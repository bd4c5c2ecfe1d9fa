"""A sample of ``python tests/kills/kill.py``: killed where it hurts, a run comes to the bits of its twin."""

from kills import midway
from kills.kill import check


def test_a_killed_run_that_goes_on_comes_to_the_bits_of_its_twin(tmp_path):
    told: list[str] = []
    sample = ["stbp: across file systems", "stbp: between checkpoint and metrics.csv", "stbp: during test"]
    assert check(sample, tmp_path, told.append) == 0, "\n".join(told)
    assert len(told) == len(sample)


def test_a_run_killed_at_a_random_step_goes_on_in_the_middle_of_its_epoch(tmp_path):
    told: list[str] = []
    assert midway.check(2, 1, ["fptt"], tmp_path, told.append) == 0, "\n".join(told)
    assert len(told) == 2
