"""What the run will still take: of the whole run, not of the epoch."""

import pytest

from snnlab.callbacks.progress import EpochLines, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (42.4, "42 s"), (89, "89 s"), (200, "3 min"), (5399, "1 h 30 min"), (12000, "3 h 20 min")],
)
def test_a_duration_for_people(seconds, words):
    assert duration(seconds) == words


def test_time_left_is_that_of_the_epochs_after_the_first():
    lines = EpochLines(None)
    lines.seconds = [10.0]
    assert lines.left(3) == 30
    lines.seconds = [10.0, 2.0, 3.0, 2.0]
    assert lines.left(3) == 6
    lines.seconds += [5.0, 5.0, 5.0, 5.0, 5.0]  # another program has come
    assert lines.left(1) == 5
