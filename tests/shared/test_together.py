"""A sample of ``python tests/shared/together.py``: several processes on an empty cache build once."""

import logging
import os

import pytest

from shared.together import check
from snnlab import atomic


@pytest.mark.parametrize("case", ["films", "checked hashes", "download"])
def test_three_processes_build_once_and_again_where_the_first_dies(case, tmp_path):
    told: list[str] = []
    assert check([case], tmp_path, 3, told.append) == 0, "\n".join(told)
    assert len(told) == 2


def test_whoever_never_comes_to_an_end_is_named_and_waited_for_only_so_long(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("snnlab"), "propagate", True)
    monkeypatch.setattr(atomic, "PATIENCE", 0.2)
    monkeypatch.setattr(atomic, "TOLD", 0.05)
    owner = atomic.take(tmp_path / "lock")
    with caplog.at_level(logging.INFO, "snnlab"), atomic.alone(tmp_path / "lock"):
        assert f"waiting for process {os.getpid()} on " in caplog.text
    owner.release()
    with atomic.alone(tmp_path / "lock"):
        assert atomic.take(tmp_path / "lock") is None


def test_where_nothing_can_be_written_nobody_is_waited_for(tmp_path):
    (tmp_path / "file").touch()
    with atomic.alone(tmp_path / "file" / "lock"):
        assert atomic.take(tmp_path / "lock")
